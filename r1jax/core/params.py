"""One declaration of every weight: a tree of ParamSpec gives initial values, abstract shapes, shardings, masks."""

import dataclasses
import math
import zlib
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from r1jax.core.sharding import AxisRules

Params = Any  # a nested dict of jax.Array, of the shape of its spec tree


@dataclasses.dataclass(frozen=True)
class ParamSpec:
    """A weight before it exists.

    Attributes:
        shape: its shape.
        axes: a logical axis name, or None, for each dimension; `AxisRules` maps them to mesh axes.
        init: "normal" draws N(0, std^2); "ones" and "zeros" are exempt from weight decay.
        std: standard deviation for "normal".
    """

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    init: Literal["normal", "ones", "zeros"] = "normal"
    std: float = 0.02

    def __post_init__(self):
        if len(self.shape) != len(self.axes):
            raise ValueError(f"shape {self.shape} and axes {self.axes} differ in length")


def _is_spec(x: Any) -> bool:
    return isinstance(x, ParamSpec)


def _map(fn, specs: Any) -> Any:
    return jax.tree.map(fn, specs, is_leaf=_is_spec)


def shardings(specs: Any, rules: AxisRules, mesh: Mesh) -> Any:
    """A NamedSharding for every weight."""
    return _map(lambda spec: rules.sharding(mesh, spec.axes), specs)


def abstract(specs: Any, rules: AxisRules, mesh: Mesh, dtype: str = "float32") -> Any:
    """Shapes, dtype and shardings without values: for ahead-of-time compilation and as a restore target."""
    return _map(lambda s: jax.ShapeDtypeStruct(s.shape, dtype, sharding=rules.sharding(mesh, s.axes)), specs)


def count(specs: Any) -> int:
    """Number of parameters."""
    return sum(math.prod(s.shape) for s in jax.tree.leaves(specs, is_leaf=_is_spec))


def decay_mask(specs: Any) -> Any:
    """True for the weights that weight decay applies to: all but norms and biases."""
    return _map(lambda spec: spec.init == "normal", specs)


def init(specs: Any, rules: AxisRules, mesh: Mesh, seed: int, dtype: str = "float32") -> Params:
    """Draws initial weights straight into their shardings; the same values on any mesh.

    Each weight's key is derived from its path, so that adding a weight leaves the others as they were.
    """

    def draw(path, spec: ParamSpec) -> jax.Array:
        if spec.init == "normal":
            key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(jax.tree_util.keystr(path).encode()))
            return (spec.std * jax.random.normal(key, spec.shape, jnp.float32)).astype(dtype)
        return jnp.full(spec.shape, 1 if spec.init == "ones" else 0, dtype)

    def draw_all():
        return jax.tree_util.tree_map_with_path(draw, specs, is_leaf=_is_spec)

    return jax.jit(draw_all, out_shardings=shardings(specs, rules, mesh))()
