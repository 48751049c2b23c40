"""Ctrl-C: a run ends after the step under way, with its state saved; a second one ends it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import jax

_asked = threading.Event()


@contextlib.contextmanager
def after_the_step() -> Iterator[None]:
    """Within, the first SIGINT is only noted, for `asked`; a second one kills the process, while it compiles too.

    Of several processes one alone cannot stop, so they are left as they are; so is a thread, which gets no signals.
    """
    if jax.process_count() > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _asked.set()
        # Not print: the signal may have come in the middle of one.
        os.write(2, b"stopping after the step under way, which is saved; Ctrl-C again stops at once\n")

    _asked.clear()
    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _asked.clear()


def asked() -> bool:
    """Whether the run should end after its step."""
    return _asked.is_set()
