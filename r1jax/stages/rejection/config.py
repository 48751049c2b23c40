"""Settings of rejection sampling."""

import dataclasses
from typing import Literal

from r1jax.config import at_least, seed_fits
from r1jax.core.config import MeshConfig
from r1jax.data.decontaminate import DecontaminateConfig
from r1jax.data.tasks import DataConfig
from r1jax.graders.config import GraderConfig, JudgeConfig
from r1jax.inference.config import SamplingConfig
from r1jax.inference.served_model import EndpointConfig
from r1jax.models.config import ComputeConfig, Truncation
from r1jax.stages.rejection.filters import FilterConfig


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
