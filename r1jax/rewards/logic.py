"""Accuracy on reasoning-gym tasks, by that library's own scorers."""

import functools
from collections.abc import Callable

from r1jax.data.types import Rollout
from r1jax.text.chat import split_response

SOURCE_PREFIX = "reasoning_gym:"
_FULL_SCORE = 1.0 - 1e-6


@functools.cache
def _scorer(task: str) -> Callable[..., float]:
    import reasoning_gym  # over a second to import, and only the graders need it

    return reasoning_gym.get_score_answer_fn(task)


def accuracy(rollout: Rollout) -> float:
    """1.0 when the library gives the final part its full score, else 0.0.

    Partial scores count as nothing: many of the library's scorers give part of the score to an answer that merely
    contains the right one, and a policy would soon farm that by listing numbers. An answer on which a scorer breaks
    down is a wrong one. Some scorers (spiral_matrix, string_insertion, binary_matrix, codeio and those that call
    sympy's parse_expr) evaluate the answer as Python, so those tasks are not for an untrusted policy without a sandbox.

    Args:
        rollout: its prompt's source is `reasoning_gym:<task>`, its metadata {"entry_metadata": entry["metadata"]}.

    Raises:
        ValueError: the library has no such task.
        KeyError: the metadata lacks the entry's own.
    """
    prompt = rollout.prompt
    score_answer = _scorer(prompt.source.removeprefix(SOURCE_PREFIX))
    entry = {"question": prompt.question, "answer": prompt.answer, "metadata": prompt.metadata["entry_metadata"]}
    answer = split_response(rollout.text).final
    if not answer:
        return 0.0
    try:
        return float(score_answer(answer=answer, entry=entry) >= _FULL_SCORE)
    except Exception:  # scorers parse the answer, each in its own way, and not all expect nonsense
        return 0.0
