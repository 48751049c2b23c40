"""Reward settings: the weight of each part of a reward, reward models, custom rewards, and graders."""

import dataclasses
from typing import Literal

from r1jax.config import at_least, within
from r1jax.graders.config import GraderConfig, JudgeConfig
from r1jax.text.steps import Combination


@dataclasses.dataclass(frozen=True)
class RewardModelConfig:
    """A reward model trained by r1jax (`r1jax.inference.reward_scoring`).

    Attributes:
        name: of its part, `model/<name>`, in metrics and records: helpfulness, harmlessness.
        path: its model folder, which also records what it reads: the summary or the whole response.
        weight: of its score.
        prompts: the prompts whose responses it scores: "all", or "open": only requests that no rule grades.
        from_step: RL step from which it is used. The paper's last 400 of 1,700 steps: 1300.
        over_steps: how a process reward model's chances of the steps, 0 to 1, become its score; for others of no use.
            "sum" is no safe choice: more steps make it larger.
    """

    name: str
    path: str
    weight: float = 1.0
    prompts: Literal["all", "open"] = "all"
    from_step: int = 0
    over_steps: Combination = "minimum"

    def __post_init__(self) -> None:
        at_least(0, self, "from_step")
        within("(-inf, inf)", self, "weight")

    @property
    def part(self) -> str:
        """Its part's name."""
        return f"model/{self.name}"


@dataclasses.dataclass(frozen=True)
class CustomReward:
    """A reward function of the user's own.

    Attributes:
        function: `path/file.py:name`, a plain function of a Rollout that returns a number, or None for ungradable.
        weight: of its score.
    """

    function: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        within("(-inf, inf)", self, "weight")
        path, _, name = self.function.rpartition(":")
        if not path.endswith(".py") or not name.isidentifier():
            raise ValueError(f"function={self.function!r} should be path/file.py:name")

    @property
    def part(self) -> str:
        """Its part's name."""
        return "custom/" + self.function.rpartition(":")[2]


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """Weights of the parts of a reward (section 2.2.2 of the paper: accuracy and format); 0.0: the part does not count.

    Attributes:
        accuracy: of a right answer, 0 to 1.
        format: of a well-formed response, 0 or 1.
        language: of the share of the thought's words in the target language, 0 to 1 (section 2.3.2).
        target_language: ISO 639-1 code ("en", "zh"); "": the language of the question.
        repetition: of the repetition penalty, -1 to 0.
        repetition_ngram: words of a repeated n-gram.
        overlong: of the soft overlong penalty, -1 to 0, where `overlong_buffer` is set.
        overlong_buffer: tokens before the limit over which that penalty falls from 0 to -1; 0: no such penalty.
        random: of a coin flip, the control: training on it alone must teach nothing.
        judge: a generative judge.
        models: reward models trained by r1jax.
        custom: reward functions of the user's own.
        combination: "sum": the weighted sum, normalised in its group; "per_reward": each part is normalised in its
            group, then summed by weight, so that parts of different scales count alike.
        graders: how answers are graded.
    """

    accuracy: float = 1.0
    format: float = 1.0
    language: float = 0.0
    target_language: str = ""
    repetition: float = 0.0
    repetition_ngram: int = 20
    overlong: float = 1.0
    overlong_buffer: int = 0
    random: float = 0.0
    judge: JudgeConfig = JudgeConfig()
    models: tuple[RewardModelConfig, ...] = ()
    custom: tuple[CustomReward, ...] = ()
    combination: Literal["sum", "per_reward"] = "sum"
    graders: GraderConfig = GraderConfig()

    def __post_init__(self) -> None:
        # Higher is better in every part: a negative weight would train the opposite.
        at_least(0, self, "accuracy", "format", "language", "repetition", "overlong", "random", "overlong_buffer")
        at_least(1, self, "repetition_ngram")
        parts = [reward.part for reward in (*self.models, *self.custom)]
        if len(set(parts)) < len(parts):
            raise ValueError(f"each reward needs a name of its own, got {', '.join(parts)}")
