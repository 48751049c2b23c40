"""Whole files: written atomically, by way of a temporary file; read within limits where they are untrusted.

The checks of `exists` and `read_bytes` are for model folders of any origin: regular files, inside the folder, of a
size that is read quickly.
"""

import contextlib
import json
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

from r1jax import config

# What the largest models need, several times over (DeepSeek-V3's index has 9 MB, Gemma's tokenizer.json 33).
MAX_JSON, MAX_TOKENIZER = 128 * 2**20, 512 * 2**20


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a new file that takes the place of `path` at the end of the block, folders above it included.

    A reader, or a run that was killed meanwhile, finds the old file or the whole new one; after an error the old one.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")  # always the same name, so that what a kill left is written over
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a whole file, see `replacing`."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a whole file in UTF-8, see `replacing`."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes one indented JSON value as a whole file, see `replacing`; configs as `config.to_dict` gives them."""
    write_text(path, json.dumps(config.to_dict(content), indent=1, ensure_ascii=False) + "\n")


def exists(path: pathlib.Path, folder: pathlib.Path | None = None) -> bool:
    """Whether there is such a file, and it may be opened.

    Args:
        folder: where it must lie, links followed; None: in the one that its path names. Links of a snapshot in the
            Hugging Face hub's cache, which lead to the blobs beside it, are allowed.

    Raises:
        ValueError: it lies outside of the folder, or is no regular file: a FIFO would block its reader for ever.
    """
    folder = path.parent if folder is None else folder
    try:
        actual, root = path.resolve(), folder.resolve()
        mode = path.stat().st_mode if os.path.lexists(path) else None
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, names that no file can have
        raise ValueError(f"{repr(str(path))[1:-1]} cannot be opened: {one_line(error)}") from error
    blobs = root.parents[1] / "blobs" if root.parent.name == "snapshots" else root
    if not actual.is_relative_to(root) and actual.parent != blobs:
        raise ValueError(f"{path} leads out of its folder, to {actual}: copy that file into the folder if it is meant")
    if mode is None:
        return False
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is no regular file but {stat.filemode(mode)[0]!r} of `ls -l`")
    return True


def read_bytes(path: pathlib.Path, limit: int, folder: pathlib.Path | None = None) -> bytes:
    """The contents of a file that `exists`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: see `exists`; or it has more than `limit` bytes.
    """
    if not exists(path, folder):
        raise FileNotFoundError(f"no file {path}")
    with open(path, "rb", opener=_without_waiting) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(limit + 1) if size <= limit else b""
    if max(size, len(content)) > limit:
        raise ValueError(f"{path} has {size:,} bytes, more than the {limit:,} that such a file may have")
    return content


def _without_waiting(path: str, flags: int) -> int:
    # In case a FIFO has replaced the file since `exists`.
    return os.open(path, flags | os.O_NONBLOCK)


def one_line(error: BaseException) -> str:
    """The message of another package's error, without line breaks and of at most 1000 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 1000 else f"{text[:1000]}..."


def parse_json(content: bytes, where: str | pathlib.Path) -> Any:
    """Raises ValueError, which begins with `where`, for anything but JSON in UTF-8."""
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError(f"{where} is not JSON that can be read: it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error


def parse_object(content: bytes, where: str | pathlib.Path) -> dict[str, Any]:
    """Raises ValueError, which begins with `where`, for anything but a JSON object in UTF-8."""
    value = parse_json(content, where)
    if not isinstance(value, dict):
        raise ValueError(f"{where} holds {type(value).__name__}, should be an object")
    return value


def read_json(path: pathlib.Path) -> Any:
    """Reads the JSON value of a file that r1jax wrote itself, or of the user's choice.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: not JSON; the message names the file.
    """
    return parse_json(path.read_bytes(), path)


def read_object(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object from a model folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: see `read_bytes` and `parse_object`; the message names the file.
    """
    return parse_object(read_bytes(path, MAX_JSON), path)
