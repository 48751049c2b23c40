"""Shares of rows among processes: who holds what on which mesh, and arrays made of and read as shares."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from r1jax.core.sharding import TRAIN_RULES
from r1jax.core.shares import ALL_ROWS, Shares, gather, own_rows, place_rows, rows_sharding


def mesh_of(process_of: np.ndarray, axis_names: tuple[str, ...]) -> SimpleNamespace:
    """A stand-in for a mesh of devices of these processes."""
    devices = np.vectorize(lambda index: SimpleNamespace(process_index=int(index)), otypes=[object])(process_of)
    return SimpleNamespace(
        devices=devices, axis_names=axis_names, shape=dict(zip(axis_names, devices.shape, strict=True))
    )


def shares_of(monkeypatch, process_of, axis_names=("data", "fsdp", "expert", "tensor")) -> list[Shares]:
    """The shares of a mesh as each of its processes finds them."""
    process_of = np.array(process_of)
    count = int(process_of.max()) + 1
    monkeypatch.setattr(jax, "process_count", lambda: count)
    found = []
    for index in range(count):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        found.append(Shares.of_mesh(mesh_of(process_of, axis_names)))
    return found


def test_each_process_has_the_rows_of_its_own_devices(monkeypatch):
    devices = np.repeat([0, 1, 2, 3], 2).reshape(4, 2, 1, 1)  # data 4, fsdp 2: a process has two blocks of rows
    assert shares_of(monkeypatch, devices) == [Shares((0, 1, 2, 3), index, True) for index in range(4)]


def test_processes_that_hold_parts_of_the_same_weights_share_rows_and_the_first_leads(monkeypatch):
    devices = np.array([[0, 1], [2, 3]]).reshape(2, 1, 1, 2)  # data 2, tensor 2: a tensor axis over two processes
    expected = [Shares((0, 2), 0, True), Shares((0, 2), 0, False), Shares((0, 2), 1, True), Shares((0, 2), 1, False)]
    assert shares_of(monkeypatch, devices) == expected


@pytest.mark.parametrize(
    "rows",
    [[0, 1, 0, 1], [0, 0, 0, 1], [[0, 0], [0, 1], [1, 1], [1, 1]]],
    ids=["not consecutive", "not equally many", "two in one block and apart in others"],
)
def test_a_mesh_that_gives_no_equal_shares_makes_one(monkeypatch, rows):
    devices = np.array(rows).reshape(4, 1, 1, -1)
    assert shares_of(monkeypatch, devices) == [Shares((0,), 0, True), Shares((0,), 0, False)]


def test_what_is_dealt_in_order_goes_to_the_share_of_its_rows():
    four = Shares((0, 1, 2, 3), 2, True)
    assert [four.of(i, 8) for i in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert list(four.own(range(8))) == [4, 5]
    assert [Shares((0, 1)).of(i, 3) for i in range(3)] == [0, 0, 1]  # of three, one has two


def test_one_process_places_reads_and_gathers_all(mesh8):
    values = np.arange(32.0).reshape(16, 2)
    placed = place_rows(values, lambda x: TRAIN_RULES.sharding(mesh8, ("batch", None)), ALL_ROWS)
    np.testing.assert_array_equal(own_rows(placed, ALL_ROWS), values)
    assert gather({"a": 1}, ALL_ROWS) == [{"a": 1}]


def test_a_share_is_the_part_of_the_rows_on_its_devices(monkeypatch, mesh8):
    """As in the second of two processes: it passes and reads rows 8 to 15 of 16, which lie on devices 4 to 7."""
    mine, theirs = Shares((0, 1), 1, True), Shares((0, 1), 0, True)
    values = np.arange(32.0).reshape(16, 2)
    asked = []

    def make(shape, sharding, rows):
        for index in list(sharding.devices_indices_map(shape).values())[4:]:
            asked.append((index[0].start, rows(index)))
        return shape

    monkeypatch.setattr(jax, "make_array_from_callback", make)
    assert place_rows(values[8:], lambda x: rows_sharding(mesh8, TRAIN_RULES, mine), mine) == (16, 2)
    assert [start for start, _ in asked] == [8, 8, 12, 12]  # two devices hold the same rows
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in asked[::2]]), values[8:])
    monkeypatch.undo()
    whole = jax.device_put(values.T, rows_sharding(mesh8, TRAIN_RULES, mine, None))
    shards = [shard for shard in whole.addressable_shards if shard.index[1].start >= 8]
    half = SimpleNamespace(shape=whole.shape, dtype=whole.dtype, addressable_shards=shards)
    np.testing.assert_array_equal(own_rows(half, mine, axis=1), values.T[:, 8:])
    assert rows_sharding(mesh8, TRAIN_RULES, ALL_ROWS).is_fully_replicated and theirs.own(values)[0, 0] == 0
