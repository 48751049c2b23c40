"""Checksums of a folder's files, which show that a disk or a copy has changed them since they were written.

`checksums.txt` has a line for each file: its CRC-32, its size in bytes, its path. CRC-32 finds all errors of up to 32
bits in a row, and of others all but one in four billion; it is no guard against a forger. One core reads 1.6 GB/s by it
(SHA-256 0.9, BLAKE2b 0.4).
"""

import concurrent.futures
import os
import pathlib
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import numpy as np
from jax.experimental import multihost_utils

from r1jax.io.files import MAX_JSON, exists, one_line, read_bytes

FILE = "checksums.txt"
_PIECE = 2**22  # bytes read at a time
_MOST_SAID = 1000  # bytes of a fault that goes from one process to the others

Progress = Callable[[int, int], None]  # bytes done, bytes in all


def write(folder: pathlib.Path, to_come: Mapping[str, bytes] = MappingProxyType({})) -> None:
    """Records all files of a folder, which must be complete. One process does it.

    Args:
        to_come: path and content of files that will be written after this one.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [name for path in paths if (name := path.relative_to(folder).as_posix()) != FILE and name not in to_come]
    with _threads() as threads:
        lines = dict(zip(names, threads.map(lambda name: _line(folder / name), names), strict=True))
    lines |= {name: _text(zlib.crc32(content), len(content)) for name, content in to_come.items()}
    _write(folder, "".join(f"{lines[name]} {name}\n" for name in sorted(lines)))


def add(folder: pathlib.Path, to_come: Mapping[str, bytes]) -> None:
    """Adds files, by path and content, that will be written to a folder which has its record already."""
    lines = (f"{_text(zlib.crc32(content), len(content))} {name}\n" for name, content in to_come.items())
    _write(folder, (folder / FILE).read_text("utf-8") + "".join(lines))


def _write(folder: pathlib.Path, lines: str) -> None:
    part = folder / f"{FILE}.part"
    part.write_text(lines, "utf-8")
    part.replace(folder / FILE)


def fault(
    folder: pathlib.Path, chosen: Callable[[str], bool] = lambda name: True, progress: Progress | None = None,
    shared: bool = False,
) -> str:  # fmt: skip
    """What is wrong with the first file that is not as it was recorded; "": nothing, or the folder has no record.

    Files without a line are not looked at.

    Args:
        chosen: whether to look at the file of this path.
        progress: told after each file.
        shared: all processes call it, read a share each and get the same answer; else this one reads all.

    Raises:
        ValueError: a file that should not be opened, see `files.exists`.
    """
    if not exists(folder / FILE):
        return ""
    lines = _read(folder)
    if isinstance(lines, str):
        return lines
    names = [name for name in sorted(lines) if chosen(name)]
    if not shared or jax.process_count() == 1:
        return _fault_of(folder, {name: lines[name] for name in names}, progress)
    names = names[jax.process_index() :: jax.process_count()]
    return _first(_fault_of(folder, {name: lines[name] for name in names}, progress))


def refuse_damage(
    folder: pathlib.Path, chosen: Callable[[str], bool] = lambda name: True, progress: Progress | None = None,
    shared: bool = False,
) -> None:  # fmt: skip
    """Raises ValueError where `fault` finds one: names the file, and says what to do."""
    if found := fault(folder, chosen, progress, shared):
        raise ValueError(f"{folder} is damaged: {found}; copy it again. If you changed that file yourself, take its "
                         f"line out of {FILE}")  # fmt: skip


def _read(folder: pathlib.Path) -> dict[str, str] | str:
    """CRC and size, as written, of each file; or what is wrong with the record."""
    content = read_bytes(folder / FILE, MAX_JSON, folder)
    try:
        rows = [line.split(" ", 2) for line in content.decode("utf-8").removesuffix("\n").split("\n")]
        return {name: f"{crc} {size}" for crc, size, name in rows}
    except ValueError:
        return f"{FILE} itself cannot be read"


def _fault_of(folder: pathlib.Path, lines: Mapping[str, str], progress: Progress | None) -> str:
    for name in lines:
        if not exists(folder / name, folder):
            return f"{name} is missing"
    sizes = {name: (folder / name).stat().st_size for name in lines}
    for name, line in lines.items():
        if (written := line.partition(" ")[2]) != str(sizes[name]):
            return f"{name} has {sizes[name]} bytes, and {written} were written"
    done = 0
    with _threads() as threads:
        for name, found in zip(lines, threads.map(lambda name: _line_or_error(folder / name), lines), strict=True):
            if found != lines[name]:
                threads.shutdown(cancel_futures=True)
                return f"{name} is not as it was written (CRC-32 and size {found}, should be {lines[name]})"
            done += sizes[name]
            if progress:
                progress(done, sum(sizes.values()))
    return ""


def _threads() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, 16))


def _line(path: pathlib.Path) -> str:
    crc = size = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            crc, size = zlib.crc32(piece, crc), size + len(piece)
    return _text(crc, size)


def _line_or_error(path: pathlib.Path) -> str:
    try:
        return _line(path)
    except OSError as error:  # of a disk that is dying
        return one_line(error)


def _text(crc: int, size: int) -> str:
    return f"{crc:08x} {size}"


def _first(fault: str) -> str:
    """The first process's fault that is one, in all processes."""
    mine = np.zeros(_MOST_SAID, np.uint8)
    content = np.frombuffer(fault.encode()[:_MOST_SAID], np.uint8)
    mine[: len(content)] = content
    said = [bytes(row).rstrip(b"\0").decode("utf-8", "replace") for row in multihost_utils.process_allgather(mine)]
    return next((each for each in said if each), "")
