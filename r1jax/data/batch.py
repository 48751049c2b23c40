"""The device end of the road from JSONL to gradient: what an update trains on. Its host half is data/types.py."""

import dataclasses

import jax


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
