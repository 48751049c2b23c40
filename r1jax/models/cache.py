"""The key-value cache of a batch of sequences."""

import dataclasses

import jax
import jax.numpy as jnp

from r1jax.core.sharding import AxisRules, constrain
from r1jax.models.config import ModelConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of all layers, `[L, B, K, S, H]` each. Slot s holds position s; the caller knows the lengths.

    Under latent attention there is one key head, its width is kv_rank + rope_dim (the normed latent, then the rotated
    key), and `v` is None: values are made from the latent too.
    """

    k: jax.Array
    v: jax.Array | None

    @property
    def length(self) -> int:
        """The number of positions that it can hold."""
        return self.k.shape[3]


def axes(cfg: ModelConfig) -> KVCache:
    """The logical axes of each array of the cache."""
    names = ("layers", "batch", None if cfg.mla else "kv_heads", "length", "head_dim")
    return KVCache(names, None if cfg.mla else names)


def empty(cfg: ModelConfig, rows: int, length: int, rules: AxisRules) -> KVCache:
    """A cache of zeros for `rows` sequences of up to `length` tokens."""
    heads, width = (1, cfg.mla.kv_rank + cfg.mla.rope_dim) if cfg.mla else (cfg.num_kv_heads, cfg.head_dim)
    zeros = jnp.zeros((cfg.num_layers, rows, heads, length, width), cfg.dtype)
    zeros = constrain(zeros, rules, *axes(cfg).k)
    return KVCache(zeros, None if cfg.mla else zeros)


def write(cache: KVCache, layer: jax.Array, new: KVCache, positions_BT: jax.Array) -> KVCache:
    """Writes one layer's new keys and values, `[B, T, K, H]`, at their positions; those past the end are dropped."""
    rows = jnp.arange(positions_BT.shape[0])[:, None]

    def put(all_LBKSH, new_BTKH):
        return all_LBKSH.at[layer, rows, :, positions_BT].set(new_BTKH, mode="drop")

    return jax.tree.map(put, cache, new)


def resize(cache: KVCache, length: int) -> KVCache:
    """The same cache for `length` tokens; those past it are cut off."""

    def fit(x: jax.Array) -> jax.Array:
        x = x[:, :, :, :length]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, length - x.shape[3]), (0, 0)))

    return jax.tree.map(fit, cache)
