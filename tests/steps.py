"""The cost of a computation without a clock: a busy machine changes the seconds that it takes, never these figures."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_CPU_S = 120  # a computation here takes a few: only one without an end reaches it


class Endless(BaseException):
    """Not an Exception, so that the code under test cannot take it for one of its own."""


@contextlib.contextmanager
def ends() -> Iterator[None]:
    """Fails instead of hanging where the block has no end in sight: after two minutes of CPU time, not of waiting.

    This is for superlinear searches inside regular expressions and string methods, which take no steps of Python. Make
    the input so large that such a search takes hours (a million characters), and let the block end. Main thread only.
    """

    def stop(*_: object) -> None:
        raise Endless(f"no end after {_CPU_S} s of CPU time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, _CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def steps(function: Callable[..., Any], *arguments: Any) -> int:
    """The lines of Python that a call runs, with those of all it calls: the same number on every machine.

    What it does in other threads is not counted.
    """
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    with ends():
        sys.settrace(trace)
        try:
            function(*arguments)
        finally:
            sys.settrace(before)
    return count


def forget() -> None:
    """Empties the caches of r1jax's functions: what a call costs then depends on nothing that was called before."""
    for name, module in list(sys.modules.items()):
        for thing in vars(module).values() if name.startswith("r1jax.") else ():
            if hasattr(thing, "cache_clear"):
                thing.cache_clear()


def assert_linear(function: Callable[[str], Any], piece: str, large: int = 1_000_000) -> None:
    """Asserts that `function(text)` takes time linear in the length of a text that repeats `piece`.

    Steps of Python are counted for a text and for one eight times as long. Searches that take none are given a text of
    `large` characters: see `ends`.
    """
    short, long = (piece * (length // len(piece) + 1) for length in (2_000, 16_000))
    function(short)  # fills caches
    few, many = steps(function, short), steps(function, long)
    assert many <= 10 * few, f"{few} steps for {len(short)} characters, {many} for {len(long)}"
    with ends():
        function(piece * (large // len(piece) + 1))
