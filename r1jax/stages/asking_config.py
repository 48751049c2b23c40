"""The configs of the stages that ask models: cold start, rejection sampling, pairs, evaluation. Without JAX."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from r1jax.config import at_least, seed_fits, within
from r1jax.core.config import MeshConfig
from r1jax.data.decontaminate import DecontaminateConfig
from r1jax.data.tasks import DataConfig, TaskConfig
from r1jax.inference.config import SamplingConfig
from r1jax.inference.served_model import EndpointConfig
from r1jax.models.config import ComputeConfig, Truncation
from r1jax.rewards.config import GraderConfig, JudgeConfig
from r1jax.stages.rejection.filters import FilterConfig
from r1jax.text.chat_template import check_arguments


@dataclasses.dataclass(frozen=True)
class FewShotConfig:
    """Prompting with long chains of thought as examples.

    Attributes:
        samples: drawn for each question.
        shots: examples shown, drawn for each question from those in its language.
        examples: a JSONL file of `{"prompt", "thought", "summary"}`; "": ours, one a language.
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
        instruction: how it is asked, {prompt} being the question; the reply is to be in the R1-Zero tags. "": ours, in
            the question's language.
    """

    samples: int = 1
    instruction: str = ""

    def __post_init__(self):
        at_least(1, self, "samples")
        if self.instruction and "{prompt}" not in self.instruction:
            raise ValueError("instruction has no {prompt}: the question would not be asked")


@dataclasses.dataclass(frozen=True)
class ReadableConfig:
    """What is kept.

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
        record: what a run left on disk, see `candidates.from_record`; or else
        model: the checkpoint to sample from, asked as `questions` says.
        samples: drawn for each question from that checkpoint.
        from_step: rollouts of the record's earlier steps are passed over.
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
        questions: what teacher and R1-Zero checkpoint are asked; template and chat are for the latter alone.
        count: questions asked, the first of a seeded order; 0: all of a file.
        model: the teacher: a model folder of ours, a Hugging Face folder or a .gguf file; "": the endpoint.
        endpoint: the teacher behind an OpenAI-compatible server.
        chat: speak to the teacher, through its chat template; else it is a base model and continues plain text.
        template_arguments: what else the teacher's chat template reads, say `{"enable_thinking": False}`.
        few_shot, direct, zero: the ways, each where it is wanted.
        data: the folder of `files`.
        files: chains of thought that are there, see `candidates.from_file`.
        review: the file that came back from human review; "": `review_out.jsonl` goes out.
        marker: of the form `<marker>thought<marker>summary`; "": the form of the tags.
        boxed: summaries made by rule of a bare answer put it in a box, as graders like it best.
        held_out_share: leave out what asks a question that `is_held_out`; of files and records, and of `questions`.
        readable: what is kept.
        sampling: how teacher and R1-Zero checkpoint are drawn from.
        graders: how answers are graded.
        compute: how the teacher is computed, where that is not to be as its folder says.
        seed: of the questions' order, the examples shown and sampling.
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

    def __post_init__(self):
        at_least(0, self, "count")
        check_arguments(self.template_arguments, self.chat)
        within("[0, 1]", self, "held_out_share")
        seed_fits(self)
        if not (self.few_shot or self.direct or self.zero or self.files):
            raise ValueError("nothing to collect: give few_shot, direct, zero or files")
        if self.questions and self.questions.held_out_share != self.held_out_share:
            raise ValueError(f"held_out_share={self.held_out_share} and questions.held_out_share="
                             f"{self.questions.held_out_share} should be the same")  # fmt: skip
        if any(blank in self.marker for blank in ("\0", "\n")) or self.marker != self.marker.strip():
            raise ValueError(f"marker={self.marker!r} should have no white space around it, and be on one line")

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher is asked."""
        return bool(self.few_shot or self.direct or (self.zero and self.zero.rewrite == "teacher"))

    @property
    def asks(self) -> bool:
        """Whether questions are asked, of a teacher or of an R1-Zero checkpoint."""
        return bool(self.few_shot or self.direct or (self.zero and self.zero.model))


@dataclasses.dataclass(frozen=True)
class RejectionConfig:
    """One policy, some questions, and what of its answers is kept.

    Attributes:
        stage: names the loop.
        data: the questions; held-out ones are never asked. A row of a file is graded by rule, or by the judge: see
            `who_grades`.
        model: a model folder of ours, a Hugging Face folder or a .gguf file; "": the endpoint.
        endpoint: a model behind an OpenAI-compatible server.
        num_prompts: questions asked, the first of a seeded order, each once; 0: all of a file.
        samples: drawn for each.
        sampling: how they are drawn.
        graders: how rules grade.
        judge: who grades what no rule can; its weight means nothing here.
        judged: graders whose rows the judge grades in the rule's place.
        filters: what is kept of the samples.
        decontaminate: evaluations whose questions are not asked.
        compute: how the model is computed, where that is not to be as its folder says.
        seed: of the questions' order and of sampling.
    """

    stage: Literal["rejection"]
    data: DataConfig
    model: str = ""
    endpoint: EndpointConfig = EndpointConfig()
    num_prompts: int = 0
    samples: int = 4
    sampling: SamplingConfig = SamplingConfig(max_new_tokens=32768, truncation=Truncation(1.0))
    graders: GraderConfig = GraderConfig()
    judge: JudgeConfig = JudgeConfig()
    judged: tuple[str, ...] = ()
    filters: FilterConfig = FilterConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    compute: ComputeConfig | None = None
    seed: int = 0
    mesh: MeshConfig = MeshConfig()

    def __post_init__(self):
        at_least(0, self, "num_prompts")
        seed_fits(self)
        at_least(1, self, "samples")
        if not self.num_prompts and not self.data.path:
            raise ValueError("num_prompts=0 takes all questions of a file, and tasks have no end: say how many")
        if self.judged:
            from r1jax.graders.grader_table import grader  # which loads them all

            for name in self.judged:
                grader(name)


@dataclasses.dataclass(frozen=True)
class ResponsesConfig:
    """Where responses come from.

    Attributes:
        sources: JSONL files of `{"prompt", "responses": [...]}` or of `{"prompt", "response"}`, and folders of samples
            that were collected (questions.jsonl and samples.jsonl). Those of one prompt are put together, from all
            sources.
        marker: their form, see `data.types.Prompt.marker`.
        skip_bad_lines: leave out, and count, lines of the files that cannot be used.
    """

    sources: tuple[str, ...] = ()
    marker: str = ""
    skip_bad_lines: bool = False


@dataclasses.dataclass(frozen=True)
class JudgePairsConfig:
    """One set of pairs.

    Attributes:
        stage: names the work.
        data: see its class.
        judge: who compares; its weight means nothing here.
        rounds: judgements of each pair; even, for half of them show it the other way round.
        temperature: the judge's; at 0 it would say twice what it said once.
        margin: a pair is kept where the mean of its judgements, -2 to 2, is further from 0 than this.
        pairs_per_prompt: compared of each prompt, drawn by the seed; those there are where they are fewer.
        length_ratio: the mean length of all chosen summaries is brought to at most this many times that of the rejected
            ones, and the other way round, by leaving out the pairs that differ most the wrong way; 0: left as it is.
        seed: of which pairs are compared, and which of a pair comes first.
    """

    stage: Literal["judge_pairs"]
    data: ResponsesConfig = ResponsesConfig()
    judge: JudgeConfig = JudgeConfig()
    rounds: int = 4
    temperature: float = 1.0
    margin: float = 1.0
    pairs_per_prompt: int = 1
    length_ratio: float = 1.1
    seed: int = 0
    mesh: MeshConfig = MeshConfig()

    def __post_init__(self):
        at_least(0, self, "temperature", "margin", "length_ratio")
        at_least(1, self, "pairs_per_prompt")
        at_least(2, self, "rounds")
        seed_fits(self)
        if self.rounds % 2:
            raise ValueError(f"rounds={self.rounds} must be even: half of them show a pair the other way round")
        if self.margin >= 2:
            raise ValueError(f"margin={self.margin} keeps nothing: judgements go from -2 to 2")
        if self.length_ratio and self.length_ratio < 1:
            raise ValueError(f"length_ratio={self.length_ratio} must be at least 1, or 0 for off")


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """One benchmark.

    Attributes:
        name: a file of `r1jax/benchmarks`, say gsm8k; or path/mine.py, a file of your own with a `BENCHMARK`.
        path: its data, a file or a folder of files; "": where the adapter says, below `data`.
        samples: k; 0: the evaluation's.
        questions: how many are asked; 0: the evaluation's.
        instruction: how they are asked, in the adapter's place; {prompt} is the question.
        grader: who grades, in the adapter's place; "": the adapter's.
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
class EvaluateConfig:
    """One model on some benchmarks.

    Attributes:
        stage: names the loop.
        model: a model folder of ours, a Hugging Face folder or a .gguf file; "": the endpoint.
        endpoint: a model behind an OpenAI-compatible server.
        label: what tables call the model; "": the workdir's name.
        data: the folder that holds the benchmarks' files, each where its adapter says.
        benchmarks: which; see `r1jax.benchmarks`.
        tasks: reasoning-gym's tasks, each a benchmark of `task_questions` questions.
        task_questions: see `tasks`.
        questions: asked of each benchmark, the first of a seeded order; 0: all.
        samples: k; 0: by the number of questions, see `samples_for`.
        template: a name in `r1jax.text.chat.TEMPLATES`, around what the benchmark asks. None, as for chat and marker:
            as the model's folder says that it was trained; where it does not, "plain", through its chat template if it
            has one, and the form of the tags.
        chat: ask through the model's own chat template; with an endpoint, as a user's message.
        template_arguments: what else the chat template reads, say `{"enable_thinking": False}`.
        marker: of the cold-start form, see `Prompt.marker`; "": the form of the tags.
        max_prompt_tokens: leave out, and count, questions whose prompt has more; 0: none of a benchmark, and it is an
            error where the model cannot hold a prompt and a response of `sampling.max_new_tokens`.
        sampling: how samples are drawn.
        graders: how answers are graded.
        judge: who judges the judged benchmarks; its weight means nothing here.
        compute: how the model is computed, where that is not to be as its folder says.
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
