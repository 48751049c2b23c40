"""The configs of the stages that ask models: cold start, rejection sampling, pairs, evaluation. Without JAX."""

import dataclasses

from r1jax.config import at_least, within


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
