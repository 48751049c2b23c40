"""The device mesh, the rules that map logical axes to mesh axes, and placement of host arrays."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from r1jax.core.config import MeshConfig


def all_devices() -> list[jax.Device]:
    """The devices of every process.

    Raises:
        ValueError: the platform of JAX_PLATFORMS has no device, or is not installed.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # an AssertionError where the platform's plugin is not installed
        reason = str(error).partition("\n")[0] or "it is not installed"
        raise ValueError(
            f"JAX finds no device of JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')!r}: {reason}; "
            "JAX_PLATFORMS=cpu runs on the CPU"
        ) from error


def make_mesh(cfg: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Makes the mesh over `devices` (default: those of all processes).

    Axes are Auto: the compiler propagates shardings from the inputs and from `constrain`. (With Explicit axes JAX
    refuses an embedding look-up in an fsdp-sharded table.)

    Raises:
        ValueError: the product of the sizes is not the number of devices, or there is no device.
    """
    devices = all_devices() if devices is None else devices
    sizes = {field.name: getattr(cfg, field.name) for field in dataclasses.fields(cfg)}
    known = int(np.prod([size for size in sizes.values() if size != -1]))
    free = [name for name, size in sizes.items() if size == -1]
    if len(free) == 1 and len(devices) % known == 0:
        sizes[free[0]] = len(devices) // known
    elif free or known != len(devices):
        raise ValueError(f"config.mesh = {sizes} does not fit {len(devices)} devices; set one axis to -1 to fill it")
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes), devices=devices)


def platform() -> str:
    """What the code that is being traced will run on: "cpu", "gpu" or "tpu"; that of the mesh, where there is one."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    if device is None:
        name = jax.default_backend()
        return "gpu" if name in ("cuda", "rocm") else name
    kind = device.device_kind  # jax 0.10.0 has no platform beside it
    return "cpu" if kind == "cpu" else "tpu" if kind.startswith("TPU") else "gpu"


@dataclasses.dataclass(frozen=True)
class AxisRules:
    """Logical axis -> the mesh axes that shard it; () for none. A logical axis without a rule is an error."""

    rules: tuple[tuple[str, tuple[str, ...]], ...]

    def spec(self, axes: Sequence[str | None]) -> PartitionSpec:
        """The PartitionSpec of an array with these logical axes.

        Raises:
            ValueError: an unknown logical axis, or two dimensions on the same mesh axis.
        """
        return PartitionSpec(*(part or None for part in self.parts(axes)))

    def parts(self, axes: Sequence[str | None]) -> list[tuple[str, ...]]:
        """The mesh axes that shard each dimension; raises as `spec` does."""
        table = dict(self.rules)
        unknown = [name for name in axes if name is not None and name not in table]
        if unknown:
            raise ValueError(f"no sharding rule for logical axis {unknown[0]!r}; there are: {', '.join(table)}")
        parts = [() if name is None else table[name] for name in axes]
        used = [mesh_axis for part in parts for mesh_axis in part]
        if len(set(used)) != len(used):
            raise ValueError(f"logical axes {tuple(axes)} use a mesh axis twice: {parts}")
        return parts

    def sharding(self, mesh: Mesh, axes: Sequence[str | None]) -> NamedSharding:
        return NamedSharding(mesh, self.spec(axes))


# Rows are sharded over data, fsdp and expert alike. In training the weights are sharded over fsdp along `embed` (or
# `rank`, that of a latent); in decoding they are not, so that a token's step gathers nothing.
BATCH = ("data", "fsdp", "expert")
_COMMON = (
    ("batch", BATCH),
    ("layers", ()),
    ("length", ()),
    ("head_dim", ()),
    ("scale", ()),
    ("heads", ("tensor",)),
    ("kv_heads", ("tensor",)),
    ("mlp", ("tensor",)),
    ("vocab", ("tensor",)),
    ("experts", ("expert",)),
    ("act", ()),
)
TRAIN_RULES = AxisRules((*_COMMON, ("embed", ("fsdp",)), ("rank", ("fsdp",))))
DECODE_RULES = AxisRules((*_COMMON, ("embed", ()), ("rank", ())))


def batch_shards(mesh: Mesh) -> int:
    """The number of shards of a batch's rows."""
    return math.prod(mesh.shape[axis] for axis in BATCH)


def constrain(x: jax.Array, rules: AxisRules, *axes: str | None) -> jax.Array:
    """Constrains an activation's sharding inside jit; without a mesh (a unit test of one layer) it does nothing."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, rules.spec(axes))


def on_each_device(kernel: Callable[..., Any], in_axes: Sequence[Any], out_axes: Any) -> Callable[..., Any]:
    """A kernel, which no compiler can cut, over each device's own rows and heads.

    Args:
        in_axes: of each argument, "rows", "heads" or None for each dimension; a tree of such tuples for a tree.
        out_axes: of the result.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return kernel
    names = {"rows": BATCH, "heads": "tensor", None: None}

    def spec(axes: tuple[str | None, ...]) -> PartitionSpec:
        return PartitionSpec(*(names[axis] for axis in axes))

    in_specs, out_specs = jax.tree.map(spec, [list(in_axes), out_axes], is_leaf=lambda x: isinstance(x, tuple))
    return jax.shard_map(kernel, in_specs=tuple(in_specs), out_specs=out_specs, check_vma=False)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that is whole on every device, so that every process may read it."""
    return NamedSharding(mesh, PartitionSpec())


def place(tree: Any, sharding_of: Callable[[np.ndarray], NamedSharding]) -> Any:
    """Host arrays -> global arrays. Every process passes the same whole arrays and places its own devices' shards."""

    def put(x: np.ndarray) -> jax.Array:
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding_of(x), lambda index: x[index])

    return jax.tree.map(put, tree)


def in_host_memory(tree: Any) -> Any:
    """The arrays, each device's shard in the memory of its host, page-locked; no program reads them there."""
    return jax.tree.map(lambda x: jax.device_put(x, x.sharding.with_memory_kind("pinned_host")), tree)


def on_devices(tree: Any) -> Any:
    """The arrays, with those that `in_host_memory` gave copied to their devices."""

    def put(x: jax.Array) -> jax.Array:
        sharding = x.sharding
        if sharding.memory_kind != "pinned_host":
            return x
        return jax.device_put(x, NamedSharding(sharding.mesh, sharding.spec))

    return jax.tree.map(put, tree)
