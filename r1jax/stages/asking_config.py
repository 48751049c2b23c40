"""The configs of the stages that ask models: cold start, rejection sampling, pairs, evaluation. Without JAX."""

import dataclasses

from r1jax.config import at_least


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
