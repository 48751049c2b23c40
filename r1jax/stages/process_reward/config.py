"""Settings of process rewards: how steps are labelled by completions, and how a model of them is trained."""

import dataclasses
from typing import Literal

from r1jax.config import at_least, seed_fits
from r1jax.core.config import MeshConfig, WatchdogConfig
from r1jax.data.step_labels import StepLabelsConfig
from r1jax.data.tasks import DataConfig, check_question_count
from r1jax.graders.config import GraderConfig, JudgeConfig
from r1jax.inference.config import Reading, SamplingConfig, SearchConfig, check_separators
from r1jax.inference.served_model import EndpointConfig, check_model
from r1jax.models.config import ComputeConfig, Truncation
from r1jax.stages.config import AgreementConfig, check_updates
from r1jax.text.steps import Combination
from r1jax.training.config import CheckpointConfig, FaultConfig, OptimizerConfig, TrackConfig


@dataclasses.dataclass(frozen=True)
class LabelStepsConfig:
    """One labelling of steps: the policy, the questions, and how many completions a step's label rests on.

    Attributes:
        stage: names the work.
        data: the questions.
        model: the policy: a model folder, an id of the Hugging Face hub, a .gguf file, or the config of a run that
            makes one; "": the endpoint.
        endpoint: a policy behind a server that continues texts (`/completions`): a chat cannot be continued from the
            middle of a reply, so with an endpoint `data.chat` must be false.
        separators: of steps, see `r1jax.text.steps`. PRM800K's steps are lines.
        num_prompts: training questions, the first of a seeded order, each once; 0: all of a file.
        held_out: held-out questions that are labelled too, to evaluate the model on.
        solutions: sampled of each question; of equal ones one counts.
        completions: sampled from each step's end but the last one, whose label is the solution's own grade. One that
            is right counts as right where it and what it goes on from have no more than `max_new_tokens` together, as
            the policy alone can write it; what a server goes on from is not counted.
        block: questions at a time; memory grows with it.
        sampling: of solutions and completions.
        graders, judge: how answers are graded.
        compute: overrides of how the policy is computed; None: as its folder has it.
        seed: of the questions' order and of sampling.
    """

    stage: Literal["step_labels"]
    data: DataConfig
    model: str = ""
    endpoint: EndpointConfig = EndpointConfig()
    separators: tuple[str, ...] = ("\n",)
    num_prompts: int = 0
    held_out: int = 0
    solutions: int = 4
    completions: int = 8
    block: int = 256
    sampling: SamplingConfig = SamplingConfig(max_new_tokens=32768, truncation=Truncation(1.0))
    graders: GraderConfig = GraderConfig()
    judge: JudgeConfig = JudgeConfig()
    compute: ComputeConfig | None = None
    seed: int = 0
    mesh: MeshConfig = MeshConfig()
    watchdog: WatchdogConfig = WatchdogConfig()

    def __post_init__(self):
        at_least(0, self, "num_prompts", "held_out")
        at_least(1, self, "solutions", "completions", "block")
        seed_fits(self)
        check_separators(self.separators, "separators")
        check_question_count(self.num_prompts, self.data)
        if not self.sampling.truncation.temperature:
            raise ValueError("sampling.truncation.temperature is 0: all completions of a prefix would be the same")


def check_continued(cfg: "LabelStepsConfig | SearchQuestionsConfig") -> None:
    """Raises ConfigError where a config names no policy, or two, and ValueError where a chat would be continued."""
    check_model(cfg.model, cfg.endpoint)
    if cfg.endpoint.base_url and cfg.data.chat is not False:
        raise ValueError(
            f"config.data.chat={cfg.data.chat} with an endpoint: completions go on from the middle of a response, "
            "which a chat's protocol cannot; set config.data.chat=false and a template that the model knows"
        )


@dataclasses.dataclass(frozen=True)
class SearchQuestionsConfig:
    """Tree searches of some questions: the policy, the values, and how much is searched.

    Attributes:
        stage: names the work.
        data: the questions.
        value: folder of the process reward model whose scores are the values of prefixes.
        over_steps: how its chances of a prefix's steps become the prefix's value.
        search: the search.
        model, endpoint: the policy, as `LabelStepsConfig`.
        num_prompts: how many questions, the first of a seeded order; 0: all of a file's.
        held_out: search the held-out questions, to evaluate; else the training ones, to train on.
        block: questions searched together; one node of each is expanded at a time.
        sampling: of steps; `max_new_tokens` limits whole responses.
        graders, judge: how answers are graded.
        compute: overrides of how the policy is computed; None: as its folder has it.
        seed: of the questions' order and of sampling.
    """

    stage: Literal["search"]
    data: DataConfig
    value: str
    over_steps: Combination = "last"
    search: SearchConfig = SearchConfig()
    model: str = ""
    endpoint: EndpointConfig = EndpointConfig()
    num_prompts: int = 0
    held_out: bool = True
    block: int = 32
    sampling: SamplingConfig = SamplingConfig(max_new_tokens=32768, truncation=Truncation(1.0))
    graders: GraderConfig = GraderConfig()
    judge: JudgeConfig = JudgeConfig()
    compute: ComputeConfig | None = None
    seed: int = 0
    mesh: MeshConfig = MeshConfig()
    watchdog: WatchdogConfig = WatchdogConfig()

    def __post_init__(self):
        at_least(0, self, "num_prompts")
        at_least(1, self, "block")
        seed_fits(self)
        check_question_count(self.num_prompts, self.data)
        if self.search.prior == "likelihood" and not self.model and self.endpoint.base_url:
            raise ValueError('search.prior="likelihood" needs log-probs, which a served policy does not give')


@dataclasses.dataclass(frozen=True)
class ProcessRewardConfig:
    """One process reward model.

    Attributes:
        stage: names the loop.
        base: where it starts, as `RLConfig.base`. The head is always new.
        data: labelled steps.
        reading: how question and steps are rendered for it; saved in its folder. Its `steps` must name the separators.
        batch_size: responses an update.
        epochs: passes over the training responses; 0: `num_steps` counts.
        num_steps: updates; 0: `epochs` counts.
        evaluation: on the steps of held-out questions.
        seed: of the head and of the order.
        compute: overrides of how the base is computed; None: as its folder has it.
        microbatches: pieces a batch is computed in; changes memory, not results.
        batch_bucket: inputs are padded to a multiple of this many tokens; each multiple is compiled once.
        log_every: steps between console lines.
    """

    stage: Literal["process_reward"]
    base: str
    data: StepLabelsConfig
    reading: Reading
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=6e-6)
    batch_size: int = 256
    epochs: int = 1
    num_steps: int = 0
    evaluation: AgreementConfig = AgreementConfig()
    seed: int = 0
    compute: ComputeConfig | None = None
    microbatches: int = 1
    batch_bucket: int = 64
    log_every: int = 10
    mesh: MeshConfig = MeshConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    faults: FaultConfig = FaultConfig()
    track: TrackConfig = TrackConfig()

    def __post_init__(self):
        at_least(1, self, "batch_size", "microbatches", "batch_bucket", "log_every")
        at_least(0, self, "epochs", "num_steps")
        seed_fits(self)
        check_separators(self.reading.steps, "reading.steps")
        check_updates(self.epochs, self.num_steps, self.batch_size, self.microbatches)

    def examples(self, size: int) -> int:
        """Responses of the whole run, from `size` different ones."""
        return self.epochs * size or self.num_steps * self.batch_size
