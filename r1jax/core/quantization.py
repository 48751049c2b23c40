"""Arrays kept as int8 numbers and a scale, and the weights that decoding keeps in a narrower type."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from r1jax.core import params as core
from r1jax.core.params import Params, ParamSpec
from r1jax.core.sharding import AxisRules


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Int8:
    """An array as int8 numbers times a scale.

    Attributes:
        values: `[...]` int8, from -127 to 127.
        scale: float32 of the same rank, of size 1 along the axes whose numbers share a scale.
    """

    values: jax.Array
    scale: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def astype(self, dtype: str) -> jax.Array:
        """The array itself, multiplied in float32."""
        return (self.values.astype(jnp.float32) * self.scale).astype(dtype)


def quantize(x: jax.Array, axes: tuple[int, ...]) -> Int8:
    """The nearest int8 array whose numbers along `axes` share a scale, their largest magnitude / 127."""
    x = x.astype(jnp.float32)
    scale = jnp.max(jnp.abs(x), axis=axes, keepdims=True) / 127.0
    values = jnp.round(x / jnp.where(scale > 0, scale, 1.0)).astype(jnp.int8)
    return Int8(values, scale)


def _is_narrowed(spec: ParamSpec) -> bool:
    """Whether decoding may keep a weight in a narrower type: a layer's matrix, but not a router."""
    return spec.init == "normal" and "layers" in spec.axes and not spec.keep_float32


def _summed_axes(spec: ParamSpec) -> tuple[int, ...]:
    """The axes of a layer's matrix that a product sums over: those before its outputs."""
    first = 1 + max(i for i, axis in enumerate(spec.axes) if axis in ("layers", "experts"))
    return (first, first + 1) if spec.axes[first] == "heads" else (first,)


def narrow(params: Params, specs: Params, dtype: str, weight_type: str) -> Params:
    """The weights for decoding: matrices of layers in `weight_type`, "bfloat16" or "int8" with a scale for each output
    (Dettmers et al., arXiv 2208.07339, section 2), all others in `dtype`; "": all in `dtype`.
    """

    def of(spec: ParamSpec, cast: jax.Array, weight: jax.Array) -> jax.Array | Int8:
        if not weight_type or not _is_narrowed(spec):
            return cast
        return quantize(weight, _summed_axes(spec)) if weight_type == "int8" else weight.astype(weight_type)

    return core.map_specs(of, specs, core.cast(params, specs, dtype), params)


def narrow_shardings(specs: Params, rules: AxisRules, mesh: Mesh, weight_type: str) -> Params:
    """The shardings of what `narrow` gives; raises ValueError as `core.params.shardings` does."""

    def of(spec: ParamSpec, sharding: NamedSharding) -> NamedSharding | Int8:
        if weight_type != "int8" or not _is_narrowed(spec):
            return sharding
        axes = [None if i in _summed_axes(spec) else axis for i, axis in enumerate(spec.axes)]
        return Int8(sharding, rules.sharding(mesh, axes))

    return core.map_specs(of, specs, core.shardings(specs, rules, mesh))


def widen(tree: Any, dtype: str) -> Any:
    """The tree with its int8 arrays in `dtype`; all else stays."""

    def is_int8(x: Any) -> bool:
        return isinstance(x, Int8)

    return jax.tree.map(lambda x: x.astype(dtype) if is_int8(x) else x, tree, is_leaf=is_int8)
