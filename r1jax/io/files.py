"""Files of model folders that strangers made: regular ones, inside the folder, of a size that is read in a moment."""

import json
import os
import pathlib
import stat
from typing import Any

# What the largest models need, several times over (DeepSeek-V3's index has 9 MB, Gemma's tokenizer.json 33).
MAX_JSON, MAX_TOKENIZER = 128 * 2**20, 512 * 2**20


def exists(path: pathlib.Path, folder: pathlib.Path | None = None) -> bool:
    """Whether there is such a file, which may be opened.

    Args:
        folder: where it must lie, links followed; None: in the one that its path names. The links of a snapshot in the
            cache of the Hugging Face hub, which lead to the blobs beside it, are good.

    Raises:
        ValueError: it lies outside of the folder, or is no regular file: a FIFO keeps its reader waiting for ever.
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
    # Should a FIFO have taken the file's place since `exists`.
    return os.open(path, flags | os.O_NONBLOCK)


def one_line(error: BaseException) -> str:
    """What an error of another package says, without line breaks and of bearable length."""
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


def read_object(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: see `read_bytes` and `parse_object`; the message names the file.
    """
    return parse_object(read_bytes(path, MAX_JSON), path)
