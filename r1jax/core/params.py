"""Declarations of weights: a tree of ParamSpec gives initial values, abstract shapes, shardings and decay masks."""

import dataclasses
import functools
import math
import zlib
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from r1jax.core.sharding import AxisRules

Params = Any  # a nested dict of jax.Array, with the structure of its spec tree


@dataclasses.dataclass(frozen=True)
class ParamSpec:
    """The declaration of one weight.

    Attributes:
        shape: its shape.
        axes: a logical axis name, or None, for each dimension; `AxisRules` maps them to mesh axes.
        init: "normal" draws from N(0, std^2); "ones" and "zeros" are exempt from weight decay.
        std: standard deviation for "normal".
        keep_float32: `cast` leaves it in float32, whatever the compute dtype.

    Raises:
        ValueError: shape and axes differ in length.
    """

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    init: Literal["normal", "ones", "zeros"] = "normal"
    std: float = 0.02
    keep_float32: bool = False

    def __post_init__(self):
        if len(self.shape) != len(self.axes):
            raise ValueError(f"shape {self.shape} and axes {self.axes} differ in length")


def _is_spec(x: Any) -> bool:
    return isinstance(x, ParamSpec)


def map_specs(fn, specs: Any, *rest: Any) -> Any:
    """`fn(spec, ...)` of every weight, with what the trees `rest` have in its place."""
    return jax.tree.map(fn, specs, *rest, is_leaf=_is_spec)


def shardings(specs: Any, rules: AxisRules, mesh: Mesh) -> Any:
    """A NamedSharding for every weight.

    Raises:
        ValueError: a dimension does not divide over its mesh axes; the message names the weight and the axes.
    """

    def sharding(path, spec: ParamSpec) -> NamedSharding:
        for size, axis, part in zip(spec.shape, spec.axes, rules.parts(spec.axes), strict=True):
            ways = math.prod(mesh.shape[name] for name in part)
            if size % ways:
                raise ValueError(
                    f"weight {'.'.join(str(key.key) for key in path)}: its {axis} ({size}) do not divide over "
                    f"config.mesh {' x '.join(part)} = {ways}; {math.gcd(size, ways)} would do"
                )
        return rules.sharding(mesh, spec.axes)

    return jax.tree_util.tree_map_with_path(sharding, specs, is_leaf=_is_spec)


def cast(params: Params, specs: Any, dtype: str) -> Params:
    """The weights in the compute dtype, except those with `keep_float32`."""
    return map_specs(lambda spec, w: w.astype(jnp.float32 if spec.keep_float32 else dtype), specs, params)


def cast_vectors(params: Params, specs: Any, dtype: str) -> Params:
    """Norms and biases as `cast` has them. Matrices stay as they are: `layers.product` casts each where it is used, and
    gives its gradient in float32.
    """
    return map_specs(lambda spec, w: w if spec.init == "normal" else cast(w, spec, dtype), specs, params)


def abstract(specs: Any, rules: AxisRules, mesh: Mesh, dtype: str = "float32") -> Any:
    """Shapes, dtype and shardings without values: for ahead-of-time compilation and as a restore target."""
    return map_specs(
        lambda spec, sharding: jax.ShapeDtypeStruct(spec.shape, dtype, sharding=sharding),
        specs,
        shardings(specs, rules, mesh),
    )


def count(specs: Any) -> int:
    """Number of parameters."""
    return sum(math.prod(s.shape) for s in jax.tree.leaves(specs, is_leaf=_is_spec))


def decay_mask(specs: Any) -> Any:
    """Booleans: True for weights that weight decay applies to, all but norms and biases."""
    return map_specs(lambda spec: spec.init == "normal", specs)


def init(specs: Any, rules: AxisRules, mesh: Mesh, seed: int, dtype: str = "float32") -> Params:
    """Draws initial weights straight into their shardings; the same values on any mesh.

    Each weight's random key is derived from its path, so that adding a weight does not change the others. Weights of
    the same shape and sharding share one compiled program.
    """

    def draw(path, spec: ParamSpec, sharding: NamedSharding) -> jax.Array:
        if spec.init == "normal":
            key = _key(np.uint32(seed), np.uint32(zlib.crc32(jax.tree_util.keystr(path).encode())))
            # As a NumPy array, which every process of a run may put on all devices.
            return _normal(spec.shape, spec.std, dtype, sharding)(np.asarray(key))
        value = np.full(spec.shape, 1 if spec.init == "ones" else 0, jnp.dtype(dtype))
        return jax.make_array_from_callback(spec.shape, sharding, lambda index: value[index])

    return jax.tree_util.tree_map_with_path(draw, specs, shardings(specs, rules, mesh), is_leaf=_is_spec)


@jax.jit
def _key(seed: jax.Array, number: jax.Array) -> jax.Array:
    """The random key of a weight, as uint32 numbers."""
    return jax.random.key_data(jax.random.fold_in(jax.random.key(seed), number))


@functools.cache
def _normal(shape: tuple[int, ...], std: float, dtype: str, sharding: NamedSharding) -> Any:
    """A compiled function from a key to draws from N(0, std^2)."""

    def draw(key: jax.Array) -> jax.Array:
        return (std * jax.random.normal(jax.random.wrap_key_data(key), shape, jnp.float32)).astype(dtype)

    return jax.jit(draw, out_shardings=sharding)
