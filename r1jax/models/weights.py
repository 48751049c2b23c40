"""Weights out of a checkpoint's tensors, straight into their shardings, and back: the host never holds the model."""

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from r1jax.core.params import Params, ParamSpec
from r1jax.models.weight_map import Index, Piece

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


def read(
    source: Source, pieces: Sequence[Piece], specs: Params, shardings: Params, dtype: str | None = None,
    progress: Progress | None = None,
) -> Params:  # fmt: skip
    """Reads every weight into its sharding, weight by weight and shard by shard.

    The host holds one shard of one weight at a time, and of that shard's tensors one.

    Args:
        pieces: where the weights' parts are; `weight_map.check` has found them all in `source`.
        shardings: of each weight in `specs`.
        dtype: what to read the weights as, but for those whose spec keeps float32; None: as the file has them. A
            weight whose layers differ in type takes one that holds them all.

    Raises:
        ValueError: a copy of a weight differs from it.
    """
    parts = defaultdict(list)
    for piece in pieces:
        if not piece.copy:
            parts[piece.path].append(piece)
        elif piece.name in source.tensors:
            _check_copy(source, piece, next(p for p in pieces if p.path == piece.path and not p.copy))
    types = {path: _dtype(source, members, _at(specs, path), dtype) for path, members in parts.items()}
    sizes = {path: int(np.prod(_at(specs, path).shape)) * np.dtype(types[path]).itemsize for path in parts}
    params, done = {}, 0
    for path, members in parts.items():
        node = params
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = _place(source, members, _at(specs, path), _at(shardings, path), types[path])
        done += sizes[path]
        if progress:
            progress(done, sum(sizes.values()))
    return params


def _at(tree: Params, path: Sequence[str]) -> Any:
    return functools.reduce(lambda node, key: node[key], path, tree)


def _dtype(source: Source, members: list[Piece], spec: ParamSpec, dtype: str | None) -> np.dtype:
    if dtype is None:
        return functools.reduce(jnp.promote_types, {source.tensors[piece.name].dtype for piece in members})
    return jnp.dtype("float32" if spec.keep_float32 else dtype)


def _place(source: Source, members: list[Piece], spec: ParamSpec, sharding: Any, dtype: np.dtype) -> jax.Array:
    replicas = defaultdict(list)
    for device, index in sharding.addressable_devices_indices_map(spec.shape).items():
        replicas[tuple(each.indices(size)[:2] for each, size in zip(index, spec.shape, strict=True))].append(device)
    arrays = []
    for bounds, devices in replicas.items():
        shard = _read_shard(source, members, tuple(slice(*each) for each in bounds), dtype)
        # Waited for, so that the next shard does not stand beside this one on the host.
        arrays += jax.block_until_ready([jax.device_put(shard, device) for device in devices])
    return jax.make_array_from_single_device_arrays(spec.shape, sharding, arrays)


def _read_shard(source: Source, members: list[Piece], index: Index, dtype: np.dtype) -> np.ndarray:
    shard = np.empty([each.stop - each.start for each in index], dtype)
    for piece in members:
        stack = index[: len(piece.index)]
        if all(each.start <= i < each.stop for i, each in zip(piece.index, stack, strict=True)):
            here = tuple(i - each.start for i, each in zip(piece.index, stack, strict=True))
            shard[here] = piece.from_file(functools.partial(source.read, piece.name), index[len(stack) :])
    return shard


def _check_copy(source: Source, copy: Piece, original: Piece) -> None:
    rows = max(1, 2**24 // original.shape[1])  # tables may be gigabytes
    for start in range(0, original.shape[0], rows):
        index = (slice(start, min(start + rows, original.shape[0])), slice(0, original.shape[1]))
        if not np.array_equal(source.read(copy.name, index), source.read(original.name, index)):
            raise ValueError(f"{source.where}: {copy.name} should repeat {original.name} and differs from it: "
                             f"r1jax keeps one table for both")  # fmt: skip


def fetch(params: Params, piece: Piece) -> np.ndarray:
    """One tensor of a checkpoint, on the host. Every shard of it must be addressable from this process."""
    weight, depth = _at(params, piece.path), len(piece.index)
    part = np.empty(piece.shape, weight.dtype)
    for shard in weight.addressable_shards:
        index = [slice(*each.indices(size)[:2]) for each, size in zip(shard.index, weight.shape, strict=True)]
        stack = index[:depth]
        if shard.replica_id == 0 and all(s.start <= i < s.stop for i, s in zip(piece.index, stack, strict=True)):
            here = tuple(i - s.start for i, s in zip(piece.index, stack, strict=True))
            part[tuple(index[depth:])] = shard.data[here]
    return piece.to_file(part)
