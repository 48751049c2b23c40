"""The optimiser by hand, and where its state lies."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from r1jax.core import params as core
from r1jax.core.params import ParamSpec
from r1jax.core.sharding import TRAIN_RULES, replicated
from r1jax.training import state
from r1jax.training.state import OptimizerConfig, learning_rate, make_optimizer

SPECS = {"w": ParamSpec((4, 8), ("embed", "mlp")), "norm": ParamSpec((8,), (None,), "ones")}


def rates(cfg, total):
    schedule = learning_rate(cfg, total)
    return [float(schedule(i)) for i in range(total + 1)]


def test_a_constant_rate_after_warm_up():
    assert rates(OptimizerConfig(learning_rate=2.0), 3) == [2.0] * 4
    # The first update already moves: a quarter of the peak, then a straight line to it.
    warm = rates(OptimizerConfig(learning_rate=2.0, warmup_steps=4), 6)
    np.testing.assert_allclose(warm, [0.5, 0.875, 1.25, 1.625, 2.0, 2.0, 2.0], rtol=1e-6)


def test_cosine_by_hand():
    cfg = OptimizerConfig(learning_rate=1.0, schedule="cosine", final_share=0.2)
    half = 0.8 * 0.5
    expected = [1.0, 0.2 + half * (1 + np.sqrt(0.5)), 0.6, 0.2 + half * (1 - np.sqrt(0.5)), 0.2]
    np.testing.assert_allclose(rates(cfg, 4), expected, rtol=1e-6)
    warm = rates(OptimizerConfig(learning_rate=1.0, schedule="cosine", final_share=0.2, warmup_steps=2), 6)
    np.testing.assert_allclose(warm, [0.5, 0.75, *expected], rtol=1e-6)


def step(cfg, grads, params=None):
    params = params or {"w": jnp.full((4, 8), 2.0), "norm": jnp.ones(8)}
    tx = make_optimizer(cfg, SPECS, 10)
    return jax.jit(lambda grads: tx.update(grads, tx.init(params), params)[0])(grads)


def test_decay_is_decoupled_and_spares_norms():
    grads = {"w": jnp.zeros((4, 8)), "norm": jnp.zeros(8)}
    updates = step(OptimizerConfig(learning_rate=0.1, weight_decay=0.5), grads)
    np.testing.assert_allclose(updates["w"], -0.1 * 0.5 * 2.0, rtol=1e-6)
    assert not updates["norm"].any()


def test_adam_by_hand_and_the_clip_of_the_global_norm():
    # Two updates with one weight: m and v as in Kingma & Ba, with bias correction.
    cfg = OptimizerConfig(learning_rate=0.1, b1=0.5, b2=0.75, eps=1e-30, clip_norm=0.0)
    specs = {"w": ParamSpec((1,), (None,))}
    tx, params = make_optimizer(cfg, specs, 10), {"w": jnp.array([1.0])}
    opt, update = tx.init(params), jax.jit(tx.update)
    for g in (4.0, 1.0):
        updates, opt = update({"w": jnp.array([g])}, opt, params)
    m, v = 0.5 * (0.5 * 4) + 0.5 * 1, 0.75 * (0.25 * 16) + 0.25 * 1
    np.testing.assert_allclose(updates["w"], -0.1 * (m / (1 - 0.25)) / np.sqrt(v / (1 - 0.75**2)), rtol=1e-6)
    # A large epsilon makes Adam proportional to the gradient: 40 entries of 3 have norm sqrt(360), clipped to 1.
    grads = {"w": jnp.full((4, 8), 3.0), "norm": jnp.full(8, 3.0)}
    clipped = step(OptimizerConfig(learning_rate=1e6, eps=1e6, clip_norm=1.0), grads)
    assert float(optax.global_norm(clipped)) == pytest.approx(1.0, rel=1e-4)
    free = step(OptimizerConfig(learning_rate=1e6, eps=1e6, clip_norm=0.0), grads)
    assert float(optax.global_norm(free)) == pytest.approx(360**0.5, rel=1e-4)


def test_moments_lie_as_their_weights_and_scalars_everywhere(mesh8):
    tx = make_optimizer(OptimizerConfig(warmup_steps=2, weight_decay=0.1), SPECS, 10)
    real = state.create(core.init(SPECS, TRAIN_RULES, mesh8, 0), SPECS, tx, mesh8)
    adam = next(x for x in jax.tree.leaves(real.opt_state, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(x, "mu"))
    for tree in (real.params, adam.mu, adam.nu):
        assert {shard.data.shape for shard in tree["w"].addressable_shards} == {(2, 4)}  # fsdp x tensor
        assert tree["w"].dtype == jnp.float32
    for scalar in (real.step, adam.count):
        assert scalar.sharding.is_equivalent_to(replicated(mesh8), 0) and int(scalar) == 0

    def same(a, b):
        assert (a.shape, a.dtype) == (b.shape, b.dtype) and a.sharding.is_equivalent_to(b.sharding, a.ndim)

    jax.tree.map(same, state.abstract_state(SPECS, tx, mesh8), real)


def test_a_state_owns_a_copy_of_its_weights(mesh1):
    """The weights it was made from are the reference model; an update's donation must not take them away."""
    params = core.init(SPECS, TRAIN_RULES, mesh1, 0)
    made = state.create(params, SPECS, optax.sgd(0.1), mesh1)
    jax.tree.map(lambda x: x.delete(), made.params)
    assert np.isfinite(params["w"]).all()
