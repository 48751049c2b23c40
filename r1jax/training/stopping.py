"""Ctrl-C and SIGTERM: a run ends after the step under way, its state saved; a second Ctrl-C ends it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import numpy as np
from jax.experimental import multihost_utils

from r1jax.config import STOPPED, Terminated
from r1jax.core import processes

_noted = 0  # the exit status that a signal asks for


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Within, SIGTERM raises `Terminated` as Ctrl-C raises KeyboardInterrupt. In a thread, which gets no signals, not.

    JAX would catch it where there are several processes, and leave it at that.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Terminated

    with _handling({signal.SIGTERM: stop}):
        yield


@contextlib.contextmanager
def after_the_step() -> Iterator[None]:
    """Within, SIGTERM and the first Ctrl-C are noted for `requested`; another Ctrl-C ends all processes at once."""
    global _noted

    def note(signum: int, frame: FrameType | None) -> None:
        global _noted
        if not processes.is_multiprocess():
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # which kills while it compiles, too
        if not _noted:
            # Not print: the signal may have come in the middle of one.
            os.write(2, b"stopping after the step under way, which is saved; Ctrl-C again stops at once\n")
        _noted = max(_noted, 128 + signum)

    _noted = 0
    with _handling({signal.SIGINT: note, signal.SIGTERM: note}), _second_ctrl_c():
        try:
            yield
        finally:
            _noted = 0


def requested() -> int:
    """The exit status with which the run should end after its step, in all processes the same; 0: it should go on.

    With several processes all have to call it, and at every step, for one that is signalled cannot end alone.
    """
    if not processes.is_multiprocess():
        return _noted
    return int(np.max(multihost_utils.process_allgather(np.int32(_noted))))


def stop(status: int, message: str) -> None:
    """Raises what ends a run that was `requested` to, in all processes once all of them are here."""
    processes.barrier()
    raise STOPPED[status](message)


@contextlib.contextmanager
def _handling(handlers: dict[signal.Signals, object]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, handler) for signum, handler in handlers.items()}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)  # None: one of JAX's, in C++


@contextlib.contextmanager
def _second_ctrl_c() -> Iterator[None]:
    """Within, a thread hears signals of this one of several processes while it compiles or waits for the others."""
    if not processes.is_multiprocess() or threading.current_thread() is not threading.main_thread():
        yield
        return
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)

    def listen() -> None:
        signals = 0
        while signum := os.read(read_end, 1):
            signals += 1
            if signals > 1 and signum[0] == signal.SIGINT:
                processes.stop_all(130, "stopped at once; the same command goes on from what is saved")

    thread = threading.Thread(target=listen, daemon=True, name="signals")
    thread.start()
    before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(write_end)  # which ends the thread
        thread.join()
        os.close(read_end)
