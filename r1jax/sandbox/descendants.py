"""The processes that a process has started, and those that these have: found in /proc and ended, on Linux."""

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
_ROUNDS = 200  # of killing; what is left then cannot be killed


def die_with_parent() -> None:
    """Ends this process when the thread that started it ends, however it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt() -> None:
    """Makes this process the parent of descendants whose own parent ends: a daemon stays its descendant."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants(pid: int, spared: Collection[int] = ()) -> list[int]:
    """Process ids of those that are alive, in any order.

    Args:
        spared: descendants that are left out, with their own.
    """
    found = [pid]
    for each in found:
        found += [child for child in _children(each) if child not in spared and _alive(child)]
    return found[1:]


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):  # it may have ended; or this is not Linux
        files = pathlib.Path(f"/proc/{pid}/task").glob("*/children")  # of each of its threads
        return [int(child) for file in files for child in file.read_text().split()]
    return []


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    return False


def kill(pid: int, spared: Collection[int] = ()) -> None:
    """Kills a process's descendants, and returns when none is alive."""
    for _ in range(_ROUNDS):
        found = descendants(pid, spared)
        if not found:
            return
        for each in found:
            with contextlib.suppress(OSError):
                os.kill(each, signal.SIGKILL)
        time.sleep(0.001)
