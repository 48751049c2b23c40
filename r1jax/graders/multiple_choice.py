"""Grader of multiple-choice and yes/no questions: the letter, A to J, or 是 or 否, that a response chooses.

A box with a choice comes first; a box with anything else, such as a formula, is ignored. Then comes the last
"answer: ..." in words, then an answer that is only a choice or begins with one. Several choices together are no answer,
so that listing candidates gains nothing; nor are boxes, answer tags, or a box and a stated answer that disagree.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.math.final_answer import MAX_ANSWER

_SEVERAL, _TOO_LONG = "several", "too long"  # instead of a label
_NO_CHOICE = " \u25a1 "  # replaces a box without a choice
_BOX, _BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{"), re.compile(r"\\.|[{}]", re.DOTALL)
_YES_NO = {
    "是": "是",
    "否": "否",
    "不是": "否",
    "对": "是",
    "正确": "是",
    "错": "否",
    "错误": "否",
    "不正确": "否",
    "yes": "是",
    "no": "否",
}
# Markup around a choice: \text{B}, **B**, $B$, "B".
_MARKUP = re.compile(r"\\(?:text[a-z]{0,3}|math[a-z]{2,4}|boxed)\b|[{}*_$`\"“”‘’'【】\[\]]")
_ANSWER_PHRASE = re.compile(
    r"\b(?:answer|option|choice)(?:\s{1,4}(?:letter|choice|option))?[^\S\n]{0,4}"
    r"(?:\b(?:is|would be|should be)\b\s{0,2}[:：]?|[:：=])"
    r"|答案[^。\n]{0,8}?(?:[:：]|[是为][:：]?)|(?:故选|应选|选)(?:择|项)?(?:[:：]|[是为][:：]?|(?=[\s(（]{0,3}[A-J](?![A-Za-z])))",
    re.IGNORECASE,
)
_LETTER = re.compile(r"[\s(（]{0,9}(?:(?:option|choice|选项)\s{1,2})?[(（]?([A-Ja-j])(?![A-Za-z0-9])", re.IGNORECASE)
_ANOTHER_LETTER = re.compile(
    r"[\s)）.]{0,4}(?:\b(?:and/)?or\b|或|(?:\band\b|[/,、，和与&])\s{0,3}[(（]?[A-J](?![A-Za-z0-9]))", re.IGNORECASE
)
_LETTER_ONLY = re.compile(r"[\s(（]{0,9}[A-Ja-j](?:[\s)）.。]*$|[)）]?[.):：、，,])")
_LISTED = re.compile(r"(?:^|\n)[\s(（]{0,4}([A-J])[.):、]")
_ANOTHER_YES_NO = re.compile(
    rf"\s{{0,4}}(?:\bor\b|还是|[或和与/]|(?=否))\s{{0,4}}(?:{'|'.join(_YES_NO)})", re.IGNORECASE
)
# The words between the beginning of a sentence that states the answer and "answer".
_SENTENCE_START = re.compile(
    r"(?:^|[\n.!?。！？])[\s>#-]{0,9}"
    r"(?:(?:so|thus|therefore|hence|the|my|our|final|correct|right|best|所以|因此|最终|正确|的)[\s,，]{0,3}){0,6}$",
    re.IGNORECASE,
)
_YES_OR_NO = re.compile(rf"[\s(（]{{0,9}}({'|'.join(sorted(_YES_NO, key=len, reverse=True))})", re.IGNORECASE)
_WORD_END = re.compile(r"[\s)）]{0,6}(?:$|\n|[.。;；,，:：])")
_STATEMENT_END = re.compile(r"[ \t]{0,6}(?:$|[\n)）.。;；,，:：])")


def check(row: Mapping[str, Any]) -> None:
    """Raises ValueError for a row whose answer is neither one capital letter from A to J nor 是 or 否."""
    if not re.fullmatch("[A-J]|是|否", row["answer"]):
        raise ValueError(f"answer {row['answer'][:100]!r} is no choice: one letter from A to J, or 是 or 否")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 where the response chooses the reference's choice, else 0.0."""
    reference, response = rollout.prompt.answer, rollout.response
    parse_choice = _letter_choice if reference.isascii() else _yes_no_choice
    labels = {
        _choice_of(part, parse_choice)
        for part in response.answers or (response.final,)
        if _MARKUP.sub("", part).strip()
    }
    if _TOO_LONG in labels:
        return Grade(0.0, "too_complex")
    label = labels.pop() if len(labels) == 1 else None
    if label in (None, _SEVERAL):
        return Grade(0.0, "no_answer")
    return Grade(float(label == reference), "right" if label == reference else "wrong", label)


class _Choice(NamedTuple):
    """A parsed choice.

    Attributes:
        label: a letter, 是 or 否; or _SEVERAL.
        end: its end in the text.
    """

    label: str
    end: int


_ParseChoice = Callable[[str, int], _Choice | None]


def _choice_of(text: str, parse_choice: _ParseChoice) -> str | None:
    """The label of an answer's choice; _SEVERAL, _TOO_LONG, or None.

    Args:
        parse_choice: parses the choice at a position of a text.
    """
    pieces, labels, start, after = [], set(), 0, 0
    for begin, end, content in _boxes(text):
        content = _MARKUP.sub("", content)
        label = _choice_in_words(content, parse_choice)
        if not label and (choice := parse_choice(content, 0)) and choice.label == _SEVERAL:
            label = _SEVERAL
        pieces += [text[start:begin], label or _NO_CHOICE]
        start = end
        if label:
            labels.add(label)
            after = len(pieces)
    pieces.append(text[start:])
    words = _MARKUP.sub("", "".join(pieces))
    if not labels:
        return _TOO_LONG if len(text) > MAX_ANSWER else _choice_in_words(words, parse_choice)
    # Words after the box, and a statement of the answer before it, must agree with it.
    stated = _choice_after_phrase(_MARKUP.sub("", "".join(pieces[after:])), parse_choice) or _choice_of_statement(
        words, parse_choice
    )
    labels |= {stated} if stated else set()
    return labels.pop() if len(labels) == 1 else _SEVERAL


def _boxes(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, content on one line) of each outermost box; one that does not close ends the search."""
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


def _choice_in_words(text: str, parse_choice: _ParseChoice) -> str | None:
    """The label of an answer without boxes, or _SEVERAL."""
    if label := _choice_after_phrase(text, parse_choice):
        return label
    # Without "the answer is": the whole answer, or its last line, must be one choice, and no list of choices.
    labels = set()
    for start in {0, text.rstrip().rfind("\n") + 1}:
        line = text[start:].split("\n")[0]
        choice = parse_choice(line, 0)
        if not choice or choice.label == _SEVERAL:
            continue
        if parse_choice is _yes_no_choice:
            is_only_choice = _WORD_END.match(line, choice.end)
        else:
            is_only_choice = _LETTER_ONLY.match(line) and {choice.label} >= set(_LISTED.findall(text))
        if is_only_choice:
            labels.add(choice.label)
    return _SEVERAL if len(labels) > 1 else labels.pop() if labels else None


def _choice_after_phrase(text: str, parse_choice: _ParseChoice) -> str | None:
    """The label after the last "the answer is" that a choice, or several, follow."""
    phrases = reversed(list(_ANSWER_PHRASE.finditer(text)))
    return next((choice.label for phrase in phrases if (choice := parse_choice(text, phrase.end()))), None)


def _choice_of_statement(text: str, parse_choice: _ParseChoice) -> str | None:
    """The label of the last sentence that states the answer: "Answer: B", not "you may think the answer is B"."""
    for phrase in reversed(list(_ANSWER_PHRASE.finditer(text))):
        choice, before = parse_choice(text, phrase.end()), text[max(0, phrase.start() - 60) : phrase.start()]
        if choice and _SENTENCE_START.search(before) and _STATEMENT_END.match(text, choice.end):
            return choice.label
    return None


def _letter_choice(text: str, start: int) -> _Choice | None:
    """The letter at a position; a small one counts only at the end of a clause, so that the article "a" does not."""
    match = _LETTER.match(text, start)
    if not match or (match[1].islower() and not _WORD_END.match(text, match.end())):
        return None
    return _Choice(_SEVERAL if _ANOTHER_LETTER.match(text, match.end()) else match[1].upper(), match.end())


def _yes_no_choice(text: str, start: int) -> _Choice | None:
    """是 or 否 at a position."""
    match = _YES_OR_NO.match(text, start)
    if not match:
        return None
    return _Choice(_SEVERAL if _ANOTHER_YES_NO.match(text, match.end()) else _YES_NO[match[1].lower()], match.end())
