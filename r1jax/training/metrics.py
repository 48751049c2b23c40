"""What a run says while it goes: metrics.jsonl for the report, a line a step on the console, a profiler window."""

import contextlib
import json
import math
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from r1jax.config import printable

# In a row of metrics.jsonl, where it is not 0: skipped updates up to then. A resumed run goes on counting from it.
SKIPPED_IN_A_ROW = "skipped_in_a_row"


def _whole_lines(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A JSONL file's lines and what they say, without those that a crash cut; none where there is no file."""
    for line in path.read_text().split("\n")[:-1] if path.exists() else ():  # the last newline's rest was cut
        with contextlib.suppress(json.JSONDecodeError):
            yield line, json.loads(line)


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a run's JSONL file, [] where there is none; a value that was not finite is None."""
    return [row for _, row in _whole_lines(path)]


def keep_rows_before(path: pathlib.Path, step: int) -> None:
    """Drops a JSONL file's rows from `step` on, and a line cut by a crash: the resumed run writes them anew."""
    if not path.exists():
        return
    kept = [line + "\n" for line, row in _whole_lines(path) if row["step"] < step]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept))
    temporary.replace(path)


def say(text: str) -> None:
    """Prints a line at once, in process 0 alone; what would steer a terminal is spelled out, see `config.printable`."""
    if jax.process_index() == 0:
        print(printable(text, lines=True), flush=True)


class Stopwatch(dict[str, float]):
    """Seconds by phase: `with watch("sample"): ...`."""

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self[phase] = self.get(phase, 0.0) + time.monotonic() - began


def clock(seconds: float) -> str:
    """75 -> "1m15s"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


@contextlib.contextmanager
def under_way(what: str, progress: Callable[[], str] = lambda: "", every: float = 30.0) -> Iterator[None]:
    """Says every so many seconds what a long part of a step is at; of a part that is over before, nothing.

    Args:
        what: the part, say "sampling".
        progress: how far it is, say "120 of 256 samples"; called in another thread.
    """
    began, over = time.monotonic(), threading.Event()

    def tell() -> None:
        while not over.wait(every):
            say(f"  {what}: {', '.join(filter(None, (progress(), clock(time.monotonic() - began))))}")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class MetricsWriter:
    """Writes one row of `metrics.jsonl` a step and, now and then, a line to the console. Process 0 writes, others not.

    The console has a line of each step with a skipped update. The time left is reckoned without the first step of the
    process, which compiles.

    Args:
        workdir: where the file lies.
        start: first step of this process; rows from there on are dropped first.
        total: steps of the whole run, for the time left.
        show: metrics the console line names, in order, as name -> format.
        every: steps between console lines.
        profile_at: step at which a three-step `jax.profiler` trace begins, -1 for none; it goes to `workdir/profile`.
    """

    def __init__(self, workdir: pathlib.Path, start: int, total: int, show: Mapping[str, str], every: int = 1,
                 profile_at: int = -1):
        self._path, self._total, self._show, self._every = workdir / "metrics.jsonl", total, show, every
        self._profile_at, self._workdir = profile_at, workdir
        self._start, self._began, self._second_began = start, time.monotonic(), 0.0
        self._active, self._tracing = jax.process_index() == 0, False
        if profile_at == start:
            self._start_trace()
        if self._active:
            keep_rows_before(self._path, start)
            self._file = self._path.open("a")

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Records one step's metrics; non-finite values, which JSON lacks, become null."""
        if step + 1 == self._profile_at:
            self._start_trace()
        elif step == self._profile_at + 2:
            self._stop_trace()
        if not self._active:
            return
        row = {name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in metrics.items()}
        self._file.write(json.dumps({"step": step, **row}) + "\n")
        self._file.flush()
        done, now = step + 1 - self._start, time.monotonic()
        if done == 1:
            self._second_began, pace = now, f"{now - self._began:.2f} s with compilation"
        else:
            rate = (now - self._second_began) / (done - 1)
            pace = f"{rate:.2f} s/step, {clock(rate * (self._total - step - 1))} left"
        skipped = metrics.get("skipped", 0.0)
        if done % self._every == 0 or step + 1 == self._total or skipped:
            named = ((name, spec) for name, spec in self._show.items() if name in metrics)
            shown = "  ".join(f"{name} {format(metrics[name], spec)}" for name, spec in named)
            if skipped:
                pace = (f"{skipped:.0%} of its updates skipped: gradient not finite, "
                        f"{metrics.get(SKIPPED_IN_A_ROW, 0.0):.0f} in a row; {pace}")  # fmt: skip
            say(f"step {step + 1}/{self._total}  {shown}  {pace}")

    def _start_trace(self) -> None:
        jax.profiler.start_trace(str(self._workdir / "profile"))
        self._tracing = True

    def _stop_trace(self) -> None:
        if self._tracing:  # a run resumed inside the window has none
            jax.profiler.stop_trace()
            self._tracing = False

    def close(self) -> None:
        self._stop_trace()
        if self._active:
            self._file.close()
