"""Settings of the cold start: its sources, prompts and filters."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from r1jax.config import ConfigError, at_least, missing_file, seed_fits, within
from r1jax.core.config import MeshConfig, WatchdogConfig
from r1jax.data.tasks import DataConfig
from r1jax.graders.config import GraderConfig
from r1jax.inference.config import SamplingConfig
from r1jax.inference.served_model import EndpointConfig, check_model
from r1jax.models.config import ComputeConfig, Truncation
from r1jax.text.chat_template import check_arguments


@dataclasses.dataclass(frozen=True)
class FewShotConfig:
    """Prompting with long chains of thought as examples.

    Attributes:
        samples: drawn for each question.
        shots: examples in the prompt, drawn for each question from those in its language.
        examples: a JSONL file of `{"prompt", "thought", "summary"}`; "": r1jax's, one a language.
    """

    samples: int = 1
    shots: int = 1
    examples: str = ""

    def __post_init__(self):
        at_least(1, self, "samples", "shots")


@dataclasses.dataclass(frozen=True)
class DirectConfig:
    """Prompting for a detailed answer with reflection and verification.

    Attributes:
        samples: drawn for each question.
        instruction: the prompt, {prompt} being the question; it should ask for a reply in the R1-Zero tags. "":
            r1jax's, in the question's language.
    """

    samples: int = 1
    instruction: str = ""

    def __post_init__(self):
        at_least(1, self, "samples")
        if self.instruction and "{prompt}" not in self.instruction:
            raise ValueError("instruction has no {prompt}: the question would be missing")


@dataclasses.dataclass(frozen=True)
class ReadableConfig:
    """Filters of the samples.

    Attributes:
        language: the least share of a thought's words, and of a summary's, that are in the question's language.
        repetition: the largest share of a thought's runs of `repetition_ngram` words that came before in it.
        repetition_ngram: see `repetition`.
        min_chars, max_chars: of a thought.
        max_summary_chars: of a summary.
        per_question: thoughts kept for one question, the first ones; 0: all.
    """

    language: float = 0.9
    repetition: float = 0.1
    repetition_ngram: int = 20
    min_chars: int = 100
    max_chars: int = 100_000
    max_summary_chars: int = 10_000
    per_question: int = 0

    def __post_init__(self):
        at_least(1, self, "repetition_ngram", "min_chars", "max_chars", "max_summary_chars")
        at_least(0, self, "per_question")
        if self.max_chars < self.min_chars:
            raise ValueError(f"max_chars={self.max_chars} is less than min_chars={self.min_chars}: no thought is left")
        within("[0, 1]", self, "language", "repetition")


@dataclasses.dataclass(frozen=True)
class ZeroConfig:
    """R1-Zero's outputs, rewritten.

    Attributes:
        record: samples of a run on disk, see `candidates.from_record`; or else
        model: the checkpoint to sample from, with prompts as in `questions`.
        samples: drawn for each question from that checkpoint.
        from_step: rollouts of the record's earlier steps are left out.
        rewrite: by "rule", see `stages.rewriting`, or by the "teacher".
    """

    record: str = ""
    model: str = ""
    samples: int = 1
    from_step: int = 0
    rewrite: Literal["rule", "teacher"] = "rule"

    def __post_init__(self):
        at_least(1, self, "samples")
        at_least(0, self, "from_step")


@dataclasses.dataclass(frozen=True)
class ColdStartConfig:
    """One collection.

    Attributes:
        stage: names the loop.
        questions: for the teacher and the R1-Zero checkpoint; template and chat are for the latter alone.
        count: number of questions, the first of a seeded order; 0: all of a file.
        model: the teacher: a model folder, a .gguf file or an id of the Hugging Face hub; "": the endpoint.
        endpoint: the teacher behind an OpenAI-compatible server.
        chat: prompt the teacher through its chat template; else it is a base model and continues plain text.
        template_arguments: further variables of the teacher's chat template, for example `{"enable_thinking": False}`.
        few_shot, direct, zero: the sources to use; None: not used.
        data: the folder of `files`.
        files: existing chains of thought, see `candidates.from_file`.
        review: the file that editors have filled in; "": `review_out.jsonl` is written for them.
        marker: of the form `<marker>thought<marker>summary`; "": the form of the tags.
        boxed: summaries made by rule of a bare answer put it in a box, the form that graders read best.
        held_out_share: of questions that are left out (`is_held_out`), in files, records and `questions`.
        readable: filters of the samples.
        sampling: from the teacher and the R1-Zero checkpoint.
        graders: how answers are graded.
        compute: overrides of how the teacher is computed; None: as its folder has it.
        seed: of the questions' order, the few-shot examples and sampling.
    """

    stage: Literal["coldstart"]
    questions: DataConfig | None = None
    count: int = 0
    model: str = ""
    endpoint: EndpointConfig = EndpointConfig()
    chat: bool = True
    few_shot: FewShotConfig | None = None
    direct: DirectConfig | None = None
    zero: ZeroConfig | None = None
    data: str = ""
    files: tuple[str, ...] = ()
    review: str = ""
    marker: str = "|special_token|"
    boxed: bool = True
    held_out_share: float = 0.1
    readable: ReadableConfig = ReadableConfig()
    sampling: SamplingConfig = SamplingConfig(max_new_tokens=32768, truncation=Truncation(0.6, top_p=0.95))
    graders: GraderConfig = GraderConfig()
    compute: ComputeConfig | None = None
    seed: int = 0
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    mesh: MeshConfig = MeshConfig()
    watchdog: WatchdogConfig = WatchdogConfig()

    def __post_init__(self):
        at_least(0, self, "count")
        check_arguments(self.template_arguments, self.chat)
        within("[0, 1]", self, "held_out_share")
        seed_fits(self)
        if not (self.few_shot or self.direct or self.zero or self.files):
            raise ValueError("nothing to collect: give few_shot, direct, zero or files")
        if self.questions and self.questions.held_out_share != self.held_out_share:
            raise ValueError(
                f"held_out_share={self.held_out_share} and questions.held_out_share="
                f"{self.questions.held_out_share} should be the same"
            )
        if any(blank in self.marker for blank in ("\0", "\n")) or self.marker != self.marker.strip():
            raise ValueError(f"marker={self.marker!r} should have no white space around it, and be on one line")

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher generates or rewrites samples."""
        return bool(self.few_shot or self.direct or (self.zero and self.zero.rewrite == "teacher"))

    @property
    def needs_questions(self) -> bool:
        """Whether samples are drawn for questions, from a teacher or from an R1-Zero checkpoint."""
        return bool(self.few_shot or self.direct or (self.zero and self.zero.model))


def check_coldstart(cfg: ColdStartConfig) -> None:
    """Checks a config after the command line's overrides.

    Raises:
        ConfigError: no teacher, or two, where one is needed; no questions; no record and no checkpoint, or both.
        FileNotFoundError: the review is not there.
    """
    if cfg.needs_teacher:
        check_model(cfg.model, cfg.endpoint)
    if cfg.zero and bool(cfg.zero.record) == bool(cfg.zero.model):
        raise ConfigError(
            "name the source of R1-Zero's outputs: config.zero.record, a folder of an RL run or of "
            "samples, or config.zero.model, a checkpoint to sample from"
        )
    if cfg.needs_questions and not cfg.questions:
        raise ConfigError("config.questions is missing: set its path or its tasks")
    if cfg.review and not pathlib.Path(cfg.review).is_file():
        raise FileNotFoundError(missing_file(pathlib.Path(cfg.review)))
