"""Metrics of a training run: its files of rows, console lines, trackers, seconds by phase, profiler window."""

import contextlib
import math
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from r1jax.io import jsonl, progress
from r1jax.io.console import clock, say
from r1jax.training.config import TrackConfig
from r1jax.training.tracking import LOGS, Trackers

# In a row of metrics.jsonl, where it is not 0: skipped updates up to then. A resumed run goes on counting from it.
SKIPPED_IN_A_ROW = "skipped_in_a_row"


class Stopwatch(dict[str, float]):
    """Seconds by phase: `with watch("sample"): ...`."""

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self[phase] = self.get(phase, 0.0) + time.monotonic() - began

    def metrics(self) -> dict[str, float]:
        """The seconds as metrics, `time/PHASE`."""
        return {f"time/{phase}": seconds for phase, seconds in self.items()}


class MetricsWriter:
    """Writes a row of `metrics.jsonl` each step, those of evaluations, and now and then a line to the console.

    Process 0 writes, others not. Trackers get the same rows, after the files.

    The console has a line for each step with a skipped update. The time left is computed without the first step of the
    process, which compiles.

    Args:
        workdir: where the file lies.
        start: first step of this process; rows from there on, of evaluations too, are dropped first.
        total: steps of the whole run, for the time left.
        show: metrics the console line names, in order, as name -> format.
        every: steps between console lines.
        profile_at: step at which a three-step `jax.profiler` trace begins, -1 for none; it goes to `workdir/profile`.
        track: the trackers; None: none.
        settings: the run's config, for the trackers.

    Raises:
        ConfigError: see `Trackers`.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        start: int,
        total: int,
        show: Mapping[str, str],
        every: int = 1,
        profile_at: int = -1,
        track: TrackConfig | None = None,
        settings: Any = None,
    ):
        self._total, self._show, self._every = total, show, every
        self._profile_at, self._workdir = profile_at, workdir
        self._start, self._began, self._second_began = start, time.monotonic(), 0.0
        self._active, self._tracing = jax.process_index() == 0, False
        if profile_at == start:
            self._start_trace()
        self._trackers = None
        if self._active:
            for log in LOGS:
                jsonl.keep_rows_before(workdir / f"{log}.jsonl", start)
            self._trackers = Trackers(workdir, track or TrackConfig(), settings)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Records one step's metrics; non-finite values, which JSON lacks, become null."""
        progress.made(f"step {step + 1} of {self._total}")
        if step + 1 == self._profile_at:
            self._start_trace()
        elif step == self._profile_at + 2:
            self._stop_trace()
        if not self._active:
            return
        row = {name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in metrics.items()}
        self._append("metrics", {"step": step, **row})
        done, now = step + 1 - self._start, time.monotonic()
        if done == 1:
            self._second_began, pace = now, f"{now - self._began:.2f} s with compilation"
        else:
            rate = (now - self._second_began) / (done - 1)
            pace = f"{rate:.2f} s/step, {clock(rate * (self._total - step - 1))} left"
        skipped = metrics.get("skipped", 0.0)
        if done % self._every == 0 or step + 1 == self._total or skipped:
            named = ((name, spec) for name, spec in self._show.items() if name in metrics)
            columns = "  ".join(f"{name} {format(metrics[name], spec)}" for name, spec in named)
            if skipped:
                pace = (
                    f"{skipped:.0%} of its updates skipped: gradient not finite, "
                    f"{metrics.get(SKIPPED_IN_A_ROW, 0.0):.0f} in a row; {pace}"
                )
            say(f"step {step + 1}/{self._total}  {columns}  {pace}")

    def write_evaluation(self, step: int, row: Mapping[str, Any], log: str = "evals") -> None:
        """Records an evaluation of the weights after `step` steps.

        Args:
            log: the file of rows, "evals" or "benchmarks".
        """
        if self._active:
            self._append(log, {"step": step, **row})

    def _append(self, log: str, row: Mapping[str, Any]) -> None:
        jsonl.append(self._workdir / f"{log}.jsonl", row)
        self._trackers.write(log, row)

    def _start_trace(self) -> None:
        jax.profiler.start_trace(str(self._workdir / "profile"))
        self._tracing = True

    def _stop_trace(self) -> None:
        if self._tracing:  # a run resumed inside the window has none
            jax.profiler.stop_trace()
            self._tracing = False

    def close(self) -> None:
        """Ends the trackers, and a profiler trace that the last step left open."""
        self._stop_trace()
        if self._trackers:
            self._trackers.close()
