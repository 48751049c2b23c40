"""Jobs for grader processes that log each of their starts to a file, and a clock that a test can advance.

Workers import this file: it needs the standard library only.
"""

import os
import pathlib
import time
from collections.abc import Callable

GENEROUS_S = 120.0  # a wait that only ends what hangs


class Clock:
    """Replacement of the module `time` in r1jax.rewards.workers: time limits pass when a test advances it.

    By `processor_seconds`, all jobs compute all the time.

    Attributes:
        ahead: seconds that it is ahead of the real clock.
    """

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def processor_seconds(self, pid: int, with_descendants: bool = True) -> float:
        """In the place of `process_tree.processor_seconds`."""
        return self.monotonic()


def note(log: pathlib.Path, name: object) -> None:
    """Appends a job's name and its process id to the log, in one write."""
    with open(log, "a") as file:
        file.write(f"{name} {os.getpid()}\n")


def noted(log: pathlib.Path) -> list[tuple[str, int]]:
    """(name, process id) of each start, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(name, int(pid)) for name, pid in (line.rsplit(" ", 1) for line in lines)]


def hang(log: pathlib.Path, name: object) -> None:
    """Holds the interpreter lock: no thread and no Python signal handler runs meanwhile."""
    note(log, name)
    9**9**9


def value(log: pathlib.Path, name: object) -> object:
    note(log, name)
    return name


def wait_for(log: pathlib.Path, name: object, path: pathlib.Path) -> object:
    """Ends once a file exists."""
    note(log, name)
    until(path.exists)
    return name


def until(condition: Callable[[], bool], seconds: float = GENEROUS_S) -> None:
    """Waits for an event, and fails where it does not come in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def models_read() -> int:
    """How often this process, and those it was forked from, have read the language identification model."""
    from r1jax.rewards import language_consistency

    return language_consistency._identifier.cache_info().misses


def languages_read() -> int:
    """How many language identification models of `r1jax.rewards.language_consistency` this process holds."""
    from r1jax.rewards import language_consistency

    return language_consistency._identifier.cache_info().currsize
