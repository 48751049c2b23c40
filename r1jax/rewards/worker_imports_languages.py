"""Imports of the fork server where workers identify languages: `worker_imports`, and the loaded language models.

Each model takes a second to read and 100 MB. A worker that read them itself would be demoted and replaced by another
one, which would have to read them again.
"""

import r1jax.rewards.worker_imports  # noqa: F401
from r1jax.graders import ifeval_instructions
from r1jax.rewards import language_consistency

language_consistency.language_of("These are more than enough words for a language to be recognised.")
ifeval_instructions.is_english("So are these.")
