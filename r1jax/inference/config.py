"""Configs of the sampling engine, and of the inputs that a reward model reads; importable without JAX."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from r1jax.config import at_least
from r1jax.models.config import Truncation
from r1jax.text import chat
from r1jax.text.chat_template import check_arguments

NarrowType = Literal["", "bfloat16", "int8"]


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """The settings of the sampling engine.

    Attributes:
        max_new_tokens: limit of a completion, the end of sequence included.
        truncation: temperature, top-k, top-p.
        slots: sequences decoded together; a multiple of the mesh's data x fsdp x expert.
        window: decode steps in one device call. The host reads results one window late, so a finished slot idles for
            up to two windows before it is refilled.
        prefill_rows: prompts prefilled together.
        bucket: cache and prompt lengths are rounded up to one of few multiples of this, see
            `r1jax.data.batching.row_length`; each that occurs is compiled once.
        prompt_bucket: the same for prompts, where it is another; 0: `bucket`.
        weight_type: what the layers' matrices are kept in while decoding: "bfloat16", or "int8" with a scale for each
            output; "": the compute type. Products are in the compute type. What is sampled then comes from another
            distribution than the one that is trained: watch `sampler_gap`, see `GRPOConfig.importance_cap`.
        cache_type: the same of keys and values; "int8" has a scale for each token and head.
        speculative: draft a token at each step by the model's block of multi-token prediction, and check it in the
            next: the same tokens in fewer steps, each of which costs more.
    """

    max_new_tokens: int = 128
    truncation: Truncation = Truncation()
    slots: int = 64
    window: int = 8
    prefill_rows: int = 8
    bucket: int = 64
    prompt_bucket: int = 0
    weight_type: NarrowType = ""
    cache_type: NarrowType = ""
    speculative: bool = False

    def __post_init__(self):
        at_least(1, self, "max_new_tokens", "slots", "window", "prefill_rows", "bucket")
        at_least(0, self, "prompt_bucket")


@dataclasses.dataclass(frozen=True)
class RolloutSamplingConfig(SamplingConfig):
    """The settings of the sampling engine in RL.

    Attributes:
        carry_over: steps that a completion may be carried over: a step ends once enough groups are complete, and later
            policies finish the others, see `r1jax.inference.carry_over`. Every token is trained on at most this many
            steps after the one that drew it. 0: a step draws its own groups to their ends. Above 0 `slots` and
            `window` decide how much is begun ahead, and so which policy draws a token.
    """

    carry_over: int = 0

    def __post_init__(self):
        super().__post_init__()
        at_least(0, self, "carry_over")


@dataclasses.dataclass(frozen=True)
class Reading:
    """The input format that a reward model was trained on.

    Attributes:
        sees: "summary": the response without its thought, for helpfulness in the paper; "response": all of it, for
            harmlessness.
        template: a name in `r1jax.text.chat.TEMPLATES` that renders the question.
        chat: the rendered question is the user's message, the response the assistant's, in the model's own chat
            template.
        max_tokens: of an input. A longer one loses its middle, see `ids_of`.
        version: of this file's form.
        template_arguments: further variables of the chat template, for example `{"enable_thinking": False}`.
    """

    sees: Literal["summary", "response"]
    template: str = "plain"
    chat: bool = False
    max_tokens: int = 4096
    version: Literal[1] = 1
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least(8, self, "max_tokens")
        check_arguments(self.template_arguments, self.chat)
        chat.render(self.template, "")  # Raises for a template that does not exist.
