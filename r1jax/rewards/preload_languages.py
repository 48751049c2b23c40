"""What the fork server of `r1jax.rewards.workers` imports where languages are to be told apart.

The models that do it take a second to read and 100 MB each. A worker that read them itself would lose its pool's
patience, be replaced, and leave the next one to read them again.
"""

import r1jax.rewards.preload  # noqa: F401
from r1jax.graders import ifeval_instructions
from r1jax.rewards import language

language.language_of("These are more than enough words for a language to be told.")
ifeval_instructions.is_english("So are these.")
