"""Configs of the sampling engine, and of the inputs that a reward model reads; importable without JAX."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from r1jax.config import at_least
from r1jax.models.config import Truncation
from r1jax.text import chat
from r1jax.text.chat_template import check_arguments

NarrowType = Literal["", "bfloat16", "int8"]


def check_separators(separators: tuple[str, ...], name: str) -> None:
    """Raises ValueError where the field of this name lists no separator of steps, or an empty one."""
    if not separators or not all(separators):
        raise ValueError(f"{name}={separators!r} should list what separates steps: at least one text, none empty")


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
        steps: separators, see `r1jax.text.steps`: the head is read at the end of each step, as the log-odds that the
            step is right, and an input that is longer than `max_tokens` ends early; (): it is read at the end alone.
    """

    sees: Literal["summary", "response"]
    template: str = "plain"
    chat: bool = False
    max_tokens: int = 4096
    version: Literal[1] = 1
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    steps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at_least(8, self, "max_tokens")
        if self.steps:
            check_separators(self.steps, "steps")
        if self.steps and self.sees != "response":
            raise ValueError(f"sees={self.sees!r} with steps: steps are those of the whole response, sees='response'")
        check_arguments(self.template_arguments, self.chat)
        chat.render(self.template, "")  # Raises for a template that does not exist.


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """A tree search over the steps of a response, see `r1jax.inference.tree_search`.

    Attributes:
        separators: of steps, see `r1jax.text.steps`.
        tokens: that may be sampled for a question; the expansion that exceeds it is the last one.
        branching: steps that an expansion draws; equal ones are one child.
        exploration: the factor of PUCT's second term: the larger, the more the search spreads.
        prior: a child's share in that term. "uniform": the same for all children of a node, which were drawn from the
            policy; "likelihood": the softmax of the mean log-prob of their tokens, which a served policy lacks.
        max_steps: of a response; a longer one is given up.
        step_tokens: the most that a step may have; a longer one is cut there, and goes on as another step.
        choose: which complete answer is the search's. "value": that of the highest value; "visits": at each node the
            child with the most visits.
    """

    separators: tuple[str, ...] = ("\n",)
    tokens: int = 4096
    branching: int = 4
    exploration: float = 1.0
    prior: Literal["uniform", "likelihood"] = "uniform"
    max_steps: int = 64
    step_tokens: int = 256
    choose: Literal["value", "visits"] = "value"

    def __post_init__(self) -> None:
        at_least(1, self, "tokens", "branching", "max_steps", "step_tokens")
        at_least(0, self, "exploration")
        check_separators(self.separators, "separators")
