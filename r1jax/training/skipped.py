"""Skipped updates, whose gradient was not finite: too many in a row, or to the end, are an error and no model."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from r1jax.core import processes
from r1jax.core.sharding import replicated
from r1jax.io.console import say
from r1jax.io.jsonl import read_log
from r1jax.training.metrics import SKIPPED_IN_A_ROW
from r1jax.training.state import OptimizerConfig, TrainState


class SkippedUpdates:
    """Counts a run's skipped updates in a row; a resumed run from where metrics.jsonl says that the count was."""

    def __init__(self, workdir: pathlib.Path, cfg: OptimizerConfig, start: int, skips_spikes: bool = False):
        self._workdir, self._cfg, self._skips_spikes = workdir, cfg, skips_spikes
        before = next((row for row in read_log(workdir / "metrics.jsonl")[0] if row["step"] == start - 1), {})
        self._in_a_row = int(before.get(SKIPPED_IN_A_ROW, 0))
        self._finite_loss = before.get("loss", 0.0) is not None

    def count(self, skipped: Sequence[float], loss: float) -> dict[str, float]:
        """Counts a step's updates; returns what the step's row of metrics.jsonl needs of it.

        Args:
            skipped: 1 for each update that was skipped, else 0.
            loss: of the step.
        """
        for each in skipped:
            self._in_a_row = self._in_a_row + 1 if each else 0
        self._finite_loss = math.isfinite(loss)
        return {SKIPPED_IN_A_ROW: float(self._in_a_row)} if self._in_a_row else {}

    @property
    def too_many(self) -> bool:
        """Whether `optimizer.max_skipped` in a row were skipped."""
        return 0 < self._cfg.max_skipped <= self._in_a_row

    def error(self, step: int, batch: Any) -> ValueError:
        """What to raise at a step where they are too many.

        Args:
            batch: the host batch of the last one: kept, array by array, in `workdir/skipped/step_NNNNNN.npz`.
        """
        path = self._workdir / "skipped" / f"step_{step:06d}.npz"
        write_batch(path, batch)
        return ValueError(
            f"step {step + 1}: the last {self._in_a_row} updates were all skipped, for their gradient was not finite; "
            f"no model is saved. {path.parent} has the batch of the last one. {self._advice()}; "
            f"optimizer.max_skipped={self._cfg.max_skipped} says how many are too many, 0 that none are"
        )

    def check_end(self, state: TrainState, mesh: Mesh) -> None:
        """Checks the state of a finished run before its weights become a model, and says what was skipped.

        Raises:
            ValueError: the weights' norm is not finite; or updates were skipped up to the last one, and these are half
                of all, or the last loss was not finite.
        """
        norm = float(jax.jit(optax.global_norm, out_shardings=replicated(mesh))(state.params))
        if not math.isfinite(norm):
            raise ValueError(f"the weights' norm after the last step is {norm}; no model is saved. {self._advice()}")
        updates = int(state.step)
        if self._in_a_row and (2 * self._in_a_row >= updates or not self._finite_loss):
            raise ValueError(
                f"the last {self._in_a_row} of {updates} updates were skipped, for their gradient was not finite"
                f"{'' if self._finite_loss else ', nor was the loss'}; no model is saved. {self._advice()}"
            )
        if skipped := updates - applied(state):
            say(
                f"{skipped} of {updates} updates were skipped, for their gradient was not finite"
                f"{' or a spike' if self._skips_spikes else ''}: they taught nothing"
            )

    def _advice(self) -> str:
        cfg = self._cfg
        return (
            f"In another workdir, try a lower optimizer.learning_rate (it is {cfg.learning_rate:g}) or "
            f"optimizer.clip_norm ({cfg.clip_norm:g}), a longer optimizer.warmup_steps ({cfg.warmup_steps}), or "
            "float32 as compute.dtype"
        )


def write_batch(path: pathlib.Path, batch: Any) -> None:
    """Writes the numpy arrays of a host batch as evidence, by process 0; the others wait for it."""
    if jax.process_index() == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
        arrays = {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
        np.savez(path, **arrays)
    processes.barrier()  # an error in another process would end the one that writes


def applied(state: TrainState) -> int:
    """Updates that were not skipped: the optimiser's own count, which a skipped update leaves as it was."""
    counts = optax.tree_utils.tree_get_all_with_path(state.opt_state, "count")
    return max(int(count) for _, count in counts)
