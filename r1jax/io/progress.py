"""Progress of this process's work: when it last went on, in which part, and whether a state was saved.

The console's lines, its reports of long work and the sampler's windows note it here; `r1jax.core.watchdog` reads it.
Any thread may call these functions.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Progress(NamedTuple):
    """What is known of the work.

    Attributes:
        at: when it last went on, in monotonic seconds.
        note: what was said of it then; "" for nothing yet.
        part: the part under way and how far it is, say "sampling, 120 of 256 samples"; "" outside of any.
        saved: whether this process has saved a state, from which the run can go on.
    """

    at: float
    note: str
    part: str
    saved: bool


_at, _note, _saved = time.monotonic(), "", False
_parts: dict[object, Callable[[], str]] = {}  # those under way, the innermost last
_last_part = ""


def made(note: str = "") -> None:
    """Notes that the work went on.

    Args:
        note: what can be said of it; "": what was said before still holds.
    """
    global _at, _note
    _at, _note = time.monotonic(), note or _note


def saved() -> None:
    """Notes that a state was saved."""
    global _saved
    _saved = True
    made()


@contextlib.contextmanager
def part(subject: str, how_far: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Within, this part of the work is under way.

    Args:
        how_far: how far it is; that this text changes is progress. Called in another thread.
    """
    key = object()
    made()
    _parts[key] = lambda: ", ".join(filter(None, (subject, how_far())))
    try:
        yield
    finally:
        del _parts[key]
        made()


def current() -> Progress:
    """The progress up to now; to be called from one thread."""
    global _last_part
    descriptions = list(_parts.values())
    text = descriptions[-1]() if descriptions else ""
    if text != _last_part:
        _last_part = text
        made()
    return Progress(_at, _note, text, _saved)
