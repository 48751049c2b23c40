"""What the fork server of `r1jax.rewards.workers` imports, and nobody else: its workers begin with all of it."""

import reasoning_gym  # noqa: F401

import r1jax.rewards.combine  # noqa: F401
from r1jax.rewards import instructions, language, maths

# The parser's tables are made as they are first needed, which takes longer than grading a thousand answers.
for _formula in (r"\frac{1}{2}+\sqrt{x^2}", r"(1,2)\cup[3,4)", r"x=\begin{pmatrix}1\\2\end{pmatrix}", r"12.5\%"):
    maths.check({"answer": _formula})
# The models that tell languages apart take a second to read. A worker that read them itself would lose its pool's
# patience, be replaced, and leave the next one to read them again.
language.language_of("These are more than enough words for a language to be told.")
instructions.is_english("So are these.")
