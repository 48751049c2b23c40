"""Faults of a training run in its metrics: gradient spikes, collapse of reward or entropy, sampler drift.

Gradients that are not finite are `training.skipped`'s, and steps without a learning signal `stages.learning_signal`'s.
"""

import collections
import math
import pathlib
import statistics
from collections.abc import Mapping

import numpy as np

from r1jax.io.console import say
from r1jax.io.jsonl import read_log
from r1jax.training.config import FaultConfig

SPIKE_WINDOW = 20  # steps whose median a gradient norm is compared with
FEWEST = 10  # of them, before anything is called a spike
REWARD_WINDOW = 10  # steps whose mean reward is compared with the best such mean so far
SIGMAS = 4.0  # standard errors by which they have to differ
IN_A_ROW = 5  # steps that a low entropy or a wide gap must last

Row = Mapping[str, float | None]


class Faults:
    """Watches a run's rows of metrics.jsonl, and says what is wrong with likely causes; a resumed run goes on counting.

    Attributes:
        stopping: the message of a fault that is to end the run; "": none is.
        skips_spikes: whether updates above `largest_norm` are left out.
    """

    def __init__(self, workdir: pathlib.Path, cfg: FaultConfig, start: int):
        self._cfg, self.stopping, self.skips_spikes = cfg, "", cfg.grad_spike == "skip"
        self._norms: collections.deque[float] = collections.deque(maxlen=SPIKE_WINDOW)
        self._rewards: collections.deque[float] = collections.deque(maxlen=REWARD_WINDOW)
        self._best: tuple[float, float] = (-math.inf, 0.0)  # mean reward of the best window, squared standard error
        self._entropies: list[float] = []  # of the first steps
        self._counts = collections.Counter()  # steps in a row, by fault
        self._collapsed = False
        for row in read_log(workdir / "metrics.jsonl")[0]:
            if row["step"] < start:
                self._check(row)  # the process that wrote it said so

    @property
    def largest_norm(self) -> float:
        """The gradient norm above which an update of the next step is skipped; infinite where none is."""
        if not self.skips_spikes or len(self._norms) < FEWEST:
            return math.inf
        return self._cfg.spike_factor * statistics.median(self._norms)

    def add(self, step: int, row: Row) -> None:
        """Takes a step's row; says what has begun to go wrong with it."""
        # As the file has it, which a resumed run reads.
        for fault, message in self._check({name: _rounded(value) for name, value in row.items()}).items():
            self.note(fault, step, message)

    def note(self, fault: str, step: int, message: str) -> None:
        """Handles a fault as the config's field of its name says; "" as the message: there is none."""
        policy = getattr(self._cfg, fault)
        if not message or policy == "ignore":
            return
        say(f"step {step + 1}: {message}")
        self.stop_on(fault, step, message)

    def stop_on(self, fault: str, step: int, message: str) -> None:
        """Has the run end for a fault that was said already, where the config's field of its name is "stop"."""
        if message and getattr(self._cfg, fault) == "stop":
            self.stopping = f"step {step + 1}: {message} (config.faults.{fault}=stop)"

    def _check(self, row: Row) -> dict[str, str]:
        """The faults that begin with this row, and what is to be said of them."""
        checks = {
            "grad_spike": self._spike(row.get("grad_norm")),
            "reward_collapse": self._reward(row.get("reward/total")),
            "entropy_collapse": self._entropy(row.get("entropy")) if "reward/total" in row else "",
            "sampler_drift": self._gap(row.get("sampler_gap/mean")),
        }
        return {fault: message for fault, message in checks.items() if message}

    def _spike(self, norm: float | None) -> str:
        if norm is None or not math.isfinite(norm):
            return ""
        median = statistics.median(self._norms) if len(self._norms) >= FEWEST else math.inf
        self._norms.append(norm)
        if norm <= self._cfg.spike_factor * median or not median:
            return ""
        return (
            f"the gradient's norm is {norm:.3g}, {norm / median:.0f} times the median of the steps before "
            f"({median:.3g}). Likely causes: a batch unlike the others (its rollouts are in rollouts/), few tokens "
            "with large advantages, or a learning rate that is too high. optimizer.clip_norm bounds what it does; "
            f"{self._spike_policy()}"
        )

    def _spike_policy(self) -> str:
        if self._cfg.grad_spike == "skip":
            return "updates so large are left out (skipped_spike in metrics.jsonl)"
        return "config.faults.grad_spike=skip leaves such updates out"

    def _reward(self, reward: float | None) -> str:
        if reward is None:
            return ""
        self._rewards.append(reward)
        if len(self._rewards) < REWARD_WINDOW:
            return ""
        mean, error = float(np.mean(self._rewards)), float(np.var(self._rewards, ddof=1)) / REWARD_WINDOW
        best, best_error = self._best
        if mean > best:
            self._best = mean, error
        fallen = (
            best > 0 and mean < self._cfg.reward_share * best and best - mean > SIGMAS * math.sqrt(error + best_error)
        )
        begins, self._collapsed = fallen and not self._collapsed, fallen
        if not begins:
            return ""
        return (
            f"the mean reward of the last {REWARD_WINDOW} steps is {mean:.3f}, and was {best:.3f} at its best. Likely "
            "causes: a learning rate that is too high, too little KL penalty (grpo.beta), harder questions from here "
            "on, or a grader or judge that fails (grading/ungradable and verdict/... in metrics.jsonl). The best state "
            "stays with checkpoint.keep_best."
        )

    def _entropy(self, entropy: float | None) -> str:
        if entropy is None:
            return ""
        if len(self._entropies) < IN_A_ROW:
            self._entropies.append(entropy)
        first = statistics.median(self._entropies)
        if not self._lasts("entropy", entropy < self._cfg.entropy_share * first):
            return ""
        return (
            f"the policy's entropy is {entropy:.2g} nats a token, and was {first:.2g} at the start: the samples of a "
            "group hardly differ any more, so little can be learnt. Likely causes: many updates on the same rollouts, "
            "a learning rate that is too high, or a temperature below 1. Try a larger grpo.clip_high, a larger "
            "grpo.beta or a lower learning rate."
        )

    def _gap(self, gap: float | None) -> str:
        if not self._lasts("gap", gap is not None and gap > self._cfg.largest_gap):
            return ""
        return (
            f"the sampler's and the trainer's log-probs differ by {gap:.3g} nats a token: what is trained on is not "
            "what the policy would have drawn. Likely causes: sampling in narrow types (sampling.weight_type, "
            "cache_type, compute.dtype), or a fault of a kernel. Take wider types, or correct for it by "
            "grpo.importance_cap."
        )

    def _lasts(self, name: str, holds: bool) -> bool:
        """Whether something has now held for `IN_A_ROW` steps: true once."""
        self._counts[name] = self._counts[name] + 1 if holds else 0
        return self._counts[name] == IN_A_ROW


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
