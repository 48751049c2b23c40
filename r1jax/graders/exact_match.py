"""Exact-match grader of short answers, up to letter case, punctuation and articles.

Punctuation inside a number is part of it (`remove_punctuation`): 12.25 is neither 1225 nor 12 and 25, and -5 is not 5.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.math.final_answer import MAX_ANSWER, final_answer, stated_answer

_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)")
_LATEX_COMMA = re.compile(r"(?<=\d)(?:\{,\}|\\,)(?=\d{3}(?!\d))")
_IN_NUMBERS = frozenset(".:/^")  # 12.25, 4:30, 1/2, 12/25/2004, 10^2
_SPACED = re.compile(r"(?<=\d)\s{1,4}([/^])\s{1,4}(?=\d)")
# A minus sign stands before a number, and behind no other number: 10 -12 is a range, 1e-5 has an exponent.
_SIGNED = re.compile(r"(?:^|(?<=[\s(\[{,:=$£€¥]))(?<!\d\s)-(?=[$£€¥]?\.?\d)|(?<=\d[eE])-(?=\d)")
_MINUS = "\ue000"  # stands for a minus sign while hyphens are removed
_DASHES = str.maketrans("−‐‑‒–—﹣－", "-" * 8, _MINUS)
_APOSTROPHES = frozenset("'’‘`")
# Superscripts and fractions, which NFKC would join with the digits before them: 10² is not 102, nor 2½ 21/2.
_RAISED, _FRACTION = re.compile(r"(?<=\d)(?=[²³¹⁰⁴-⁹])(?<![²³¹⁰⁴-⁹])"), re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def check(row: Mapping[str, Any]) -> None:
    """Raises ValueError for a row whose answer has no letter and no digit."""
    if not normalize(row["answer"]):
        raise ValueError(f"reference answer {row['answer'][:100]!r} has no letter and no digit")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 where the final answer, or its part after "the answer is", is the reference; else 0.0."""
    answer = final_answer(rollout.response)
    if answer is None:
        return Grade(0.0, "no_answer")
    if len(answer) > MAX_ANSWER:
        return Grade(0.0, "too_complex")
    full_answer, stated, gold = normalize(answer), normalize(_stated_answer(answer)), normalize(rollout.prompt.answer)
    right = gold in (full_answer, stated)
    return Grade(float(right), "right" if right else "wrong", gold if right else stated[:200])


def _stated_answer(answer: str) -> str:
    """`final_answer.stated_answer`, with a decimal point before its first digit, which is no full stop."""
    stated = stated_answer(answer)
    before = answer[: answer.rfind(stated)] if stated and stated in answer else ""
    return f".{stated}" if stated[:1].isdigit() and re.search(r"(?:^|\s)\.$", before) else stated


def normalize(text: str) -> str:
    """A text's words and numbers, in lower case, without articles; full-width characters become ordinary ones."""
    text = unicodedata.normalize("NFKC", _FRACTION.sub(" ", _RAISED.sub("^", text))).lower()
    text = remove_punctuation(text.replace("⁄", "/"), lambda run: " ")
    return " ".join(_ARTICLES.sub(" ", text).split())


def remove_punctuation(text: str, separator: Callable[[str], str]) -> str:
    """A text without punctuation and symbols, except those that are part of a number.

    A decimal point, a minus sign, and one of . : / ^ between two digits are kept. Thousands separators are removed, and
    digits on both sides of other punctuation are separated by a blank.

    Args:
        separator: replacement of a run of punctuation that is next to no digit, as a function of the run.
    """
    text = _LATEX_COMMA.sub(",", text.translate(_DASHES))
    text = _SIGNED.sub(_MINUS, remove_thousands_separators(_SPACED.sub(r"\1", text)))
    pieces, start = [], 0
    while start < len(text):
        end = start + 1
        if _is_punctuation(text[start]):
            while end < len(text) and _is_punctuation(text[end]):
                end += 1
            pieces.append(
                _replace_punctuation(text[start - 1 : start], text[start:end], text[end : end + 1], separator)
            )
        else:
            while end < len(text) and not _is_punctuation(text[end]):
                end += 1
            pieces.append(text[start:end])
        start = end
    return "".join(pieces).replace(_MINUS, "-")


def remove_thousands_separators(text: str) -> str:
    """A text without the commas between thousands of its numbers; those of 12,25 and 1,000,00 are none, and stay."""
    return _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char)[0] in "PSC" and char != _MINUS and not char.isspace()


def _replace_punctuation(before: str, run: str, after: str, separator: Callable[[str], str]) -> str:
    """The replacement of a run of punctuation between two characters, which are "" at the text's ends."""
    if after.isdigit() and run[-1] == "." and (run[:-1] or not before.isalnum()) and run[-2:] != "..":
        return " ." if before.isalnum() else "."  # $.50 and .5
    if before == _MINUS:  # -$5
        return ""
    if before.isdigit() and after.isdigit():
        return run if run in _IN_NUMBERS else " "
    if (before.isdigit() and after.isalnum()) or (before.isalnum() and after.isdigit()):
        return "" if set(run) <= _APOSTROPHES else " "
    return separator(run)
