"""What is rewarded and how it is graded: the settings of every reward, as a config page gives them."""

import dataclasses
from typing import Literal

from r1jax.config import at_least, seconds, within


@dataclasses.dataclass(frozen=True)
class CodeConfig:
    """How programs are run (`r1jax.sandbox.programs`). A task's own limits on time and memory take these ones' place.

    Attributes:
        time_s: wall-clock seconds that one test may take; CPU seconds are bounded by the same number, rounded up.
        total_s: wall-clock seconds that all tests of one program may take together.
        memory_mb: memory of all the program's processes together, in MiB.
        output_mb: what it may print in one test, in MiB.
        disk_mb: its private temporary space, which is memory, in MiB.
        processes: its processes and threads.
        run_untrusted_code_without_a_sandbox: run what a model wrote as this user, on this machine, with its network and
            its files. For machines that are thrown away afterwards.
    """

    time_s: float = 10.0
    total_s: float = 60.0
    memory_mb: int = 512
    output_mb: int = 4
    disk_mb: int = 64
    processes: int = 32
    run_untrusted_code_without_a_sandbox: bool = False

    def __post_init__(self) -> None:
        at_least(1, self, "memory_mb", "output_mb", "disk_mb", "processes")
        seconds(self, "time_s", "total_s")
        if self.time_s > self.total_s:
            raise ValueError(f"a program needs 0 < time_s <= total_s, got {self.time_s} and {self.total_s}")


@dataclasses.dataclass(frozen=True)
class GraderConfig:
    """How answers are graded.

    Attributes:
        partial_credit: let reasoning-gym's own partial scores and the share of a program's passed tests count; else a
            response is right or wrong.
        workers: grader processes that work at a time.
        timeout_s: wall-clock seconds that a sample may take to grade before it counts as wrong; programs have
            `code.total_s` on top.
        memory_mb: memory that a grader may take, in MiB.
        code: how programs are run.
    """

    partial_credit: bool = False
    workers: int = 2
    timeout_s: float = 10.0
    memory_mb: int = 2048
    code: CodeConfig = CodeConfig()

    def __post_init__(self) -> None:
        at_least(1, self, "workers")
        at_least(512, self, "memory_mb")
        seconds(self, "timeout_s")


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
    """A generative judge behind an OpenAI-compatible endpoint (`r1jax.graders.judge_client`).

    Attributes:
        weight: of the judge's preference, 0 to 1, for the response over the prompt's reference answer; 0.0: no judge.
        base_url: of the endpoint, say http://localhost:8000/v1.
        model: as the endpoint names it.
        api_key_env: the environment variable that holds the key; "" where none is needed.
        in_flight: requests at a time.
        timeout_s: seconds that a request may take.
        retries: of a request that failed; after them the part is ungradable.
    """

    weight: float = 0.0
    base_url: str = ""
    model: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    in_flight: int = 8
    timeout_s: float = 60.0
    retries: int = 3

    def __post_init__(self) -> None:
        at_least(1, self, "in_flight")
        at_least(0, self, "retries", "weight")
        if self.weight and not (self.base_url and self.model):
            raise ValueError("a judge that has weight needs base_url and model")
        seconds(self, "timeout_s")


@dataclasses.dataclass(frozen=True)
class RewardModelConfig:
    """A reward model of ours (`r1jax.inference.reward_scoring`).

    Attributes:
        name: of its part, `model/<name>`, in metrics and records: helpfulness, harmlessness.
        path: its folder, which also says what it reads: the summary or the whole response.
        weight: of its score.
        prompts: what it scores: "all", or "open": only requests that no rule grades.
        from_step: RL step from which it counts; before, it is not asked. The paper's last 400 of 1,700 steps: 1300.
    """

    name: str
    path: str
    weight: float = 1.0
    prompts: Literal["all", "open"] = "all"
    from_step: int = 0

    def __post_init__(self) -> None:
        at_least(0, self, "from_step")
        within("(-inf, inf)", self, "weight")

    @property
    def part(self) -> str:
        """Its part's name."""
        return f"model/{self.name}"


@dataclasses.dataclass(frozen=True)
class CustomReward:
    """A reward of the user's own.

    Attributes:
        function: `path/file.py:name`, a plain function of a Rollout that returns a number, or None for ungradable.
        weight: of what it returns.
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
    """What is rewarded: a weight for each part, 0.0 for what does not count.

    Attributes:
        accuracy: a right answer, 0 to 1.
        format: a well-formed response, 0 or 1.
        language: the share of the thought's words in the target language, 0 to 1.
        target_language: ISO 639-1 code ("en", "zh"); "": the language of the question.
        repetition: the repetition penalty, -1 to 0.
        repetition_ngram: words that make a repeated piece.
        overlong: the soft overlong penalty, -1 to 0, where `overlong_buffer` is set.
        overlong_buffer: tokens before the limit over which that penalty falls from 0 to -1; 0: no such penalty.
        random: a coin flip, the control: training on it alone must teach nothing.
        judge: a generative judge.
        models: reward models of ours.
        custom: rewards of the user's own.
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
        # Each part grows with what is wanted: with a weight below 0, training would go against it.
        at_least(0, self, "accuracy", "format", "language", "repetition", "overlong", "random", "overlong_buffer")
        at_least(1, self, "repetition_ngram")
        parts = [reward.part for reward in (*self.models, *self.custom)]
        if len(set(parts)) < len(parts):
            raise ValueError(f"each reward needs a name of its own, got {', '.join(parts)}")
