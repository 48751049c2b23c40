"""Decoding attention for GPUs in Triton, through Pallas: one new token a sequence over its cache.

The cache is read where it lies, all layers in one array: a slice of it as an operand would be a copy. Long caches are
cut along their length so that few sequences keep the whole chip busy ("flash decoding"); the parts are merged at
the end.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from r1jax.core.quantization import Int8

_MASKED = -1e30
MOST_HEADS = 16  # rows of the smallest matrix product on tensor cores: query heads of a group are padded to it


def _kernel(layer_ref, lengths_ref, q_ref, *refs, scale, block, part):
    # With an int8 cache the scales of keys and values, [L, B, K, S] each, follow them.
    k_ref, v_ref, *scale_refs, out_ref, top_ref, total_ref = refs
    row, head, begin = pl.program_id(0), pl.program_id(1), pl.program_id(2) * part
    layer, length = layer_ref[0], lengths_ref[row]
    q = q_ref[...]

    def step(i, carry):
        out, top, total = carry
        start = begin + i * block
        keys = start + jnp.arange(block)
        there = keys < length
        at = (layer, row, head, pl.ds(start, block), slice(None))
        k = plgpu.load(k_ref.at[at], mask=there[:, None], other=0.0)
        v = plgpu.load(v_ref.at[at], mask=there[:, None], other=0.0)
        scores = plgpu.dot(q, k.astype(q.dtype).T) * (scale * math.log2(math.e))
        k_scale, v_scale = [plgpu.load(ref.at[at[:-1]], mask=there, other=0.0)[None, :] for ref in scale_refs] or (
            1.0,
            1.0,
        )
        scores = jnp.where(there[None, :], scores * k_scale, _MASKED)
        new_top = jnp.maximum(top, scores.max(axis=1))
        fade = jnp.exp2(top - new_top)
        weights = jnp.exp2(scores - new_top[:, None])
        out = out * fade[:, None] + plgpu.dot((weights * v_scale).astype(q.dtype), v.astype(q.dtype))
        return out, new_top, total * fade + weights.sum(axis=1)

    steps = (jnp.clip(length - begin, 0, part) + block - 1) // block
    start = (jnp.zeros(q_ref.shape, jnp.float32), jnp.full(MOST_HEADS, _MASKED), jnp.zeros(MOST_HEADS, jnp.float32))
    out_ref[...], top_ref[...], total_ref[...] = jax.lax.fori_loop(0, steps, step, start)


def decode_attention(
    q_BNH: jax.Array,
    k_LBKSH: jax.Array | Int8,
    v_LBKSV: jax.Array | Int8,
    layer: jax.Array,
    lengths_B: jax.Array,
    scale: float,
    block: int = 64,
    programs: int = 1024,
    warps: int = 4,
    stages: int = 3,
    interpret: bool = False,
) -> jax.Array:
    """softmax(q k^T scale) v over the first `lengths` slots of one layer's cache, `[B, N, H]`.

    Args:
        k_LBKSH: keys of the whole cache; H a power of two from 16 on. As int8, with a scale for each slot of a head.
        v_LBKSV: its values, in the same type.
        layer: int32 scalar.
        lengths_B: `[B]` int32, at least 1.
        block: keys of a tile.
        programs: about how many to cut the work into.
        warps: of each program.
        stages: of each program's pipeline.

    Raises:
        ValueError: more than `MOST_HEADS` query heads to a key head.
    """
    B, N, H = q_BNH.shape
    K, S = k_LBKSH.shape[2:4]
    G = N // K
    parts = max(1, min(-(-programs // (B * K)), -(-S // block)))
    part = -(-S // (parts * block)) * block
    parts = -(-S // part)
    if G > MOST_HEADS:
        raise ValueError(f"{G} query heads a key head: at most {MOST_HEADS}")
    q = jnp.pad(q_BNH.reshape(B, K, G, H), ((0, 0), (0, 0), (0, MOST_HEADS - G), (0, 0)))
    cache = [k_LBKSH, v_LBKSV]
    if isinstance(k_LBKSH, Int8):
        cache = [k_LBKSH.values, v_LBKSV.values, k_LBKSH.scale[..., 0], v_LBKSV.scale[..., 0]]
    whole = [pl.BlockSpec(x.shape, lambda b, k, s, axes=x.ndim: (0,) * axes) for x in cache]
    out, top, total = pl.pallas_call(
        functools.partial(_kernel, scale=scale, block=block, part=part),
        grid=(B, K, parts),
        in_specs=[
            pl.BlockSpec((1,), lambda b, k, s: (0,)),
            pl.BlockSpec((B,), lambda b, k, s: (0,)),
            pl.BlockSpec((None, None, MOST_HEADS, H), lambda b, k, s: (b, k, 0, 0)),
            *whole,
        ],
        out_specs=[
            pl.BlockSpec((None, None, None, MOST_HEADS, H), lambda b, k, s: (b, k, s, 0, 0)),
            pl.BlockSpec((None, None, None, MOST_HEADS), lambda b, k, s: (b, k, s, 0)),
            pl.BlockSpec((None, None, None, MOST_HEADS), lambda b, k, s: (b, k, s, 0)),
        ],
        out_shape=[
            jax.ShapeDtypeStruct((B, K, parts, MOST_HEADS, H), jnp.float32),
            jax.ShapeDtypeStruct((B, K, parts, MOST_HEADS), jnp.float32),
            jax.ShapeDtypeStruct((B, K, parts, MOST_HEADS), jnp.float32),
        ],
        compiler_params=plgpu.CompilerParams(num_warps=warps, num_stages=stages),
        interpret=interpret,
        name="decode_attention",
    )(layer.reshape(1), lengths_B, q, *cache)
    share = jnp.exp2(top - top.max(axis=2, keepdims=True))
    out = (out * share[..., None]).sum(axis=2) / (total * share).sum(axis=2)[..., None]
    return out[:, :, :G].reshape(B, N, H).astype(q_BNH.dtype)
