"""The key-value cache of a batch of sequences."""

import dataclasses

import jax
import jax.numpy as jnp

from r1jax.core.sharding import AxisRules, constrain
from r1jax.models.config import ModelConfig

CACHE_AXES = ("layers", "batch", "kv_heads", "length", "head_dim")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of all layers, `[L, B, K, S, H]` each. Slot s holds position s; who writes knows the lengths."""

    k: jax.Array
    v: jax.Array


def empty(cfg: ModelConfig, rows: int, length: int, rules: AxisRules) -> KVCache:
    """A cache of zeros for `rows` sequences of up to `length` tokens."""
    shape = (cfg.num_layers, rows, cfg.num_kv_heads, length, cfg.head_dim)
    zeros = constrain(jnp.zeros(shape, cfg.dtype), rules, *CACHE_AXES)
    return KVCache(zeros, zeros)


def write(cache: KVCache, layer: jax.Array, k_BTKH: jax.Array, v_BTKH: jax.Array, positions_BT: jax.Array) -> KVCache:
    """Writes one layer's new keys and values at their positions; positions past the end are dropped."""
    rows = jnp.arange(k_BTKH.shape[0])[:, None]

    def put(all_LBKSH, new_BTKH):
        return all_LBKSH.at[layer, rows, :, positions_BT].set(new_BTKH, mode="drop")

    return KVCache(put(cache.k, k_BTKH), put(cache.v, v_BTKH))


def resize(cache: KVCache, length: int) -> KVCache:
    """The same cache with room for `length` tokens; what lies past it is cut off."""

    def fit(x: jax.Array) -> jax.Array:
        x = x[:, :, :, :length]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, length - x.shape[3]), (0, 0)))

    return jax.tree.map(fit, cache)
