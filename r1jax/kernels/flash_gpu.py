"""Flash attention for GPUs in Triton, through Pallas: causal, segmented, grouped heads, with its gradient.

The algorithm is that of FlashAttention-2 (Dao, arXiv 2307.08691): scores exist in blocks on the chip alone. A query
sees the keys from its segment's first to itself, so a block of queries starts at its first row's first key, and packed
rows cost what their segments cost. Axes: B rows, T tokens, N query heads, K key heads, H head width.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

_MASKED = -1e30  # finite: a block whose scores are all masked leaves no NaN behind


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Tile sizes: queries and keys of a tile, warps and pipeline stages, forward and in the two backward kernels."""

    forward: tuple[int, int, int, int] = (128, 64, 8, 3)
    d_keys: tuple[int, int, int, int] = (64, 64, 4, 2)
    d_queries: tuple[int, int, int, int] = (64, 64, 4, 2)


def first_keys(segments_BT: jax.Array | None, shape: tuple[int, int]) -> jax.Array:
    """`[B, T]` int32: where each token's segment begins; segments lie one after the other in a row."""
    if segments_BT is None:
        return jnp.zeros(shape, jnp.int32)
    index = jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    starts = segments_BT != jnp.pad(segments_BT, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    return jax.lax.cummax(jnp.where(starts, index, 0), axis=1)


def last_queries(first_BT: jax.Array) -> jax.Array:
    """`[B, T]` int32: the last token of each token's segment, from the first ones."""
    T = first_BT.shape[1]
    index = jax.lax.broadcasted_iota(jnp.int32, first_BT.shape, 1)
    ends = first_BT != jnp.pad(first_BT, ((0, 0), (0, 1)), constant_values=-1)[:, 1:]
    return jax.lax.cummin(jnp.where(ends, index, T - 1), axis=1, reverse=True)


def _forward_kernel(q_ref, k_ref, v_ref, first_ref, out_ref, lse_ref, *, scale: float, block_k: int):
    block_q = q_ref.shape[0]
    begin = pl.program_id(2) * block_q
    rows = begin + jnp.arange(block_q)
    q, first = q_ref[...], first_ref[pl.ds(begin, block_q)]

    def step(i, carry, masked=True):
        out, top, total = carry
        at = pl.ds(i * block_k, block_k)
        scores = plgpu.dot(q, k_ref[at, :].T) * (scale * math.log2(math.e))
        if masked:
            keys = i * block_k + jnp.arange(block_k)
            seen = (keys[None, :] <= rows[:, None]) & (keys[None, :] >= first[:, None])
            scores = jnp.where(seen, scores, _MASKED)
        new_top = jnp.maximum(top, scores.max(axis=1))
        fade = jnp.exp2(top - new_top)
        weights = jnp.exp2(scores - new_top[:, None])
        out = out * fade[:, None] + plgpu.dot(weights.astype(v_ref.dtype), v_ref[at, :])
        return out, new_top, total * fade + weights.sum(axis=1)

    start = (jnp.zeros(q_ref.shape, jnp.float32), jnp.full(block_q, _MASKED), jnp.zeros(block_q, jnp.float32))
    lowest, highest = first.min(), first.max()
    # Blocks that every query of the tile sees whole need no mask.
    low, whole_from = lowest // block_k, (highest + block_k - 1) // block_k
    whole_to, high = begin // block_k, (begin + block_q + block_k - 1) // block_k
    whole_from = jnp.minimum(jnp.maximum(whole_from, low), high)
    whole_to = jnp.maximum(whole_to, whole_from)
    carry = jax.lax.fori_loop(low, whole_from, step, start)
    carry = jax.lax.fori_loop(whole_from, whole_to, functools.partial(step, masked=False), carry)
    out, top, total = jax.lax.fori_loop(whole_to, high, step, carry)
    out_ref[...] = (out / total[:, None]).astype(out_ref.dtype)
    lse_ref[...] = top + jnp.log2(total)


def _d_keys_kernel(
    q_ref, k_ref, v_ref, first_ref, last_ref, do_ref, lse_ref, delta_ref, dk_ref, dv_ref, *, scale, block_q
):
    """Gradients of a tile of keys and values, from all query heads of their group."""
    block_k, group = k_ref.shape[0], q_ref.shape[1]
    begin = pl.program_id(2) * block_k
    keys = begin + jnp.arange(block_k)
    k, v = k_ref[...], v_ref[...]
    end = last_ref[pl.ds(begin, block_k)].max() + 1
    scale2 = scale * math.log2(math.e)

    def of_head(head, carry):
        def step(i, carry):
            dk, dv = carry
            at = pl.ds(i * block_q, block_q)
            rows = i * block_q + jnp.arange(block_q)
            q, do, first = q_ref[at, head, :], do_ref[at, head, :], first_ref[at]
            weights = jnp.exp2(plgpu.dot(q, k.T) * scale2 - lse_ref[head, at][:, None])
            seen = (keys[None, :] <= rows[:, None]) & (keys[None, :] >= first[:, None])
            weights = jnp.where(seen, weights, 0.0)
            dv += plgpu.dot(weights.astype(do.dtype).T, do)
            d_scores = weights * (plgpu.dot(do, v.T) - delta_ref[head, at][:, None])
            return dk + plgpu.dot(d_scores.astype(q.dtype).T, q), dv

        return jax.lax.fori_loop(begin // block_q, (end + block_q - 1) // block_q, step, carry)

    zeros = jnp.zeros(k_ref.shape, jnp.float32)
    dk, dv = jax.lax.fori_loop(0, group, of_head, (zeros, zeros))
    dk_ref[...] = (dk * scale).astype(dk_ref.dtype)
    dv_ref[...] = dv.astype(dv_ref.dtype)


def _d_queries_kernel(q_ref, k_ref, v_ref, first_ref, do_ref, lse_ref, delta_ref, dq_ref, *, scale, block_k):
    block_q = q_ref.shape[0]
    begin = pl.program_id(2) * block_q
    rows = begin + jnp.arange(block_q)
    q, do, first = q_ref[...], do_ref[...], first_ref[pl.ds(begin, block_q)]
    lse, delta, scale2 = lse_ref[...], delta_ref[...], scale * math.log2(math.e)

    def step(i, dq):
        at = pl.ds(i * block_k, block_k)
        k = k_ref[at, :]
        keys = i * block_k + jnp.arange(block_k)
        weights = jnp.exp2(plgpu.dot(q, k.T) * scale2 - lse[:, None])
        seen = (keys[None, :] <= rows[:, None]) & (keys[None, :] >= first[:, None])
        weights = jnp.where(seen, weights, 0.0)
        d_scores = weights * (plgpu.dot(do, v_ref[at, :].T) - delta[:, None])
        return dq + plgpu.dot(d_scores.astype(k.dtype), k)

    high = (begin + block_q + block_k - 1) // block_k
    dq = jax.lax.fori_loop(first.min() // block_k, high, step, jnp.zeros(q_ref.shape, jnp.float32))
    dq_ref[...] = (dq * scale).astype(dq_ref.dtype)


def _call(kernel, name, grid, warps, stages, interpret, in_specs, out_specs, out_shape):
    return pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=in_specs,
        out_specs=out_specs,
        out_shape=out_shape,
        compiler_params=plgpu.CompilerParams(num_warps=warps, num_stages=stages),
        interpret=interpret,
        name=name,
    )


def _run_forward(q, k, v, first, scale, blocks, interpret):
    B, T, N, H = q.shape
    G = N // k.shape[2]
    block_q, block_k, warps, stages = blocks.forward
    tile = pl.BlockSpec((None, block_q, None, H), lambda b, n, i: (b, i, n, 0))
    whole = pl.BlockSpec((None, T, None, H), lambda b, n, i: (b, 0, n // G, 0))
    return _call(
        functools.partial(_forward_kernel, scale=scale, block_k=block_k),
        "flash_forward",
        (B, N, T // block_q),
        warps,
        stages,
        interpret,
        [tile, whole, whole, pl.BlockSpec((None, T), lambda b, n, i: (b, 0))],
        [tile, pl.BlockSpec((None, None, block_q), lambda b, n, i: (b, n, i))],
        [jax.ShapeDtypeStruct(q.shape, q.dtype), jax.ShapeDtypeStruct((B, N, T), jnp.float32)],
    )(q, k, v, first)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _flash(q, k, v, first, scale, blocks, interpret):
    return _run_forward(q, k, v, first, scale, blocks, interpret)[0]


def _flash_forward(q, k, v, first, scale, blocks, interpret):
    out, lse = _run_forward(q, k, v, first, scale, blocks, interpret)
    return out, (q, k, v, first, out, lse)


def _flash_backward(scale, blocks, interpret, residuals, do):
    q, k, v, first, out, lse = residuals
    B, T, N, H = q.shape
    K = k.shape[2]
    G = N // K
    delta = jnp.einsum("btnh,btnh->bnt", out, do, preferred_element_type=jnp.float32)
    block_q, block_k, warps, stages = blocks.d_keys
    row = pl.BlockSpec((None, T), lambda b, n, i: (b, 0))
    tile = pl.BlockSpec((None, block_k, None, H), lambda b, n, i: (b, i, n, 0))
    group = pl.BlockSpec((None, T, G, H), lambda b, n, i: (b, 0, n, 0))
    per_token = pl.BlockSpec((None, G, T), lambda b, n, i: (b, n, 0))
    dk, dv = _call(
        functools.partial(_d_keys_kernel, scale=scale, block_q=block_q),
        "flash_d_keys",
        (B, K, T // block_k),
        warps,
        stages,
        interpret,
        [group, tile, tile, row, row, group, per_token, per_token],
        [tile, tile],
        [jax.ShapeDtypeStruct(k.shape, k.dtype), jax.ShapeDtypeStruct(v.shape, v.dtype)],
    )(q, k, v, first, last_queries(first), do, lse, delta)
    block_q, block_k, warps, stages = blocks.d_queries
    tile = pl.BlockSpec((None, block_q, None, H), lambda b, n, i: (b, i, n, 0))
    whole = pl.BlockSpec((None, T, None, H), lambda b, n, i: (b, 0, n // G, 0))
    per_token = pl.BlockSpec((None, None, block_q), lambda b, n, i: (b, n, i))
    (dq,) = _call(
        functools.partial(_d_queries_kernel, scale=scale, block_k=block_k),
        "flash_d_queries",
        (B, N, T // block_q),
        warps,
        stages,
        interpret,
        [tile, whole, whole, row, tile, per_token, per_token],
        [tile],
        [jax.ShapeDtypeStruct(q.shape, q.dtype)],
    )(q, k, v, first, do, lse, delta)
    return dq, dk, dv, None


_flash.defvjp(_flash_forward, _flash_backward)


def flash_attention(
    q_BTNH: jax.Array,
    k_BTKH: jax.Array,
    v_BTKH: jax.Array,
    segments_BT: jax.Array | None,
    scale: float,
    blocks: Blocks = Blocks(),
    interpret: bool = False,
) -> jax.Array:
    """softmax(q k^T scale) v over each query's segment up to itself, `[B, T, N, H]`.

    Args:
        q_BTNH: queries; H a power of two from 16 on; N a multiple of K.
        k_BTKH: keys, of the queries' dtype.
        v_BTKH: values, of the same dtype.
        segments_BT: int32, equal ones side by side; None: a row is one segment.
        blocks: tile sizes, all of which divide a common multiple of at most 128 tokens.
        interpret: run as plain JAX, on any machine.
    """
    T = q_BTNH.shape[1]
    pad = -T % math.lcm(*blocks.forward[:2], *blocks.d_keys[:2], *blocks.d_queries[:2])
    first = first_keys(segments_BT, q_BTNH.shape[:2])
    if pad:  # what is added sees its own kind alone
        q_BTNH, k_BTKH, v_BTKH = (jnp.pad(x, ((0, 0), (0, pad), (0, 0), (0, 0))) for x in (q_BTNH, k_BTKH, v_BTKH))
        first = jnp.pad(first, ((0, 0), (0, pad)), constant_values=T)
    return _flash(q_BTNH, k_BTKH, v_BTKH, first, scale, blocks, interpret)[:, :T]
