r"""What a response's final answer is: our own rules, the same for every kind of answer."""

import functools
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from r1jax.rewards import notation
from r1jax.rewards.numerals import number
from r1jax.rewards.structure import MAX_ELEMENTS, Named, structure
from r1jax.rewards.words import changes, is_unit, is_word
from r1jax.text.chat import Response

MAX_ANSWER = 20_000  # characters that are read at all: prose without a box is not much longer

_BOX = re.compile(
    r"\\(?:boxed|fbox)(?:\s*(?P<open>\{)|\s*(?P<digits>-?\d+(?:\.\d+)?)|\s+(?P<letter>[A-Za-z])(?![A-Za-z])"
    r"|\s*(?P<command>\\(?:(?:[dtc]?frac|binom)\s*(?:\{[^{}]{0,99}\}|\d)\s*(?:\{[^{}]{0,99}\}|\d)"
    r"|sqrt\s*(?:\{[^{}]{0,99}\}|\d)|pi(?![A-Za-z]))))"
)
_BLANK = re.compile(r"(?:\\phantom\s*\{[^{}]*\}|\\(?:square|quad)(?![A-Za-z])|\\[ ,;]|[\s~?_])*+")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def final_answer(response: Response) -> str | None:
    r"""The one answer that a response commits itself to, or None.

    Only what stands outside the thought counts. A `\boxed{}` wins over the words around it. Answers that differ, be
    it in boxes or in answer tags, are a conflict, hence None: listing candidates must not pay. They may differ in
    spelling, and plain numbers in form: 0.5 and 1/2 agree. An empty box, to be filled in, is no answer.
    """
    answers = distinct_answers(response)
    return answers[0] if len(answers) == 1 else None


def distinct_answers(response: Response) -> list[str]:
    """All answers that a response gives which differ: several boxes of one part; none where answer tags differ."""
    parts = []
    for part in response.answers or (response.final,):
        answers: dict[object, str] = {}
        for answer in _answers(part):
            answers.setdefault(_meaning(answer), answer)
            if len(answers) > MAX_ELEMENTS:
                return []
        parts += [answers] if answers else []
    if any(answers.keys() != parts[0].keys() for answers in parts):
        return []
    return [_innermost(answer) for answer in parts[0].values() if answer] if parts else []


def _innermost(answer: str) -> str:
    """What is in a box that is all there is in a box."""
    inner = list(_boxes(answer)) if _BOX.match(answer) else []
    return inner[0] if len(inner) == 1 and answer.endswith(f"{inner[0]}}}") else answer


def _answers(part: str) -> Iterator[str]:
    """What stands in a part's boxes, or all of a part that has none; nothing blank."""
    boxes = _boxes(part)
    box = next(boxes, None)
    for answer in (part,) if box is None else itertools.chain([box], boxes):
        if not _BLANK.fullmatch(answer):
            yield answer


def _boxes(text: str) -> Iterator[str]:
    """The contents of the outermost boxes, each on one line; one that does not close is none, and ends the search."""
    box = _BOX.search(text)
    while box:
        depth, start, end = 1, box.end(), None
        if not box["open"]:
            yield box["digits"] or box["letter"] or box["command"]
            box = _BOX.search(text, box.end())
            continue
        for brace in _BRACE.finditer(text, start, start + MAX_ANSWER):
            depth += (brace[0] == "{") - (brace[0] == "}")
            if depth == 0:
                end = brace
                break
        if end is None:
            return
        yield " ".join(notation.with_commands(text[start : end.start()]).split())
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
_DELIMITER = re.compile(r"####|\$|(?<!\\)\\[(\[]|[\u4e00-\u9fff]")
_LETTERS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
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
# Words that change a number beside it in a formula, and not where they stand in a sentence.
_HARMLESS_FOLLOWING = frozenset(["and", "or", "to", "is", "are", "was", "were", "if", "when"])
_HARMLESS_LEADING = _HARMLESS_FOLLOWING | {"sum", "product", "difference", "total"}
_NEXT_WORDS = re.compile(r"(?:\s{0,3}\*{0,2}\s{0,3}[A-Za-z]+(?:'[a-z]+)?){0,5}+")


_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")


def said(text: str) -> str:
    """The words that an answer in prose comes down to: those after "the answer is", or all of them."""
    anchors = list(_ANCHOR.finditer(text))
    bold = _BOLD.findall(text)
    if not anchors and len(bold) == 1:
        return bold[0].strip(" .,:;")
    rest = text[anchors[-1].end() :] if anchors else text[(lead.end() if (lead := _LEAD.match(text)) else 0) :]
    return rest.replace("$", "").rstrip(" \n.*:,;!\"'").lstrip(" \n*:,;!\"'")


def claim(text: str) -> str | None:
    r"""The formula that an answer comes down to, on one line; None where there is none in it.

    A formula is taken whole; of several lines of formulas the last counts. In prose it is the first formula or number
    after "the answer is", or else the last one there is, along with those that it is listed with: "41 or 42" is a list
    of two, and so are two numbers on two lines. What is said not to be the answer is none.

    Args:
        text: tidied.
    """
    if not _is_prose(_NO_PROSE.sub("", text)):
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
    begin = max(anchors[-1].end() if after else 0, runs[first - 1].end if first else 0, runs[first].start - 60)
    leading = re.split(r"[,;:.!?\n，。；：]", text[begin : runs[first].start])[-1]
    if changes(" ".join(word for word in leading.split() if word.lower() not in _HARMLESS_LEADING)):
        return None
    following = _words_behind(text, runs[last].end)
    tail = f" {following[0]}" if following and changes(words := " ".join(following)) and not is_unit(words) else ""
    return notation.tidy(", ".join(run.formula for run in runs[first : last + 1]).rstrip(" .,;")) + tail


def _words_behind(text: str, start: int) -> list[str]:
    """The first two words behind a number in a sentence that may change it."""
    words = _NEXT_WORDS.match(text, start)[0].split()
    return [word for word in words if word.lower() not in _HARMLESS_FOLLOWING | {"a", "an", "one"}][:2]


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
    values = [(name, plain.value) for name, value in map(_named, lines) if (plain := number(value))]
    candidates = {value for name, value in values if name == _named(lines[-1])[0]}
    listed = len(candidates) > 1 and number(_named(lines[-1])[1])
    return ", ".join(lines) if listed else lines[-1].rstrip(" .,;")


def _named(line: str) -> tuple[str, str]:
    """The name and the text of a value; "" and the line itself where it has no name."""
    name, sign, value = line.partition("=")
    named = sign and len(line) <= notation.MAX_FORMULA and isinstance(structure(line), Named)
    return (notation.compact(name), value.strip()) if named else ("", line)


def _is_prose(text: str) -> bool:
    """Whether a text has words or formulas' delimiters in it."""
    if _DELIMITER.search(text):
        return True
    return any(is_word(text, match.start(), match.end()) for match in _LETTERS.finditer(text))
