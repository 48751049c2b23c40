r"""What a response's final answer is: our own rules, the same for every kind of answer."""

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from r1jax.graders.math import notation
from r1jax.graders.math.formula_structure import MAX_ELEMENTS, Named, structure
from r1jax.graders.math.numerals import number
from r1jax.graders.math.words_and_units import changes, is_lead, is_number_word, is_unit, is_word
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
    inner = list(_boxes(answer)) if len(answer) <= MAX_ANSWER and _BOX.match(answer) else []
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
_PLAIN_ANCHOR = re.compile(r"\s*(?:answers?\W{0,4}(?:is|are|[:=])|####|A:|答案\W{0,2}[是为:]?)", re.IGNORECASE)
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
# Words that change a number in a formula, and not where they stand before one in a sentence: "if 5 is the answer".
_ORDINARY = frozenset(
    {"is", "are", "was", "were", "if", "when", "and", "or", "with", "because", "at", "by", "equals", "equal"}
)
_NAMES_ANOTHER = frozenset({"sum", "product", "difference", "total", "point", "maximum", "minimum", "digits", "sign"})
_COMES_TO = frozenset(
    {"equal", "comes", "amounts", "simplifies", "reduces", "evaluates", "sums", "adds", "up", "leads"}
)
_AFTERTHOUGHTS = frozenset({"maybe", "perhaps", "possibly", "not", "squared", "cubed", "halved", "doubled", "or"})
_LINKS = frozenset(
    re.findall(
        r"\w+",
        "is are was were if when with because since as so which that for after where who in on from and or to by of at "
        "but while then than per",
    )
)
_SCALE = re.compile(
    r"\s{0,3}\$?\s{0,3}(per\s?cent|percent|hundred|thousand|million|billion|trillion|dozen)(?![A-Za-z])"
)
_NUMBER_BESIDE = re.compile(r"[\s$*)]{0,6}[,;/=]?\s{0,3}(?:(?:or|then|i\.e\.|and)\s+)?([A-Za-z]+)")
_NEXT_WORDS = re.compile(
    r"[\s$*)]{0,6}(?P<opened>[(,]?)\s{0,3}(?P<words>[A-Za-z]+(?:['-][a-z]+)?(?:[\s*]{1,3}[A-Za-z]+){0,3}+)"
)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")


def stated_answer(text: str) -> str:
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
    if scale := _SCALE.match(text, runs[last].end):  # 44 percent, 3 million
        runs[last] = _Run(runs[last].start, scale.end(), f"{runs[last].formula} {scale[1]}")
    if _is_changed(text, runs, first, last, anchors[-1].end() if after else 0) or _anchors_disagree(
        text, anchors, runs
    ):
        return None
    return notation.tidy(", ".join(run.formula for run in runs[first : last + 1]).rstrip(" .,;"))


def _is_changed(text: str, runs: list["_Run"], first: int, last: int, anchor: int) -> bool:
    """Whether words or signs beside formulas in a sentence change, bound or deny what they say."""
    begin = max(anchor, runs[first - 1].end if first else 0, runs[first].start - 60)
    leading = re.split(r"[;.!?\n。；]", text[begin : runs[first].start])[-1].rstrip("$ *([{")
    words = leading.lower().replace(",", " ").split()
    if words and not leading[-1].isascii() and unicodedata.category(leading[-1])[0] == "S":
        return True
    if any(changes(word) and word not in _ORDINARY | _NAMES_ANOTHER and not is_number_word(word) for word in words):
        return True
    if words[-1:] and words[-1] in ("before", "after", "near", "unlike", "from", "line"):
        return True
    if words[-1:] == ["and"] and any(map(is_number_word, words[-2:-1])):
        return True
    if words and (is_number_word(words[-1]) or (any(map(is_number_word, words[-3:])) and "or" in words[-3:])):
        return True
    if words[-1:] == ["to"] and not _COMES_TO.issuperset(words[-2:-1] or ["to"]):
        return True
    if words[-1:] == ["of"] and not is_lead(" ".join(words[-2:])):
        return True
    behind = text[runs[last].end : runs[last].end + 80]
    if (
        (sign := behind.lstrip("$ *)")[:1])
        and not sign.isascii()
        and unicodedata.category(sign) in ("Sm", "So", "Sk", "Po")
    ):
        return sign not in "。，；：！？、’”°"
    if (beside := _NUMBER_BESIDE.match(behind)) and is_number_word(beside[1]):
        return True
    following = _NEXT_WORDS.match(behind)
    return bool(following) and _changes_before(following["words"].replace("*", " "), following["opened"])


def _changes_before(words: str, opened: str) -> bool:
    """Whether words that follow a number change it: "or more", "is wrong", "(squared)", "raised to two"."""
    plain = [word for word in words.lower().split() if word not in ("a", "an", "one", "the")]
    if opened == ",":
        return bool(plain) and plain[0] in _AFTERTHOUGHTS
    for place, word in enumerate(plain):
        following = plain[place + 1] if place + 1 < len(plain) else ""
        if word in ("is", "are", "was", "were"):
            return any(changes(each) and each not in _ORDINARY for each in plain[place + 1 :])
        if word in _LINKS:
            if changes(following) and following not in _ORDINARY:
                return True
            if word not in ("and", "or", "to", "by", "of", "at"):
                return False  # a clause of its own
        elif place == 0 and is_unit(word):
            continue
        elif changes(word) or is_number_word(word):
            return not is_unit(" ".join(plain[: place + 2]))
    return plain[:1] in (["or"], ["at"]) or (plain[:1] == ["to"] and len(plain) < 2)


def _anchors_disagree(text: str, anchors: list[re.Match[str]], runs: list["_Run"]) -> bool:
    """Whether "the answer is" stands before several formulas that differ: candidates are no answer."""
    plain = [anchor for anchor in anchors[-9:] if _PLAIN_ANCHOR.fullmatch(anchor[0])]
    firsts = [next((run for run in runs if run.start >= anchor.end()), None) for anchor in plain]
    return len({_meaning(run.formula) for run in firsts if run}) > 1


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
    lead = len(match[0]) - len(match[0].lstrip(" ,:")) if match["bare"] else 0
    return _Run(match.start() + lead, match.end(), " ".join(formula.split()))


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
