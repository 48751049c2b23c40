"""Groups of rollouts, the samples of one question: advantages, and fresh groups for those without a signal."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from r1jax.core.params import Params
from r1jax.data.tasks import Questions
from r1jax.data.types import Rollout
from r1jax.evaluation.rollouts import draw_and_grade, sample_and_grade
from r1jax.inference.carry_over import CarriedGroups
from r1jax.inference.engine import Engine
from r1jax.inference.reward_scoring import RewardModel
from r1jax.losses.grpo import GRPOConfig, group_advantages
from r1jax.rewards.combine import weights
from r1jax.rewards.config import RewardConfig
from r1jax.rewards.grader_pool import GraderPool, PendingGrade
from r1jax.stages.config import RLConfig


def advantages_by_group(rollouts: Sequence[Rollout], cfg: GRPOConfig, rewards: RewardConfig) -> np.ndarray:
    """Advantages `[P, G]` float32: of the summed rewards, or the sum of each part's advantages (`combination`).

    The latter is GDPO (arXiv 2601.05242) without its normalisation over the batch. A sample without a reward is left
    out of every mean.
    """

    def normalised(values: Sequence[float | None], std: bool) -> np.ndarray:
        graded = [np.nan if r.reward is None else value for r, value in zip(rollouts, values, strict=True)]
        return group_advantages(np.array(graded, np.float64).reshape(-1, cfg.group_size), std, cfg.baseline)

    if rewards.combination == "sum":
        return normalised([r.reward for r in rollouts], cfg.normalize_std)
    # A part that does not apply to a question is missing in its whole group, and adds nothing.
    columns = {name: [r.parts.get(name) for r in rollouts] for name in weights(rewards)}
    parts = [weight * normalised(columns[name], True) for name, weight in weights(rewards).items()]
    return np.sum(parts, axis=0, dtype=np.float32)


def active_reward_models(models: Mapping[str, RewardModel], cfg: RewardConfig, step: int) -> dict[str, RewardModel]:
    """The reward models in use at a step, by their parts.

    Preference rewards are used only in the last part of training: used for longer, they are hacked (arXiv 2501.12948,
    Nature version, methods).
    """
    return {reward.part: models[reward.part] for reward in cfg.models if step >= reward.from_step}


def draw_rollouts(
    sample: Callable[[int, int, int], list[Rollout]], cfg: GRPOConfig, rewards: RewardConfig, step: int
) -> tuple[list[Rollout], np.ndarray, float]:
    """A step's rollouts and their advantages `[P, G]`, with dynamic sampling where the config enables it.

    Groups without signal are replaced by whole groups of fresh questions, for a bounded number of rounds; after the
    last round the step is filled up with the groups that were set aside, at advantage 0. Each step owns a block of
    positions in the stream of questions, used up or not, so that a resumed run samples the same questions.

    Args:
        sample: (first position, number of questions, round) -> graded rollouts.

    Returns:
        rollouts, advantages, and the share of groups without signal among all that were drawn.
    """
    P, G = cfg.prompts_per_step, cfg.group_size
    block = step * P * (1 + cfg.dynamic_sampling_rounds)
    with_signal: list[tuple[list[Rollout], np.ndarray]] = []
    without_signal: list[tuple[list[Rollout], np.ndarray]] = []
    for round_ in range(1 + cfg.dynamic_sampling_rounds):
        rollouts = sample(block + round_ * P, P - len(with_signal), round_)
        advantages = advantages_by_group(rollouts, cfg, rewards)
        for i, row in enumerate(advantages):
            (with_signal if row.any() else without_signal).append((rollouts[i * G : (i + 1) * G], row))
        if len(with_signal) == P:
            break
    no_signal = len(without_signal) / (len(with_signal) + len(without_signal))
    groups = (with_signal + without_signal)[:P]
    return [r for rollouts, _ in groups for r in rollouts], np.stack([row for _, row in groups]), no_signal


@dataclasses.dataclass(frozen=True)
class GroupSampler:
    """Draws a step's groups: graded rollouts of the current weights on the stream's questions.

    Attributes:
        graders: the grader processes; None in processes other than 0.
        models: reward models, by their parts.
        carried: the groups under way, where steps carry them over; else None.
    """

    cfg: RLConfig
    engine: Engine
    questions: Questions
    graders: GraderPool | None
    models: Mapping[str, RewardModel]
    carried: CarriedGroups | None = None
    _grades: dict[tuple[str, int], PendingGrade] = dataclasses.field(default_factory=dict)

    def draw(self, params: Params, step: int) -> tuple[list[Rollout], np.ndarray, float]:
        """Rollouts, advantages `[P, G]` and the share of groups without signal, see `draw_rollouts`."""
        models = active_reward_models(self.models, self.cfg.rewards, step)
        if self.carried:
            count = self.cfg.grpo.prompts_per_step * self.cfg.grpo.group_size
            draw = functools.partial(self.carried.draw, params, step)
            rollouts = draw_and_grade(draw, count, self.graders, self._grades, models)
            advantages = advantages_by_group(rollouts, self.cfg.grpo, self.cfg.rewards)
            return rollouts, advantages, float((~advantages.any(axis=1)).mean())

        def sample(first: int, count: int, round_: int) -> list[Rollout]:
            prompts, seed = self.questions.take(first, count), (self.cfg.seed, step, round_)
            samples = self.cfg.grpo.group_size
            return sample_and_grade(self.engine, self.graders, params, prompts, samples, seed, models)

        return draw_rollouts(sample, self.cfg.grpo, self.cfg.rewards, step)
