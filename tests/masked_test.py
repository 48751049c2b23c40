"""What a mask leaves out cannot be felt: not in the mean, not in its gradient, and not as a NaN."""

import jax
import jax.numpy as jnp
import numpy as np

from r1jax.core.masked import mean, safe_divide


def test_mean_by_hand():
    assert float(mean(jnp.array([1.0, 2.0, 100.0]), jnp.array([1.0, 3.0, 0.0]))) == 7 / 4


def test_trap11_a_fully_masked_mean_is_zero_with_gradient_zero():
    x, w = jnp.array([1.0, jnp.nan, jnp.inf]), jnp.zeros(3)
    value, gradient = jax.value_and_grad(mean)(x, w)
    assert float(value) == 0.0 and np.array_equal(gradient, np.zeros(3))
    gradients = jax.grad(safe_divide, argnums=(0, 1))(jnp.float32(3.0), jnp.float32(0.0))
    assert gradients == (0.0, 0.0)


def test_nan_and_infinity_under_the_mask_are_harmless():
    x, w = jnp.array([jnp.nan, 2.0, jnp.inf, 4.0]), jnp.array([0.0, 1.0, 0.0, 3.0])
    value, gradient = jax.value_and_grad(mean)(x, w)
    assert float(value) == 3.5 and np.array_equal(gradient, [0.0, 0.25, 0.0, 0.75])


def test_a_nan_in_sight_is_not_hidden():
    assert np.isnan(mean(jnp.array([jnp.nan, 1.0]), jnp.ones(2)))
