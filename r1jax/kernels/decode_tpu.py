"""Decoding for TPUs, through Pallas: each sequence's new token is written to its cache and attends to it.

The cache is read where it lies, all layers in one array: a slice of it as an operand would be a copy. The grid's steps
are the used blocks of all sequences, one after the other: their number is known only at run time, and a block past a
sequence's end is neither fetched nor has a step. Writing is a kernel too: XLA's scatter wants the cache in a layout of
its own, and the whole cache would be copied twice a layer and step.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

_MASKED = -1e30
_SUBLANES = 8  # rows of a register: query heads of a group are padded to a multiple of them
_LANES = 128
_BLOCK_BYTES = 2**20  # of keys; as much of values, and each twice: one is fetched while the other is used


def _kernel(layer_ref, place_ref, lengths_ref, q_ref, k_ref, *refs, scale, blocks, block):
    """One block of one sequence's keys, for some of its key heads. `v_ref` is missing where keys hold the values."""
    *v_ref, out_ref, sum_ref, top_ref, total_ref = refs
    place = place_ref[pl.program_id(1)]
    row, index = place // blocks, place % blocks
    length = lengths_ref[row]

    @pl.when(index == 0)
    def _():
        sum_ref[...] = jnp.zeros_like(sum_ref)
        top_ref[...] = jnp.full_like(top_ref, _MASKED)
        total_ref[...] = jnp.zeros_like(total_ref)

    def is_there(axis, shape):
        return index * block + jax.lax.broadcasted_iota(jnp.int32, shape, axis) < length

    for head in range(k_ref.shape[0]):
        q, k = q_ref[head], k_ref[head]
        v = v_ref[0][head] if v_ref else k[:, : out_ref.shape[-1]]
        scores = scale * jax.lax.dot_general(q, k, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
        scores = jnp.where(is_there(1, scores.shape), scores, _MASKED)
        top = jnp.maximum(top_ref[head], scores.max(axis=1, keepdims=True))  # the same in all lanes
        fade, weights = jnp.exp(top_ref[head] - top), jnp.exp(scores - top[:, :1])
        v = jnp.where(is_there(0, v.shape), v, 0)
        values = jnp.dot(weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
        sum_ref[head] = sum_ref[head] * fade[:, :1] + values
        total_ref[head] = total_ref[head] * fade + weights.sum(axis=1, keepdims=True)
        top_ref[head] = top

    @pl.when(index == (length - 1) // block)
    def _():
        out_ref[...] = (sum_ref[...] / total_ref[...][:, :, :1]).astype(out_ref.dtype)


def decode_attention(
    q_BNH: jax.Array,
    k_LBKSH: jax.Array,
    v_LBKSV: jax.Array | None,
    layer: jax.Array,
    lengths_B: jax.Array,
    scale: float,
    value_width: int,
    block: int | None = None,
    interpret: bool = False,
) -> jax.Array:
    """softmax(q k^T scale) v over the first `lengths` slots of one layer's cache, `[B, N, V]`.

    Args:
        q_BNH: queries; N a multiple of K.
        k_LBKSH: keys of the whole cache.
        v_LBKSV: its values; None: the first `value_width` numbers of a key are its value.
        layer: int32 scalar.
        lengths_B: `[B]` int32, at least 1.
        value_width: V.
        block: slots that are fetched together, a multiple of 128; None: by the size of a slot.
        interpret: run as plain JAX, on any machine.
    """
    B, N, H = q_BNH.shape
    K, S = k_LBKSH.shape[2:4]
    parts = 2 if K % 2 == 0 else 1  # for the two cores of a chip that has two
    heads, G = K // parts, N // K
    rows = -(-G // _SUBLANES) * _SUBLANES
    if block is None:
        slots = _BLOCK_BYTES // (heads * H * k_LBKSH.dtype.itemsize)
        block = min(max(slots // _LANES, 1) * _LANES, 1024, -(-S // _LANES) * _LANES)
    blocks = -(-S // block)
    # The sequence and the block of each step, as one number: on the chip's scalar memory there is little room.
    lengths_B = jnp.minimum(lengths_B, S)
    used = -(-lengths_B // block)
    ends, steps = jnp.cumsum(used), jnp.arange(B * blocks, dtype=jnp.int32)
    row = jnp.minimum(jnp.searchsorted(ends, steps, side="right"), B - 1)
    places = (row * blocks + steps - (ends - used)[row]).astype(jnp.int32)

    q = jnp.pad(q_BNH.reshape(B, K, G, H), ((0, 0), (0, 0), (0, rows - G), (0, 0)))
    of_row = pl.BlockSpec((None, heads, rows, H), lambda p, i, layer, places, _: (places[i] // blocks, p, 0, 0))
    out = pl.BlockSpec((None, heads, rows, value_width), lambda p, i, layer, places, _: (places[i] // blocks, p, 0, 0))

    def slots_of(width):
        return pl.BlockSpec(
            (None, None, heads, block, width),
            lambda p, i, layer, places, _: (layer[0], places[i] // blocks, p, places[i] % blocks, 0),
        )

    caches = [k_LBKSH] if v_LBKSV is None else [k_LBKSH, v_LBKSV]
    result = pl.pallas_call(
        functools.partial(_kernel, scale=scale, blocks=blocks, block=block),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=3,
            grid=(parts, ends[-1]),
            in_specs=[of_row, *(slots_of(cache.shape[-1]) for cache in caches)],
            out_specs=out,
            scratch_shapes=[
                pltpu.VMEM((heads, rows, value_width), jnp.float32),
                pltpu.VMEM((heads, rows, _LANES), jnp.float32),
                pltpu.VMEM((heads, rows, _LANES), jnp.float32),
            ],
        ),
        out_shape=jax.ShapeDtypeStruct((B, K, rows, value_width), q_BNH.dtype),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
        interpret=interpret,
        name="decode_attention",
    )(layer.reshape(1), places, lengths_B, q, *caches)
    return result[:, :, :G].reshape(B, N, value_width)


_WRITTEN = 16  # slots of a register of bfloat16, the least that is written


def _write_kernel(layer_ref, positions_ref, *refs, block_of):
    position, arrays = positions_ref[pl.program_id(0)], len(refs) // 3
    for new_ref, old_ref, out_ref in zip(refs[:arrays], refs[arrays : 2 * arrays], refs[2 * arrays :], strict=True):
        slots = block_of(position) * _WRITTEN + jax.lax.broadcasted_iota(jnp.int32, old_ref.shape, 1)
        out_ref[...] = jnp.where(slots == position, new_ref[...], old_ref[...])


def write_token(
    caches: Sequence[jax.Array],
    layer: jax.Array,
    new: Sequence[jax.Array],
    positions_B: jax.Array,
    interpret: bool = False,
) -> list[jax.Array]:
    """The caches with a new token in each row; one past the end is dropped. The caches' memory is reused.

    Args:
        caches: `[L, B, K, S, H]` each.
        layer: int32 scalar.
        new: `[B, K, H]` each.
        positions_B: `[B]` int32.
        interpret: run as plain JAX, on any machine.
    """

    def block_of(position):
        return jnp.minimum(position, caches[0].shape[3] - 1) // _WRITTEN

    of_row = [pl.BlockSpec((None, x.shape[1], 1, x.shape[2]), lambda b, *_: (b, 0, 0, 0)) for x in new]
    slots = [
        pl.BlockSpec(
            (None, None, cache.shape[2], _WRITTEN, cache.shape[4]),
            lambda b, layer, positions: (layer[0], b, 0, block_of(positions[b]), 0),
        )
        for cache in caches
    ]
    written = pl.pallas_call(
        functools.partial(_write_kernel, block_of=block_of),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2, grid=positions_B.shape, in_specs=[*of_row, *slots], out_specs=slots
        ),
        out_shape=[jax.ShapeDtypeStruct(cache.shape, cache.dtype) for cache in caches],
        input_output_aliases={2 + len(caches) + i: i for i in range(len(caches))},
        interpret=interpret,
        name="write_token",
    )(layer.reshape(1), positions_B, *(x[:, :, None] for x in new), *caches)
    return list(written)
