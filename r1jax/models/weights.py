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
from jax.sharding import Mesh, NamedSharding

from r1jax.core import checksums
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
    replicas = defaultdict(list)
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        replicas[tuple(each.indices(size)[:2] for each, size in zip(index, shape, strict=True))].append(device)
    arrays = []
    for bounds, devices in replicas.items():
        shard = _read_shard(source, members, tuple(slice(*each) for each in bounds))
        # Waited for, so that the next shard does not stand beside this one on the host.
        arrays += jax.block_until_ready([jax.device_put(shard, device) for device in devices])
    # Devices cast faster than NumPy does.
    return jax.make_array_from_single_device_arrays(shape, sharding, arrays).astype(dtype)


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
    for start in range(0, original.shape[0], rows):
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
