"""Groups of rollouts, the samples of one question: advantages, and fresh groups for those without a signal."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from r1jax.core.params import Params
from r1jax.core.shares import Shares
from r1jax.data.tasks import Questions
from r1jax.data.types import Rollout
from r1jax.evaluation.rollouts import RolloutNumbers, draw_and_grade, gather_numbers, sample_and_grade
from r1jax.inference.carry_over import CarriedGroups
from r1jax.inference.engine import Engine
from r1jax.inference.reward_scoring import RewardModel
from r1jax.losses.grpo import GRPOConfig, group_advantages
from r1jax.rewards.combine import weights
from r1jax.rewards.config import RewardConfig
from r1jax.rewards.grader_pool import GraderPool, PendingGrade
from r1jax.stages.config import RLConfig


def advantages_by_group(
    rollouts: Sequence[Rollout | RolloutNumbers], cfg: GRPOConfig, rewards: RewardConfig
) -> np.ndarray:
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


@dataclasses.dataclass(frozen=True)
class DrawnStep:
    """What a step trains on: P groups of G rollouts.

    Attributes:
        rollouts: of this process's share of the groups, sample by sample.
        numbers: of all rollouts, in their order.
        advantages: `[P, G]` float32, of all.
        no_signal: the share of groups without a signal among all that were drawn.
    """

    rollouts: list[Rollout]
    numbers: list[RolloutNumbers]
    advantages: np.ndarray
    no_signal: float

    @property
    def longest(self) -> int:
        """Tokens of the longest row of their batch."""
        return max(each.row_tokens for each in self.numbers)

    def trained_tokens(self, mask_truncated: bool) -> np.ndarray:
        """`[P * G]`, the tokens of each rollout that are trained on; none of a truncated one where these are masked."""
        return np.array([0 if mask_truncated and each.truncated else each.tokens for each in self.numbers])


def draw_rollouts(
    sample: Callable[[int, int, int, Sequence[int]], tuple[list[Rollout], list[RolloutNumbers]]],
    cfg: GRPOConfig,
    rewards: RewardConfig,
    step: int,
    shares: Shares,
) -> DrawnStep:
    """A step's rollouts and their advantages, with dynamic sampling where the config enables it.

    A group without signal is replaced by the group of a fresh question, for a bounded number of rounds; one that is
    left after the last round stays, at advantage 0. Each step owns a block of positions in the stream of questions,
    used up or not, so that a resumed run samples the same questions.

    Args:
        sample: (first position, number of questions, round, share of each question) -> graded rollouts of this
            process's share, and the numbers of all.
    """
    P, G = cfg.prompts_per_step, cfg.group_size
    block = step * P * (1 + cfg.dynamic_sampling_rounds)
    groups: list[list[Rollout]] = [[] for _ in range(P)]  # those of other shares stay empty
    numbers: list[list[RolloutNumbers]] = [[] for _ in range(P)]
    advantages = np.zeros((P, G), np.float32)
    missing, drawn, without = list(range(P)), 0, 0
    for round_ in range(1 + cfg.dynamic_sampling_rounds):
        owners = [shares.of(place, P) for place in missing]
        own, all_numbers = sample(block + round_ * P, len(missing), round_, owners)
        new = advantages_by_group(all_numbers, cfg, rewards)
        rollouts = iter(own)
        for i, (place, owner) in enumerate(zip(missing, owners, strict=True)):
            group = list(itertools.islice(rollouts, G)) if owner == shares.index else []
            if round_ == 0 or new[i].any():
                groups[place], numbers[place], advantages[place] = group, all_numbers[i * G : (i + 1) * G], new[i]
        drawn, without = drawn + len(missing), without + int((~new.any(axis=1)).sum())
        missing = [place for place in missing if not advantages[place].any()]
        if not missing:
            break
    return DrawnStep(
        list(itertools.chain.from_iterable(groups)),
        list(itertools.chain.from_iterable(numbers)),
        advantages,
        without / drawn,
    )


@dataclasses.dataclass(frozen=True)
class GroupSampler:
    """Draws a step's groups: graded rollouts of the current weights on the stream's questions.

    Attributes:
        shares: of the groups, among the processes.
        graders: the grader processes; None in processes that do not lead a share of the samples.
        models: reward models, by their parts.
        carried: the groups under way, where steps carry them over; else None. All processes draw all of these, and
            process 0 grades them.
    """

    cfg: RLConfig
    engine: Engine
    shares: Shares
    questions: Questions
    graders: GraderPool | None
    models: Mapping[str, RewardModel]
    carried: CarriedGroups | None = None
    _grades: dict[tuple[str, int], PendingGrade] = dataclasses.field(default_factory=dict)

    def draw(self, params: Params, step: int) -> DrawnStep:
        """The groups of a step, see `draw_rollouts`.

        Raises:
            ValueError: none of their rollouts could be graded.
        """
        models = active_reward_models(self.models, self.cfg.rewards, step)
        drawn = self._carried(params, step, models) if self.carried else self._fresh(params, step, models)
        if all(each.reward is None for each in drawn.numbers):
            raise ValueError(f"step {step}: none of {len(drawn.numbers)} samples could be graded; see the warnings")
        return drawn

    def _fresh(self, params: Params, step: int, models: Mapping[str, RewardModel]) -> DrawnStep:
        def sample(
            first: int, count: int, round_: int, owners: Sequence[int]
        ) -> tuple[list[Rollout], list[RolloutNumbers]]:
            prompts, seed = self.questions.take(first, count), (self.cfg.seed, step, round_)
            samples = self.cfg.grpo.group_size
            rollouts = sample_and_grade(
                self.engine, self.graders, params, prompts, samples, seed, models, owners=owners
            )
            return rollouts, gather_numbers(rollouts, self.shares)

        return draw_rollouts(sample, self.cfg.grpo, self.cfg.rewards, step, self.shares)

    def _carried(self, params: Params, step: int, models: Mapping[str, RewardModel]) -> DrawnStep:
        count = self.cfg.grpo.prompts_per_step * self.cfg.grpo.group_size
        draw, everybody = functools.partial(self.carried.draw, params, step), Shares.whole()
        rollouts = draw_and_grade(draw, count, self.graders, self._grades, models)
        numbers = gather_numbers(rollouts, everybody)
        rollouts = [
            dataclasses.replace(rollout, reward=each.reward, parts=each.parts, verdict=each.verdict)
            for rollout, each in zip(rollouts, numbers, strict=True)
        ]
        advantages = advantages_by_group(numbers, self.cfg.grpo, self.cfg.rewards)
        return DrawnStep(self.shares.own(rollouts), numbers, advantages, float((~advantages.any(axis=1)).mean()))
