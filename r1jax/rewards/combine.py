"""Reward of one rollout: its parts by rule, and the weighted sum of all parts."""

from collections.abc import Mapping

from r1jax.data.types import Grade, Rollout
from r1jax.graders import grader_table
from r1jax.io.provenance import blake2b
from r1jax.rewards import format_rewards, language_consistency
from r1jax.rewards.config import RewardConfig
from r1jax.text.reflection_and_scripts import TextCounts

Parts = dict[str, float | None]


def weights(cfg: RewardConfig) -> dict[str, float]:
    """Part name -> weight, without parts of weight 0."""
    by_name = {name: getattr(cfg, name) for name in ("accuracy", "format", "language", "repetition", "random")}
    by_name["overlong"] = cfg.overlong if cfg.overlong_buffer else 0.0
    by_name["judge"] = cfg.judge.weight
    by_name |= {reward.part: reward.weight for reward in (*cfg.models, *cfg.custom)}
    return {name: weight for name, weight in by_name.items() if weight}


def bounded_parts(rollout: Rollout, cfg: RewardConfig, seed: int, max_tokens: int) -> Parts:
    """The parts by rule whose time is linear in the text, without accuracy.

    Args:
        seed: of the run; it decides the coin flip, with the prompt's id and the sample's index.
        max_tokens: token limit of a completion.
    """
    parts: Parts = {"format": format_rewards.well_formed(rollout)}
    if cfg.language:
        parts["language"] = language_consistency.consistency(rollout, cfg.target_language)
    if cfg.repetition:
        parts["repetition"] = format_rewards.repetition_penalty(rollout.text, cfg.repetition_ngram)
    if cfg.random:
        parts["random"] = coin_flip(seed, rollout.prompt.id, rollout.sample)
    if cfg.overlong_buffer:
        parts["overlong"] = format_rewards.soft_overlong_penalty(len(rollout.ids), max_tokens, cfg.overlong_buffer)
    return parts


def grade(rollout: Rollout, cfg: RewardConfig, seed: int, max_tokens: int) -> tuple[Parts, Grade]:
    """The parts of one rollout by rule, and the grade of its answer.

    Judge, reward models and custom rewards are computed elsewhere. Accuracy and format are present whatever their
    weights, for the metrics; an open request has no accuracy. The call may never return: use a process that can be
    killed (`r1jax.rewards.grader_pool`). Arguments as of `bounded_parts`.
    """
    graded = grader_table.grade(rollout, cfg.graders)
    parts = bounded_parts(rollout, cfg, seed, max_tokens)
    if graded.verdict != "open":
        parts = {"accuracy": graded.score, **parts}
    return parts, graded


def grade_and_count(rollout: Rollout, cfg: RewardConfig, seed: int, max_tokens: int) -> tuple[Parts, Grade, TextCounts]:
    """`grade`, and the counts of the rollout's text, which take the process that trains as long as its grade."""
    return *grade(rollout, cfg, seed, max_tokens), rollout.text_counts()


def combine(parts: Mapping[str, float | None], cfg: RewardConfig) -> float | None:
    """The weighted sum of a rollout's parts; None where one with a weight other than 0 is None."""
    weighted_parts = [(weight, parts[name]) for name, weight in weights(cfg).items() if name in parts]
    if any(part is None for _, part in weighted_parts):
        return None
    return float(sum(weight * part for weight, part in weighted_parts))


def coin_flip(seed: int, prompt_id: str, sample: int) -> float:
    """0.0 or 1.0, a pure function of the run's seed, the prompt and the sample's index."""
    digest = blake2b(repr((seed, prompt_id, sample)), 1)
    return float(digest[0] & 1)
