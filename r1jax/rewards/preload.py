"""What the fork server of `r1jax.rewards.workers` imports, and nobody else: its workers begin with all of it."""

import reasoning_gym  # noqa: F401

import r1jax.rewards.combine  # noqa: F401
