"""Hashes and versions that identify results: of files, JSON values, texts, code and libraries.

Their values stand in records and in names of folders, and decide which questions are held out and what is sampled: with
another value the same config is another run. `tests/provenance_test.py` holds them.
"""

import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from r1jax import __version__, config

_PIECE = 2**22  # bytes of a file in memory at a time


def sha256(content: bytes | str) -> bytes:
    """The 32 bytes of SHA-256; text is taken as UTF-8."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).digest()


def blake2b(content: bytes | str, size: int) -> bytes:
    """So many bytes of BLAKE2b, 1 to 64; text is taken as UTF-8."""
    return hashlib.blake2b(content.encode() if isinstance(content, str) else content, digest_size=size).digest()


def short_hash(content: bytes | str, digits: int) -> str:
    """The first hex digits, 1 to 64, of SHA-256; text is taken as UTF-8."""
    return sha256(content).hex()[:digits]


def fingerprint(value: Any) -> str:
    """12 hex digits that change with any value in a config or other JSON, and not with the order of its keys."""
    return short_hash(json.dumps(config.to_dict(value), sort_keys=True, separators=(",", ":")), 12)


def file_hash(path: str | pathlib.Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with pathlib.Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joined_hash(paths: Iterable[pathlib.Path]) -> str:
    """SHA-256 of the files' bytes one after the other, 64 hex digits."""
    joined = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                joined.update(piece)
    return joined.hexdigest()


def named_files_hash(files: Mapping[str, pathlib.Path]) -> str:
    """SHA-256, 64 hex digits, over files' names and the SHA-256 of each one's bytes, in the order given."""
    whole = hashlib.sha256()
    for name, path in files.items():
        whole.update(f"{name}\0{file_hash(path)}\n".encode())
    return whole.hexdigest()


def code_version(root: pathlib.Path, files: Iterable[pathlib.Path]) -> str:
    """r1jax's version and 8 hex digits that change with any byte or path below `root` of these files of code."""
    whole = hashlib.sha256()
    for path in files:
        whole.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"r1jax {__version__}+{whole.hexdigest()[:8]}"


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """The installed version of each package.

    Raises:
        importlib.metadata.PackageNotFoundError: one is not installed.
    """
    return {name: importlib.metadata.version(name) for name in names}
