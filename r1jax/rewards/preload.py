"""What the fork server of `r1jax.rewards.workers` imports, and nobody else: its workers begin with all of it."""

import reasoning_gym  # noqa: F401

import r1jax.rewards.combine  # noqa: F401
from r1jax.rewards import instructions, language

# The models that tell languages apart take a second to read. A worker that read them itself would lose its pool's
# patience, be replaced, and leave the next one to read them again.
language.language_of("These are more than enough words for a language to be told.")
instructions.is_english("So are these.")
