"""The loss of reward models: numbers and gradients by hand, and the same gradient however its rows are dealt out."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES, MeshConfig, make_mesh
from r1jax.data.batching import PreferenceBatch, pad_inputs, take_rows, to_device
from r1jax.losses.preference import log_loss, margins, preference_loss
from r1jax.models.reward import HEAD, UNUSED, param_specs
from r1jax.training import state
from r1jax.training.state import OptimizerConfig, make_optimizer
from r1jax.training.step import accumulate, make_update

CLOSE = dict(rtol=2e-4, atol=2e-6)


# By hand.


def test_a_pairs_margin_is_the_difference_and_a_labels_is_its_score_turned_round_where_it_is_unsafe():
    np.testing.assert_array_equal(margins(jnp.array([[3.0, 1.0], [0.5, 2.5]]), None), [2.0, -2.0])
    np.testing.assert_array_equal(margins(jnp.array([[3.0], [3.0], [-1.0]]), jnp.array([1.0, 0.0, 0.0])), [3, -3, 1])


def test_the_loss_is_minus_log_sigmoid_of_the_margin():
    loss, metrics = log_loss(jnp.array([math.log(3), -math.log(3), 0.0]), jnp.array([0.5, 0.25, 0.25]))
    # sigmoid(log 3) = 3/4
    assert float(loss) == pytest.approx(0.5 * math.log(4 / 3) + 0.25 * math.log(4) + 0.25 * math.log(2), rel=1e-6)
    assert float(metrics["accuracy"]) == 0.5 + 0.125  # a margin of 0 is half right
    assert float(metrics["margin"]) == pytest.approx(0.25 * math.log(3), rel=1e-6)


def test_a_labels_loss_is_the_binary_cross_entropy_of_its_logit():
    scores, safe = np.array([[0.7], [-1.3], [2.0]], np.float32), np.array([1.0, 1.0, 0.0], np.float32)
    p = 1 / (1 + np.exp(-scores[:, 0]))
    expected = -(safe * np.log(p) + (1 - safe) * np.log(1 - p)) / 3
    assert float(log_loss(margins(scores, safe), np.full(3, 1 / 3))[0]) == pytest.approx(expected.sum(), rel=1e-6)


def test_the_gradient_pulls_a_pair_apart_by_how_wrong_it_is():
    def loss(scores):
        return log_loss(margins(scores, None), jnp.array([0.25, 0.75]))[0]

    # d/dx -log sigmoid(x) = -sigmoid(-x): at log 3 a quarter, at 0 a half.
    found = jax.grad(loss)(jnp.array([[math.log(3), 0.0], [1.0, 1.0]]))
    np.testing.assert_allclose(found, [[-0.0625, 0.0625], [-0.375, 0.375]], rtol=1e-6)


def test_a_large_margin_overflows_on_neither_side():
    value, slope = jax.value_and_grad(lambda m: log_loss(m, jnp.ones(2))[0])(jnp.array([1e4, -1e4]))
    assert float(value) == 1e4
    np.testing.assert_array_equal(slope, [0.0, -1.0])


def test_a_constant_added_to_all_scores_changes_nothing_for_pairs():
    scores = jnp.array([[1.0, 0.25], [-2.0, 0.5]])
    np.testing.assert_array_equal(margins(scores + 4.0, None), margins(scores, None))


# The batch.


def test_inputs_are_padded_to_buckets_and_rows_to_spare_weigh_nothing():
    batch = pad_inputs([[[5, 6, 7], [8]], [[9, 9], [1, 2, 3, 4, 5]]], None, 4, 4)
    assert batch.tokens.shape == (4, 2, 8) and batch.safe is None
    np.testing.assert_array_equal(batch.lengths, [[3, 1], [2, 5], [1, 1], [1, 1]])
    np.testing.assert_array_equal(batch.weights, [0.5, 0.5, 0, 0])
    np.testing.assert_array_equal(batch.tokens[1, 1], [1, 2, 3, 4, 5, 0, 0, 0])
    np.testing.assert_array_equal(pad_inputs([[[5]], [[6]]], [True, False], 3, 4).safe, [1, 0, 0])


# The gradient of a model.


@pytest.fixture(scope="module")
def specs(tiny):
    return param_specs(tiny)


@pytest.fixture(scope="module")
def params(specs, mesh1):
    return core.init(specs, TRAIN_RULES, mesh1, 0)


def make_batch(kind: str, rows: int = 16, count: int = 16, bucket: int = 16) -> PreferenceBatch:
    rng = np.random.default_rng(0)
    n = 2 if kind == "pairs" else 1
    inputs = [[rng.integers(4, 400, rng.integers(1, 30)).tolist() for _ in range(n)] for _ in range(count)]
    safe = None if kind == "pairs" else (rng.random(count) < 0.5).tolist()
    return pad_inputs(inputs, safe, rows, bucket)


@pytest.fixture(scope="module")
def gradient(tiny, params):
    def loss(params, batch):
        return preference_loss(params, tiny, batch)

    run = jax.jit(lambda batch, parts: accumulate(loss, params, batch, parts), static_argnums=1)
    return lambda batch, parts=1: jax.device_get(run(batch, parts))


def same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **CLOSE), a, b)


@pytest.mark.parametrize("kind", ["pairs", "labels"])
def test_trap10_parts_order_padding_and_rows_to_spare_do_not_change_the_gradient(kind, gradient):
    batch = make_batch(kind)
    whole = gradient(batch)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(whole[0])) > 1e-3
    same(whole, gradient(take_rows(batch, np.random.default_rng(1).permutation(16))))
    other = make_batch(kind, rows=20, bucket=48)
    other = dataclasses.replace(other, tokens=np.where(other.tokens == 0, 7, other.tokens))  # any ids may be padding
    same(whole, gradient(take_rows(other, np.random.default_rng(2).permutation(20)), 5))


@pytest.mark.parametrize(
    "kind, context",
    [
        ("pairs", 1),
        pytest.param("labels", 1, marks=pytest.mark.slow),
        pytest.param("pairs", 2, marks=pytest.mark.slow),
    ],
)
def test_trap10_eight_devices_update_as_one(kind, context, tiny, specs, mesh1):
    tx = make_optimizer(OptimizerConfig(learning_rate=1e-2), specs, 10, UNUSED)

    def updated(mesh, microbatches):
        with jax.set_mesh(mesh):
            update = make_update(lambda p, b: preference_loss(p, tiny, b), tx, specs, mesh, microbatches)
            start = state.create(core.init(specs, TRAIN_RULES, mesh, 0), specs, tx, mesh)
            after, metrics = update(start, to_device(make_batch(kind), mesh))
            return jax.device_get((after.opt_state, metrics))  # Adam's moments are the gradient, without its division

    mesh = make_mesh(MeshConfig(data=2, fsdp=2 // context, tensor=2, context=context))
    one, eight = updated(mesh1, 1), updated(mesh, 2)
    same(one, eight)
    assert float(one[1]["loss"]) > 0 and float(one[1]["skipped"]) == 0.0


def test_trap27_the_loss_reads_each_inputs_last_real_token_and_nothing_after_it(gradient):
    batch = make_batch("pairs")
    at = batch.lengths - 1

    def changed(offset):
        tokens = batch.tokens.copy()
        for row in range(16):
            for n in range(2):
                tokens[row, n, min(at[row, n] + offset, tokens.shape[2] - 1)] = 401
        return float(gradient(dataclasses.replace(batch, tokens=tokens))[1]["loss"])

    whole = float(gradient(batch)[1]["loss"])
    assert changed(1) == pytest.approx(whole, rel=1e-6)
    assert abs(changed(0) - whole) > 1e-3


def test_a_batch_whose_weights_are_all_zero_has_no_gradient(gradient):
    batch = make_batch("pairs")
    grads, metrics = gradient(dataclasses.replace(batch, weights=np.zeros(16, np.float32)))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads)) and float(metrics["loss"]) == 0.0


def test_weights_that_no_reward_depends_on_stay_as_they_are_though_others_are_decayed(tiny, mesh1):
    model = dataclasses.replace(tiny, tie_embeddings=False, mtp_depth=1)
    specs = param_specs(model)
    assert set(UNUSED) < specs.keys()
    tx = make_optimizer(OptimizerConfig(learning_rate=1e-2, weight_decay=0.5), specs, 10, UNUSED)
    with jax.set_mesh(mesh1):
        start = state.create(core.init(specs, TRAIN_RULES, mesh1, 0), specs, tx, mesh1)
        before = jax.device_get(start.params)
        update = make_update(lambda p, b: preference_loss(p, model, b), tx, specs, mesh1)
        after = jax.device_get(update(start, to_device(make_batch("pairs"), mesh1))[0].params)
    for name in UNUSED:
        jax.tree.map(np.testing.assert_array_equal, before[name], after[name])
    assert np.any(before[HEAD] != after[HEAD]) and np.any(before["embed"] != after["embed"])
