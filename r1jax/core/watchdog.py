"""Watchdog of a run: a report with the stacks of all processes where the work makes no progress.

A run that computes is slow, one that uses no processor time waits, and probably hangs: for a collective, a server, a
file system. Which of the two, the report says, and in which part of the work. It goes by `r1jax.io.progress`, in which
sampler, graders, steps and reads of files note that they went on.
"""

import contextlib
import datetime
import faulthandler
import os
import pathlib
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from r1jax.config import STOPPED_ON_NOTICE
from r1jax.core import process_tree, processes
from r1jax.core.config import WatchdogConfig
from r1jax.io import files, progress
from r1jax.io.console import clock, say

FOLDER = "stacks"  # in a workdir
_LOOK_S = 5.0
_OTHERS_S = 5.0  # in which the other processes write their stacks
_COMPUTES = 0.05  # processors that are in use on average, above which a process computes
_LINES = 8  # processes that a report describes


@contextlib.contextmanager
def watching(cfg: WatchdogConfig, workdir: pathlib.Path) -> Iterator[None]:
    """Within, a thread watches the run's progress; on SIGUSR2 this process prints its stacks on standard error.

    Python's thread needs the interpreter lock. Where a call holds that for `cfg.silent_s`, the stacks are printed, too.

    Args:
        workdir: of the run, which all its processes share.
    """
    watchdog, ended = Watchdog(cfg, workdir), threading.Event()
    interval_s = min([_LOOK_S, *(limit / 8 for limit in (cfg.silent_s, cfg.give_up_s) if limit)])

    def watch() -> None:
        while not ended.wait(interval_s):
            watchdog.look(2 * interval_s)
            if cfg.silent_s:
                faulthandler.dump_traceback_later(cfg.silent_s, file=sys.__stderr__)

    with contextlib.suppress(AttributeError, OSError, ValueError):  # no standard error, or not Linux
        faulthandler.register(signal.SIGUSR2, file=sys.__stderr__)
    processes.give_signs(cfg.lost_s, lambda: watchdog.state, watchdog.write_stacks)
    thread = threading.Thread(target=watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        faulthandler.cancel_dump_traceback_later()


class Watchdog:
    """What a process knows of its progress; process 0 compares it with the others', reports, and ends the run.

    Attributes:
        state: of this process, as the others get it: seconds without progress, processor seconds that it and its
            children used in that time, the part under way, and the last note of progress.
    """

    def __init__(self, cfg: WatchdogConfig, workdir: pathlib.Path) -> None:
        self._cfg, self._folder = cfg, workdir / FOLDER
        self._looked_at = time.monotonic()
        self._progress = progress.current()
        self._processor_s = processor_seconds()  # when it last made progress
        self._next_report_s, self._reported_s = cfg.silent_s, 0.0
        self.state: dict[str, Any] = {"silent_s": 0.0, "processor_s": 0.0, "part": "", "note": ""}

    def look(self, most_s: float = float("inf")) -> None:
        """Updates the state; in process 0 also reports or ends the run, where that is due.

        Args:
            most_s: seconds since the last look that may count: a process that was stopped itself makes no progress.
        """
        self._update(most_s)
        if processes.index():
            return
        states = {**processes.signs(), 0: self.state}
        silent_s = min(state.get("silent_s", 0.0) for state in states.values())
        if silent_s < self._reported_s:
            say(
                f"watchdog: the work goes on, after {clock(self._reported_s)} or more without progress",
                is_progress=False,
            )
            self._next_report_s, self._reported_s = self._cfg.silent_s, 0.0
        gives_up = bool(self._cfg.give_up_s) and silent_s >= self._cfg.give_up_s
        if gives_up or (self._cfg.silent_s and silent_s >= self._next_report_s):
            self._next_report_s, self._reported_s = 2 * silent_s, silent_s
            self._report(silent_s, states)
        if gives_up:
            time.sleep(_OTHERS_S if len(states) > 1 else 0.0)
            self._give_up(silent_s)

    def write_stacks(self, name: str) -> pathlib.Path:
        """Writes the stacks of this process's threads to `WORKDIR/stacks/process_INDEX_NAME.txt`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"process_{processes.index()}_{name}.txt"
        files.write_text(path, f"process {processes.index()}, pid {os.getpid()}: {_describe(self.state)}\n\n{stacks()}")
        return path

    def _update(self, most_s: float) -> None:
        seen, used_s, now = progress.current(), processor_seconds(), time.monotonic()
        elapsed_s, self._looked_at = min(now - self._looked_at, most_s), now
        silent_s = self.state["silent_s"] + elapsed_s
        if seen.at != self._progress.at:
            silent_s, self._processor_s = min(now - seen.at, elapsed_s), used_s
        self._progress = seen
        self.state = {
            "silent_s": silent_s,
            "processor_s": max(0.0, used_s - self._processor_s),
            "part": seen.part,
            "note": seen.note,
        }

    def _report(self, silent_s: float, states: Mapping[int, Mapping[str, Any]]) -> None:
        name = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S")
        processes.request_stacks(name)
        try:
            self.write_stacks(name)
            where = f"the stacks of all threads are in {self._folder}/process_*_{name}.txt"
        except OSError as error:  # a full disk must not end the watchdog
            where = f"the stacks cannot be written: {error}\n{stacks()}"
        computing = [i for i, state in states.items() if state.get("processor_s", 0.0) >= _COMPUTES * silent_s]
        if computing:
            verdict = "it computes: slow, and no hang, unless it waits by asking again and again"
        else:
            verdict = "it waits and does not compute: probably a hang"
        say(f"watchdog: no progress for {clock(silent_s)}; {verdict}; {where}", is_progress=False)
        for i in sorted(states)[:_LINES]:
            say(f"  process {i}: {_describe(states[i])}", is_progress=False)
        if len(states) > _LINES:
            say(f"  and {len(states) - _LINES} processes more", is_progress=False)

    def _give_up(self, silent_s: float) -> None:
        """Ends all processes; with status 75 only where a restart cannot repeat the same for ever."""
        message = f"stopped by the watchdog: no progress for {clock(silent_s)} (config.watchdog.give_up_s)"
        if self._progress.saved:
            status, message = STOPPED_ON_NOTICE, f"{message}; the same command goes on from what is saved"
        else:
            status, message = 1, f"{message}, and nothing was saved since this process began; see {self._folder}"
        processes.stop_all(status, message)


def _describe(state: Mapping[str, Any]) -> str:
    """A process's state in words."""
    part = f"in the part {state['part']}" if state.get("part") else "in no part that is named"
    note = f"; the last that went on: {state['note']}" if state.get("note") else ""
    seconds = f"no progress for {clock(state.get('silent_s', 0.0))}"
    return f"{seconds}, in which it used {state.get('processor_s', 0.0):.1f} processor seconds; {part}{note}"


def stacks() -> str:
    """The Python stacks of this process's threads, those of the main thread first."""
    frames, main = sys._current_frames(), threading.main_thread().ident
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident in sorted(frames, key=lambda ident: ident != main):
        lines = "".join(traceback.format_stack(frames[ident]))
        parts.append(f"thread {names.get(ident, ident)}:\n{lines}")
    return "\n".join(parts)


def processor_seconds() -> float:
    """Processor seconds that this process, its live descendants, and children that have ended, have used so far."""
    used_s = process_tree.processor_seconds(os.getpid())
    return sum(os.times()[:4]) if used_s is None else used_s  # not Linux
