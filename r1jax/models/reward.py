"""A reward model: the decoder with a scalar head, which reads the state of the last token, or of each one.

The head takes the place of the unembedding (InstructGPT, arXiv 2203.02155, section 3.5). It stands as one more weight
beside the model's own, so that what trains, shards and decays those does the same with it.
"""

import jax
import jax.numpy as jnp

from r1jax.core.params import Params, ParamSpec
from r1jax.models import transformer
from r1jax.models.config import ModelConfig

HEAD = "head"
# Weights, by their first key, that no reward depends on: not to be decayed, and no use in scoring.
UNUSED = ("unembed", "mtp")


def param_specs(cfg: ModelConfig) -> Params:
    """The model's weights and `head` `[D]`, drawn from N(0, 1 / (D + 1)) (Stiennon et al., arXiv 2009.01325, C.1)."""
    D = cfg.embed_dim
    # Whole on every device: a vector is not worth cutting.
    head = ParamSpec((D,), (None,), std=(D + 1) ** -0.5, keep_float32=True)
    return {**transformer.param_specs(cfg), HEAD: head}


def apply_head(hidden: jax.Array, head_D: jax.Array) -> jax.Array:
    """The head's score of each state: `[..., D]` to `[...]` float32."""
    # A sum, not a matrix product: on TPU that would round float32 factors to bfloat16.
    return jnp.sum(hidden.astype(jnp.float32) * head_D.astype(jnp.float32), axis=-1)


def last_token_rewards(hidden_BTD: jax.Array, head_D: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """The head applied to the state at position length - 1 of each row, and to no other: `[B]` float32."""
    return apply_head(jnp.take_along_axis(hidden_BTD, lengths_B[:, None, None] - 1, axis=1)[:, 0], head_D)


def rewards(params: Params, cfg: ModelConfig, tokens_BT: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """A scalar for each row, `[B]` float32, without a unit or a zero of its own unless the loss gave it one.

    Args:
        params: of the shape of `param_specs(cfg)`; those that are `UNUSED` may be missing.
        tokens_BT: one sequence a row, padded on the right with any ids.
        lengths_B: tokens of each sequence, at least 1. They alone say what is padding, for a pad id may be a real one.
    """
    return last_token_rewards(_hidden(params, cfg, tokens_BT, lengths_B), params[HEAD], lengths_B)


def position_rewards(params: Params, cfg: ModelConfig, tokens_BT: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """The head applied to the state of every token, `[B, T]` float32; of padding it is no reward.

    Arguments as of `rewards`. As attention is causal, one at position t is that of the sequence's first t + 1 tokens.
    """
    return apply_head(_hidden(params, cfg, tokens_BT, lengths_B), params[HEAD])


def _hidden(params: Params, cfg: ModelConfig, tokens_BT: jax.Array, lengths_B: jax.Array) -> jax.Array:
    positions_BT = jnp.broadcast_to(jnp.arange(tokens_BT.shape[1], dtype=jnp.int32), tokens_BT.shape)
    segments_BT = (positions_BT < lengths_B[:, None]).astype(jnp.int32)
    return transformer.forward(params, cfg, tokens_BT, positions_BT, segments_BT, one_segment=True).hidden
