"""Flash attention for TPUs: JAX's splash attention on grouped heads, packed rows and values of any width.

Scores exist in tiles on the chip alone, and tiles that stand after their queries are left out; tiles of two segments
are computed and masked. Axes: B rows, T tokens, N query heads, K key heads, H head width, V width of a value.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

OUTPUT_NAME = "attention"  # by which rematerialisation keeps what the forward kernel returns
_LANES, _LARGEST_TILE = 128, 512  # tokens; tiles are made of registers of 128
# Queries and keys of a tile, forward and in the two backward kernels.
_FORWARD, _D_KEYS = ("block_q", "block_kv", "block_kv_compute"), ("block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute")
_TILES = (*_FORWARD, *_D_KEYS, "block_q_dq", "block_kv_dq")


def tile_size(tokens: int) -> int:
    """Tokens of a tile: the largest power of two that divides the row, which is padded to a multiple of 128."""
    tile = _LARGEST_TILE
    while -(-tokens // _LANES) * _LANES % tile:
        tile //= 2
    return tile


def flash_attention(
    q_BTNH: jax.Array,
    k_BTKH: jax.Array,
    v_BTKV: jax.Array,
    segments_BT: jax.Array | None,
    scale: float,
    interpret: bool = False,
) -> jax.Array:
    """softmax(q k^T scale) v over each query's segment up to itself, `[B, T, N, V]`.

    Args:
        q_BTNH: queries; N a multiple of K.
        k_BTKH: keys, of the queries' dtype.
        v_BTKV: values, of the same dtype.
        segments_BT: int32, not negative, equal ones side by side; None: a row is one segment.
        interpret: run as plain JAX, on any machine.
    """
    from jax.experimental.pallas.ops.tpu import splash_attention as splash  # a third of a second, which a CPU saves

    T, N = q_BTNH.shape[1:3]
    tile = tile_size(T)
    pad = -T % tile
    heads_first = ((0, 0), (0, 0), (0, pad), (0, 0))
    q, k, v = (jnp.pad(x.transpose(0, 2, 1, 3), heads_first) for x in (q_BTNH * scale, k_BTKH, v_BTKV))
    kernel = splash.make_splash_mha_single_device(
        splash.MultiHeadMask([splash.CausalMask((T + pad, T + pad))] * N),
        block_sizes=splash.BlockSizes(**dict.fromkeys(_TILES, tile)),
        residual_checkpoint_name=OUTPUT_NAME,
        interpret=interpret,
    )
    if segments_BT is None:  # what is added stands behind all tokens
        out = jax.vmap(kernel)(q, k, v)
    else:
        ids = jnp.pad(segments_BT, ((0, 0), (0, pad)), constant_values=-1)
        out = jax.vmap(kernel)(q, k, v, splash.SegmentIds(ids, ids))
    return out[:, :, :T].transpose(0, 2, 1, 3)


def flash_attention_of_pieces(
    early_BLNH: jax.Array,
    late_BLNH: jax.Array,
    k_BTKH: jax.Array,
    v_BTKV: jax.Array,
    segments: tuple[jax.Array, jax.Array, jax.Array] | None,
    axis: tuple[str, ...],
    scale: float,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """`flash_attention` of two pieces of a row's queries to the whole row's keys; inside a shard_map.

    Args:
        early_BLNH: over n devices and T = 2 n L tokens, device d has the queries of piece d ...
        late_BLNH: ... and of piece 2 n - 1 - d, see `r1jax.core.exchange.to_balanced`.
        k_BTKH: keys of the whole row.
        v_BTKV: values.
        segments: `[B, L]`, `[B, L]` and `[B, T]` int32 of both pieces and of the keys; None: a row is one segment.
        axis: the mesh axes that cut the row.
        scale: as of `flash_attention`.
        interpret: as there.

    Returns:
        `[B, L, N, V]` of each piece.
    """
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    ways, L, N, T = jax.lax.axis_size(axis), *early_BLNH.shape[1:3], k_BTKH.shape[1]
    tile = tile_size(L)
    padded, keys = L + -L % tile, T + -T % tile

    def fit(x: jax.Array, length: int, fill: int = 0) -> jax.Array:
        return jnp.pad(x, ((0, 0), (0, length - x.shape[1])) + ((0, 0),) * (x.ndim - 2), constant_values=fill)

    pieces = [piece for d in range(ways) for piece in (d, 2 * ways - 1 - d)]
    # Queries that are added see what their piece's first one sees, at least a key.
    stands = [piece * L + np.where(np.arange(padded) < L, np.arange(padded), 0) for piece in pieces]

    class Mask(splash.CausalMask):
        """Causal, where queries do not stand in the order of their positions."""

        def __init__(self):
            super().__init__((len(pieces) * padded, keys))
            self.q_sequence = np.concatenate(stands).astype(np.int32)

        def __eq__(self, other: object) -> bool:
            return self is other

        def __hash__(self) -> int:
            return id(self)

    kernel = splash.make_splash_mha(
        splash.MultiHeadMask([Mask()] * N),
        block_sizes=splash.BlockSizes(**dict.fromkeys(_TILES, tile)),
        head_shards=1,
        q_seq_shards=ways,
        residual_checkpoint_name=OUTPUT_NAME,
        interpret=interpret,
    )
    kernel = _of_device(kernel, axis)
    q = jnp.concatenate([fit(early_BLNH, padded), fit(late_BLNH, padded)], axis=1) * scale
    q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, fit(k_BTKH, keys), fit(v_BTKV, keys)))
    if segments is None:
        out = jax.vmap(kernel)(q, k, v)
    else:
        early, late, of_keys = segments
        of_queries = jnp.concatenate([fit(early, padded, -1), fit(late, padded, -1)], axis=1)
        out = jax.vmap(kernel)(q, k, v, splash.SegmentIds(of_queries, fit(of_keys, keys, -1)))
    early, late = jnp.split(out.transpose(0, 2, 1, 3), 2, axis=1)
    return early[:, :L], late[:, :L]


def _of_device(kernel: Any, axis: tuple[str, ...]) -> Any:
    """The kernel that splash attention makes for all devices of an axis, with this device's part of its tables."""
    ways, me = jax.lax.axis_size(axis), jax.lax.axis_index(axis)

    def part(x: jax.Array | None, dim: int) -> jax.Array | None:
        if x is None:
            return None
        return jax.lax.dynamic_slice_in_dim(x, me * (x.shape[dim] // ways), x.shape[dim] // ways, dim)

    def of_device(info: Any) -> Any:
        tables = {name: part(getattr(info, name), 1) for name in ("data_next", "mask_next", "block_mask")}
        return info._replace(**tables, q_sequence=part(info.q_sequence, 0))

    infos = kernel.fwd_mask_info, kernel.dq_mask_info, kernel.dkv_mask_info
    return type(kernel)(*map(of_device, infos), **kernel.kwargs)
