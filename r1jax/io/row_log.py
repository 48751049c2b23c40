"""JSONL log whose rows stay on disk, found by their keys: memory and open files do not grow with what it holds."""

import json
import os
import pathlib
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from r1jax.io import jsonl
from r1jax.io.jsonl import Row

Key = tuple[str, int]  # question id, sample


class _Place(NamedTuple):
    offset: int  # bytes from the beginning of the file
    size: int  # bytes
    value: float | None
    is_added: bool  # in the file that rows are added to, where that is another


class RowLog(Mapping[Key, Row]):
    """The latest row of each key, read from its file when it is asked for. One thread may add while others read.

    A row takes some 300 bytes of memory, whatever it holds: its key, its place, and one number.

    Attributes:
        corrupted: lines that were found when the log was opened and that hold no usable row.
        refused: keys whose latest row was refused.
        total: the sum of the rows' numbers that are not None.
        counted: how many these are.
    """

    def __init__(
        self,
        path: pathlib.Path,
        usable: Callable[[Row], bool],
        number: Callable[[Row], float | None],
        counts: Callable[[Row], bool] = lambda row: True,
        added: pathlib.Path | None = None,
    ):
        """Reads what is there; the file is made with the first row.

        Args:
            usable: whether an object is a row of this log, with an `id` and a `sample`.
            number: the number of a row that is kept in memory.
            counts: whether a row counts; one that does not hides an earlier one of its key.
            added: the file that rows are added to; None: the same.
        """
        self._read, self._added, self._number = path, added or path, number
        self._places: dict[Key, _Place] = {}
        self._files: dict[pathlib.Path, int] = {}
        self._closing: list[weakref.finalize] = []
        self.corrupted, self.total, self.counted = 0, 0.0, 0
        refused: set[Key] = set()
        for offset, line, row in jsonl.placed_rows(path):
            if row is None or not usable(row):
                self.corrupted += 1
                continue
            key = sys.intern(row["id"]), row["sample"]
            self._forget(key)
            refused.discard(key)
            if counts(row):
                self._keep(key, _Place(offset, len(line), number(row), False))
            else:
                refused.add(key)
        self.refused = len(refused)

    def __getitem__(self, key: Key) -> Row:
        place = self._places[key]
        file = self._opened(self._added if place.is_added else self._read)
        return json.loads(os.pread(file, place.size, place.offset).removeprefix(b"\xef\xbb\xbf"))

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._places))  # another thread may add

    def __len__(self) -> int:
        return len(self._places)

    def append(self, row: Row) -> None:
        """Adds a row. A kill in the middle corrupts this one line and no other."""
        file = self._opened(self._added)
        end = os.fstat(file).st_size
        line = jsonl.line_of(row)
        torn = bool(end) and os.pread(file, 1, end - 1) != b"\n"
        content = b"\n" + line if torn else line
        written = os.write(file, content)
        while written < len(content):  # a full disk is an OSError of the next call
            written += os.write(file, content[written:])
        key = sys.intern(row["id"]), row["sample"]
        self._forget(key)
        self._keep(key, _Place(end + torn, len(line), self._number(row), True))

    def close(self) -> None:
        """Closes the files, which the next use opens again."""
        for close in self._closing:
            close()
        self._closing, self._files = [], {}

    def _opened(self, path: pathlib.Path) -> int:
        if path not in self._files:
            self._files[path] = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._closing.append(weakref.finalize(self, os.close, self._files[path]))
        return self._files[path]

    def _forget(self, key: Key) -> None:
        place = self._places.pop(key, None)
        if place is not None and place.value is not None:
            self.total, self.counted = self.total - place.value, self.counted - 1

    def _keep(self, key: Key, place: _Place) -> None:
        self._places[key] = place
        if place.value is not None:
            self.total, self.counted = self.total + place.value, self.counted + 1
