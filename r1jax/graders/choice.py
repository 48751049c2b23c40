"""Accuracy on choices: which letter, A to J, or which of 是 and 否, a response settles on.

A box that holds a choice comes first; one that holds anything else, a formula of the working say, is no choice and
settles nothing. Then comes the last "answer: ..." in words, then an answer that is nothing but a choice or begins with
one. Several choices named together are none, for listing must not pay; nor are boxes, answer tags, or a box and a
statement of the answer in words that disagree.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.math.final_answer import MAX_ANSWER

_SEVERAL, _TOO_LONG = "several", "too long"  # in a choice's place
_NO_CHOICE = " \u25a1 "  # in the place of a box that holds none
_BOX, _BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{"), re.compile(r"\\.|[{}]", re.DOTALL)
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
_MORE_TRUTH = re.compile(rf"\s{{0,4}}(?:\bor\b|还是|[或和与/]|(?=否))\s{{0,4}}(?:{'|'.join(_TRUTHS)})", re.IGNORECASE)
# What may stand between the beginning of a sentence and "answer" where the sentence is there to state the answer.
_OPENING = re.compile(
    r"(?:^|[\n.!?。！？])[\s>#-]{0,9}"
    r"(?:(?:so|thus|therefore|hence|the|my|our|final|correct|right|best|所以|因此|最终|正确|的)[\s,，]{0,3}){0,6}$",
    re.IGNORECASE,
)
_TRUTH = re.compile(rf"[\s(（]{{0,9}}({'|'.join(sorted(_TRUTHS, key=len, reverse=True))})", re.IGNORECASE)
_ENDS = re.compile(r"[\s)）]{0,6}(?:$|\n|[.。;；,，:：])")
_CLOSES = re.compile(r"[ \t]{0,6}(?:$|[\n)）.。;；,，:：])")


def check(row: Mapping[str, Any]) -> None:
    """Refuses a row whose answer is no choice.

    Raises:
        ValueError: it is neither one capital letter from A to J nor 是 or 否.
    """
    if not re.fullmatch("[A-J]|是|否", row["answer"]):
        raise ValueError(f"answer {row['answer'][:100]!r} is no choice: one letter from A to J, or 是 or 否")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 when the response settles on the reference's choice, else 0.0."""
    gold, response = rollout.prompt.answer, rollout.response
    at = _letter_at if gold.isascii() else _truth_at
    settled = {_settled(part, at) for part in response.answers or (response.final,) if _DRESS.sub("", part).strip()}
    if _TOO_LONG in settled:
        return Grade(0.0, "too_complex")
    chosen = settled.pop() if len(settled) == 1 else None
    if chosen in (None, _SEVERAL):
        return Grade(0.0, "no_answer")
    return Grade(float(chosen == gold), "right" if chosen == gold else "wrong", chosen)


class _Found(NamedTuple):
    """A choice, or _SEVERAL, and where it ends in its text."""

    choice: str
    end: int


_At = Callable[[str, int], _Found | None]


def _settled(text: str, at: _At) -> str | None:
    """The choice that an answer settles on; _SEVERAL, _TOO_LONG, or None.

    Args:
        at: finds the choice that stands at a place of a text.
    """
    pieces, chosen, start, after = [], set(), 0, 0
    for begin, end, content in _boxes(text):
        content = _DRESS.sub("", content)
        choice = _in_words(content, at)
        if not choice and (found := at(content, 0)) and found.choice == _SEVERAL:
            choice = _SEVERAL
        pieces += [text[start:begin], choice or _NO_CHOICE]
        start = end
        if choice:
            chosen.add(choice)
            after = len(pieces)
    pieces.append(text[start:])
    words = _DRESS.sub("", "".join(pieces))
    if not chosen:
        return _TOO_LONG if len(text) > MAX_ANSWER else _in_words(words, at)
    # Words behind the box, and before it a statement of the answer, have to agree with it.
    stated = _last_anchored(_DRESS.sub("", "".join(pieces[after:])), at) or _last_stated(words, at)
    chosen |= {stated} if stated else set()
    return chosen.pop() if len(chosen) == 1 else _SEVERAL


def _boxes(text: str) -> Iterator[tuple[int, int, str]]:
    """Where each outermost box begins and ends, and its content on one line; one that never closes ends the search."""
    box = _BOX.search(text)
    while box:
        depth, end = 1, None
        for brace in _BRACE.finditer(text, box.end(), box.end() + MAX_ANSWER):
            depth += (brace[0] == "{") - (brace[0] == "}")
            if depth == 0:
                end = brace
                break
        if end is None:
            return
        yield box.start(), end.end(), " ".join(text[box.end() : end.start()].split())
        box = _BOX.search(text, end.end())


def _in_words(text: str, at: _At) -> str | None:
    """The choice of an answer without boxes, or _SEVERAL."""
    if anchored := _last_anchored(text, at):
        return anchored
    # No such words: all of the answer, or its last line, has to be a choice, or one option and no list of them.
    chosen = set()
    for start in {0, text.rstrip().rfind("\n") + 1}:
        line = text[start:].split("\n")[0]
        found = at(line, 0)
        if not found or found.choice == _SEVERAL:
            continue
        if at is _truth_at:
            alone = _ENDS.match(line, found.end)
        else:
            alone = _LONE.match(line) and {found.choice} >= set(_LISTED.findall(text))
        if alone:
            chosen.add(found.choice)
    return _SEVERAL if len(chosen) > 1 else chosen.pop() if chosen else None


def _last_anchored(text: str, at: _At) -> str | None:
    """What follows the last "the answer is" that a choice, or several, follow."""
    anchors = reversed(list(_ANCHOR.finditer(text)))
    return next((found.choice for anchor in anchors if (found := at(text, anchor.end()))), None)


def _last_stated(text: str, at: _At) -> str | None:
    """The choice of the last sentence that is there to state it: "Answer: B", not "you may think the answer is B"."""
    for anchor in reversed(list(_ANCHOR.finditer(text))):
        found, before = at(text, anchor.end()), text[max(0, anchor.start() - 60) : anchor.start()]
        if found and _OPENING.search(before) and _CLOSES.match(text, found.end):
            return found.choice
    return None


def _letter_at(text: str, start: int) -> _Found | None:
    """The letter that stands at a place. A small one counts only where nothing follows: not "a"."""
    match = _LETTER.match(text, start)
    if not match or (match[1].islower() and not _ENDS.match(text, match.end())):
        return None
    return _Found(_SEVERAL if _MORE.match(text, match.end()) else match[1].upper(), match.end())


def _truth_at(text: str, start: int) -> _Found | None:
    """是 or 否."""
    match = _TRUTH.match(text, start)
    if not match:
        return None
    return _Found(_SEVERAL if _MORE_TRUTH.match(text, match.end()) else _TRUTHS[match[1].lower()], match.end())
