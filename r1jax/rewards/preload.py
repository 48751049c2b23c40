"""What the fork server of `r1jax.rewards.workers` imports, and nobody else: its workers begin with all of it."""

import reasoning_gym  # noqa: F401

import r1jax.rewards.combine  # noqa: F401
from r1jax.rewards import maths

# The parser's tables are made as they are first needed, which takes longer than grading a thousand answers.
for _formula in (r"\frac{1}{2}+\sqrt{x^2}", r"(1,2)\cup[3,4)", r"x=\begin{pmatrix}1\\2\end{pmatrix}", r"12.5\%"):
    maths.check({"answer": _formula})
