"""From one rollout to its reward: which parts it has, and how they add up."""

import hashlib
from collections.abc import Mapping

from r1jax.data.types import Grade, Rollout
from r1jax.graders import grader_table
from r1jax.rewards import format_rewards, language
from r1jax.rewards.config import RewardConfig

Parts = dict[str, float | None]


def weights(cfg: RewardConfig) -> dict[str, float]:
    """The weight of each part by name, of those that count."""
    names = {name: getattr(cfg, name) for name in ("accuracy", "format", "language", "repetition", "random")}
    names["overlong"] = cfg.overlong if cfg.overlong_buffer else 0.0
    names["judge"] = cfg.judge.weight
    names |= {reward.part: reward.weight for reward in (*cfg.models, *cfg.custom)}
    return {name: weight for name, weight in names.items() if weight}


def cheap_parts(rollout: Rollout, cfg: RewardConfig, seed: int, max_tokens: int) -> Parts:
    """The parts that are sure to end, in a time linear in the text.

    Args:
        seed: the run's; with the prompt's id and the sample index it alone decides the coin flip.
        max_tokens: the completion's token budget.
    """
    parts: Parts = {"format": format_rewards.well_formed(rollout)}
    if cfg.language:
        parts["language"] = language.consistency(rollout, cfg.target_language)
    if cfg.repetition:
        parts["repetition"] = format_rewards.repetition_penalty(rollout.text, cfg.repetition_ngram)
    if cfg.random:
        parts["random"] = _coin(seed, rollout.prompt.id, rollout.sample)
    if cfg.overlong_buffer:
        parts["overlong"] = format_rewards.soft_overlong_penalty(len(rollout.ids), max_tokens, cfg.overlong_buffer)
    return parts


def grade(rollout: Rollout, cfg: RewardConfig, seed: int, max_tokens: int) -> tuple[Parts, Grade]:
    """The parts of one rollout by rule, and what the grader of its answer said.

    Judge, reward models and custom rewards are asked elsewhere. Accuracy and format are there whatever their weights,
    for the metrics; an open request has no accuracy. It may never return: call it in a process that can be killed
    (`r1jax.rewards.pool`).
    """
    graded = grader_table.grade(rollout, cfg.graders)
    parts = cheap_parts(rollout, cfg, seed, max_tokens)
    if graded.verdict != "open":
        parts = {"accuracy": graded.score, **parts}
    return parts, graded


def combine(parts: Mapping[str, float | None], cfg: RewardConfig) -> float | None:
    """The weighted sum of the parts that this rollout has; None when one that has weight is ungradable."""
    weighed = [(weight, parts[name]) for name, weight in weights(cfg).items() if name in parts]
    if any(part is None for _, part in weighed):
        return None
    return float(sum(weight * part for weight, part in weighed))


def _coin(seed: int, prompt_id: str, sample: int) -> float:
    digest = hashlib.blake2b(repr((seed, prompt_id, sample)).encode(), digest_size=1).digest()
    return float(digest[0] & 1)
