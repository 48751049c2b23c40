"""Console output of process 0: lines, durations, and the progress of long work with its rate and time left.

All of it is whole lines without control characters, so that it reads the same on a terminal, in a pipe and in a file.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from r1jax.config import printable
from r1jax.io import progress as work

Progress = Callable[[int, int], None]  # how much is done, of how much; for bytes: see `reporter`


def say(text: str, file: TextIO | None = None, *, is_progress: bool = True) -> None:
    """Prints a line at once, in process 0 alone; control characters are spelled out, see `config.printable`.

    Args:
        file: None: standard output.
        is_progress: whether the line shows that the work went on, see `io.progress`.
    """
    if is_progress:
        work.made(text.strip())
    jax = sys.modules.get("jax")  # without it this process has not joined any other
    if jax is None or jax.process_index() == 0:
        print(printable(text, lines=True), file=file, flush=True)


def clock(seconds: float) -> str:
    """75 -> "1m15s"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


class ProgressPrinter:
    """Prints how far long work is, at what rate, and the time left: "filters: 120 of 512 samples, 8.05/s, 49s left".

    At most a line every so many seconds; of work that is over before the first of them, nothing.
    """

    def __init__(
        self,
        subject: str,
        unit: str,
        *,
        start: int = 0,
        scale: float = 1,
        every: float = 10.0,
        file: TextIO | None = None,
    ):
        """Starts the time.

        Args:
            subject: what the line begins with.
            unit: of what is counted, say "samples".
            start: how much was done before, which is left out of the rate.
            scale: how much of what is counted makes a unit, say 1e9 for bytes and "GB"; it gives them a decimal.
            every: seconds between lines.
            file: see `say`.
        """
        self._subject, self._unit, self._scale, self._every, self._file = subject, unit, scale, every, file
        self._start, self._began = start, time.monotonic()
        self._printed = self._began

    def __call__(self, done: int, total: int, note: Callable[[], str] = lambda: "") -> None:
        """Reports how much is done, `start` included, of how much.

        Args:
            note: more for the line, asked only when one is printed.
        """
        if done > self._start:
            work.made(f"{self._subject}: {done:,} of {total:,}")
        now = time.monotonic()
        if now - (self._began if done == total else self._printed) < self._every or done <= self._start:
            return
        self._printed = now
        rate = (done - self._start) / max(now - self._began, 1e-9)
        counts = [f"{each / self._scale:,.{0 if self._scale == 1 else 1}f}" for each in (done, total)]
        speed = rate / self._scale
        digits = 2 if speed < 10 else 1 if speed < 100 else 0
        per_second = f"{speed:,.{digits}f}" + ("/s" if self._scale == 1 else f" {self._unit}/s")
        parts = [f"{' of '.join(counts)} {self._unit}", per_second, f"{clock((total - done) / rate)} left", note()]
        say(f"{self._subject}: {', '.join(filter(None, parts))}", self._file)


def reporter(subject: str, every: float = 5.0) -> ProgressPrinter:
    """A printer for the bytes of a long read or write: "reading m: 1.2 of 13.4 GB, 0.51 GB/s, 24s left"."""
    return ProgressPrinter(subject, "GB", scale=1e9, every=every)


@contextlib.contextmanager
def under_way(subject: str, progress: Callable[[], str] = lambda: "", every: float = 30.0) -> Iterator[None]:
    """Prints from time to time what a long part of a step is at; of a part that is over before, nothing.

    Args:
        subject: the part, say "sampling".
        progress: how far it is, say "120 of 256 samples"; called in other threads.
        every: seconds between lines.
    """
    began, over = time.monotonic(), threading.Event()

    def print_lines() -> None:
        while not over.wait(every):
            words = ", ".join(filter(None, (progress(), clock(time.monotonic() - began))))
            say(f"  {subject}: {words}", is_progress=False)

    thread = threading.Thread(target=print_lines, daemon=True)
    thread.start()
    try:
        with work.part(subject, progress):
            yield
    finally:
        over.set()
        thread.join()
