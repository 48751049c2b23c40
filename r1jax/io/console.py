"""Console output: lines printed by process 0 alone, durations, and the progress of a long read or write."""

import sys
import time
from collections.abc import Callable

from r1jax.config import printable

Progress = Callable[[int, int], None]  # bytes done, bytes in all


def say(text: str) -> None:
    """Prints a line at once, in process 0 alone; what would steer a terminal is spelled out, see `config.printable`."""
    jax = sys.modules.get("jax")  # without it this process has not joined any other
    if jax is None or jax.process_index() == 0:
        print(printable(text, lines=True), flush=True)


def clock(seconds: float) -> str:
    """75 -> "1m15s"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


def reporter(what: str, every: float = 5.0) -> Progress:
    """Prints every few seconds how far a long read or write is; of one that is over before, nothing."""
    began = last_printed = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last_printed
        now = time.monotonic()
        if now - (began if done == total else last_printed) < every:
            return
        last_printed, rate = now, done / (now - began)
        say(
            f"{what}: {done / 1e9:.1f} of {total / 1e9:.1f} GB, {rate / 1e9:.2f} GB/s, "
            f"{clock((total - done) / rate)} left"
        )

    return report
