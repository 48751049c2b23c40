"""Exact match of short answers: the same words, letter case, punctuation and articles aside."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.rewards.answer import MAX_ANSWER, final_answer, said
from r1jax.rewards.config import GraderConfig

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def check(row: Mapping[str, Any]) -> None:
    """Raises ValueError for a row without an answer of any letter or digit."""
    if not normalized(row["answer"]):
        raise ValueError(f"reference answer {row['answer'][:100]!r} has no letter and no digit")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 when the final answer, or what it says after "the answer is", is the reference."""
    answer = final_answer(rollout.response)
    if answer is None:
        return Grade(0.0, "no_answer")
    if len(answer) > MAX_ANSWER:
        return Grade(0.0, "too_complex")
    whole, words, gold = normalized(answer), normalized(said(answer)), normalized(rollout.prompt.answer)
    right = gold in (whole, words)
    return Grade(float(right), "right" if right else "wrong", gold if right else words[:200])


def normalized(text: str) -> str:
    """Words and digits alone, in lower case, full-width forms as ordinary ones, without articles."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = "".join(" " if unicodedata.category(c)[0] in "PZCS" else c for c in text)
    return " ".join(_ARTICLES.sub(" ", text).split())
