r"""What a response's final answer is: our own rules, the same for every kind of answer."""

import functools
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from r1jax.rewards import notation
from r1jax.rewards.numerals import COUNTING, number
from r1jax.text.chat import Response

MAX_ANSWER = 20_000  # characters that are read at all: prose without a box is not much longer

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BLANK = re.compile(r"(?:\\phantom\s*\{[^{}]*\}|\\(?:square|quad)(?![A-Za-z])|\\[ ,;]|[\s~?_])*+")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def final_answer(response: Response) -> str | None:
    r"""The one answer that a response commits itself to, or None.

    Only what stands outside the thought counts. A `\boxed{}` wins over the words around it. Answers that differ, be
    it in boxes or in answer tags, are a conflict, hence None: listing candidates must not pay. They may differ in
    spelling, and plain numbers in form: 0.5 and 1/2 agree. An empty box, to be filled in, is no answer.
    """
    first = ""
    for answer in _answers(response):
        if not first:
            first = answer
        elif answer != first and _meaning(answer) != _meaning(first):
            return None
    inner = list(_boxes(first)) if _BOX.match(first) else []  # a box that is all there is in a box
    return (inner[0] if len(inner) == 1 and first.endswith(f"{inner[0]}}}") else first) or None


def _answers(response: Response) -> Iterator[str]:
    """What stands in boxes, or in the answer tags that have none, or all of the final part; nothing blank."""
    for part in response.answers or (response.final,):
        boxes = _boxes(part)
        box = next(boxes, None)
        for answer in (part,) if box is None else itertools.chain([box], boxes):
            if not _BLANK.fullmatch(answer):
                yield answer


def _boxes(text: str) -> Iterator[str]:
    """The contents of the outermost boxes, each on one line; one that does not close is none, and ends the search."""
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
        yield " ".join(text[box.end() : end.start()].split())
        box = _BOX.search(text, end.end())


@functools.lru_cache(maxsize=64)
def _meaning(answer: str) -> object:
    """What answers that agree have in common."""
    if len(answer) > notation.MAX_FORMULA:
        return answer
    formula = notation.tidy(answer).rstrip(" .,;")
    plain = number(formula)
    return notation.compact(formula) if plain is None else plain.value


_ANCHOR = re.compile(
    r"\banswer\b[^.\n\d]{0,80}?(?:\bis\b|\bare\b|[:=])|####|(?:^|\n)[ \t]{0,9}A:"
    r"|答案(?:[^。\n\d]{0,9}?[是为:])?|故选|应选|选择?(?=\s*[(A-J])",
    re.IGNORECASE,
)
_LEAD = re.compile(r"\s*(?:so|thus|therefore|it(?:'s| is)|is)\b[\s,]*", re.IGNORECASE)
_WORD = re.compile(r"####|\$|\\\(|\\\[|(?<![\\A-Za-z])(?:[A-Za-z]{3,}|(?:[Ii][st]|[Ss]o)(?![A-Za-z]))|[\u4e00-\u9fff]")
_NO_PROSE = re.compile(r"\\text\s*\{[^{}]*\}|\\(?:begin|end)\s*\{\w+\*?\}")
# Pieces of a formula. Every repetition is possessive, so that no text makes the search go back over what it has read.
_GROUP = r"\\text\s*\{[^{}$]{0,100}\}|\\(?:begin|end)\s*\{[a-zA-Z]{1,12}\*?\}"
_CELL = (
    rf"(?:{_GROUP}|\\[A-Za-z]++|\\[^A-Za-z()\[\]]|(?<![A-Za-z])[A-Za-z]{{1,2}}(?![A-Za-z])|[^$\\A-Za-z])"
    rf"{{1,{notation.MAX_FORMULA}}}+"
)
_TOKEN = (
    rf"(?:{_GROUP}|\\[A-Za-z]++|\\[{{}}%]|\d++|[-+*/^=<>(){{}}\[\]|!%$€£¥_,:]|\.(?=\d)"
    r"|(?<![A-Za-z'])[A-Za-z](?![A-Za-z':]))"
)
_RUN = re.compile(
    rf"\$\$({_CELL})\$\$|\$({_CELL})\$|\\\(({_CELL})\\\)|\\\[({_CELL})\\\]|(?P<bare>{_TOKEN}(?:[ ]*+{_TOKEN})*+)"
)
_LONE_LETTER = re.compile(r"(?:^|(?<=\s))[aAI](?=\s|$)")
_JOINT = re.compile(
    r"\s*(?:,|;|&|/|and|to|through|vs\.?|versus|,\s*and|和|与|及)\s*"
    r"|.*(?:\b(?:or|nor|maybe|perhaps|possibly|alternatively|could|might|but)\b|或).*",
    re.IGNORECASE | re.DOTALL,
)
_DENIAL = re.compile(r"(?:\bnot|n't|不是)\s*$", re.IGNORECASE)
_NEXT_WORD = re.compile(r"\s*(?:and\s+(?:an?\s+|one\s+)?)?([A-Za-z]+)")


def said(text: str) -> str:
    """The words that an answer in prose comes down to: those after "the answer is", or all of them."""
    anchors = list(_ANCHOR.finditer(text))
    rest = text[anchors[-1].end() :] if anchors else text[(lead.end() if (lead := _LEAD.match(text)) else 0) :]
    return rest.replace("$", "").strip(" \n.*:,;!\"'")


def claim(text: str) -> str | None:
    r"""The formula that an answer comes down to, on one line; None where there is none in it.

    A formula is taken whole; of several lines of formulas the last counts. In prose it is the first formula or number
    after "the answer is", or else the last one there is, along with those that it is listed with: "41 or 42" is a list
    of two, and so are two numbers on two lines. What is said not to be the answer is none.

    Args:
        text: tidied.
    """
    if not _WORD.search(_NO_PROSE.sub("", text)):
        return _last_line(text)
    runs = [run for match in _RUN.finditer(text) if (run := _run(match))]
    if not runs:
        return None
    anchors = list(_ANCHOR.finditer(text))
    after = [i for i, run in enumerate(runs) if anchors and run.start >= anchors[-1].end()]
    first = last = after[0] if after else len(runs) - 1
    while after and last + 1 < len(runs) and _joined(text, runs[last], runs[last + 1]):
        last += 1
    while not after and first > 0 and _joined(text, runs[first - 1], runs[first]):
        first -= 1
    if _DENIAL.search(text[max(0, runs[first].start - 20) : runs[first].start]):
        return None
    following = _NEXT_WORD.match(text, runs[last].end)
    tail = f" {following[1]}" if following and following[1].lower() in COUNTING - {"and", "or", "to"} else ""
    return notation.tidy(", ".join(run.formula for run in runs[first : last + 1]).rstrip(" .,;")) + tail


class _Run(NamedTuple):
    """A formula or number in prose: its place, and itself without delimiters."""

    start: int
    end: int
    formula: str


def _run(match: re.Match[str]) -> _Run | None:
    """What _RUN has found; None for mere punctuation and the words a, A and I."""
    formula = match[match.lastindex]
    if match["bare"]:
        formula = _LONE_LETTER.sub("", formula).strip(" ,:")
        if not re.search(r"[0-9]|\\[A-Za-z]", formula):
            return None
        if formula.count("$") == 1:
            formula = formula.replace("$", "")
    return _Run(match.start(), match.end(), " ".join(formula.split()))


def _joined(text: str, left: _Run, right: _Run) -> bool:
    """Whether two runs are candidates beside each other."""
    between = text[left.end : right.start]
    if between.strip():
        return len(between) < 40 and bool(_JOINT.fullmatch(between))
    return number(left.formula) is not None and number(right.formula) is not None


def _last_line(text: str) -> str | None:
    """The last line of formulas; with the numbers above that are given for the same, where they differ."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip(" .,;")]
    if r"\begin" in text or len(lines) <= 1:
        return " ".join(lines).rstrip(" .,;") or None
    values = [(name, plain.value) for name, value in map(notation.named, lines) if (plain := number(value))]
    candidates = {value for name, value in values if name == notation.named(lines[-1])[0]}
    listed = len(candidates) > 1 and number(notation.named(lines[-1])[1])
    return ", ".join(lines) if listed else lines[-1].rstrip(" .,;")
