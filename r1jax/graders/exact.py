"""Exact match of short answers: the same words and numbers, letter case, punctuation and articles aside.

Punctuation inside a number is part of it (`without_punctuation`): 12.25 is neither 1225 nor 12 and 25, and -5 is not 5.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.math.final_answer import MAX_ANSWER, final_answer, said

_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)")
_LATEX_COMMA = re.compile(r"(?<=\d)(?:\{,\}|\\,)(?=\d{3}(?!\d))")
_IN_NUMBERS = frozenset(".:/^")  # 12.25, 4:30, 1/2, 12/25/2004, 10^2
_SPACED = re.compile(r"(?<=\d)\s{1,4}([/^])\s{1,4}(?=\d)")
# A minus sign stands before a number, and behind no other number: 10 -12 is a range, 1e-5 has an exponent.
_SIGNED = re.compile(r"(?:^|(?<=[\s(\[{,:=$£€¥]))(?<!\d\s)-(?=[$£€¥]?\.?\d)|(?<=\d[eE])-(?=\d)")
_MINUS = "\ue000"  # a minus sign, while hyphens go
_DASHES = str.maketrans("−‐‑‒–—﹣－", "-" * 8, _MINUS)
_APOSTROPHES = frozenset("'’‘`")
# Digits above the line and fractions, which NFKC would run into the digits before them: 10² is not 102, nor 2½ 21/2.
_RAISED, _FRACTION = re.compile(r"(?<=\d)(?=[²³¹⁰⁴-⁹])(?<![²³¹⁰⁴-⁹])"), re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
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
    whole, words, gold = normalized(answer), normalized(_said(answer)), normalized(rollout.prompt.answer)
    right = gold in (whole, words)
    return Grade(float(right), "right" if right else "wrong", gold if right else words[:200])


def _said(answer: str) -> str:
    """`answer.said`, with the decimal point before its first digit, which is no full stop."""
    words = said(answer)
    before = answer[: answer.rfind(words)] if words and words in answer else ""
    return f".{words}" if words[:1].isdigit() and re.search(r"(?:^|\s)\.$", before) else words


def normalized(text: str) -> str:
    """Words and numbers alone, in lower case, full-width forms as ordinary ones, without articles."""
    text = unicodedata.normalize("NFKC", _FRACTION.sub(" ", _RAISED.sub("^", text))).lower()
    text = without_punctuation(text.replace("⁄", "/"), lambda run: " ")
    return " ".join(_ARTICLES.sub(" ", text).split())


def without_punctuation(text: str, joint: Callable[[str], str]) -> str:
    """A text without punctuation and symbols, but for those that make a number what it is.

    Kept are a decimal point, a minus sign, and one of . : / ^ between two digits. Commas between thousands go, and the
    digits on both sides of any other punctuation stay apart.

    Args:
        joint: what takes the place of a run of punctuation that no digit touches on either side, given the run.
    """
    text = _LATEX_COMMA.sub(",", text.translate(_DASHES))
    text = _SIGNED.sub(_MINUS, join_thousands(_SPACED.sub(r"\1", text)))
    pieces, start = [], 0
    while start < len(text):
        end = start + 1
        if _is_punctuation(text[start]):
            while end < len(text) and _is_punctuation(text[end]):
                end += 1
            pieces.append(_kept(text[start - 1 : start], text[start:end], text[end : end + 1], joint))
        else:
            while end < len(text) and not _is_punctuation(text[end]):
                end += 1
            pieces.append(text[start:end])
        start = end
    return "".join(pieces).replace(_MINUS, "-")


def join_thousands(text: str) -> str:
    """A text whose numbers have no commas between thousands. In 12,25 and 1,000,00 a comma is none, and stays."""
    return _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char)[0] in "PSC" and char != _MINUS and not char.isspace()


def _kept(before: str, run: str, after: str, joint: Callable[[str], str]) -> str:
    """What is left of a run of punctuation between two characters, "" where the text begins or ends."""
    if after.isdigit() and run[-1] == "." and (run[:-1] or not before.isalnum()) and run[-2:] != "..":
        return " ." if before.isalnum() else "."  # $.50 and .5
    if before == _MINUS:  # -$5
        return ""
    if before.isdigit() and after.isdigit():
        return run if run in _IN_NUMBERS else " "
    if (before.isdigit() and after.isalnum()) or (before.isalnum() and after.isdigit()):
        return "" if set(run) <= _APOSTROPHES else " "
    return joint(run)
