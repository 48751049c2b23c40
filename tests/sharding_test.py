"""A layout that cannot be meant is refused with the names in the message; nothing is silently left whole."""

import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from r1jax.core import exchange
from r1jax.core.config import RuleChanges
from r1jax.core.sharding import (
    DECODE_RULES,
    TRAIN_RULES,
    AxisRules,
    MeshConfig,
    batch_shards,
    check_length,
    constrain,
    make_mesh,
    place,
    replicated,
    use_rules,
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
    assert TRAIN_RULES.spec(("embed", "mlp")) == PartitionSpec(("fsdp", "context"), "tensor")
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
        ((-1, 1, 1, 1), (8, 1, 1, 1, 1)),
        ((2, -1, 1, 2), (2, 2, 1, 1, 2)),
        ((1, 8, 1, 1), (1, 8, 1, 1, 1)),
        ((1, 1, 2, -1), (1, 1, 2, 1, 4)),
        ((1, 1, 1, 2, -1), (1, 1, 1, 4, 2)),
    ],
)
def test_minus_one_takes_what_the_others_leave(sizes, expected):
    """Devices of `tensor`, then those of `context`, are nearest to each other."""
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


# --- changes to the tables


def test_a_config_changes_the_tables_by_logical_axis_while_it_is_in_force(mesh8):
    before = TRAIN_RULES.spec(("vocab", "embed")), DECODE_RULES.spec(("experts", "embed", "mlp"))
    cfg = MeshConfig(
        train_rules=RuleChanges(embed="fsdp+data"), decode_rules=RuleChanges(experts="expert+fsdp", mlp="none")
    )
    with use_rules(cfg):
        assert TRAIN_RULES.spec(("vocab", "embed")) == PartitionSpec("tensor", ("fsdp", "data"))
        assert DECODE_RULES.spec(("experts", "embed", "mlp")) == PartitionSpec(("expert", "fsdp"), None, None)
        assert DECODE_RULES.named("experts") == "expert x fsdp" and DECODE_RULES.ways("experts", mesh8) == 2
    assert (TRAIN_RULES.spec(("vocab", "embed")), DECODE_RULES.spec(("experts", "embed", "mlp"))) == before
    assert before == (PartitionSpec("tensor", ("fsdp", "context")), PartitionSpec("expert", None, "tensor"))


def test_a_program_is_made_anew_for_other_rules(mesh8):
    cut = jax.jit(lambda x: constrain(x, DECODE_RULES, "batch", "mlp"))
    with jax.set_mesh(mesh8):
        assert cut(jnp.ones((8, 4))).sharding.shard_shape((8, 4)) == (2, 2)
        with use_rules(MeshConfig(decode_rules=RuleChanges(batch="data", mlp="tensor+fsdp"))):
            assert cut(jnp.ones((8, 4))).sharding.shard_shape((8, 4)) == (4, 1)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"embed": "fdsp"}, "embed='fdsp': 'fdsp' is no mesh axis; nearest: fsdp"),
        ({"mlp": "tensor,fsdp"}, "'tensor,fsdp' is no mesh axis"),
        ({"mlp": "fsdp+fsdp"}, "names a mesh axis twice"),
    ],
)
def test_a_change_that_names_no_mesh_axis_is_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        RuleChanges(**changes)


@pytest.mark.parametrize(
    "table, changes, message",
    [
        ("train_rules", {"mlp": "tensor+fsdp"}, "train_rules: logical axes .* use a mesh axis twice"),
        ("decode_rules", {"kv_heads": "none"}, r"heads \(tensor\) and kv_heads \(\) must be cut alike"),
        ("decode_rules", {"experts": "expert+tensor", "mlp": "none"}, "'tensor' must be one of the mesh axes of batch"),
        ("decode_rules", {"batch": "data+fsdp+expert", "length": "context"}, "one token at a time"),
    ],
)
def test_changes_that_no_program_has_are_refused(table, changes, message):
    with pytest.raises(ValueError, match=message):
        use_rules(MeshConfig(expert=2, tensor=2, **{table: RuleChanges(**changes)}))


def test_context_cuts_tokens_in_training_and_rows_in_decoding():
    mesh = make_mesh(MeshConfig(data=2, context=4))
    assert (batch_shards(mesh), batch_shards(mesh, DECODE_RULES)) == (2, 8)
    check_length(16, mesh, "seq_len")
    with pytest.raises(ValueError, match=r"seq_len: rows of 12 tokens .* context = 4; make it a multiple of 8"):
        check_length(12, mesh, "seq_len")
    with (
        jax.set_mesh(mesh),
        pytest.raises(ValueError, match=r"array \(2, 6\): its 6 tokens .* config.mesh's context = 4"),
    ):
        jax.eval_shape(lambda: constrain(jnp.ones((2, 6)), TRAIN_RULES, "batch", "length"))


@pytest.mark.parametrize("ways", [2, 4])
def test_two_pieces_of_a_sequence_go_to_each_device_and_back(ways):
    """Of pieces 0 .. 2 n - 1, device d gets d and 2 n - 1 - d: by hand, over 2 devices 0 and 3, and 1 and 2."""
    mesh = make_mesh(MeshConfig(1, context=ways), jax.devices()[:ways])
    x = np.arange(4 * ways).reshape(1, -1)

    def there_and_back(x):
        early, late = exchange.to_balanced(x, ("context",))
        return early, late, exchange.from_balanced(early, late, ("context",))

    cut = PartitionSpec(None, "context")
    early, late, back = jax.jit(jax.shard_map(there_and_back, mesh=mesh, in_specs=cut, out_specs=(cut,) * 3))(x)
    np.testing.assert_array_equal(early[0], np.arange(2 * ways))
    np.testing.assert_array_equal(late[0].reshape(-1, 2), np.arange(2 * ways, 4 * ways).reshape(-1, 2)[::-1])
    np.testing.assert_array_equal(back, x)
