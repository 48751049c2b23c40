"""Process tree: the descendants of a process, found in /proc and killed, on Linux."""

import contextlib
import ctypes
import os
import pathlib
import signal
import sys
import time
from collections.abc import Collection

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_ROUNDS = 200  # of killing; processes that are left then cannot be killed


def die_with_parent() -> None:
    """Makes the kernel kill this process when the thread that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def become_subreaper() -> None:
    """Makes this process the parent of descendants whose own parent ends: daemons stay its descendants."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants(pid: int, excluded: Collection[int] = ()) -> list[int]:
    """Process ids of the live descendants of a process, in any order.

    Args:
        excluded: descendants that are left out, with their own descendants.
    """
    pids = [pid]
    for parent in pids:
        pids += [child for child in _children(parent) if child not in excluded and _is_alive(child)]
    return pids[1:]


def processor_seconds(pid: int, with_descendants: bool = True) -> float | None:
    """Processor seconds that a process, its ended children and its live descendants have used; None: not known."""
    pids = [pid, *(descendants(pid) if with_descendants else ())]
    ticks = [used for each in pids if (used := _ticks(each)) is not None]
    return sum(ticks) / _TICKS_PER_S if ticks else None


def _ticks(pid: int) -> int | None:
    with contextlib.suppress(OSError, IndexError, ValueError):  # it has ended, or this is not Linux
        fields = pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return sum(map(int, fields[11:15]))
    return None


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):  # it has ended, or this is not Linux
        files = pathlib.Path(f"/proc/{pid}/task").glob("*/children")  # of each of its threads
        return [int(child) for file in files for child in file.read_text().split()]
    return []


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    return False


def kill_descendants(pid: int, excluded: Collection[int] = ()) -> None:
    """Kills a process's descendants but the excluded ones, and returns when none is alive."""
    for _ in range(_ROUNDS):
        pids = descendants(pid, excluded)
        if not pids:
            return
        for child in pids:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.001)
