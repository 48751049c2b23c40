"""Imports of the fork server of `r1jax.rewards.workers`, with which each forked worker starts."""

import reasoning_gym  # noqa: F401

import r1jax.rewards.combine  # noqa: F401
