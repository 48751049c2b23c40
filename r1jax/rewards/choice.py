"""Accuracy on choices: which letter, A to J, or which of 是 and 否, a response settles on.

A box or answer tags come first (`r1jax.rewards.answer`), then the last "answer: ..." in words, then an answer that is
nothing but a choice or begins with one. Several choices named there together are none: listing must not pay.
"""

import re
from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.rewards.answer import MAX_ANSWER, final_answer
from r1jax.rewards.config import GraderConfig

_TRUTHS = {"是": "是", "否": "否", "不是": "否", "对": "是", "正确": "是", "错": "否", "错误": "否", "不正确": "否",
           "yes": "是", "no": "否"}  # fmt: skip
# What may stand around a choice and says nothing: \text{B}, **B**, $B$, "B".
_DRESS = re.compile(r"\\(?:text[a-z]{0,3}|math[a-z]{2,4}|boxed)\b|[{}*_$`\"“”‘’'【】\[\]]")
_ANCHOR = re.compile(
    r"\b(?:answer|option|choice)(?:\s{1,4}(?:letter|choice|option))?[^\S\n]{0,4}"
    r"(?:\b(?:is|would be|should be)\b\s{0,2}[:：]?|[:：=])"
    r"|答案[^。\n]{0,8}?(?:[:：]|[是为][:：]?)|(?:故选|应选|选)(?:择|项)?(?:[:：]|[是为][:：]?|(?=[\s(（]{0,3}[A-J](?![A-Za-z])))",
    re.IGNORECASE,
)
_LETTER = re.compile(r"[\s(（]{0,9}(?:(?:option|choice|选项)\s{1,2})?[(（]?([A-Ja-j])(?![A-Za-z0-9])", re.IGNORECASE)
_MORE = re.compile(
    r"[\s)）.]{0,4}(?:\b(?:and/)?or\b|或|(?:\band\b|[/,、，和与&])\s{0,3}[(（]?[A-J](?![A-Za-z0-9]))", re.IGNORECASE
)
_LONE = re.compile(r"[\s(（]{0,9}[A-Ja-j](?:[\s)）.。]*$|[)）]?[.):：、，,])")
_LISTED = re.compile(r"(?:^|\n)[\s(（]{0,4}([A-J])[.):、]")
_TRUTH = re.compile(rf"[\s(（]{{0,9}}({'|'.join(sorted(_TRUTHS, key=len, reverse=True))})", re.IGNORECASE)
_ENDS = re.compile(r"[\s)）]{0,6}(?:$|\n|[.。;；,，:：])")


def check(row: Mapping[str, Any]) -> None:
    """Refuses a row whose answer is no choice.

    Raises:
        ValueError: it is neither one capital letter from A to J nor 是 or 否.
    """
    if not re.fullmatch("[A-J]|是|否", row["answer"]):
        raise ValueError(f"answer {row['answer'][:100]!r} is no choice: one letter from A to J, or 是 or 否")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 when the response settles on the reference's choice, else 0.0."""
    answer = final_answer(rollout.response)
    if answer is None:
        return Grade(0.0, "no_answer")
    if len(answer) > MAX_ANSWER:
        return Grade(0.0, "too_complex")
    gold, answer = rollout.prompt.answer, _DRESS.sub("", answer)
    chosen = (_letter if gold.isascii() else _truth)(answer)
    if chosen is None:
        return Grade(0.0, "no_answer")
    return Grade(float(chosen == gold), "right" if chosen == gold else "wrong", chosen)


def _letter(text: str) -> str | None:
    """The letter that an answer settles on."""
    for anchor in reversed(list(_ANCHOR.finditer(text))):
        if found := _letter_at(text, anchor.end()):
            return None if found == "several" else found
    # No such words: all of the answer, or its last line, has to be a letter, or one option and no list of them.
    for start in dict.fromkeys([0, text.rstrip().rfind("\n") + 1]):
        line = text[start:].split("\n")[0]
        found = _letter_at(line, 0) if _LONE.match(line) else None
        if found and found != "several" and {found} >= set(_LISTED.findall(text)):
            return found
    return None


def _letter_at(text: str, start: int) -> str | None:
    """The letter that stands at a place, "several", or None. A small one counts only where nothing follows: not "a"."""
    match = _LETTER.match(text, start)
    if not match or (match[1].islower() and not _ENDS.match(text, match.end())):
        return None
    return "several" if _MORE.match(text, match.end()) else match[1].upper()


def _truth(text: str) -> str | None:
    """是 or 否, as `_letter` finds letters."""
    for anchor in reversed(list(_ANCHOR.finditer(text))):
        if found := _TRUTH.match(text, anchor.end()):
            return _TRUTHS[found[1].lower()]
    for start in dict.fromkeys([0, text.rstrip().rfind("\n") + 1]):
        if (found := _TRUTH.match(text, start)) and _ENDS.match(text, found.end()):
            return _TRUTHS[found[1].lower()]
    return None
