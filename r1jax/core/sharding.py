"""The device mesh, the rules that map logical axes to mesh axes, and placement of host arrays."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

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
    sizes = cfg.sizes()
    known = int(np.prod([size for size in sizes.values() if size != -1]))
    free = [name for name, size in sizes.items() if size == -1]
    if len(free) == 1 and len(devices) % known == 0:
        sizes[free[0]] = len(devices) // known
    elif free or known != len(devices):
        raise ValueError(f"config.mesh = {sizes} does not fit {len(devices)} devices; set one axis to -1 to fill it")
    shape, types = tuple(sizes.values()), (AxisType.Auto,) * len(sizes)
    try:
        return jax.make_mesh(shape, tuple(sizes), axis_types=types, devices=devices)
    except NotImplementedError:  # an axis of a TPU slice would have to be cut
        cut = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
        return Mesh(cut, tuple(sizes), axis_types=types)


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
    """Logical axis -> the mesh axes that shard it; () for none. A logical axis without a rule is an error.

    Attributes:
        rules: of every logical axis.
        name: by which `use_rules` changes the table; "": it never does.
    """

    rules: tuple[tuple[str, tuple[str, ...]], ...]
    name: str = ""

    def table(self) -> dict[str, tuple[str, ...]]:
        """The rules with the changes that are in force."""
        return dict(self.rules) | dict(dict(_changes.value).get(self.name, ()))

    def spec(self, axes: Sequence[str | None]) -> PartitionSpec:
        """The PartitionSpec of an array with these logical axes.

        Raises:
            ValueError: an unknown logical axis, or two dimensions on the same mesh axis.
        """
        return PartitionSpec(*(part or None for part in self.parts(axes)))

    def parts(self, axes: Sequence[str | None]) -> list[tuple[str, ...]]:
        """The mesh axes that shard each dimension; raises as `spec` does."""
        table = self.table()
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

    def ways(self, axis: str, mesh: Mesh | AbstractMesh | None = None) -> int:
        """Into how many parts a logical axis is cut on a mesh; by default the one that is in force, 1 without one."""
        if mesh is None and (mesh := jax.sharding.get_abstract_mesh()).empty:
            return 1
        return math.prod(mesh.shape[name] for name in self.parts((axis,))[0])

    def named(self, axis: str) -> str:
        """The mesh axes that shard a logical axis, for error messages."""
        return " x ".join(self.parts((axis,))[0]) or "no axis"


# (name of a table, its changes) for both tables: a part of what JAX keeps programs by, as the mesh in force is.
_changes = jax.make_user_context(())

# Rows are sharded over data, fsdp and expert alike, and each row's tokens over context. In training the weights are
# sharded over fsdp and context along `embed` (over fsdp along `rank`, that of a latent, which is small); in decoding
# they are not, so that a token's step gathers nothing. There a row has one token at a time, and context shards rows.
_COMMON = (
    ("layers", ()),
    ("head_dim", ()),
    ("scale", ()),
    ("heads", ("tensor",)),
    ("kv_heads", ("tensor",)),
    ("mlp", ("tensor",)),
    ("vocab", ("tensor",)),
    ("experts", ("expert",)),
    ("act", ()),
)
_ROWS = ("data", "fsdp", "expert")
TRAIN_RULES = AxisRules(
    (("batch", _ROWS), ("length", ("context",)), *_COMMON, ("embed", ("fsdp", "context")), ("rank", ("fsdp",))),
    "train",
)
DECODE_RULES = AxisRules(
    (("batch", (*_ROWS, "context")), ("length", ()), *_COMMON, ("embed", ()), ("rank", ())), "decode"
)

# The logical axes of arrays that are cut along several dimensions.
_TOGETHER = (
    ("batch", "length"),
    *(("batch", axis) for axis in ("heads", "kv_heads", "vocab")),
    *((axis, "embed") for axis in ("heads", "kv_heads", "mlp", "vocab")),
    ("rank", "heads"),
    ("experts", "embed", "mlp"),
)


def use_rules(cfg: MeshConfig) -> Any:
    """A context in which `TRAIN_RULES` and `DECODE_RULES` have the config's changes; entered where its mesh is.

    Raises:
        ValueError: an array would be cut twice over the same mesh axis, or a layout that no program has.
    """
    of_tables = (("train", cfg.train_rules.changed()), ("decode", cfg.decode_rules.changed()))
    changes = tuple(of_table for of_table in of_tables if of_table[1])
    with _changes(changes):
        for rules in (TRAIN_RULES, DECODE_RULES):
            try:
                _check(rules, cfg)
            except ValueError as error:
                raise ValueError(f"config.mesh.{rules.name}_rules: {error}") from error
    return _changes(changes)


def _check(rules: AxisRules, cfg: MeshConfig) -> None:
    for axes in _TOGETHER:
        rules.parts(axes)
    batch, length, heads, key_heads, experts = (
        rules.table()[name] for name in ("batch", "length", "heads", "kv_heads", "experts")
    )
    if heads != key_heads:
        raise ValueError(f"heads ({'+'.join(heads)}) and kv_heads ({'+'.join(key_heads)}) must be cut alike")
    if strange := {axis for axis in experts if cfg.sizes()[axis] != 1} - {*batch, *length}:
        raise ValueError(
            f"experts are exchanged between devices that have different tokens: {strange.pop()!r} must be one of the "
            f"mesh axes of batch ({'+'.join(batch)}) or length ({'+'.join(length)})"
        )
    if rules.name == DECODE_RULES.name and length:
        raise ValueError("length: in decoding a row has one token at a time; it cannot be cut")


def batch_shards(mesh: Mesh, rules: AxisRules = TRAIN_RULES) -> int:
    """The number of shards of a batch's rows."""
    return rules.ways("batch", mesh)


def check_length(tokens: int, mesh: Mesh, key: str) -> None:
    """Raises ValueError where rows of so many tokens cannot be cut over the mesh in training.

    Args:
        key: the setting that they come from, for the message.
    """
    ways = TRAIN_RULES.ways("length", mesh)
    if ways > 1 and tokens % (2 * ways):  # attention takes two pieces on each device, see `exchange.to_balanced`
        raise ValueError(
            f"{key}: rows of {tokens} tokens do not divide into two pieces for each of config.mesh's "
            f"{TRAIN_RULES.named('length')} = {ways}; make it a multiple of {2 * ways}"
        )


def constrain(x: jax.Array, rules: AxisRules, *axes: str | None) -> jax.Array:
    """Constrains an activation's sharding inside jit; without a mesh (a unit test of one layer) it does nothing.

    Raises:
        ValueError: the tokens of a row do not divide over their mesh axes; of all else the compiler makes uneven parts.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return x
    for size, axis in zip(x.shape, axes, strict=True):
        if axis == "length" and size % rules.ways(axis):
            raise ValueError(
                f"an array {x.shape}: its {size} tokens do not divide over config.mesh's {rules.named(axis)} = "
                f"{rules.ways(axis)}"
            )
    return jax.lax.with_sharding_constraint(x, rules.spec(axes))


def on_each_device(
    kernel: Callable[..., Any], in_axes: Sequence[Any], out_axes: Any, rules: AxisRules
) -> Callable[..., Any]:
    """A kernel, which no compiler can cut, over each device's own part of its arguments.

    Args:
        in_axes: of each argument the logical axes; a tree of such tuples for a tree.
        out_axes: of the result.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return kernel
    specs = jax.tree.map(rules.spec, [list(in_axes), out_axes], is_leaf=lambda x: isinstance(x, tuple))
    return jax.shard_map(kernel, in_specs=tuple(specs[0]), out_specs=specs[1], check_vma=False)


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
