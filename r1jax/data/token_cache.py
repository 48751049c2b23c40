"""Tokenised examples on disk, mapped into memory: their ids as int32, and a byte for each that is trained on.

A folder holds `ids.bin`, `trained.bin`, `ends.npy`, where each example ends in both, and last `facts.json`, which makes
it whole: what was left out and why. Its name is a key of all that decides what is in it.
"""

import array
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import numpy as np

from r1jax.core import processes
from r1jax.data.types import Example
from r1jax.io import files

_IDS, _TRAINED, _ENDS, _FACTS = "ids.bin", "trained.bin", "ends.npy", "facts.json"


class TokenizedExamples(Sequence[Example]):
    """Examples of a folder. Only those that are asked for are read, and the pages of the file system's cache hold them.

    Attributes:
        facts: as they were written.
        lengths: `[n]` int64, the tokens of each example.
    """

    def __init__(self, folder: pathlib.Path):
        """Opens it.

        Raises:
            ValueError: its files are not as they were written.
        """
        self.facts: dict[str, Any] = files.read_json(folder / _FACTS)
        self._ends = np.load(folder / _ENDS, allow_pickle=False)
        self.lengths = np.diff(self._ends, prepend=0)
        tokens = int(self._ends[-1]) if len(self._ends) else 0
        sizes = [(folder / name).stat().st_size for name in (_IDS, _TRAINED)]
        if sizes != [4 * tokens, tokens]:
            raise ValueError(f"{folder} is damaged: delete it, and it is made again")
        self._ids = np.memmap(folder / _IDS, "<i4", "r") if tokens else np.empty(0, "<i4")
        self._trained = np.memmap(folder / _TRAINED, "i1", "r") if tokens else np.empty(0, "i1")

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        end = int(self._ends[index])
        begin = end - int(self.lengths[index])
        return array.array("i", self._ids[begin:end].tobytes()), array.array("b", self._trained[begin:end].tobytes())


def beside(workdir: pathlib.Path) -> pathlib.Path:
    """The folder of caches that runs beside each other share."""
    return workdir.absolute().parent / "token_cache"


def is_whole(folder: pathlib.Path) -> bool:
    """Whether such a folder is there."""
    return (folder / _FACTS).exists()


def write(folder: pathlib.Path, examples: Iterable[Example], facts: Mapping[str, Any]) -> None:
    """Writes a folder, which appears when it is whole; holds one example at a time.

    Args:
        facts: may change until the last example has been taken.
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    part.mkdir(parents=True)
    ends, end = array.array("q"), 0
    with (part / _IDS).open("wb") as ids_file, (part / _TRAINED).open("wb") as trained_file:
        for ids, trained in examples:
            ids_file.write(np.asarray(ids, "<i4").tobytes())
            trained_file.write(np.asarray(trained, "i1").tobytes())
            end += len(ids)
            ends.append(end)
        for file in (ids_file, trained_file):
            file.flush()
            os.fsync(file.fileno())
    with files.replacing(part / _ENDS) as file:
        np.save(file, np.frombuffer(ends, "<i8") if ends else np.empty(0, "<i8"), allow_pickle=False)
    files.write_json(part / _FACTS, dict(facts))
    part.replace(folder)


def agreed(key: str) -> str:
    """Process 0's key, in every process; the others wait until it has one, and pass ""."""
    if not processes.is_multiprocess():
        return key
    from jax.experimental import multihost_utils

    processes.barrier()  # process 0 may have worked alone for longer than a collective waits
    content = np.zeros(64, np.uint8)
    content[: len(key)] = np.frombuffer(key.encode(), np.uint8)
    return bytes(multihost_utils.broadcast_one_to_all(content)).rstrip(b"\0").decode()
