"""GGUF files (llama.cpp's format): metadata and list of tensors, read by the package `gguf` within limits."""

import pathlib
from typing import Any

import gguf
import numpy as np

from r1jax.io import files

# The package takes 30 microseconds and more for each. The largest vocabularies have a quarter of a million tokens, each
# with a type, and a score or two merges; SmolLM2's file has 147,238 values in all.
MAX_VALUES = 1_500_000


class _Reader(gguf.GGUFReader):
    """A reader that counts the metadata's values, and fails at the file's end, where the package reads empty arrays."""

    _values = 0

    def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> np.ndarray:
        values = super()._get(offset, dtype, count, override_order)
        if len(values) != int(count):
            raise ValueError(f"it ends at byte {len(self.data):,}, before what it should hold")
        return values

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise ValueError(f"its metadata have more than {MAX_VALUES:,} values")
        return super()._get_field_parts(orig_offs, raw_type)


def open_gguf(path: pathlib.Path) -> gguf.GGUFReader:
    """Reads the metadata and the list of tensors, which precede the tensors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is broken or cut short, or no regular file.
    """
    if not files.exists(path, path.resolve().parent):  # a path is the user's own: a link may lead anywhere
        raise FileNotFoundError(f"no file {path}")
    try:
        return _Reader(path)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError, AttributeError) as error:
        raise ValueError(
            f"{path} is no GGUF file, or was cut short ({files.one_line(error)}); download it again"
        ) from error


def contents(path: pathlib.Path, reader: gguf.GGUFReader, name: str, default: Any = None) -> Any:
    """The value of a field, `default` where there is none. Raises ValueError, naming both, where it cannot be read."""
    if name not in reader.fields:
        return default
    try:
        return reader.fields[name].contents()
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: {name} cannot be read: {files.one_line(error)}") from error
