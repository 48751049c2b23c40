"""Files that one process of a run writes and others read: on a disk that all share, or by way of a bucket."""

import pathlib
from collections.abc import Sequence

from r1jax.core import processes
from r1jax.io import mirror


def from_first(paths: Sequence[pathlib.Path]) -> None:
    """Waits for all processes; from then on these files of the workdir are in all what they are in process 0."""
    _hand_over(paths, sends=processes.index() == 0)


def to_first(paths: Sequence[pathlib.Path]) -> None:
    """Waits for all processes; from then on process 0 has these files as the others, each some of them, wrote them."""
    _hand_over(paths, sends=processes.index() != 0)


def _hand_over(paths: Sequence[pathlib.Path], sends: bool) -> None:
    copy = mirror.of(paths[0]) if processes.is_multiprocess() and paths else None
    if copy and sends:
        copy.push(paths)
    processes.barrier()
    if copy and not sends:
        copy.pull(paths)
