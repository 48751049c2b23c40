"""Grades in processes that can be killed, while the accelerator goes on sampling."""

import concurrent.futures
import contextlib
import dataclasses
import logging
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from multiprocessing.context import SpawnContext, SpawnProcess

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from r1jax.data.types import Rollout
from r1jax.rewards.combine import Parts, RewardConfig, combine, form_parts, grade

_ATTEMPTS = 2
_log = logging.getLogger(__name__)
_main_module = threading.Lock()


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Hides the program's own module, which a spawned process would import, and jax with it, before anything else."""
    with _main_module:
        main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class _GraderProcess(SpawnProcess):
    def start(self) -> None:
        with _without_main_module():
            super().start()


class _GraderContext(SpawnContext):
    """Spawn, not fork: jax runs threads, and a forked child may inherit a lock that nobody will release."""

    Process = _GraderProcess


def _start_worker() -> None:
    # Python's own handler would wait for the interpreter lock, which is just what a hanging grader holds.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Should a library of the graders load jax after all, it must leave the accelerator alone.
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.pop("XLA_FLAGS", None)
    # Imported before the first sample, whose time limit is for grading.
    import math_verify  # noqa: F401
    import reasoning_gym  # noqa: F401


class PendingGrade:
    """A rollout handed in for grading."""

    def __init__(self, graders: "GraderPool", rollout: Rollout) -> None:
        self._graders = graders
        self._rollout = rollout
        self._pool, self._future = graders._schedule(rollout)

    def done(self) -> bool:
        """Whether `result` will return at once, a lost worker's second attempt aside."""
        return self._future.done()

    def result(self) -> Rollout:
        """Waits for the grade.

        Returns:
            the rollout with its reward and parts. One that ran out of time has accuracy 0.0 and a part
            `grader_timeout`; one whose graders died, twice, or raised has accuracy None.
        """
        parts = self._parts()
        return dataclasses.replace(self._rollout, parts=parts, reward=combine(parts, self._graders.cfg))

    def _parts(self) -> Parts:
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pool, self._future = self._graders._schedule(self._rollout)
            # A broken pool leaves what it had queued unanswered for ever, so the pool is watched along with the future.
            while not self._future.done() and self._pool.active:
                concurrent.futures.wait([self._future], timeout=1.0)
            if not self._future.done():
                continue
            error = self._future.exception()
            if error is None:
                return self._future.result()
            if isinstance(error, TimeoutError):
                return {"accuracy": 0.0, "grader_timeout": 1.0, **self._graders._form_parts(self._rollout)}
            if not isinstance(error, (ProcessExpired, concurrent.futures.BrokenExecutor)):
                _log.warning("cannot grade prompt %s: %r", self._rollout.prompt.id, error)
                break
        else:
            _log.warning("cannot grade prompt %s: its graders died", self._rollout.prompt.id)
        return {"accuracy": None, **self._graders._form_parts(self._rollout)}


class GraderPool:
    """A context manager that holds the grader processes. One thread of the caller may use it.

    Args:
        cfg: the rewards, the number of processes and the time limit.
        seed: the run's, for the random reward.
        max_tokens: the completion's token budget, for the length penalty.
    """

    def __init__(self, cfg: RewardConfig, seed: int, max_tokens: int) -> None:
        self.cfg = cfg
        self._seed = seed
        self._max_tokens = max_tokens

    def __enter__(self) -> "GraderPool":
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.stop()
        self._pool.join()

    def submit(self, rollout: Rollout) -> PendingGrade:
        """Hands a rollout in and returns at once."""
        return PendingGrade(self, rollout)

    def score(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Grades rollouts; returns them in their order, with reward and parts."""
        pending = [self.submit(rollout) for rollout in rollouts]
        return [grade.result() for grade in pending]

    def _open(self) -> None:
        self._pool = ProcessPool(self.cfg.workers, initializer=_start_worker, context=_GraderContext())
        self._pool.schedule(int)  # pebble starts its workers at the first task, and their imports take a while

    def _schedule(self, rollout: Rollout) -> tuple[ProcessPool, ProcessFuture[Parts]]:
        # Graders have no use for the log-probs, by far the most of a rollout's bytes.
        args = (dataclasses.replace(rollout, logprobs=rollout.logprobs[:0]), self.cfg, self._seed, self._max_tokens)
        try:
            future = self._pool.schedule(grade, args, timeout=self.cfg.timeout_s)
        except RuntimeError:  # pebble's pool breaks as a whole when a worker is killed between two samples
            self._pool.join()
            self._open()
            future = self._pool.schedule(grade, args, timeout=self.cfg.timeout_s)
        return self._pool, future

    def _form_parts(self, rollout: Rollout) -> Parts:
        return form_parts(rollout, self.cfg, self._seed, self._max_tokens)
