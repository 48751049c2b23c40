"""Settings of evaluations: during RL, and on benchmarks."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from r1jax.benchmarks.benchmark import source
from r1jax.config import at_least, seed_fits
from r1jax.core.config import MeshConfig, WatchdogConfig
from r1jax.data.tasks import TaskConfig
from r1jax.graders.config import GraderConfig, JudgeConfig
from r1jax.inference.config import SamplingConfig
from r1jax.inference.served_model import EndpointConfig
from r1jax.models.config import ComputeConfig, Truncation
from r1jax.text.chat_template import check_arguments

# Keeps an evaluation's noise apart from training's; training seeds are (seed, step, round).
EVAL_STREAM = 2**31 - 1


def is_due(step: int, every: int) -> bool:
    """Whether to evaluate before a step: the first, and each that `every` divides; 0 divides none."""
    return step == 0 or bool(every and step % every == 0)


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """One benchmark.

    Attributes:
        name: a file of `r1jax/benchmarks/sets`, say gsm8k; or path/mine.py, another file with a `BENCHMARK`.
        path: its data, a file, a folder of files or a split of the Hugging Face hub; "": where the adapter says, below
            `data` or on the hub.
        samples: k; 0: the evaluation's.
        questions: how many are asked; 0: the evaluation's.
        instruction: how they are asked, in the adapter's place; {prompt} is the question.
        grader: the grader, in the adapter's place; "": the adapter's.
        baseline: the file of the answers compared with, where rows have none (Arena-Hard).
    """

    name: str
    path: str = ""
    samples: int = 0
    questions: int = 0
    instruction: str | None = None
    grader: str = ""
    baseline: str = ""

    def __post_init__(self):
        at_least(0, self, "samples", "questions")
        if self.instruction is not None and "{prompt}" not in self.instruction:
            raise ValueError(f"instruction of {self.name} has no {{prompt}}: the question would not be asked")

    @property
    def folder(self) -> str:
        """Where its samples lie, below the workdir."""
        return pathlib.Path(self.name).stem


@dataclasses.dataclass(frozen=True)
class BenchmarkSchedule:
    """Benchmarks that a model is evaluated on while it is trained, as `EvaluateConfig` does when it is finished.

    Attributes:
        names: which, each a name or `NAME=DATA`; see `BenchmarkConfig`. None: nothing is evaluated.
        every: steps between evaluations; 0: only before and after training.
        data: the folder that holds their files, as in `EvaluateConfig`.
        questions, samples: of each benchmark, as in `EvaluateConfig`.
        sampling: how samples are drawn.
        graders, judge: as in `EvaluateConfig`.
    """

    names: tuple[str, ...] = ()
    every: int = 0
    data: str = ""
    questions: int = 0
    samples: int = 0
    sampling: SamplingConfig = SamplingConfig(max_new_tokens=2048, truncation=Truncation(0.6, top_p=0.95))
    graders: GraderConfig = GraderConfig()
    judge: JudgeConfig = JudgeConfig()

    def __post_init__(self):
        at_least(0, self, "every", "questions", "samples")

    def is_due(self, step: int) -> bool:
        """Whether to evaluate before this step: the first, and each that `every` divides."""
        return bool(self.names) and is_due(step, self.every)

    def with_sources(self) -> "BenchmarkSchedule":
        """The schedule with the data of each benchmark, `NAME=DATA`.

        Raises:
            ConfigError: no such benchmark, or its data are nowhere.
        """
        named = (each.partition("=") for each in self.names)
        return dataclasses.replace(
            self, names=tuple(f"{name}={path or source(name, self.data)}" for name, _, path in named)
        )


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """The paper's protocol at any size.

    Attributes:
        questions: held-out questions asked.
        samples: k, drawn for each before and after training.
        samples_during: k while training.
        every: steps between evaluations during training; 0: only before and after.
        truncation: the paper's temperature 0.6 and top-p 0.95. Not greedy: that repeats itself.
        benchmarks: further questions, by the code that evaluates finished models.
    """

    questions: int = 128
    samples: int = 16
    samples_during: int = 4
    every: int = 0
    truncation: Truncation = Truncation(temperature=0.6, top_p=0.95)
    benchmarks: BenchmarkSchedule = BenchmarkSchedule()

    def __post_init__(self):
        at_least(1, self, "questions", "samples", "samples_during")
        at_least(0, self, "every")


@dataclasses.dataclass(frozen=True)
class SupervisedEvalConfig:
    """Evaluation while a model is fine-tuned.

    Attributes:
        benchmarks: what it is asked.
    """

    benchmarks: BenchmarkSchedule = BenchmarkSchedule()


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """One model on some benchmarks.

    Attributes:
        stage: names the loop.
        model: an r1jax model folder, a Hugging Face folder, a .gguf file or an id of the hub; "": the endpoint.
        endpoint: a model behind an OpenAI-compatible server.
        label: the model's name in tables; "": the workdir's name.
        data: the folder that holds the benchmarks' files, each where its adapter says; "": they are fetched from the
            Hugging Face hub, those that are there.
        benchmarks: which; see `r1jax.benchmarks`.
        tasks: reasoning-gym's tasks, each a benchmark of `task_questions` questions.
        task_questions: see `tasks`.
        questions: asked of each benchmark, the first of a seeded order; 0: all.
        samples: k; 0: by the number of questions, see `samples_for`.
        template: a name in `r1jax.text.chat.TEMPLATES`, around what the benchmark asks. None, as for chat and marker:
            as the model's folder says that it was trained; where it does not, "plain", through its chat template if it
            has one, and R1-Zero's tags.
        chat: ask through the model's own chat template; with an endpoint, as a user's message.
        template_arguments: what else the chat template reads, say `{"enable_thinking": False}`.
        marker: of the cold start's response format, see `Prompt.marker`; "": R1-Zero's tags.
        max_prompt_tokens: leave out, and count, questions whose prompt has more; 0: none of a benchmark, and it is an
            error where the model cannot hold a prompt and a response of `sampling.max_new_tokens`.
        sampling: how samples are drawn.
        graders: how answers are graded.
        judge: of the judged benchmarks; its weight is not used.
        compute: how the model is computed, where other than its folder says.
        seed: of the questions' order and of sampling.
    """

    stage: Literal["evaluate"]
    model: str = ""
    endpoint: EndpointConfig = EndpointConfig()
    label: str = ""
    data: str = ""
    benchmarks: tuple[BenchmarkConfig, ...] = ()
    tasks: tuple[TaskConfig, ...] = ()
    task_questions: int = 100
    questions: int = 0
    samples: int = 0
    template: str | None = None
    chat: bool | None = None
    marker: str | None = None
    sampling: SamplingConfig = SamplingConfig(max_new_tokens=32768, truncation=Truncation(0.6, top_p=0.95))
    graders: GraderConfig = GraderConfig()
    judge: JudgeConfig = JudgeConfig()
    compute: ComputeConfig | None = None
    seed: int = 0
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_prompt_tokens: int = 0
    mesh: MeshConfig = MeshConfig()
    watchdog: WatchdogConfig = WatchdogConfig()

    def __post_init__(self):
        at_least(0, self, "questions", "samples", "max_prompt_tokens")
        check_arguments(self.template_arguments, self.chat is not False)
        seed_fits(self)
        at_least(1, self, "task_questions")
        names = [benchmark.folder for benchmark in self.benchmarks] + [f"reasoning_gym_{t.name}" for t in self.tasks]
        if not names:
            raise ValueError("nothing to evaluate on: name benchmarks or tasks")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"benchmarks named twice: {', '.join(twice)}")

    def with_sources(self) -> "EvaluateConfig":
        """The config with the path of each benchmark's data.

        Raises:
            ConfigError: no such benchmark, or its data are nowhere.
        """
        benchmarks = tuple(
            each if each.path else dataclasses.replace(each, path=source(each.name, self.data))
            for each in self.benchmarks
        )
        return dataclasses.replace(self, benchmarks=benchmarks)
