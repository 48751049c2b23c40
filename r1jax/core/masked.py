"""Weighted means. The only file in which a mask or a weight divides."""

import jax
import jax.numpy as jnp


def safe_divide(total: jax.Array, count: jax.Array) -> jax.Array:
    """total / count, and 0 (with gradient 0) where count is 0: a fully masked batch is 0, not NaN."""
    empty = count == 0
    return jnp.where(empty, 0.0, total / jnp.where(empty, 1.0, count))


def mean(x: jax.Array, weights: jax.Array) -> jax.Array:
    """sum(x * weights) / sum(weights). Entries of weight 0 may hold anything, NaN included."""
    return safe_divide(jnp.sum(jnp.where(weights != 0, x * weights, 0.0)), jnp.sum(weights))
