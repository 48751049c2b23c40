"""The config of the engine, without JAX."""

import dataclasses

from r1jax.config import at_least
from r1jax.models.config import Truncation


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How rollouts are drawn.

    Attributes:
        max_new_tokens: room for a completion, the end of sequence included.
        truncation: temperature, top-k, top-p.
        slots: sequences decoded together; a multiple of the mesh's data x fsdp x expert.
        window: decode steps in one device call. The host reads results one window late, so a finished slot idles for
            up to two windows before it is refilled.
        prefill_rows: prompts prefilled together.
        bucket: cache and prompt lengths are rounded up to multiples of this; each multiple is compiled once.
    """

    max_new_tokens: int = 128
    truncation: Truncation = Truncation()
    slots: int = 64
    window: int = 8
    prefill_rows: int = 8
    bucket: int = 64

    def __post_init__(self):
        at_least(1, self, "max_new_tokens", "slots", "window", "prefill_rows", "bucket")
