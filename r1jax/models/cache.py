"""The key-value cache of a batch of sequences."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from r1jax.core.quantization import Int8, quantize
from r1jax.core.sharding import DECODE_RULES, AxisRules, constrain, on_each_device, platform
from r1jax.kernels import decode_tpu
from r1jax.models.config import ModelConfig

Array = jax.Array | Int8


@dataclasses.dataclass(frozen=True)
class Layout:
    """The form of a cache.

    Attributes:
        by_layer: each layer has arrays of its own, see `KVCache`.
        dtype: "bfloat16" or "int8"; "": the model's compute type.
        more_layers: how many it has besides the model's, for blocks of multi-token prediction.
    """

    by_layer: bool = False
    dtype: str = ""
    more_layers: int = 0


PLAIN = Layout()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of all layers, `[L, B, K, S, H]` each. Slot s holds position s; the caller knows the lengths.

    Under latent attention there is one key head, its width is kv_rank + rope_dim (the normed latent, then the rotated
    key; on TPUs zeros to a multiple of 128), and `v` is None: values are made from the latent too.

    By layer, `k` and `v` are lists of L arrays: no layer is copied out of an array of all, and keys beside values are
    `[B, K, H, S]`, with which a CPU's product of one query is four times as fast. As int8, each slot of each head has a
    scale.
    """

    k: Array | list[Array]
    v: Array | list[Array] | None

    @property
    def by_layer(self) -> bool:
        """Whether each layer has arrays of its own."""
        return isinstance(self.k, list)

    @property
    def length(self) -> int:
        """The number of positions that it can hold."""
        arrays = self.k if self.v is None else self.v
        return arrays[0].shape[2] if self.by_layer else arrays.shape[3]

    def layer(self, i: int | jax.Array, dtype: str) -> tuple[jax.Array, jax.Array | None]:
        """Keys and values of layer i, `[B, K, S, H]` each in `dtype`; `i` is an int where the cache is by layer."""

        def of_layer(arrays: Array | list[Array]) -> jax.Array:
            return (arrays[i] if self.by_layer else jax.tree.map(lambda x: x[i], arrays)).astype(dtype)

        if self.v is None:
            return of_layer(self.k), None
        k = of_layer(self.k)
        return k.swapaxes(2, 3) if self.by_layer else k, of_layer(self.v)


def axes(cfg: ModelConfig, layout: Layout = PLAIN) -> KVCache:
    """The logical axes of each array of the cache; "scale" has one entry."""
    names = ("layers", "batch", None if cfg.mla else "kv_heads", "length", "head_dim")

    def of_array(names: tuple[str | None, ...]) -> tuple[str | None, ...] | Int8:
        is_int8 = layout.dtype == "int8"
        return Int8(names, tuple("scale" if name == "head_dim" else name for name in names)) if is_int8 else names

    if not layout.by_layer:
        return KVCache(of_array(names), None if cfg.mla else of_array(names))
    layers = cfg.num_layers + layout.more_layers
    if cfg.mla:
        return KVCache([of_array(names[1:])] * layers, None)
    keys, values = of_array((*names[1:3], "head_dim", "length")), of_array(names[1:])
    return KVCache([keys] * layers, [values] * layers)


def shardings(cfg: ModelConfig, layout: Layout, rules: AxisRules, mesh: Mesh) -> KVCache:
    """The sharding of each array of the cache."""
    return jax.tree.map(functools.partial(rules.sharding, mesh), axes(cfg, layout), is_leaf=_is_names)


def empty(cfg: ModelConfig, rows: int, length: int, rules: AxisRules, layout: Layout = PLAIN) -> KVCache:
    """A cache of zeros for `rows` sequences of up to `length` tokens."""
    heads, width = (1, cfg.mla.kv_rank + cfg.mla.rope_dim) if cfg.mla else (cfg.num_kv_heads, cfg.head_dim)
    if cfg.mla and platform() == "tpu":  # or XLA lays the cache out as no kernel takes it, and copies it
        width += -width % 128
    sizes = {"layers": cfg.num_layers + layout.more_layers, "batch": rows, "kv_heads": heads, None: heads}
    sizes |= {"length": length, "scale": 1}

    def zeros(names: tuple[str | None, ...]) -> jax.Array:
        dtype = jnp.float32 if "scale" in names else layout.dtype or cfg.dtype
        return constrain(jnp.zeros([sizes.get(name, width) for name in names], dtype), rules, *names)

    return jax.tree.map(zeros, axes(cfg, layout), is_leaf=_is_names)


def _is_names(x: Any) -> bool:
    return isinstance(x, tuple)


def is_for_tpu_kernels(cache: KVCache) -> bool:
    """Whether a new token of each row is written and read by kernels for TPUs.

    They take heads that fill whole registers: XLA lays a narrower cache out otherwise, and would copy it for them.
    """
    if platform() != "tpu" or cache.by_layer or isinstance(cache.k, Int8):
        return False
    return all(x.dtype == jnp.bfloat16 and x.shape[-1] % 128 == 0 for x in jax.tree.leaves(cache))


def _write_token(
    cache: KVCache, layer: int | jax.Array, new: KVCache, positions_B: jax.Array, rules: AxisRules
) -> KVCache:
    """`write` of one token a row, `[B, K, H]`, by a kernel."""
    (*caches,), tree = jax.tree.flatten(cache)
    heads = None if cache.v is None else "kv_heads"
    slots, token = [[axes] * len(caches) for axes in ((None, "batch", heads, None, None), ("batch", heads, None))]
    kernel = on_each_device(decode_tpu.write_token, [slots, (), token, ("batch",)], slots, rules)
    return jax.tree.unflatten(tree, kernel(caches, jnp.int32(layer), jax.tree.leaves(new), positions_B))


def write(
    cache: KVCache,
    layer: int | jax.Array,
    new: KVCache,
    positions_BT: jax.Array,
    rules: AxisRules = DECODE_RULES,
) -> KVCache:
    """Writes one layer's new keys and values, `[B, T, K, H]`, at their positions; those past the end are dropped."""
    rows = jnp.arange(positions_BT.shape[0])[:, None]

    def like(old: Array, new_BTKH: jax.Array) -> Array:
        if not cache.by_layer:
            new_BTKH = jnp.pad(new_BTKH, ((0, 0),) * 3 + ((0, old.shape[-1] - new_BTKH.shape[-1]),))
        return quantize(new_BTKH, (3,)) if isinstance(old, Int8) else new_BTKH.astype(old.dtype)

    if not cache.by_layer:
        new = KVCache(like(cache.k, new.k), new.v if cache.v is None else like(cache.v, new.v))
        if positions_BT.shape[1] == 1 and is_for_tpu_kernels(cache):
            return _write_token(cache, layer, jax.tree.map(lambda x: x[:, 0], new), positions_BT[:, 0], rules)
        return jax.tree.map(lambda x, y: x.at[layer, rows, :, positions_BT].set(y, mode="drop"), cache, new)

    def put(layers: list[Array], new_BTKH: jax.Array, axes: list[int]) -> list[Array]:
        where = (rows, *(slice(None),) * (axes[layer] - 1), positions_BT)
        old = layers[layer]
        written = jax.tree.map(lambda x, y: x.at[where].set(y, mode="drop"), old, like(old, new_BTKH))
        return [*layers[:layer], written, *layers[layer + 1 :]]

    axes = _slot_axis(cache)
    return KVCache(put(cache.k, new.k, axes.k), cache.v and put(cache.v, new.v, axes.v))


def _slot_axis(cache: KVCache) -> KVCache:
    """The axis of the slots in each layer's arrays, or in those of all layers."""
    if not cache.by_layer:
        return KVCache(3, None if cache.v is None else 3)
    return KVCache([2 if cache.v is None else 3] * len(cache.k), cache.v and [2] * len(cache.v))


def _map(fn: Callable[..., jax.Array], cache: KVCache, *others: KVCache) -> KVCache:
    """`fn(array, its axis of the slots, arrays of other caches)` of each array."""
    axes = _slot_axis(cache)
    return jax.tree.map(
        lambda axis, *arrays: jax.tree.map(lambda x, *xs: fn(x, axis, *xs), *arrays), axes, cache, *others
    )


def resize(cache: KVCache, length: int) -> KVCache:
    """The same cache for `length` tokens; those past it are cut off."""

    def fit(x: jax.Array, axis: int) -> jax.Array:
        x = jax.lax.slice_in_dim(x, 0, min(length, x.shape[axis]), axis=axis)
        return jnp.pad(x, [(0, length - x.shape[axis] if i == axis else 0) for i in range(x.ndim)])

    return _map(fit, cache)


def copy_rows(cache: KVCache, to: jax.Array, source: KVCache, rows: jax.Array) -> KVCache:
    """The cache with rows `[F]` of a shorter one in its rows `to`; those past the end are dropped."""

    def put(all_rows, axis, new):
        row_axis = 0 if cache.by_layer else 1
        where = [slice(None)] * all_rows.ndim
        where[row_axis], where[axis] = to, slice(0, new.shape[axis])
        return all_rows.at[tuple(where)].set(jnp.take(new, rows, axis=row_axis), mode="drop")

    return _map(put, cache, source)


def take_rows(cache: KVCache, rows: jax.Array) -> KVCache:
    """The cache of some rows `[N]`."""
    return jax.tree.map(lambda x: jnp.take(x, rows, axis=0 if cache.by_layer else 1), cache)
