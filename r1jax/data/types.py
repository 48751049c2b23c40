"""The host records of the road from JSONL to gradient: Prompt -> Rollout. No jax: grader processes import this file.

The device end of the road is `r1jax.data.batching.Batch`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

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
