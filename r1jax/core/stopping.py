"""Stopping of a training run on Ctrl-C or a notice (SIGTERM, SIGUSR1): it saves its state and leaves in time.

A notice says that the machine will be taken away: SIGTERM from a cloud or a cluster before it does so, SIGUSR1 from
Slurm (`--signal=USR1@60`). The run ends after the step under way; where that step is still sampling when half of the
grace is over, it is given up, the state before it is saved, and it is done again later; where it does not end within
the grace, all processes leave with what was saved before. Ctrl-C is from a person and waits for the step.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import numpy as np
from jax.experimental import multihost_utils

from r1jax.config import STOPPED, STOPPED_ON_NOTICE, Terminated
from r1jax.core import processes
from r1jax.io import progress

NOTICES = (signal.SIGTERM, signal.SIGUSR1)
WINDOWS = 8  # calls of `leave_if_late` between two exchanges of several processes: each waits for the devices

_noted = 0  # the exit status that a signal asks for
_noted_at = 0.0  # when the first notice came, by the monotonic clock; 0.0: none did
_grace_s = 0.0  # seconds from the notice until the run must have left; 0: it takes what it takes
_save: Callable[[], str] | None = None  # of the run under way, see `on_notice`
_calls = 0
_leaving = threading.Event()  # whether the run is saving its last state
_not_said = threading.Lock()  # free until the first signal is answered


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Within, a notice raises `Terminated` as Ctrl-C raises KeyboardInterrupt. In a thread, which gets no signals, not.

    JAX would catch SIGTERM where there are several processes, and leave it at that.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Terminated

    with _handling(dict.fromkeys(NOTICES, stop)):
        yield


@contextlib.contextmanager
def after_the_step(grace_s: float = 0.0) -> Iterator[None]:
    """Within, notices and the first Ctrl-C are noted for `requested`; another Ctrl-C ends all processes at once.

    Args:
        grace_s: seconds from a notice until the run must have left; 0: it takes what it takes.
    """
    global _noted, _noted_at, _grace_s, _save, _not_said

    def note(signum: int, frame: FrameType | None) -> None:
        global _noted
        if signum == signal.SIGINT and not processes.is_multiprocess():
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # which kills while it compiles, too
        if signum != signal.SIGINT:
            return notice()
        _noted = _noted or 130
        _say_once()

    _noted, _noted_at, _grace_s, _save, _not_said = 0, 0.0, grace_s, None, threading.Lock()
    _leaving.clear()
    with _handling({signal.SIGINT: note, **dict.fromkeys(NOTICES, note)}), _listening():
        try:
            yield
        finally:
            _noted, _noted_at, _grace_s, _save = 0, 0.0, 0.0, None


def notice() -> None:
    """Notes that the machine will be taken away, as a signal does; any thread may call it."""
    global _noted, _noted_at
    _noted, _noted_at = STOPPED_ON_NOTICE, _noted_at or time.monotonic()
    _say_once()


def on_notice(save: Callable[[], str] | None) -> None:
    """Sets what the run under way does where it gives up a step; of several runs the last one counts.

    Args:
        save: saves the state after the last finished step, and returns the message to leave with; None: nothing.
    """
    global _save
    _save = save


def requested() -> int:
    """The exit status with which the run should end after its step, in all processes the same; 0: it should go on.

    With several processes all have to call it, and at every step, for one that is signalled cannot end alone.
    """
    return _agreed(_noted)


def leave_if_late() -> None:
    """Gives up the step under way where half of the grace is over. The state must be that of the last finished step.

    It is called for each window of sampling, which counts as progress.

    With several processes all have to call it equally often; every `WINDOWS` calls they agree.

    Raises:
        Terminated: the state is saved.
    """
    global _calls
    progress.made()
    if _save is None or not _grace_s:
        return
    _calls += 1
    if processes.is_multiprocess() and _calls % WINDOWS:
        return
    late = _noted_at and time.monotonic() - _noted_at > _grace_s / 2
    if status := _agreed(_noted if late else 0):
        stop(status, _save())


def saving() -> None:
    """Says that the last state is being saved: from here on the end of the grace does not end the run."""
    _leaving.set()


def stop(status: int, message: str) -> None:
    """Raises what ends a run that was `requested` to, in all processes once all of them are here."""
    processes.barrier()
    raise STOPPED[status](message)


def _say_once() -> None:
    if _not_said.acquire(blocking=False):
        # Not print: the signal may have come in the middle of one.
        os.write(2, b"stopping after the step under way, which is saved; Ctrl-C again stops at once\n")


def _agreed(status: int) -> int:
    if not processes.is_multiprocess():
        return status
    return int(np.max(multihost_utils.process_allgather(np.int32(status))))


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
def _listening() -> Iterator[None]:
    """Within, a thread hears signals and watches the grace while the main thread compiles or waits for others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    ended = threading.Event()

    def listen() -> None:
        signals = 0
        while signum := os.read(read_end, 1):
            if signum[0] in NOTICES:
                notice()
            signals += 1
            if signals > 1 and signum[0] == signal.SIGINT and processes.is_multiprocess():
                processes.stop_all(130, "stopped at once; the same command goes on from what is saved")

    def watch() -> None:
        while not ended.wait(0.2):
            over = _noted_at and _grace_s and time.monotonic() - _noted_at > _grace_s
            if over and not _leaving.is_set():
                processes.stop_all(
                    STOPPED_ON_NOTICE,
                    f"stopped: the step under way did not end within {_grace_s:g} s of the notice "
                    "(config.checkpoint.grace_s); the same command goes on from what is saved",
                )

    threads = [threading.Thread(target=each, daemon=True, name="signals") for each in (listen, watch)]
    for thread in threads:
        thread.start()
    before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        ended.set()
        os.close(write_end)  # which ends the listening thread
        for thread in threads:
            thread.join()
        os.close(read_end)
