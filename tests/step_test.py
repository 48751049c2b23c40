"""One update: what it changes, what a gradient that is not finite leaves alone, and whose memory it reuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from r1jax.core import params as core
from r1jax.core.params import ParamSpec
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import Batch, to_device
from r1jax.training import state
from r1jax.training.state import OptimizerConfig, make_optimizer
from r1jax.training.step import accumulate, make_update

SPECS = {"w": ParamSpec((4, 4), ("embed", "mlp")), "norm": ParamSpec((4,), (None,), "ones")}
TX = make_optimizer(OptimizerConfig(learning_rate=0.1, weight_decay=0.1), SPECS, 100)


def loss(params, batch):
    """A sum over rows, not linear in the weights; an advantage of NaN makes its gradient NaN."""
    rows = jnp.tanh(batch.weights @ params["w"] * params["norm"]).sum(axis=-1) * batch.advantages
    return rows.sum(), {"rows": jnp.float32(len(rows)), "size/max": jnp.abs(rows).max()}


def make_batch(rows=8, advantage=1.0):
    ints = np.ones((rows, 4), np.int32)
    weights = np.random.default_rng(0).standard_normal((rows, 4)).astype(np.float32)
    return Batch(ints, ints, ints, ints, weights, np.full(rows, advantage, np.float32))


def start(mesh):
    return state.create(core.init(SPECS, TRAIN_RULES, mesh, 0), SPECS, TX, mesh)


def test_an_update_is_the_optimisers_and_counts_one(mesh1):
    update, batch = make_update(loss, TX, SPECS, mesh1), make_batch()
    with jax.set_mesh(mesh1):
        before = jax.device_get(start(mesh1))
        after, metrics = update(start(mesh1), to_device(batch, mesh1))

    @jax.jit
    def by_hand(params, opt_state):
        (value, _), grads = jax.value_and_grad(loss, has_aux=True)(params, batch)
        updates, _ = TX.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), optax.global_norm(grads), value

    expected, norm, value = by_hand(before.params, before.opt_state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), after.params, expected)
    assert int(after.step) == 1 and float(metrics["skipped"]) == 0.0
    assert float(metrics["grad_norm"]) == pytest.approx(float(norm), rel=1e-5)
    assert float(metrics["loss"]) == pytest.approx(float(value), rel=1e-5)


@pytest.mark.parametrize("advantage", [np.nan, np.inf, 1e38])
def test_trap35_a_gradient_that_is_not_finite_leaves_weights_and_moments_as_they_were(mesh1, advantage):
    """1e38 is finite, and its square, in the norm, is not."""
    update = make_update(loss, TX, SPECS, mesh1, microbatches=2)
    with jax.set_mesh(mesh1):
        good, _ = update(start(mesh1), to_device(make_batch(), mesh1))  # moments are not 0 any more
        before = jax.device_get(good)
        batch = make_batch()
        batch.advantages[3] = advantage
        after, metrics = update(good, to_device(batch, mesh1))
        assert float(metrics["skipped"]) == 1.0 and int(after.step) == 2
        jax.tree.map(np.testing.assert_array_equal, before.params, after.params)
        jax.tree.map(np.testing.assert_array_equal, before.opt_state, after.opt_state)
        after, metrics = update(after, to_device(make_batch(), mesh1))
        assert float(metrics["skipped"]) == 0.0 and np.isfinite(after.params["w"]).all()
        assert np.any(np.asarray(after.params["w"]) != before.params["w"])


def test_the_old_states_memory_is_reused_and_layouts_stay(mesh8):
    update = make_update(loss, TX, SPECS, mesh8)
    with jax.set_mesh(mesh8):
        old = start(mesh8)
        new, _ = update(old, to_device(make_batch(), mesh8))
    assert all(x.is_deleted() for x in jax.tree.leaves((old.params, old.opt_state)))

    def same(a, b):
        assert a.sharding.is_equivalent_to(b, a.ndim)

    jax.tree.map(same, new, state.state_shardings(SPECS, TX, mesh8))


def test_trap10_parts_do_not_change_gradient_sums_or_maxima(mesh1):
    params, batch = {"w": jnp.eye(4), "norm": jnp.ones(4)}, make_batch()
    run = jax.jit(accumulate, static_argnums=(0, 3))
    whole = run(loss, params, batch, 1)
    for parts in (2, 8):
        cut, metrics = run(loss, params, batch, parts)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole[0], cut)
        assert float(metrics["rows"]) == 8 / parts * parts
        for name in ("loss", "size/max"):
            assert float(metrics[name]) == pytest.approx(float(whole[1][name]), rel=1e-5)


def test_each_device_keeps_rows_of_each_part(mesh8):
    """Dealing in turn: 16 rows on 4 ways in 2 parts move nothing between devices."""
    numbers = np.repeat(np.arange(16, dtype=np.int32)[:, None], 4, axis=1)
    rows = dataclasses.replace(make_batch(16), targets=numbers)
    seen = []

    def spy(params, batch):
        jax.debug.callback(lambda x: seen.append(sorted(set(np.ravel(x).tolist()))), batch.targets)
        return loss(params, batch)

    with jax.set_mesh(mesh8):
        run = jax.jit(lambda params, batch: accumulate(spy, params, batch, 2))
        jax.block_until_ready(run(start(mesh8).params, to_device(rows, mesh8)))
        jax.effects_barrier()
    assert sorted(map(tuple, seen)) == [tuple(range(0, 16, 2)), tuple(range(1, 16, 2))]


def test_trailing_parts_without_a_token_are_not_computed(mesh1):
    """Part p of four is the rows p and p + 4; which of them hold a token is no constant of the program."""
    params, computed = {"w": jnp.eye(4), "norm": jnp.ones(4)}, []

    def spy(params, batch):
        jax.debug.callback(lambda: computed.append(1))
        return loss(params, batch)

    run = jax.jit(lambda batch: accumulate(spy, params, batch, 4))
    for parts in (0, 1, 3, 4):
        filled = (np.arange(8) % 4 < parts)[:, None]
        batch = make_batch()
        batch = dataclasses.replace(batch, segments=batch.segments * filled, weights=batch.weights * filled)
        cut, metrics = jax.block_until_ready(run(batch))
        jax.effects_barrier()
        assert len(computed) == parts and float(metrics["rows"]) == 2 * parts
        computed.clear()
        whole = jax.jit(accumulate, static_argnums=(0, 3))(loss, params, batch, 1)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole[0], cut)
    assert run._cache_size() == 1
