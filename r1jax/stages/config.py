"""The configs of the stages that train, without JAX."""

import dataclasses

from r1jax.config import at_least
from r1jax.models.config import Truncation


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """The paper's protocol at any size.

    Attributes:
        questions: held-out questions asked.
        samples: k, drawn for each before and after training.
        samples_during: k while training.
        every: steps between evaluations during training; 0: only before and after.
        truncation: the paper's temperature 0.6 and top-p 0.95. Not greedy: that repeats itself.
    """

    questions: int = 128
    samples: int = 16
    samples_during: int = 4
    every: int = 0
    truncation: Truncation = Truncation(temperature=0.6, top_p=0.95)

    def __post_init__(self):
        at_least(1, self, "questions", "samples", "samples_during")
        at_least(0, self, "every")
