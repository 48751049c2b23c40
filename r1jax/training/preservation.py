"""Preservation of checkpoints: the newest states, and those that an evaluation or a metric says are the best."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from r1jax.io.jsonl import read_log
from r1jax.training.config import CheckpointConfig

LOGS = ("evals.jsonl", "metrics.jsonl")  # of a workdir, that the best states are chosen by


@dataclasses.dataclass(frozen=True)
class Preservation:
    """Which states stay on disk, as Orbax asks for it whenever a new one is begun.

    A state is saved before it is evaluated, and stays at least until the next one is begun, when its figure is there.
    """

    cfg: CheckpointConfig
    workdir: pathlib.Path

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """For each state, in order of their steps, whether it stays; `context` is Orbax's and has no fields."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        preserved = {*steps[-self.cfg.keep :], *self.best(steps)}
        return [step in preserved for step in steps]

    def best(self, steps: Sequence[int]) -> list[int]:
        """The `keep_best` best of these states, the best first; of equal ones the newer. Those without a figure: none.

        The figure is that of the state's row in evals.jsonl; where these have no such key, that of the step before it
        in metrics.jsonl.
        """
        if not self.cfg.keep_best:
            return []
        key, sign = self.cfg.best_by.removeprefix("-"), -1.0 if self.cfg.best_by.startswith("-") else 1.0
        evals, metrics = (self.workdir / log for log in LOGS)
        figures = _figures(evals, key, 0) or _figures(metrics, key, 1)
        ranked = [(sign * figures[step], step) for step in steps if step in figures]
        return [step for _, step in sorted(ranked, reverse=True)[: self.cfg.keep_best]]


def _figures(path: pathlib.Path, key: str, later: int) -> dict[int, float]:
    """The figure after so many steps; a row of metrics.jsonl is of the step that ends one later than its number."""
    values = ((row.get("step"), row.get(key)) for row in read_log(path)[0])
    return {
        step + later: value
        for step, value in values
        if isinstance(step, int) and isinstance(value, int | float) and math.isfinite(value)
    }
