r"""Answers near a mathematical reference that are wrong.

For plain numbers (integers, decimals, fractions, mixed numbers) exact values are compared, and what is equal is left
out. For formulas the change itself sees to it: the first term's sign changes, unless it is zero or `\pm`; a digit
changes that is part of a value, not of a unit's power, a variable's index or the name before an equals sign; an element
is dropped that stands there once.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

_LETTER = re.compile(r"(?P<before>\(?|\\text\{\s*\(?)(?P<letter>[A-J])(?P<after>\)?\.?|\)?\s*\})")
# x =, f(x) =, x \in, \approx
_NAME = re.compile(r"\s*(?:[A-Za-z](?:_\w|_\{\w*\})?\s*(?:\(\w+\))?\s*(?:=(?![^=]*=)|\\in\b)|\\approx\b)\s*")
_NOT_VALUE = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}\s*\^\s*\{?\d\}?|(?<![A-Za-z\\])[A-Za-z]_(?:\w|\{\w*\})")
_COMMANDS = re.compile(r"\\(?:begin|end|left|right|text\w*|mathrm|mbox)\b(?:\s*\{[^{}]*\})?|\\[dt]?frac|\\[,;:! ]")
_SAYS_SOMETHING = re.compile(r"[1-9A-Za-z\\]")  # a digit that is not 0, a variable, a constant, a root
_PROSE = re.compile(r"\s*(?:[A-Za-z]{2,}|\\text|\\mbox|\\mathrm|[^\x00-\x7f])")
_MATRIX = re.compile(r"(?P<head>\s*\\begin\{\w*matrix\})(?P<inside>.*)(?P<tail>\\end\{\w*matrix\}\s*)", re.DOTALL)
_OPENING = re.compile(r"\s*(?:\\left\s*)?\\?[(\[{]")
_BRACKET = re.compile(r"(?:\\left\s*|\\right\s*)?\\?[()\[\]{}]")
_WORDS_BETWEEN = r",?\s*(?:\\text\s*\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)"
_SEPARATORS = re.compile(rf"{_WORDS_BETWEEN}|[,;，、；]|\\cup")
_ROWS = re.compile(r"\\\\")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_NUMBER = re.compile(
    r"(?P<sign>-?)\s*(?:(?P<decimal>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)"
    r"|(?:(?P<whole>\d+)\s+)?(?P<top>\d+)/(?P<bottom>\d+))"
)
_LONGEST_NUMBER = 1000  # Python refuses integers of more than 4300 digits


class _List(NamedTuple):
    """head + items with separators between them + tail is the text."""

    head: str
    items: list[str]
    separators: list[str]
    tail: str

    def text(self) -> str:
        pairs = itertools.zip_longest(self.items, self.separators, fillvalue="")
        return self.head + "".join(itertools.chain.from_iterable(pairs)) + self.tail


def number(text: str) -> Fraction | None:
    """The exact value of a number as datasets write it; None for all else. Dollars, percent and degrees are ignored."""
    if len(text) > _LONGEST_NUMBER:
        return None
    plain = re.sub(r"\\[,;:!]\s*|\\?\$|\\?%|\^\s*\{?\\circ\}?", "", text).replace("{,}", ",")
    found = _NUMBER.fullmatch(_FRACTION.sub(r" \1\2/\3\4", plain).strip())
    if not found:
        return None
    if found["decimal"]:
        value = Fraction(found["decimal"].replace(",", ""))
    elif int(found["bottom"]):
        value = int(found["whole"] or 0) + Fraction(int(found["top"]), int(found["bottom"]))
    else:
        return None
    return -value if found["sign"] else value


def maths_perturbations(reference: str) -> list[tuple[str, str]]:
    r"""Wrong answers near a reference, as (kind, answer).

    Kinds: "letter" (the next of a choice's), or "sign", "digit" (the first and the last one) and "option": an element
    of a list, set, tuple, union or column left out, or one side of `\pm`.
    """
    if letter := _LETTER.fullmatch(reference.strip()):
        other = "BCDABFGHIJ"["ABCDEFGHIJ".index(letter["letter"])] if letter["letter"] <= "D" else "A"
        return [("letter", letter["before"] + other + letter["after"])]
    value = number(reference)
    changed = number_perturbations(reference)
    if value is None:
        changed += [("option", text) for text in _options_dropped(reference)]
    return changed


def number_perturbations(reference: str) -> list[tuple[str, str]]:
    """The kinds "sign" and "digit" alone."""
    flipped = _sign_flipped(reference)
    changed = [("sign", flipped)] if flipped is not None else []
    changed += [("digit", text) for text in _digits_changed(reference)]
    value = number(reference)
    return [(kind, text) for kind, text in changed if value is None or number(text) != value]


def _sign_flipped(text: str) -> str | None:
    """The sign changed of the first term, of the first element that is not zero; None where there is none."""
    if number(text) is None:
        parts = _split(text)
        if len(parts.items) > 1:
            for place, item in enumerate(parts.items):
                if flipped := _sign_flipped(item):
                    return parts._replace(items=[*parts.items[:place], flipped, *parts.items[place + 1 :]]).text()
            return None
    name = _NAME.match(text)
    start = name.end() if name else 0
    term = text[start:].lstrip()
    bare = _COMMANDS.sub("", re.split(r"(?<=.)[-+&]|&", term, maxsplit=1)[0])
    if not _SAYS_SOMETHING.search(bare) or _PROSE.match(term) or term.startswith((r"\pm", r"\mp")):
        return None
    lead = text[: len(text) - len(term)]
    return lead + (term[1:].lstrip() if term.startswith("-") else "-" + term.removeprefix("+"))


def _digits_changed(text: str) -> Iterator[str]:
    name = _NAME.match(text)
    # Hidden, not cut: the places stay the same.
    shown = _NOT_VALUE.sub(lambda part: " " * len(part[0]), text)
    places = [place.start() for place in re.finditer(r"[0-9]", shown) if not name or place.start() >= name.end()]
    for place in sorted({*places[:1], *places[-1:]}):
        digit = "8" if text[place] == "9" else str(int(text[place]) + 1)
        yield text[:place] + digit + text[place + 1 :]


def _options_dropped(text: str) -> Iterator[str]:
    parts = _split(text.rstrip(" .,;"))
    alike = Counter("".join(item.split()) for item in parts.items)
    if len(parts.items) > 1:
        for place in (0, len(parts.items) - 1):
            if alike["".join(parts.items[place].split())] == 1:
                between = max(place - 1, 0)
                items, separators = list(parts.items), list(parts.separators)
                del items[place], separators[between]
                yield parts._replace(items=items, separators=separators).text()
    if re.search(r"\\(?:pm|mp)\b", text):
        yield re.sub(r"\\(?:pm|mp)\b", "+", text, count=1).strip().removeprefix("+")


def _split(text: str) -> _List:
    """A list, set, tuple, interval, union or column of a matrix, taken apart; one item where it is none of these."""
    if matrix := _MATRIX.fullmatch(text):
        return _List(matrix["head"], *_items(matrix["inside"], _ROWS), matrix["tail"])
    name = _NAME.match(text)
    start, end = name.end() if name else 0, len(text)
    if opening := _OPENING.match(text, start):
        depth = 1
        for bracket in _BRACKET.finditer(text, opening.end()):
            depth += 1 if bracket[0][-1] in "([{" else -1
            if depth == 0:
                if not text[bracket.end() :].strip():
                    start, end = opening.end(), bracket.start()
                break
    return _List(text[:start], *_items(text[start:end], _SEPARATORS), text[end:])


def _items(text: str, separator: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """What stands between separators outside of brackets, and those."""
    brackets = [(bracket.start(), 1 if bracket[0][-1] in "([{" else -1) for bracket in _BRACKET.finditer(text)]
    items, separators, begin, depth, passed = [], [], 0, 0, 0
    for found in separator.finditer(text):
        while passed < len(brackets) and brackets[passed][0] < found.start():
            depth += brackets[passed][1]
            passed += 1
        if depth == 0:
            items.append(text[begin : found.start()])
            separators.append(found[0])
            begin = found.end()
    return [*items, text[begin:]], separators
