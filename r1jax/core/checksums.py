"""Checksums of a folder's files, to detect damage by a disk or a copy since they were written.

`checksums.txt` has a line for each file: its CRC-32, its size in bytes, its path. CRC-32 finds all errors of up to 32
bits in a row, and of others all but one in four billion; it does not protect against forgery. One core checks 1.6 GB/s
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

from r1jax.io.files import MAX_JSON, exists, one_line, read_bytes, write_text

FILE = "checksums.txt"
_PIECE = 2**22  # bytes read at a time
_REPORT_BYTES = 1000  # longest description of damage that one process sends to the others

Progress = Callable[[int, int], None]  # bytes done, total bytes


def write(folder: pathlib.Path, upcoming: Mapping[str, bytes] = MappingProxyType({})) -> None:
    """Writes the checksums of all files of a folder, which must be complete; call it in one process.

    Args:
        upcoming: path and content of files that will be written after this one.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [name for path in paths if (name := path.relative_to(folder).as_posix()) != FILE and name not in upcoming]
    with _thread_pool() as threads:
        lines = dict(zip(names, threads.map(lambda name: _checksum_line(folder / name), names), strict=True))
    lines |= {name: _format(zlib.crc32(content), len(content)) for name, content in upcoming.items()}
    write_text(folder / FILE, "".join(f"{lines[name]} {name}\n" for name in sorted(lines)))


def find_damage(
    folder: pathlib.Path,
    select: Callable[[str], bool] = lambda name: True,
    progress: Progress | None = None,
    shared: bool = False,
) -> str:
    """A description of the first damaged or missing file; "": none, or the folder has no checksum file.

    Files without a line are not checked.

    Args:
        select: whether to check the file of this path.
        progress: called after each file.
        shared: all processes call it, check a share each and get the same result; else this one checks all.

    Raises:
        ValueError: a file that should not be opened, see `files.exists`.
    """
    if not exists(folder / FILE):
        return ""
    lines = _read(folder)
    if isinstance(lines, str):
        return lines
    names = [name for name in sorted(lines) if select(name)]
    if not shared or jax.process_count() == 1:
        return _first_damage(folder, {name: lines[name] for name in names}, progress)
    names = names[jax.process_index() :: jax.process_count()]
    return _first_report(_first_damage(folder, {name: lines[name] for name in names}, progress))


def verify(
    folder: pathlib.Path,
    select: Callable[[str], bool] = lambda name: True,
    progress: Progress | None = None,
    shared: bool = False,
) -> None:
    """`find_damage` as an error that names the file and the remedy.

    Raises:
        ValueError: a file is damaged or missing.
    """
    if damage := find_damage(folder, select, progress, shared):
        raise ValueError(
            f"{folder} is damaged: {damage}; copy it again. If you changed that file yourself, take its "
            f"line out of {FILE}"
        )


def _read(folder: pathlib.Path) -> dict[str, str] | str:
    """CRC and size, as text, of each file; or a description of what is wrong with the checksum file."""
    content = read_bytes(folder / FILE, MAX_JSON, folder)
    try:
        rows = [line.split(" ", 2) for line in content.decode("utf-8").removesuffix("\n").split("\n")]
        return {name: f"{crc} {size}" for crc, size, name in rows}
    except ValueError:
        return f"{FILE} itself cannot be read"


def _first_damage(folder: pathlib.Path, lines: Mapping[str, str], progress: Progress | None) -> str:
    for name in lines:
        if not exists(folder / name, folder):
            return f"{name} is missing"
    sizes = {name: (folder / name).stat().st_size for name in lines}
    for name, line in lines.items():
        if (recorded := line.partition(" ")[2]) != str(sizes[name]):
            return f"{name} has {sizes[name]} bytes, and {recorded} were written"
    done = 0
    with _thread_pool() as threads:
        for name, actual in zip(lines, threads.map(lambda name: _line_or_error(folder / name), lines), strict=True):
            if actual != lines[name]:
                threads.shutdown(cancel_futures=True)
                return f"{name} is not as it was written (CRC-32 and size {actual}, should be {lines[name]})"
            done += sizes[name]
            if progress:
                progress(done, sum(sizes.values()))
    return ""


def _thread_pool() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, 16))


def _checksum_line(path: pathlib.Path) -> str:
    crc = size = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            crc, size = zlib.crc32(piece, crc), size + len(piece)
    return _format(crc, size)


def _line_or_error(path: pathlib.Path) -> str:
    try:
        return _checksum_line(path)
    except OSError as error:  # an unreadable sector
        return one_line(error)


def _format(crc: int, size: int) -> str:
    return f"{crc:08x} {size}"


def _first_report(damage: str) -> str:
    """The first process's damage that is not "", the same in all processes."""
    local = np.zeros(_REPORT_BYTES, np.uint8)
    content = np.frombuffer(damage.encode()[:_REPORT_BYTES], np.uint8)
    local[: len(content)] = content
    reports = [bytes(row).rstrip(b"\0").decode("utf-8", "replace") for row in multihost_utils.process_allgather(local)]
    return next((report for report in reports if report), "")
