"""Reading of safetensors by shards: the bytes that are read are those of the shards, each once, in ranges."""

import os
import pathlib

import jax
import ml_dtypes
import numpy as np
import pytest
from handmade import DEEPSEEK, QWEN2, tensors, write_folder, write_safetensors

from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.models import hf, weights
from r1jax.models.safetensors import SafetensorsFolder


@pytest.fixture
def reads(monkeypatch) -> list[tuple[int, int]]:
    """(offset, bytes) of every read of a part of a file."""
    log, preadv = [], os.preadv

    def count(descriptor, buffers, offset):
        log.append((offset, sum(len(buffer) for buffer in buffers)))
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", count)
    return log


def write_one(folder: pathlib.Path, values: np.ndarray) -> SafetensorsFolder:
    write_safetensors(folder / "model.safetensors", {"x": values})
    return SafetensorsFolder(folder)


def test_a_64th_of_a_matrix_reads_a_64th_of_its_bytes(tmp_path, reads):
    values = np.arange(256 * 640, dtype=np.uint16).reshape(256, 640).view(ml_dtypes.bfloat16)
    source = write_one(tmp_path, values)
    rows = source.read("x", (slice(8, 12), slice(0, 640)))
    assert [size for _, size in reads] == [4 * 640 * 2]  # one range
    reads.clear()
    columns = source.read("x", (slice(0, 256), slice(30, 40)))
    assert [size for _, size in reads] == [10 * 2] * 256
    assert np.diff([offset for offset, _ in reads]).tolist() == [640 * 2] * 255
    reads.clear()
    corner = source.read("x", (slice(254, 256), slice(639, 640)))
    assert sum(size for _, size in reads) == 2 * 2
    for got, expected in (rows, values[8:12]), (columns, values[:, 30:40]), (corner, values[254:, 639:]):
        assert got.dtype == expected.dtype and got.tobytes() == np.ascontiguousarray(expected).tobytes()


def test_slices_of_one_and_three_axes_and_of_nothing(tmp_path, reads):
    for shape in (7,), (3, 4, 5):
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        source, rng = write_one(tmp_path, values), np.random.default_rng(0)
        for _ in range(40):
            index = tuple(slice(*sorted(rng.integers(0, size + 1, 2).tolist())) for size in shape)
            reads.clear()
            assert np.array_equal(source.read("x", index), values[index])
            assert sum(size for _, size in reads) == values[index].nbytes


def test_trap35_a_file_that_is_cut_short_after_it_was_opened_is_named(tmp_path):
    source = write_one(tmp_path, np.zeros((4, 4), np.float32))
    os.truncate(tmp_path / "model.safetensors", (tmp_path / "model.safetensors").stat().st_size - 1)
    with pytest.raises(ValueError, match=r"model\.safetensors was cut short"):
        source.read("x", (slice(0, 4), slice(0, 4)))


def written(folder: pathlib.Path, config) -> tuple[weights.Checkpoint, int]:
    """The checkpoint, and the bytes of its tensors but for those that repeat others, which are compared besides."""
    values = tensors(config)
    write_folder(folder, config, values)
    model = hf.open_folder(folder)
    return model, sum(values[piece.name].nbytes for piece in model.pieces if not piece.copy)


def test_eight_devices_of_one_process_read_every_byte_once(tmp_path, mesh8, reads):
    model, size = written(tmp_path, QWEN2)
    reads.clear()
    model.read(mesh8)
    assert sum(count for _, count in reads) == size


@pytest.mark.parametrize(
    ("config", "mesh"),
    [
        (QWEN2, MeshConfig(data=1, fsdp=8)),
        (QWEN2, MeshConfig(data=2, fsdp=2, tensor=2)),
        (DEEPSEEK, MeshConfig(data=1, fsdp=2, expert=2, tensor=2)),
    ],
)
def test_rows_that_processes_exchange_are_the_shards_that_one_reads(tmp_path, config, mesh, reads, monkeypatch):
    """As several processes read, in one: every matrix whose rows divide in whole rows, and every byte once."""
    model, size = written(tmp_path, config)
    mesh = make_mesh(mesh)
    direct = model.read(mesh, "float32")
    monkeypatch.setattr(weights, "_exchanges", lambda mesh: True)
    monkeypatch.setattr(weights, "_check_copy", lambda *copy: None)
    reads.clear()
    exchanged = model.read(mesh, "float32")
    assert sum(count for _, count in reads) == size
    assert len(reads) <= 8 * len(model.pieces)  # a range for each device, or fewer
    for a, b in zip(jax.tree.leaves(direct), jax.tree.leaves(exchanged), strict=True):
        assert a.sharding == b.sharding and a.dtype == b.dtype and np.array_equal(a, b)
