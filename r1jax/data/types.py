"""The records that travel the road from JSONL to gradient: Prompt -> Rollout (host) -> Batch (device)."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

FinishReason = Literal["stop", "length"]


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One question, ready to be sampled from.

    Attributes:
        id: unique within a run; with the run's seed and the sample index it decides the sampler's randomness.
        question: the problem's own text, before any template.
        answer: the reference answer.
        source: who grades it: `reasoning_gym:<task>` is scored by that library, anything else as mathematics.
        text: the rendered template, exactly what `ids` encode.
        ids: token ids of `text`, BOS included where the tokenizer has one.
        metadata: what the grader needs beyond the answer (reasoning-gym's own entry metadata).
    """

    id: str
    question: str
    answer: str
    source: str
    text: str = ""
    ids: tuple[int, ...] = ()
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Rollout:
    """A Prompt plus one sampled completion.

    Attributes:
        prompt: the question.
        sample: index within the prompt's group, 0 <= sample < group size.
        ids: sampled token ids `[T]` int32, the end-of-sequence token included when one was sampled.
        logprobs: log-probs `[T]` float32 of `ids` under the distribution really sampled from.
        text: `ids` decoded, without the end-of-sequence token. Never encoded again.
        finish: "stop" when an end-of-sequence token was sampled, "length" when the budget ran out.
        reward: the combined reward, None when ungradable.
        parts: each reward by name; None marks an ungradable part.
    """

    prompt: Prompt
    sample: int
    ids: np.ndarray
    logprobs: np.ndarray
    text: str
    finish: FinishReason
    reward: float | None = None
    parts: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """What an update trains on. B rows of T tokens; position t predicts `targets[:, t]` from `tokens[:, :t + 1]`.

    Attributes:
        tokens: `[B, T]` int32 inputs.
        targets: `[B, T]` int32, the next token at each position.
        positions: `[B, T]` int32, counted within each segment.
        segments: `[B, T]` int32; a token attends only within its segment; 0 is padding.
        mask: `[B, T]` float32, 1 where the target is trained on.
        advantages: `[B]` float32, or None outside RL.
        old_logprobs: `[B, T]` float32 of the policy that PPO's ratio is taken against, or None (on-policy: ratio 1).
        ref_logprobs: `[B, T]` float32 of the reference model, or None when there is no KL term.
        sampler_logprobs: `[B, T]` float32 as the sampler reported them, or None outside RL.
    """

    tokens: jax.Array
    targets: jax.Array
    positions: jax.Array
    segments: jax.Array
    mask: jax.Array
    advantages: jax.Array | None = None
    old_logprobs: jax.Array | None = None
    ref_logprobs: jax.Array | None = None
    sampler_logprobs: jax.Array | None = None
