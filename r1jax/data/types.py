"""Host records from JSONL to gradient: Prompt -> Rollout. Without JAX: grader processes import this file.

On the device they become `r1jax.data.batching.Batch`.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from r1jax.text.chat import Response, split_response, whole_response
from r1jax.text.reflection_and_scripts import TextCounts, count_text

FinishReason = Literal["stop", "length"]
# Reasons of a grade. Malformed: unreadable. Too complex: not evaluated. Crash to output: how a program, or the grader
# itself, ended. Ungradable: a fault of the data or of the machine. Open: a request without a right answer.
VERDICTS = (
    "right",
    "partly_right",
    "wrong",
    "no_answer",
    "malformed",
    "too_complex",
    "compile_error",
    "crash",
    "timeout",
    "memory",
    "output",
    "ungradable",
    "open",
)


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One question, ready to be sampled from.

    Attributes:
        id: unique within a run; with the run's seed and the sample index it decides the sampler's randomness.
        question: the problem's own text, before any template.
        answer: the reference answer.
        source: its grader and its origin, `<grader>:<origin>`: `reasoning_gym:chain_sum`, `maths:train.jsonl`.
        text: the rendered template, exactly what `ids` encode.
        ids: token ids of `text`, BOS included where the tokenizer has one.
        metadata: what the grader needs beyond the answer: {"entry_metadata": ...} of reasoning-gym, or the other
            fields of a file's row.
        marker: the string before the thought and between it and the summary, in the cold-start format; "": tags.
    """

    id: str
    question: str
    answer: str
    source: str
    text: str = ""
    ids: tuple[int, ...] = ()
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    marker: str = ""

    @property
    def grader(self) -> str:
        """The name of its grader, a key of `r1jax.graders.grader_table.GRADERS`."""
        return self.source.partition(":")[0]


class Grade(NamedTuple):
    """The grade of a response.

    Attributes:
        score: 0.0 to 1.0; None when the response cannot be graded.
        verdict: the reason, one of `VERDICTS`.
        answer: the answer as the grader read it, in one spelling for all that mean the same, for majority votes; "":
            none.
        detail: further findings, plain JSON, for a benchmark's own figures.
    """

    score: float | None
    verdict: str
    answer: str = ""
    detail: Mapping[str, Any] | None = None


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
        verdict, answer, detail: of the grade, see `Grade`; "" and None before grading.
        counts: of its text, from the process that graded it; None: not yet counted.
        versions: `[T]` int32, the step whose policy drew each token, where several may have; None: that of the step
            that trains on it.
    """

    prompt: Prompt
    sample: int
    ids: np.ndarray
    logprobs: np.ndarray
    text: str
    finish: FinishReason
    reward: float | None = None
    parts: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    verdict: str = ""
    answer: str = ""
    detail: Mapping[str, Any] | None = None
    counts: TextCounts | None = None
    versions: np.ndarray | None = None

    @classmethod
    def of_text(
        cls, prompt: Prompt, text: str, sample: int = 0, finish: FinishReason = "stop", tokens: int = 0
    ) -> "Rollout":
        """A completion known as text alone, from a file or a server, without log-probs.

        Args:
            tokens: its number of sampled tokens, where that is known; `ids` are then -1 that many times.
        """
        ids = np.broadcast_to(np.int32(-1), tokens)  # a view, which takes no memory whatever their number
        return cls(prompt, sample, ids, np.zeros(0, np.float32), text, finish)

    @property
    def whole(self) -> str:
        """`text`, with the tag that the prompt has opened for it, see `r1jax.text.chat.whole_response`."""
        return whole_response(self.prompt.text, self.text, self.prompt.marker)

    @functools.cached_property
    def response(self) -> Response:
        """The whole text split into its parts, in the format that the prompt asked for."""
        return split_response(self.whole, self.prompt.marker)

    def text_counts(self) -> TextCounts:
        """`counts`, counted here where no other process has."""
        return self.counts or count_text(self.text, self.response.thought, self.prompt.question)


Example = tuple[Sequence[int], Sequence[int]]  # token ids, and 1 for each that is trained on
