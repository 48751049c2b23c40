"""From one rollout to its reward: which graders apply, and how their parts add up."""

import dataclasses
import hashlib
from collections.abc import Mapping

from r1jax.data.types import Rollout
from r1jax.rewards import form, logic, maths

Parts = dict[str, float | None]


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """What is rewarded, and the means to grade it.

    Attributes:
        accuracy: weight of a right answer.
        format: weight of a well-formed response.
        random: weight of a coin flip, the control: training on it alone must teach nothing.
        overlong_buffer: tokens before the limit over which the length penalty falls from 0 to -1; 0 is off.
        workers: grader processes.
        timeout_s: wall-clock seconds that a sample may take to grade before it counts as wrong.
    """

    accuracy: float = 1.0
    format: float = 1.0
    random: float = 0.0
    overlong_buffer: int = 0
    workers: int = 2
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if self.workers < 1 or self.timeout_s <= 0 or self.overlong_buffer < 0:
            raise ValueError(f"rewards need workers >= 1, timeout_s > 0 and overlong_buffer >= 0, got {self}")


def accuracy(rollout: Rollout) -> float | None:
    """The grade of the prompt's own kind: reasoning-gym's scorer where it comes from there, else mathematics.

    It may never return: call it in a process that can be killed (`r1jax.rewards.pool`).
    """
    grader = logic if rollout.prompt.source.startswith(logic.SOURCE_PREFIX) else maths
    return grader.accuracy(rollout)


def form_parts(rollout: Rollout, cfg: RewardConfig, seed: int, max_tokens: int) -> Parts:
    """Every part but accuracy: quick to compute and sure to end.

    Args:
        seed: the run's; with the prompt's id and the sample index it alone decides the coin flip.
        max_tokens: the completion's token budget.
    """
    parts: Parts = {"format": form.r1_zero_format(rollout)}
    if cfg.random:
        parts["random"] = _coin(seed, rollout.prompt.id, rollout.sample)
    if cfg.overlong_buffer:
        parts["overlong"] = form.soft_overlong_penalty(len(rollout.ids), max_tokens, cfg.overlong_buffer)
    return parts


def grade(rollout: Rollout, cfg: RewardConfig, seed: int, max_tokens: int) -> Parts:
    """All parts of one rollout. Accuracy and format are there whatever their weights, for the metrics."""
    return {"accuracy": accuracy(rollout), **form_parts(rollout, cfg, seed, max_tokens)}


def combine(parts: Mapping[str, float | None], cfg: RewardConfig) -> float | None:
    """The weighted sum of the parts, None when a part that has weight is ungradable. The length penalty weighs 1."""
    weights = {"accuracy": cfg.accuracy, "format": cfg.format, "random": cfg.random}
    weights["overlong"] = 1.0 if cfg.overlong_buffer else 0.0
    weighed = [(weight, parts[name]) for name, weight in weights.items() if weight]
    if any(part is None for _, part in weighed):
        return None
    return float(sum(weight * part for weight, part in weighed))


def _coin(seed: int, prompt_id: str, sample: int) -> float:
    digest = hashlib.blake2b(repr((seed, prompt_id, sample)).encode(), digest_size=1).digest()
    return float(digest[0] & 1)
