"""Flash attention for TPUs: JAX's splash attention on grouped heads, packed rows and values of any width.

Scores exist in tiles on the chip alone, and tiles that stand after their queries are left out; tiles of two segments
are computed and masked. Axes: B rows, T tokens, N query heads, K key heads, H head width, V width of a value.
"""

import jax
import jax.numpy as jnp

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
