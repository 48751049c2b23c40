"""Weights come from their declaration alone: the mesh, the other weights and the process do not change their values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1jax.core import params as core
from r1jax.core.params import ParamSpec
from r1jax.core.sharding import TRAIN_RULES
from r1jax.models.transformer import param_specs


def test_one_and_eight_devices_draw_the_same_values(tiny, tiny_params, mesh8):
    cut = core.init(param_specs(tiny), TRAIN_RULES, mesh8, seed=0)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), tiny_params, cut)
    q = cut["layers"]["q"]  # [L, D, N, H]: D over fsdp, N over tensor
    L, D, N, H = q.shape
    assert {shard.data.shape for shard in q.addressable_shards} == {(L, D // 2, N // 2, H)}


def test_adding_a_weight_leaves_the_others_as_they_were(mesh1):
    specs = {"b": ParamSpec((3, 5), ("embed", None)), "layers": {"q": ParamSpec((2, 4), ("layers", None))}}
    few = core.init(specs, TRAIN_RULES, mesh1, seed=0)
    specs = {"a": ParamSpec((3, 5), (None, None)), "b": specs["b"], "layers": {"k": specs["b"], **specs["layers"]}}
    more = core.init(specs, TRAIN_RULES, mesh1, seed=0)
    np.testing.assert_array_equal(few["b"], more["b"])
    np.testing.assert_array_equal(few["layers"]["q"], more["layers"]["q"])


def test_weights_of_one_shape_and_weights_of_two_seeds_differ(mesh1):
    specs = {"a": ParamSpec((64, 64), (None, None), std=0.5), "b": ParamSpec((64, 64), (None, None), std=0.5)}
    first, second = (core.init(specs, TRAIN_RULES, mesh1, seed) for seed in (0, 1))
    for x, y in ((first["a"], first["b"]), (first["a"], second["a"])):
        assert abs(np.corrcoef(np.ravel(x), np.ravel(y))[0, 1]) < 0.08  # 5 standard errors of 4,096 draws
    assert np.std(first["a"]) == pytest.approx(0.5, rel=0.06) and abs(np.mean(first["a"])) < 0.04


def test_decay_spares_norms_and_biases(tiny):
    specs = {**param_specs(tiny), "bias": ParamSpec((4,), (None,), "zeros")}
    mask = jax.tree.leaves_with_path(core.decay_mask(specs))
    spared = {jax.tree_util.keystr(path) for path, decays in mask if not decays}
    assert spared == {"['bias']", "['final_norm']", "['layers']['attn_norm']", "['layers']['mlp_norm']"}


def test_count_is_that_of_the_arrays(tiny, tiny_params):
    V, D, L, F, width, kv_width = tiny.vocab_size, 32, 2, 64, 4 * 8, 2 * 8
    by_hand = V * D + L * (2 * D + 2 * D * width + 2 * D * kv_width + 3 * D * F) + D
    assert core.count(param_specs(tiny)) == by_hand == sum(x.size for x in jax.tree.leaves(tiny_params))


def test_abstract_describes_what_init_makes(mesh8):
    specs = {"q": ParamSpec((8, 4, 2), ("embed", "heads", None)), "norm": ParamSpec((3,), (None,), "ones")}
    real = core.init(specs, TRAIN_RULES, mesh8, seed=0, dtype="bfloat16")

    def same(a, b):
        assert (a.shape, a.dtype) == (b.shape, b.dtype) and a.sharding.is_equivalent_to(b.sharding, a.ndim)

    jax.tree.map(same, core.abstract(specs, TRAIN_RULES, mesh8, "bfloat16"), real)


def test_a_spec_names_every_dimension():
    with pytest.raises(ValueError, match=r"shape \(2, 3\) and axes \('embed',\)"):
        ParamSpec((2, 3), ("embed",))


def test_a_weight_that_does_not_divide_over_the_mesh_is_named_with_what_would_do(mesh8):
    specs = {"layers": {"k": ParamSpec((2, 8, 3, 4), ("layers", "embed", "kv_heads", "head_dim"))}}
    message = r"weight layers\.k: its kv_heads \(3\) do not divide over config\.mesh tensor = 2; 1 would do"
    with pytest.raises(ValueError, match=message):
        core.shardings(specs, TRAIN_RULES, mesh8)


def test_cast_leaves_in_float32_what_its_spec_says():
    specs = {"router": ParamSpec((2,), (None,), keep_float32=True), "up": ParamSpec((2,), (None,))}
    weights = core.cast({"router": jnp.ones(2), "up": jnp.ones(2)}, specs, "bfloat16")
    assert (weights["router"].dtype, weights["up"].dtype) == (jnp.float32, jnp.bfloat16)
