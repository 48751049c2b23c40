"""Rollouts sampled and graded together, and their statistics; for RL and evaluation."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from r1jax.core.params import Params
from r1jax.core.shares import Shares, gather
from r1jax.data.types import VERDICTS, Prompt, Rollout
from r1jax.inference.engine import Engine
from r1jax.inference.reward_scoring import RewardModel
from r1jax.io.console import under_way
from r1jax.rewards.grader_pool import GraderPool, PendingGrade


class RolloutNumbers(NamedTuple):
    """What all processes know of a rollout that one of them holds.

    Attributes:
        row_tokens: of its row in a batch: prompt and completion, without the last one, which is a target alone.
        tokens: that were sampled.
        truncated: whether the budget ended it.
        reward, parts, verdict: as of `Rollout`.
        reflections: words of reflection, see `TextCounts`.
        scripts: tokens of its thought by script, see there.
    """

    row_tokens: int
    tokens: int
    truncated: bool
    reward: float | None
    parts: Mapping[str, float | None]
    verdict: str
    reflections: int
    scripts: Counter[str]


def numbers_of(rollout: Rollout) -> RolloutNumbers:
    """The numbers of a graded rollout."""
    reflections, scripts = rollout.text_counts()
    return RolloutNumbers(
        len(rollout.prompt.ids) + len(rollout.ids) - 1,
        len(rollout.ids),
        rollout.finish == "length",
        rollout.reward,
        dict(rollout.parts),
        rollout.verdict,
        reflections,
        scripts,
    )


def gather_numbers(rollouts: Sequence[Rollout], shares: Shares) -> list[RolloutNumbers]:
    """The numbers of all rollouts, in every process: this one passes those of its share."""
    shared = gather([numbers_of(rollout) for rollout in rollouts] if shares.leads else None, shares)
    return list(itertools.chain.from_iterable(shared))


def sample_and_grade(
    engine: Engine,
    graders: GraderPool | None,
    params: Params,
    prompts: Sequence[Prompt],
    samples: int,
    seed: tuple[int, ...],
    models: Mapping[str, RewardModel] = MappingProxyType({}),
    owners: Sequence[int] | None = None,
) -> list[Rollout]:
    """Draws `samples` rollouts of each prompt from these very weights, and grades them, see `draw_and_grade`.

    Args:
        owners: the share of each prompt, as of `Engine.generate`.

    Returns:
        those of this process's share.
    """

    def draw(submit: Callable[[Rollout], None]) -> list[Rollout]:
        return engine.generate(params, prompts, samples, seed, submit, owners=owners)

    shares = engine.programs.shares
    own = sum((owners[i] if owners else shares.of(i, len(prompts))) == shares.index for i in range(len(prompts)))
    return draw_and_grade(draw, own * samples, graders, {}, models)


def draw_and_grade(
    draw: Callable[[Callable[[Rollout], None]], list[Rollout]],
    count: int,
    graders: GraderPool | None,
    pending: dict[tuple[str, int], PendingGrade],
    models: Mapping[str, RewardModel],
) -> list[Rollout]:
    """Draws rollouts and grades each one as soon as it is complete, while the others are still being drawn.

    With several processes each holds and grades the rollouts of its share. Where several have the same share, its
    leader has the graders and its verdicts hold, for a grader's time limit may strike in one process and not in
    another: in the others the rollouts have no grade. Reward models, by the names of their parts, score what has been
    drawn, in all processes together.

    Args:
        draw: calls what it is given with each rollout that is complete, and returns those that are wanted now.
        count: how many these are, for the progress.
        pending: grades under way by (prompt id, sample); those of rollouts that are not wanted yet are left in it.
    """
    drawn = 0

    def submit(rollout: Rollout) -> None:
        nonlocal drawn
        drawn += 1
        if graders:
            pending[rollout.prompt.id, rollout.sample] = graders.submit(rollout)

    with under_way("sampling", lambda: f"{drawn} of {count} samples"):
        rollouts = draw(submit)
    scores = [{} for _ in rollouts]
    for name, model in models.items():
        places = [i for i, rollout in enumerate(rollouts) if model.reads(rollout.prompt)]
        with under_way(f"scoring by {name}"):
            for i, score in zip(places, model.score([rollouts[i] for i in places]), strict=True):
                scores[i][name] = score
    if graders:
        with under_way("grading"):
            grades = [pending.pop((r.prompt.id, r.sample), None) or graders.submit(r) for r in rollouts]
            rollouts = [grade.result(of_models) for grade, of_models in zip(grades, scores, strict=True)]
    return rollouts


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def describe(rollouts: Sequence[RolloutNumbers]) -> dict[str, float]:
    """Means over responses: reward, its parts, verdicts, tokens, truncation, reflection, the thought's languages."""
    rewards = [r.reward for r in rollouts if r.reward is not None]
    lengths = [r.tokens for r in rollouts]
    reflections, words = [r.reflections for r in rollouts], [r.scripts for r in rollouts]
    row = {
        "reward/total": mean(rewards),
        "grading/ungradable": 1.0 - len(rewards) / len(rollouts),
        "length/mean": mean(lengths),
        "length/max": max(lengths),
        "length/truncated": mean([r.truncated for r in rollouts]),
        "reflection/share": mean([n > 0 for n in reflections]),
        "reflection/per_response": mean(reflections),
        "language/mixed": mean([len(w) > 1 for w in words]),
        "language/chinese": mean([w["han"] > 0 and w["latin"] == 0 for w in words]),
    }
    row |= {f"verdict/{verdict}": mean([r.verdict == verdict for r in rollouts]) for verdict in VERDICTS}
    for name in sorted({name for r in rollouts for name in r.parts}):
        row[f"reward/{name}"] = mean([part for r in rollouts if (part := r.parts.get(name)) is not None])
    return row
