"""Files of tensors: eight bytes that give a header's length, the header in JSON, then the numbers, row by row.

Read and written here rather than by the package of the same name, which reads no slices of fp8 into NumPy and writes a
file only from tensors that are all in memory.
"""

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np

from r1jax.io import files
from r1jax.models.weight_map import Index
from r1jax.models.weights import Progress

# As the package of the same name: a longer header is no header.
_MAX_HEADER = 100_000_000
_MAX_READ = 2**30  # bytes of one call of the system, which takes less than 2^31
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FP8 = np.dtype(ml_dtypes.float8_e4m3fn)
DTYPES = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": FP8,
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_SCALE = "_scale_inv"
_SCALE_DTYPES = tuple(DTYPES[code] for code in ("F32", "BF16", "F16"))


class _Stored(NamedTuple):
    path: pathlib.Path
    offset: int  # bytes from the beginning of the file
    shape: tuple[int, ...]
    dtype: np.dtype


class SafetensorsFolder:
    """The tensors of a folder's `model.safetensors`, or of the shards that its index names; see `weights.Source`.

    fp8 tensors come out in bfloat16: with DeepSeek's scheme, `x.weight` stands beside the factors
    `x.weight_scale_inv` of its blocks (Qwen3's are bfloat16), and is their product in float32, rounded.
    """

    def __init__(self, folder: pathlib.Path, block: tuple[int, int] | None = None):
        """Reads the headers.

        Args:
            block: rows and columns of an fp8 block; None where the model's config says nothing of fp8.

        Raises:
            FileNotFoundError: no such file in the folder, or a shard of the index is missing.
            ValueError: a file that is broken or cut short, a type that is not supported, fp8 without its factors.
        """
        self.where, self._block = str(folder), block
        self._stored = _tensors(folder)
        self.tensors = {
            name: jax.ShapeDtypeStruct(stored.shape, ml_dtypes.bfloat16 if stored.dtype == FP8 else stored.dtype)
            for name, stored in self._stored.items()
            if not self._is_scale(name)
        }
        for name, stored in self._stored.items():
            if stored.dtype == FP8:
                self._check_scale(name, stored)

    def _is_scale(self, name: str) -> bool:
        of = self._stored.get(name.removesuffix(_SCALE))
        return name.endswith(_SCALE) and of is not None and of.dtype == FP8

    def _check_scale(self, name: str, stored: _Stored) -> None:
        if self._block is None:
            raise ValueError(
                f"{stored.path}: {name} is fp8, but config.json has no quantization_config with a weight_block_size"
            )
        scale = self._stored.get(name + _SCALE)
        expected = tuple(-(-size // block) for size, block in zip(stored.shape, self._block, strict=True))
        if scale is None or scale.shape != expected or scale.dtype not in _SCALE_DTYPES:
            scale_kind = None if scale is None else (scale.shape, str(scale.dtype))
            raise ValueError(
                f"{stored.path}: {name + _SCALE}, factors of fp8, is {scale_kind}, should be {expected} of "
                f"{', '.join(map(str, _SCALE_DTYPES))}"
            )

    def read(self, name: str, index: Index) -> np.ndarray:
        stored = self._stored[name]
        values = _read(stored, index)
        if stored.dtype != FP8:
            return values
        blocks = tuple(
            slice(each.start // size, -(-each.stop // size)) for each, size in zip(index, self._block, strict=True)
        )
        rows, columns = (
            np.arange(each.start, each.stop) // size - block.start
            for each, size, block in zip(index, self._block, blocks, strict=True)
        )
        factors = _read(self._stored[name + _SCALE], blocks)[rows[:, None], columns]
        return (values.astype(np.float32) * factors.astype(np.float32)).astype(ml_dtypes.bfloat16)


def _read(stored: _Stored, index: Index) -> np.ndarray:
    """A slice of a tensor. Of the file no byte outside of it is read: one range where it is cut along its first axis
    alone, else a range for each row.

    Not by a map of the file: a page that is touched brings its neighbours along, and a slice of the columns would read
    the whole tensor.

    Raises:
        ValueError: the file ends before.
    """
    values = np.empty([each.stop - each.start for each in index], stored.dtype)
    if not values.size:
        return values
    cut = [axis for axis, size in enumerate(stored.shape) if values.shape[axis] != size]
    outer = cut[-1] if cut else 0  # axes before this one are walked; from it on a range has no gap
    strides = [math.prod(stored.shape[axis + 1 :]) for axis in range(values.ndim)]
    within = index[outer].start * strides[outer] if values.ndim else 0
    rows = values.reshape(math.prod(values.shape[:outer]), -1).view(np.uint8)
    with open(stored.path, "rb", buffering=0) as file:
        with contextlib.suppress(AttributeError, OSError):  # only Linux has it, and not on every file system
            gaps = os.POSIX_FADV_RANDOM if len(rows) > 1 else os.POSIX_FADV_SEQUENTIAL
            os.posix_fadvise(file.fileno(), 0, 0, gaps)
        for row, place in zip(rows, np.ndindex(*values.shape[:outer]), strict=True):
            before = sum((index[axis].start + i) * strides[axis] for axis, i in enumerate(place))
            _read_into(file.fileno(), row, stored.offset + (before + within) * stored.dtype.itemsize, stored.path)
    return values


def _read_into(descriptor: int, row: np.ndarray, offset: int, path: pathlib.Path) -> None:
    """Fills bytes from a file's, from `offset` on."""
    view, done = memoryview(row), 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done : done + _MAX_READ]], offset + done)
        if not count:
            raise ValueError(f"{path} was cut short while it was read: download it again")
        done += count


def _tensors(folder: pathlib.Path) -> dict[str, _Stored]:
    """Where each tensor lies. One that stands in two shards is taken from the one that the index names."""
    if files.exists(folder / SINGLE):
        return _header(folder / SINGLE)
    index, tensors, elsewhere = _index(folder), {}, {}
    for file_name in sorted(set(index.values())):
        for name, stored in _header(folder / file_name).items():
            if name not in index and name in tensors:
                raise ValueError(
                    f"{folder}: {name} stands in {tensors[name].path.name} and in {file_name}, and {INDEX} "
                    f"does not say which counts"
                )
            if index.get(name, file_name) == file_name:
                tensors[name] = stored
            else:
                elsewhere[name] = file_name
    for name, file_name in elsewhere.items():
        if name not in tensors:
            raise ValueError(f"{folder / INDEX} says that {name} is in {index[name]}, and it is in {file_name}")
    return tensors


def _index(folder: pathlib.Path) -> dict[str, str]:
    """The file of each tensor, by the folder's index."""
    if files.exists(folder / INDEX):
        try:
            index = files.read_object(folder / INDEX)["weight_map"]
            names = sorted(set(index.values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{folder / INDEX} is no index of safetensors files ({error!r})") from error
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"{folder / INDEX} is no index of safetensors files: it names {names[0]!r}")
        missing = [name for name in names if not files.exists(folder / name, folder)]
        if missing:
            raise FileNotFoundError(
                f"{folder} lacks {len(missing)} of the {len(names)} files that its {INDEX} names: "
                f"{', '.join(missing[:5])}; download them again"
            )
        return index
    if any(folder.glob("pytorch_model*.bin")):
        raise FileNotFoundError(
            f"{folder} holds its weights as pytorch_model.bin, which may run code when opened; make safetensors of it: "
            f"transformers.AutoModelForCausalLM.from_pretrained(folder).save_pretrained(other_folder)"
        )
    raise FileNotFoundError(f"no weights in {folder}: expected {SINGLE} or {INDEX} with its shards")


def _header(path: pathlib.Path) -> dict[str, _Stored]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ValueError(f"{path} is no safetensors file, or was cut short: download it again")
        if length > _MAX_HEADER:
            raise ValueError(
                f"{path} is no safetensors file: its header would have {length:,} bytes, more than {_MAX_HEADER:,}"
            )
        entries = files.parse_object(file.read(length), f"{path} is no safetensors file: its header")
    tensors, end = {}, 0
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        code, shape, start, stop = _entry(path, name, entry)
        if code not in DTYPES:
            raise ValueError(
                f"{path}: {name} is of type {code}; supported are {', '.join(DTYPES)}, and no "
                f"quantisation but DeepSeek's fp8"
            )
        expected = math.prod(shape) * DTYPES[code].itemsize
        if stop - start != expected:
            raise ValueError(
                f"{path}: {name}, {code} of shape {list(shape)}, takes {expected} bytes, but its place is "
                f"{start} to {stop}"
            )
        tensors[name] = _Stored(path, 8 + length + start, shape, DTYPES[code])
        end = max(end, 8 + length + stop)
    if end > size:
        raise ValueError(f"{path} was cut short: it has {size} bytes of {end}; download it again")
    return tensors


def _entry(path: pathlib.Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """What a header says of a tensor: type, shape, and where it begins and ends."""
    try:
        code, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, start, stop]
        if not (isinstance(code, str) and isinstance(shape, list) and all(type(n) is int and n >= 0 for n in numbers)):
            raise ValueError(f"{json.dumps(entry)[:200]}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no safetensors file: its header describes no tensor as {name} ({error!r})"
        ) from error
    return code, tuple(shape), start, stop


def write(
    folder: pathlib.Path,
    tensors: Mapping[str, jax.ShapeDtypeStruct],
    fetch: Callable[[str], np.ndarray],
    max_bytes: int,
    progress: Progress | None = None,
) -> None:
    """Writes tensors in the order given: `model.safetensors` if they fit into one file, else shards and their index.

    Args:
        fetch: gives the named tensor, contiguous; asked for one at a time.
        max_bytes: a file's size, which only a tensor larger than that exceeds.
    """
    sizes = {name: int(np.prod(tensor.shape)) * tensor.dtype.itemsize for name, tensor in tensors.items()}
    shards, free_bytes = [], 0
    for name, size in sizes.items():
        if size > free_bytes or not shards:
            shards.append([])
            free_bytes = max_bytes
        shards[-1].append(name)
        free_bytes -= size
    file_names = (
        [SINGLE]
        if len(shards) == 1
        else [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    )
    total, done = sum(sizes.values()), 0
    for file_name, names in zip(file_names, shards, strict=True):
        # The widest types first, so that each number lies at a multiple of its size.
        names = sorted(names, key=lambda name: -tensors[name].dtype.itemsize)
        header, offset = {"__metadata__": {"format": "pt"}}, 0
        for name in names:
            header[name] = {
                "dtype": _CODES[tensors[name].dtype],
                "shape": list(tensors[name].shape),
                "data_offsets": [offset, offset + sizes[name]],
            }
            offset += sizes[name]
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with files.replacing(folder / file_name) as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                file.write(fetch(name).reshape(-1).view(np.uint8).data)
                done += sizes[name]
                if progress:
                    progress(done, total)
    if len(file_names) > 1:
        where = {name: file_name for file_name, names in zip(file_names, shards, strict=True) for name in names}
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": where}, indent=1)
        files.write_text(folder / INDEX, text + "\n")
