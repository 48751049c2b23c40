"""Settings of rejection sampling."""

import dataclasses
from typing import Literal

from r1jax.config import at_least, seed_fits, within
from r1jax.core.config import MeshConfig, WatchdogConfig
from r1jax.data.decontaminate import DecontaminateConfig
from r1jax.data.tasks import DataConfig, check_question_count
from r1jax.graders.config import GraderConfig, JudgeConfig
from r1jax.inference.config import SamplingConfig
from r1jax.inference.served_model import EndpointConfig
from r1jax.models.config import ComputeConfig, Truncation


@dataclasses.dataclass(frozen=True)
class FilterConfig:
    """Filters of the samples. A threshold at 0 turns its filter off.

    Attributes:
        form: "strict": exactly the form that its prompt asks for; "parts": a thought and a summary that can be
            distinguished, as in a server's `<think>...</think>summary`; "any": whatever has a summary, answers of
            simple requests without a thought among them.
        min_score: the least grade: 1.0 for right by rule, by the judge's check of facts, or preferred to a reference in
            both orders; 0.5 lets ties with the reference pass.
        language: the least share of the thought's words in the question's language, see `rewards.language.consistency`.
        paragraph_words: the most that stand between two line breaks of the thought; each Chinese character is one.
        code: keep code blocks in thoughts.
        repetition: the largest share of the response's runs of `repetition_ngram` words that came before, 0 to 1.
        repetition_ngram: see `rewards.form.repetition_penalty`.
        min_tokens, max_tokens: of the response, both included.
        near_duplicate: how much of their runs of five words and symbols two samples of one question may share, 0 to 1,
            see `text.normalized_overlap.similarity`; equal ones are duplicates in any case.
        keep_per_prompt: samples kept of one question; 0: all.
        prefer: which of a question's samples these are, and stay of near-duplicates: "first" drawn, which is a random
            choice; "shortest", in tokens.
    """

    form: Literal["strict", "parts", "any"] = "strict"
    min_score: float = 1.0
    language: float = 0.9
    paragraph_words: int = 300
    code: bool = False
    repetition: float = 0.2
    repetition_ngram: int = 20
    min_tokens: int = 0
    max_tokens: int = 0
    near_duplicate: float = 0.8
    keep_per_prompt: int = 4
    prefer: Literal["first", "shortest"] = "first"

    def __post_init__(self):
        at_least(0, self, "paragraph_words", "min_tokens", "max_tokens", "keep_per_prompt")
        at_least(1, self, "repetition_ngram")
        within("[0, 1]", self, "min_score", "language", "repetition", "near_duplicate")
        if self.max_tokens and self.max_tokens < self.min_tokens:
            raise ValueError(f"max_tokens={self.max_tokens} is less than min_tokens={self.min_tokens}")


@dataclasses.dataclass(frozen=True)
class RejectionConfig:
    """Settings of one run of rejection sampling: policy, questions, graders and filters.

    Attributes:
        stage: names the loop.
        data: the questions; held-out ones are left out. A row of a file is graded by rule, or by the judge: see
            `grader_chooser`.
        model: a model folder of r1jax, a Hugging Face folder, a .gguf file or an id of the hub; "": the endpoint.
        endpoint: a model behind an OpenAI-compatible server.
        num_prompts: number of questions, the first of a seeded order, each once; 0: all of a file.
        samples: drawn for each.
        sampling: how they are drawn.
        graders: how rules grade.
        judge: grades the rows that no rule can; its weight is not used here.
        judged: graders whose rows the judge grades in the rule's place.
        filters: of the samples.
        decontaminate: evaluations whose questions are left out.
        compute: overrides of how the model is computed; None: as its folder has it.
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
    watchdog: WatchdogConfig = WatchdogConfig()

    def __post_init__(self):
        at_least(0, self, "num_prompts")
        seed_fits(self)
        at_least(1, self, "samples")
        check_question_count(self.num_prompts, self.data)
        if self.judged:
            from r1jax.graders.grader_table import grader  # which loads them all

            for name in self.judged:
                grader(name)
