"""Weights from a checkpoint's tensors, straight into their shardings, and back: never whole on the host."""

import dataclasses
import functools
import math
import pathlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from r1jax.core import checksums, processes
from r1jax.core import params as core
from r1jax.core.params import Params, ParamSpec
from r1jax.core.sharding import TRAIN_RULES
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.models.weight_map import Index, Piece, copy_into

Progress = Callable[[int, int], None]  # bytes done, bytes in all


class Source(Protocol):
    """The tensors of a checkpoint.

    Attributes:
        where: its path, for errors.
        tensors: name -> shape and type; the type is that of what `read` gives.
    """

    where: str
    tensors: Mapping[str, jax.ShapeDtypeStruct]

    def read(self, name: str, index: Index) -> np.ndarray:
        """A slice of a tensor, read from the file when it is used."""
        ...


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is open but not read.

    Attributes:
        cfg: the model's shape.
        hf_config: its config.json, or what would be.
        source: its tensors.
        pieces: their places among our weights; `weight_map.check` has found them all.
    """

    cfg: ModelConfig
    hf_config: Mapping[str, Any]
    source: Source
    pieces: Sequence[Piece]

    def read(self, mesh: Mesh, dtype: str | None = None, progress: Progress | None = None) -> Params:
        """Reads every weight into its sharding for training. The host holds one shard of one weight at a time.

        Args:
            dtype: what to read the weights as, see `stored_dtype`. A weight whose layers differ in type counts as one
                of a type that holds them all.
            progress: called after each weight.

        Raises:
            ValueError: files are not as we wrote them; a copy of a weight differs from it; a tensor holds NaN or
                infinity, or would in `dtype`.
        """
        if (folder := pathlib.Path(self.source.where)).is_dir():
            checksums.verify(folder, lambda name: name.endswith(".safetensors"), shared=True)
        specs = param_specs(self.cfg)
        shardings = core.shardings(specs, TRAIN_RULES, mesh)
        parts = defaultdict(list)
        for piece in self.pieces:
            if not piece.copy:
                parts[piece.path].append(piece)
        for piece in self.pieces:
            if piece.copy and piece.name in self.source.tensors:
                _check_copy(self.source, piece, parts[piece.path][0])
        types = {
            path: stored_dtype(at(specs, path), dtype, _present_dtype(self.source, members))
            for path, members in parts.items()
        }
        sizes = {path: math.prod(at(specs, path).shape) * types[path].itemsize for path in parts}
        done = 0

        def weight(keys, spec: ParamSpec, sharding: NamedSharding) -> jax.Array:
            nonlocal done
            path = tuple(each.key for each in keys)
            array = _place(self.source, parts[path], spec.shape, sharding, types[path])
            if dtype == "float16":  # the only type of a smaller range than what is read
                check_finite(array, f"{self.source.where}: {'.'.join(path)}", dtype)
            done += sizes[path]
            if progress:
                progress(done, sum(sizes.values()))
            return array

        return jax.tree_util.tree_map_with_path(
            weight, specs, shardings, is_leaf=lambda node: isinstance(node, ParamSpec)
        )


def stored_dtype(spec: ParamSpec, dtype: str | None, present: np.dtype) -> np.dtype:
    """The type to store a weight in that is of type `present`: `dtype`, or `present` where that is None.

    Where the spec keeps float32, no digit is given up for `dtype`.
    """
    if dtype is None:
        return np.dtype(present)
    return jnp.promote_types(present, dtype) if spec.keep_float32 else jnp.dtype(dtype)


def at(tree: Params, path: Sequence[str]) -> Any:
    return functools.reduce(lambda node, key: node[key], path, tree)


def _place(
    source: Source, members: list[Piece], shape: tuple[int, ...], sharding: NamedSharding, dtype: np.dtype
) -> jax.Array:
    if _exchanges(sharding.mesh) and (rows := _RowShards.of(members[0], sharding)):
        return rows.convert(_from_shards(rows.shape(shape), rows.sharding, rows.reader(source, members))).astype(dtype)
    # Devices cast faster than NumPy does.
    return _from_shards(shape, sharding, functools.partial(_read_shard, source, members)).astype(dtype)


def _exchanges(mesh: Mesh) -> bool:
    """Whether the devices exchange what is read in rows; not simulated ones of one process, which would compile."""
    return processes.is_multiprocess() or mesh.devices.flat[0].platform != "cpu"


def _from_shards(shape: Sequence[int], sharding: NamedSharding, read_shard: Callable[[Index], np.ndarray]) -> jax.Array:
    """An array of the shards that `read_shard` gives, each read once for all of this process's devices that hold it."""
    replicas = defaultdict(list)
    for device, index in sharding.addressable_devices_indices_map(tuple(shape)).items():
        replicas[tuple(each.indices(size)[:2] for each, size in zip(index, shape, strict=True))].append(device)
    arrays = []
    for bounds, devices in replicas.items():
        shard = read_shard(tuple(slice(*each) for each in bounds))
        # Waited for, so that the next shard does not stand beside this one on the host.
        arrays += jax.block_until_ready([jax.device_put(shard, device) for device in devices])
    return jax.make_array_from_single_device_arrays(tuple(shape), sharding, arrays)


@dataclasses.dataclass(frozen=True)
class _RowShards:
    """A weight of matrices that is read by whole rows of the files, and exchanged between the devices.

    A matrix that is sharded along the files' columns, as most are over fsdp, has a few bytes of each row for a device:
    a request for every row, and most of the files' pages on every host. So whole rows are read for each device, in one
    range, 1/N of the matrix; an all-to-all over the mesh axes of the columns then gives it its columns of all rows.
    Where a mesh axis does not shard the weight its devices share the rows too, and gather them: all hosts together read
    every byte once.

    Attributes:
        piece: one of the weight's tensors; all of them lie alike.
        target: the weight's sharding.
        rows, columns, replicas: mesh axes that shard the files' rows and columns, and that shard nothing.
    """

    piece: Piece
    target: NamedSharding
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    replicas: tuple[str, ...]

    @classmethod
    def of(cls, piece: Piece, target: NamedSharding) -> "_RowShards | None":
        """None where the shards are ranges of rows already, or the rows do not divide over the devices."""
        depth, sizes = len(piece.index), target.mesh.shape
        parts = [_mesh_axes(target.spec, i, sizes) for i in range(depth + len(piece.shape))]
        stack, part = parts[:depth], parts[depth:]
        inner = [axis for axes in piece.axes for axis in axes[1:]] + ([len(part) - 1] if piece.pairs else [])
        if len(piece.axes) != 2 or any(part[axis] for axis in inner):
            return None
        rows, columns = (part[axes[0]] for axes in piece.axes)
        used = {*rows, *columns, *(name for each in stack for name in each)}
        replicas = tuple(name for name, size in sizes.items() if size > 1 and name not in used)
        for shared in (replicas, ()):
            ways = math.prod(sizes[name] for name in (*rows, *columns, *shared))
            if (columns or shared) and piece.file_shape[0] % ways == 0:
                return cls(piece, target, rows, columns, shared)
        return None

    @property
    def sharding(self) -> NamedSharding:
        """Of the array `[..., rows, columns]` that is read."""
        stack = [self.target.spec[i] if i < len(self.target.spec) else None for i in range(len(self.piece.index))]
        return NamedSharding(self.target.mesh, PartitionSpec(*stack, (*self.rows, *self.columns, *self.replicas), None))

    def shape(self, weight: Sequence[int]) -> tuple[int, ...]:
        """Of that array, by the weight's."""
        return (*weight[: len(self.piece.index)], *self.piece.file_shape)

    def reader(self, source: Source, members: list[Piece]) -> Callable[[Index], np.ndarray]:
        """The function that reads a part of that array from the files."""
        return functools.partial(
            _read_shard,
            source,
            [dataclasses.replace(each, shape=each.file_shape, axes=((0,), (1,)), pairs=0) for each in members],
        )

    def convert(self, array: jax.Array) -> jax.Array:
        """The weight of that array."""
        depth, piece = len(self.piece.index), self.piece
        shard = self.target.shard_shape((*array.shape[:depth], *piece.shape))
        order = [axis for axes in piece.axes for axis in axes]

        def local(block: jax.Array) -> jax.Array:
            if self.replicas:
                block = jax.lax.all_gather(block, self.replicas, axis=depth, tiled=True)
            if self.columns:
                block = jax.lax.all_to_all(block, self.columns, split_axis=depth + 1, concat_axis=depth, tiled=True)
            block = block.reshape(*shard[:depth], *(shard[depth + axis] for axis in order))
            block = block.transpose(*range(depth), *(depth + axis for axis in np.argsort(order)))
            return piece.in_our_order(block)

        specs = {"in_specs": self.sharding.spec, "out_specs": self.target.spec}
        exchanged = jax.shard_map(local, mesh=self.target.mesh, check_vma=False, **specs)
        return jax.jit(exchanged, out_shardings=self.target)(array)


def _mesh_axes(spec: PartitionSpec, dimension: int, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The mesh axes of more than one device that shard a dimension."""
    part = spec[dimension] if dimension < len(spec) else None
    names = part if isinstance(part, tuple) else () if part is None else (part,)
    return tuple(name for name in names if sizes[name] > 1)


def _read_shard(source: Source, members: list[Piece], index: Index) -> np.ndarray:
    shard = np.empty([each.stop - each.start for each in index], _present_dtype(source, members))
    for piece in members:
        stack = index[: len(piece.index)]
        if all(each.start <= i < each.stop for i, each in zip(piece.index, stack, strict=True)):
            here = tuple(i - each.start for i, each in zip(piece.index, stack, strict=True))
            copy_into(shard[here], piece.from_file(functools.partial(source.read, piece.name), index[len(stack) :]))
            if not _is_finite(shard[here]):
                raise ValueError(f"{source.where}: {piece.name} holds {_NOT_FINITE}")
    return shard


_NOT_FINITE = "NaN or infinity: the model is broken, download it again or take an earlier one"


def check_finite(weight: jax.Array, name: str, dtype: str | None) -> None:
    """Raises ValueError, which begins with `name`, where this process's part of a weight has NaN or infinity.

    Args:
        dtype: what the weight was read as.
    """
    for shard in weight.addressable_shards:
        if shard.replica_id == 0 and not _is_finite(np.asarray(shard.data)):
            beyond = "NaN, infinity or values beyond float16, which ends at 65,504: keep another type"
            raise ValueError(f"{name} holds {beyond if dtype == 'float16' else _NOT_FINITE}")


def _is_finite(values: np.ndarray) -> bool:
    values = np.ascontiguousarray(values).reshape(-1)
    bits = {jnp.dtype("bfloat16"): 0x7F80, jnp.dtype("float16"): 0x7C00}.get(values.dtype)  # of the exponent, all set
    for start in range(0, values.size, 2**20):  # in pieces that the cache holds, as masks are arrays of their own
        block = values[start : start + 2**20]
        if not (np.isfinite(block).all() if bits is None else ((block.view(np.uint16) & bits) != bits).all()):
            return False
    return True


def _present_dtype(source: Source, members: list[Piece]) -> np.dtype:
    return functools.reduce(jnp.promote_types, {source.tensors[piece.name].dtype for piece in members})


def _check_copy(source: Source, copy: Piece, original: Piece) -> None:
    rows = max(1, 2**24 // original.shape[1])  # tables may be gigabytes
    for start in range(rows * jax.process_index(), original.shape[0], rows * jax.process_count()):  # each a share
        index = (slice(start, min(start + rows, original.shape[0])), slice(0, original.shape[1]))
        repeated, table = source.read(copy.name, index), source.read(original.name, index)
        # By their bytes too: NaN is no equal of NaN, and is another error.
        if not (np.array_equal(repeated, table) or repeated.tobytes() == table.tobytes()):
            way_out = (
                ""
                if "layers" in copy.name
                else (
                    "; where the model has a head of its own, set tie_word_embeddings to false in its config.json, and "
                    "where it has not, take that tensor out of its files"
                )
            )
            raise ValueError(
                f"{source.where}: {copy.name} should repeat {original.name} and differs from it: "
                f"r1jax keeps one table for both{way_out}"
            )


def part_on_host(weight: jax.Array, piece: Piece) -> np.ndarray:
    """A weight's part as its checkpoint has it. Every shard with a bit of it must be addressable from this process."""
    depth = len(piece.index)
    part = np.empty(piece.shape, weight.dtype)
    for shard in weight.addressable_shards:
        index = [slice(*each.indices(size)[:2]) for each, size in zip(shard.index, weight.shape, strict=True)]
        stack = index[:depth]
        if shard.replica_id == 0 and all(s.start <= i < s.stop for i, s in zip(piece.index, stack, strict=True)):
            here = tuple(i - s.start for i, s in zip(piece.index, stack, strict=True))
            # A CPU's memory is the host's; of another device's only this part is copied, which compiles its slicing.
            data = np.asarray(shard.data) if shard.device.platform == "cpu" else shard.data
            part[tuple(index[depth:])] = data[here]
    return piece.to_file(part)
