"""A layout that cannot be meant is refused with the names in the message; nothing is silently left whole."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from r1jax.core.sharding import (
    DECODE_RULES,
    TRAIN_RULES,
    AxisRules,
    MeshConfig,
    constrain,
    make_mesh,
    place,
    replicated,
)


def test_two_dimensions_on_one_mesh_axis_raise():
    rules = AxisRules((("a", ("tensor",)), ("b", ("fsdp", "tensor")), ("c", ())))
    assert rules.spec(("a", "c", None)) == PartitionSpec("tensor", None, None)
    with pytest.raises(ValueError, match=r"\('a', 'b'\) use a mesh axis twice"):
        rules.spec(("a", "b"))


def test_an_axis_without_a_rule_raises_and_names_those_there_are():
    with pytest.raises(ValueError, match=r"no sharding rule for logical axis 'heds'.*heads"):
        TRAIN_RULES.spec(("embed", "heds"))


def test_weights_are_whole_over_fsdp_when_decoding():
    assert TRAIN_RULES.spec(("embed", "mlp")) == PartitionSpec("fsdp", "tensor")
    assert DECODE_RULES.spec(("embed", "mlp")) == PartitionSpec(None, "tensor")


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend 'tpu': no"), AssertionError()])
def test_trap52_a_platform_that_is_not_there_is_one_error_that_names_it(monkeypatch, error):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    with pytest.raises(ValueError, match=r"no device of JAX_PLATFORMS='cpu': .*JAX_PLATFORMS=cpu runs on the CPU"):
        make_mesh(MeshConfig())


def test_trap52_a_stage_on_a_platform_that_is_not_there_ends_in_one_line(tmp_path):
    command = [sys.executable, "-m", "r1jax", "train", "--config=configs/zero.py:mini", f"--workdir={tmp_path / 'run'}"]
    root = pathlib.Path(__file__).resolve().parent.parent
    env = os.environ | {"JAX_PLATFORMS": "nosuch"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "JAX finds no device of JAX_PLATFORMS='nosuch'" in done.stderr


@pytest.mark.parametrize(
    "sizes, expected",
    [
        ((-1, 1, 1, 1), (8, 1, 1, 1)),
        ((2, -1, 1, 2), (2, 2, 1, 2)),
        ((1, 8, 1, 1), (1, 8, 1, 1)),
        ((1, 1, 2, -1), (1, 1, 2, 4)),
    ],
)
def test_minus_one_takes_what_the_others_leave(sizes, expected):
    assert tuple(make_mesh(MeshConfig(*sizes)).shape.values()) == expected


@pytest.mark.parametrize("sizes", [(3, 1, 1, 1), (3, -1, 1, 1), (-1, -1, 1, 1), (2, 1, 2, 1), (16, 1, 1, 1)])
def test_sizes_that_do_not_fit_raise_and_say_how_to_mend_it(sizes):
    message = rf"config.mesh = .*'data': {sizes[0]}.* does not fit 8 devices; set one axis to -1"
    with pytest.raises(ValueError, match=message):
        make_mesh(MeshConfig(*sizes))


def test_constrain_outside_a_mesh_does_nothing_and_inside_it_cuts(mesh8):
    x = jnp.ones((8, 4))
    assert constrain(x, TRAIN_RULES, "batch", "act") is x
    with jax.set_mesh(mesh8):
        y = jax.jit(lambda x: constrain(x, TRAIN_RULES, "batch", "act"))(x)
    assert {shard.data.shape for shard in y.addressable_shards} == {(2, 4)}


def test_place_keeps_every_value_on_its_row(mesh8):
    tree = {"x": np.arange(24).reshape(8, 3), "y": np.arange(8.0)}
    cut = place(tree, lambda x: TRAIN_RULES.sharding(mesh8, ("batch",) + (None,) * (x.ndim - 1)))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, np.asarray(b)), tree, cut)
    assert not cut["x"].sharding.is_equivalent_to(replicated(mesh8), 2)
