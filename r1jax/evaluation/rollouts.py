"""Rollouts sampled and graded together, and their statistics; for RL and evaluation."""

import dataclasses
import pickle
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from r1jax.core import processes
from r1jax.core.params import Params
from r1jax.data.types import VERDICTS, Prompt, Rollout
from r1jax.inference.engine import Engine
from r1jax.inference.reward_scoring import RewardModel
from r1jax.io.console import under_way
from r1jax.rewards.grader_pool import GraderPool, PendingGrade


def sample_and_grade(
    engine: Engine,
    graders: GraderPool | None,
    params: Params,
    prompts: Sequence[Prompt],
    samples: int,
    seed: tuple[int, ...],
    models: Mapping[str, RewardModel] = MappingProxyType({}),
) -> list[Rollout]:
    """Draws `samples` rollouts of each prompt from these very weights, and grades them, see `draw_and_grade`."""

    def draw(submit: Callable[[Rollout], None]) -> list[Rollout]:
        return engine.generate(params, prompts, samples, seed, submit)

    return draw_and_grade(draw, len(prompts) * samples, graders, {}, models)


def draw_and_grade(
    draw: Callable[[Callable[[Rollout], None]], list[Rollout]],
    count: int,
    graders: GraderPool | None,
    pending: dict[tuple[str, int], PendingGrade],
    models: Mapping[str, RewardModel],
) -> list[Rollout]:
    """Draws rollouts and grades each one as soon as it is complete, while the others are still being drawn.

    With several processes all of them hold the same rollouts; process 0's verdicts hold in all, for a grader's
    time limit may strike in one process and not in another. The others pass no graders. Reward models, by the names of
    their parts, score what has been drawn, in all processes together.

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
    if jax.process_count() == 1:
        return rollouts
    names = ("reward", "parts", "verdict", "answer", "counts")
    graded = from_process_0([{name: getattr(rollout, name) for name in names} for rollout in rollouts])
    return [dataclasses.replace(rollout, **fields) for rollout, fields in zip(rollouts, graded, strict=True)]


def from_process_0(value: Any) -> Any:
    """Process 0's value, in every process. Padded to a power of two: each new size is compiled."""
    processes.barrier()  # process 0 may have worked on it alone, for longer than a collective waits
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(data.size)))
    padded = np.zeros(1 << size.bit_length(), np.uint8)
    if jax.process_index() == 0:
        padded[:size] = data
    return pickle.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes())


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def describe(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Means over responses: reward, its parts, verdicts, tokens, truncation, reflection, the thought's languages."""
    rewards = [r.reward for r in rollouts if r.reward is not None]
    lengths = [len(r.ids) for r in rollouts]
    reflections, words = zip(*(r.text_counts() for r in rollouts), strict=True)
    row = {
        "reward/total": mean(rewards),
        "grading/ungradable": 1.0 - len(rewards) / len(rollouts),
        "length/mean": mean(lengths),
        "length/max": max(lengths),
        "length/truncated": mean([r.finish == "length" for r in rollouts]),
        "reflection/share": mean([n > 0 for n in reflections]),
        "reflection/per_response": mean(reflections),
        "language/mixed": mean([len(w) > 1 for w in words]),
        "language/chinese": mean([w["han"] > 0 and w["latin"] == 0 for w in words]),
    }
    row |= {f"verdict/{verdict}": mean([r.verdict == verdict for r in rollouts]) for verdict in VERDICTS}
    for name in sorted({name for r in rollouts for name in r.parts}):
        row[f"reward/{name}"] = mean([part for r in rollouts if (part := r.parts.get(name)) is not None])
    return row
