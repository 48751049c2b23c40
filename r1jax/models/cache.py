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

    By layer, `k` and `v` are lists of L arrays: no layer is copied out of an array of all, and keys beside values are
    `[B, K, H, S]`, with which a CPU's product of one query is four times as fast.
    """

    k: jax.Array | list[jax.Array]
    v: jax.Array | list[jax.Array] | None

    @property
    def by_layer(self) -> bool:
        """Whether each layer has arrays of its own."""
        return isinstance(self.k, list)

    @property
    def length(self) -> int:
        """The number of positions that it can hold."""
        arrays = self.k if self.v is None else self.v
        return arrays[0].shape[2] if self.by_layer else arrays.shape[3]

    def layer(self, i: int | jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Keys and values of layer i, `[B, K, S, H]` each; `i` is an int where the cache is by layer."""
        if self.v is None:
            return self.k[i], None
        return self.k[i].swapaxes(2, 3) if self.by_layer else self.k[i], self.v[i]


def axes(cfg: ModelConfig, by_layer: bool = False) -> KVCache:
    """The logical axes of each array of the cache."""
    names = ("layers", "batch", None if cfg.mla else "kv_heads", "length", "head_dim")
    if not by_layer:
        return KVCache(names, None if cfg.mla else names)
    if cfg.mla:
        return KVCache([names[1:]] * cfg.num_layers, None)
    return KVCache([(*names[1:3], "head_dim", "length")] * cfg.num_layers, [names[1:]] * cfg.num_layers)


def empty(cfg: ModelConfig, rows: int, length: int, rules: AxisRules, by_layer: bool = False) -> KVCache:
    """A cache of zeros for `rows` sequences of up to `length` tokens."""
    heads, width = (1, cfg.mla.kv_rank + cfg.mla.rope_dim) if cfg.mla else (cfg.num_kv_heads, cfg.head_dim)
    sizes = {"layers": cfg.num_layers, "batch": rows, "kv_heads": heads, None: heads, "length": length}

    def zeros(names):
        return constrain(jnp.zeros([sizes.get(name, width) for name in names], cfg.dtype), rules, *names)

    return jax.tree.map(zeros, axes(cfg, by_layer), is_leaf=lambda x: isinstance(x, tuple))


def write(cache: KVCache, layer: int | jax.Array, new: KVCache, positions_BT: jax.Array) -> KVCache:
    """Writes one layer's new keys and values, `[B, T, K, H]`, at their positions; those past the end are dropped."""
    rows = jnp.arange(positions_BT.shape[0])[:, None]

    if not cache.by_layer:
        return jax.tree.map(lambda x, y: x.at[layer, rows, :, positions_BT].set(y, mode="drop"), cache, new)

    def put(layers: list[jax.Array], new_BTKH: jax.Array, axes: list[int]) -> list[jax.Array]:
        where = (rows, *(slice(None),) * (axes[layer] - 1), positions_BT)
        return [*layers[:layer], layers[layer].at[where].set(new_BTKH, mode="drop"), *layers[layer + 1 :]]

    axes = _slot_axis(cache)
    return KVCache(put(cache.k, new.k, axes.k), cache.v and put(cache.v, new.v, axes.v))


def _slot_axis(cache: KVCache) -> KVCache:
    """The axis of the slots in each array."""
    if not cache.by_layer:
        return jax.tree.map(lambda _: 3, cache)
    return KVCache([2 if cache.v is None else 3] * len(cache.k), cache.v and [2] * len(cache.v))


def resize(cache: KVCache, length: int) -> KVCache:
    """The same cache for `length` tokens; those past it are cut off."""

    def fit(x: jax.Array, axis: int) -> jax.Array:
        x = jax.lax.slice_in_dim(x, 0, min(length, x.shape[axis]), axis=axis)
        return jnp.pad(x, [(0, length - x.shape[axis] if i == axis else 0) for i in range(x.ndim)])

    return jax.tree.map(fit, cache, _slot_axis(cache))


def copy_rows(cache: KVCache, to: jax.Array, source: KVCache, rows: jax.Array) -> KVCache:
    """The cache with rows `[F]` of a shorter one in its rows `to`; those past the end are dropped."""

    def put(all_rows, new, axis):
        row_axis = 0 if cache.by_layer else 1
        where = [slice(None)] * all_rows.ndim
        where[row_axis], where[axis] = to, slice(0, new.shape[axis])
        return all_rows.at[tuple(where)].set(jnp.take(new, rows, axis=row_axis), mode="drop")

    return jax.tree.map(put, cache, source, _slot_axis(cache))


def take_rows(cache: KVCache, rows: jax.Array) -> KVCache:
    """The cache of some rows `[N]`."""
    return jax.tree.map(lambda x: jnp.take(x, rows, axis=0 if cache.by_layer else 1), cache)
