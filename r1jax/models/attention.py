"""Grouped-query attention. Axes: B rows, T queries, S keys, N query heads, K key heads, H head width, D model width."""

import jax
import jax.numpy as jnp

from r1jax.core.params import Params, ParamSpec
from r1jax.models import cache as kv
from r1jax.models.cache import KVCache
from r1jax.models.config import ModelConfig
from r1jax.models.layers import rms_norm, rope


def causal_mask(positions_BT: jax.Array, segments_BT: jax.Array) -> jax.Array:
    """`[B, T, T]` bool: key s is seen by query t if it is in t's segment and not after it."""
    same = segments_BT[:, :, None] == segments_BT[:, None, :]
    return same & (positions_BT[:, :, None] >= positions_BT[:, None, :])


def cache_mask(positions_BT: jax.Array, cache_length: int) -> jax.Array:
    """`[B, T, S]` bool: slot s of a cache holds position s, so a query sees the slots up to its own position."""
    return jnp.arange(cache_length)[None, None, :] <= positions_BT[:, :, None]


# Queries whose scores against all keys exist at a time.
QUERIES = 512


def attend(
    q_BTNH: jax.Array, k_BKSH: jax.Array, v_BKSV: jax.Array, mask_BTS: jax.Array, scale: float | None = None
) -> jax.Array:
    """softmax(q k^T scale) v with the softmax in float32; `[B, T, N, V]`; the default scale is H^-0.5.

    Long inputs go `QUERIES` at a time, and their scores are made again in the backward pass: of what grows with T S
    only the mask is whole, a byte an entry. Keys that a causal mask hides are computed all the same.
    """
    B, T, N, H = q_BTNH.shape
    scale = scale or H**-0.5
    if T <= QUERIES:
        return _attend(q_BTNH, k_BKSH, v_BKSV, mask_BTS, scale)

    def pieces(x):
        x = jnp.pad(x, ((0, 0), (0, -T % QUERIES)) + ((0, 0),) * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(B, -1, QUERIES, *x.shape[2:]), 1, 0)

    @jax.checkpoint
    def some(piece):
        return _attend(piece[0], k_BKSH, v_BKSV, piece[1], scale)

    out = jax.lax.map(some, (pieces(q_BTNH), pieces(mask_BTS)))
    return jnp.moveaxis(out, 0, 1).reshape(B, -1, N, v_BKSV.shape[-1])[:, :T]


def _attend(q_BTNH, k_BKSH, v_BKSV, mask_BTS, scale: float) -> jax.Array:
    """The query heads of one key head are folded into the query axis, so that both products are plain batched matrix
    products with the batch axes leading: on CPU that is the layout with a fast kernel. Holds `[B, N, T, S]` scores.
    """
    B, T, N, H = q_BTNH.shape
    K, S = k_BKSH.shape[1:3]
    G = N // K
    q = q_BTNH.transpose(0, 2, 1, 3).reshape(B, K, G * T, H)
    scores = jnp.einsum("bkth,bksh->bkts", q, k_BKSH, preferred_element_type=jnp.float32) * scale
    scores = jnp.where(mask_BTS[:, None, None], scores.reshape(B, K, G, T, S), jnp.finfo(jnp.float32).min)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    total = weights.sum(axis=-1).reshape(B, K, G * T, 1)
    out = jnp.einsum("bkts,bksh->bkth", weights.reshape(B, K, G * T, S).astype(v_BKSV.dtype), v_BKSV,
                     preferred_element_type=jnp.float32) / total
    return out.astype(q_BTNH.dtype).reshape(B, N, T, v_BKSV.shape[-1]).transpose(0, 2, 1, 3)


def gqa_specs(cfg: ModelConfig, L: int) -> Params:
    """The weights of L layers. The projection into the residual stream starts smaller by sqrt(2 num_layers) (GPT-2)."""
    D, N, K, H = cfg.embed_dim, cfg.num_heads, cfg.num_kv_heads, cfg.head_dim
    std = D**-0.5
    specs = {
        "q": ParamSpec((L, D, N, H), ("layers", "embed", "heads", "head_dim"), std=std),
        "k": ParamSpec((L, D, K, H), ("layers", "embed", "kv_heads", "head_dim"), std=std),
        "v": ParamSpec((L, D, K, H), ("layers", "embed", "kv_heads", "head_dim"), std=std),
        "o": ParamSpec((L, N, H, D), ("layers", "heads", "head_dim", "embed"), std=std * (2 * cfg.num_layers) ** -0.5),
    }
    if cfg.attention_bias:
        specs |= {
            "q_bias": ParamSpec((L, N, H), ("layers", "heads", "head_dim"), "zeros"),
            "k_bias": ParamSpec((L, K, H), ("layers", "kv_heads", "head_dim"), "zeros"),
            "v_bias": ParamSpec((L, K, H), ("layers", "kv_heads", "head_dim"), "zeros"),
        }
    if cfg.qk_norm:
        specs |= {name: ParamSpec((L, H), ("layers", None), "ones") for name in ("q_norm", "k_norm")}
    return specs


def gqa(
    p: Params, cfg: ModelConfig, h_BTD: jax.Array, positions_BT: jax.Array, mask_BTS: jax.Array,
    cache: KVCache | None, layer: jax.Array,
) -> tuple[jax.Array, KVCache | None]:  # fmt: skip
    """One layer's attention and, where a cache is given, the cache with this layer's keys and values written to it."""
    q = jnp.einsum("btd,dnh->btnh", h_BTD, p["q"])
    k = jnp.einsum("btd,dkh->btkh", h_BTD, p["k"])
    v = jnp.einsum("btd,dkh->btkh", h_BTD, p["v"])
    if cfg.attention_bias:
        q, k, v = q + p["q_bias"], k + p["k_bias"], v + p["v_bias"]
    if cfg.qk_norm:
        q, k = rms_norm(q, p["q_norm"], cfg.norm_eps), rms_norm(k, p["k_norm"], cfg.norm_eps)
    q, k = (rope(x, positions_BT, cfg.rope_theta, cfg.rope_scaling) for x in (q, k))
    if cache is None:
        k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
    else:
        cache = kv.write(cache, layer, KVCache(k, v), positions_BT)
        k, v = cache.k[layer], cache.v[layer]
    return jnp.einsum("btnh,nhd->btd", attend(q, k, v, mask_BTS), p["o"]), cache
