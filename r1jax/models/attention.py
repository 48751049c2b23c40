"""Grouped-query attention and its masks. Axes: B rows, T queries, S keys, N query heads, K key heads, H head width."""

import jax
import jax.numpy as jnp


def causal_mask(positions_BT: jax.Array, segments_BT: jax.Array) -> jax.Array:
    """`[B, T, T]` bool: key s is seen by query t if it is in t's segment and not after it."""
    same = segments_BT[:, :, None] == segments_BT[:, None, :]
    return same & (positions_BT[:, :, None] >= positions_BT[:, None, :])


def cache_mask(positions_BT: jax.Array, cache_length: int) -> jax.Array:
    """`[B, T, S]` bool: slot s of a cache holds position s, so a query sees the slots up to its own position."""
    return jnp.arange(cache_length)[None, None, :] <= positions_BT[:, :, None]


def attend(q_BTNH: jax.Array, k_BKSH: jax.Array, v_BKSH: jax.Array, mask_BTS: jax.Array) -> jax.Array:
    """softmax(q k^T / sqrt(H)) v with the softmax in float32; `[B, T, N, H]`.

    The query heads of one key head are folded into the query axis, so that both products are plain batched matrix
    products with the batch axes leading: on CPU that is the layout with a fast kernel. Holds `[B, N, T, S]` scores:
    not for sequences of tens of thousands of tokens.
    """
    B, T, N, H = q_BTNH.shape
    K, S = k_BKSH.shape[1:3]
    G = N // K
    q = q_BTNH.transpose(0, 2, 1, 3).reshape(B, K, G * T, H)
    scores = jnp.einsum("bkth,bksh->bkts", q, k_BKSH, preferred_element_type=jnp.float32) * H**-0.5
    scores = jnp.where(mask_BTS[:, None, None], scores.reshape(B, K, G, T, S), jnp.finfo(jnp.float32).min)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    total = weights.sum(axis=-1).reshape(B, K, G * T, 1)
    out = jnp.einsum("bkts,bksh->bkth", weights.reshape(B, K, G * T, S).astype(v_BKSH.dtype), v_BKSH,
                     preferred_element_type=jnp.float32) / total
    return out.astype(q_BTNH.dtype).reshape(B, N, T, H).transpose(0, 2, 1, 3)
