r"""Wrong answers near a mathematical reference: another sign, digit, number of elements or order of values.

For plain numbers (integers, decimals, fractions, mixed numbers) exact values are compared, and what is equal is left
out. For formulas the change itself sees to it: the first term's sign changes, unless it is zero or `\pm`; a digit
changes that is part of a value, not of a unit's power, a variable's index or the name before an equals sign; an element
is dropped that stands there once; named values change places that are certainly not equal. Letters are the matter of
`r1jax.audit.formulas`.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from r1jax.audit.formulas import evaluate, letters_changed

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


class ListParts(NamedTuple):
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
    match = _NUMBER.fullmatch(_FRACTION.sub(r" \1\2/\3\4", plain).strip())
    if not match:
        return None
    if match["decimal"]:
        value = Fraction(match["decimal"].replace(",", ""))
    elif int(match["bottom"]):
        value = int(match["whole"] or 0) + Fraction(int(match["top"]), int(match["bottom"]))
    else:
        return None
    return -value if match["sign"] else value


def maths_perturbations(reference: str) -> list[tuple[str, str]]:
    r"""Wrong answers near a reference, as (kind, answer).

    Kinds: "letter" (the next of a choice's), or "sign", "digit" (the first and the last one) and "option": an element
    of a list, set, tuple, union, column or of formulas in dollars left out, or one side of `\pm`; "names swapped" (two
    named values have each other's), "letter dropped" and "letter renamed" of formulas; "negated" of words, and
    "modified" of a plain number: "less than 5", "twice 5", or without such a word that the reference has; "glued", the
    blank of a mixed number or the point of a decimal left out.
    """
    if letter := _LETTER.fullmatch(reference.strip()):
        other = "BCDABFGHIJ"["ABCDEFGHIJ".index(letter["letter"])] if letter["letter"] <= "D" else "A"
        return [("letter", letter["before"] + other + letter["after"])]
    value = number(reference)
    changed = number_perturbations(reference)
    if value is not None:
        words = ("less than", "twice") if value else ("less than",)
        glued = re.sub(r"(?<=\d)[ .](?=\d)", "", reference)
        changed += [("glued", glued)] if number(glued) not in (None, value) else []
        return [*changed, *(("modified", rf"\text{{{word} }}{reference.strip()}") for word in words)]
    if (modified := _MODIFIED.fullmatch(reference)) and number(modified["number"]):
        changed.append(("modified", modified["number"]))
    if opposite := _negated(reference):
        changed.append(("negated", opposite))
    options = {"".join(text.split()): text for text in (*_dollars_dropped(reference), *_options_dropped(reference))}
    changed += [("option", text) for text in options.values()]
    changed += [("names swapped", text) for text in _names_swapped(reference)]
    return changed if _negatable(reference) else [*changed, *letters_changed(reference)]


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
        parts = split_list(text)
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
    visible_text = _NOT_VALUE.sub(lambda part: " " * len(part[0]), text)
    places = [place.start() for place in re.finditer(r"[0-9]", visible_text) if not name or place.start() >= name.end()]
    for place in sorted({*places[:1], *places[-1:]}):
        digit = "8" if text[place] == "9" else str(int(text[place]) + 1)
        yield text[:place] + digit + text[place + 1 :]


def _options_dropped(text: str) -> Iterator[str]:
    parts = split_list(text.rstrip(" .,;"))
    alike = Counter("".join(item.split()) for item in parts.items)
    if len(parts.items) > 1:
        for place in (0, len(parts.items) - 1):
            others = [item for other, item in enumerate(parts.items) if other != place]
            if alike["".join(parts.items[place].split())] == 1 and not _has_value_of(others, parts.items[place]):
                between = max(place - 1, 0)
                items, separators = list(parts.items), list(parts.separators)
                del items[place], separators[between]
                yield parts._replace(items=items, separators=separators).text()
    if re.search(r"\\(?:pm|mp)\b", text):
        yield re.sub(r"\\(?:pm|mp)\b", "+", text, count=1).strip().removeprefix("+")


_NAMED = re.compile(
    r"(?P<head>[\s$]*(?P<name>\\?[A-Za-z]+(?:_\w|_\{\w+\})?'*\s*(?:\(\w+\))?)\s*=\s*)(?P<value>[^=$]+?)(?P<tail>[\s$]*)"
)


def _names_swapped(text: str) -> Iterator[str]:
    """A list of named values of which two have changed places: the first, and the next that is certainly another."""
    parts = split_list(text)
    named = [_NAMED.fullmatch(item) for item in parts.items]
    names = {"".join(item["name"].split()) for item in named if item}
    if None in named or len(named) < 2 or len(names) < len(named):
        return
    first = named[0]
    for place, other in enumerate(named[1:], 1):
        values = [(evaluate(first["value"], point), evaluate(other["value"], point)) for point in (1, 2)]
        if all(None not in pair and abs(pair[0] - pair[1]) > 1e-6 for pair in values):
            items = list(parts.items)
            items[0] = first["head"] + other["value"] + first["tail"]
            items[place] = other["head"] + first["value"] + other["tail"]
            yield parts._replace(items=items).text()
            return


_MODIFIED = re.compile(
    r"\s*(?:\\text\s*\{\s*)?(?:(?:less|fewer|more|greater) than|at (?:least|most)|twice|half|negative|minus)\s+"
    r"(?P<number>[^{}]*)\}?",
    re.IGNORECASE,
)
_DOLLARS = re.compile(r"(?<!\\)\$([^$]+)(?<!\\)\$")
_BETWEEN = re.compile(rf"\s*(?:{_WORDS_BETWEEN}|[,;，、；]|和|或)++\s*")


def _dollars_dropped(text: str) -> Iterator[str]:
    """Of several formulas in dollars, with nothing but separators between them, the first or the last left out."""
    formulas = list(_DOLLARS.finditer(text))
    between = [text[one.end() : other.start()] for one, other in itertools.pairwise(formulas)]
    if not between or text[: formulas[0].start()].strip() or text[formulas[-1].end() :].strip(" .,;"):
        return
    if not all(_BETWEEN.fullmatch(part) for part in between):
        return
    for dropped, remaining in ((0, text[formulas[1].start() :]), (-1, text[: formulas[-2].end()])):
        one = formulas[dropped][1]
        if all(_certainly_other(one, other[1]) for other in formulas if other is not formulas[dropped]):
            yield remaining


def _certainly_other(one: str, other: str) -> bool:
    """Whether two formulas are not the same answer: another value or, of named values, another name."""
    named = [_NAMED.fullmatch(part) for part in (one, other)]
    if all(named) and named[0]["name"].strip() != named[1]["name"].strip():
        return True
    values = [evaluate(match["value"] if match else part) for match, part in zip(named, (one, other), strict=True)]
    return None not in values and abs(values[0] - values[1]) > 1e-6


_WORDS = re.compile(
    r"(?P<before>\s*(?:\\(?:text|mbox)\s*\{)?\s*)(?P<words>[A-Za-z]+(?:[ '.]+[A-Za-z]+)*)(?P<after>[\s.]*\}?[\s.]*)"
)
_CHINESE_WORDS = re.compile(r"[\u4e00-\u9fff]+")
_NEGATION = re.compile(
    r"\b(?:not|no|none|never|neither|nor|nobody|nothing|without|un\w+|cannot)\b|n't\b|[不非无没未否]", re.I
)
_FUNCTION = re.compile(r"\b(?:sin|cos|tan|cot|sec|csc|log|ln|sqrt|pi|infty|exp|frac)\b")
_OPPOSITES = {"yes": "No", "no": "Yes", "true": "False", "false": "True"}


def _negatable(text: str) -> re.Match[str] | None:
    """A text of words alone, in `\\text` or bare."""
    match = _WORDS.fullmatch(text)
    if not match or (match["before"].strip() == "") != ("}" not in match["after"]):
        return None
    longest = max(map(len, match["words"].split()))
    return match if longest >= 3 or match["words"].lower() in _OPPOSITES else None


def _negated(text: str) -> str | None:
    """Words that say that it is not so; None where the text is not of words, or says that already."""
    if _CHINESE_WORDS.fullmatch(text.strip()) and not _NEGATION.search(text):
        return text.replace("是", "不是", 1) if "是" in text else f"不是{text.strip()}"
    match = _negatable(text)
    words = match["words"] if match else ""
    if opposite := _OPPOSITES.get(words.lower()):
        return match["before"] + opposite + match["after"]
    if not match or words.isupper() or _NEGATION.search(words) or _FUNCTION.search(words):
        return None
    verb = re.search(r" (?:is|are)(?= )", words)
    negated = f"{words[: verb.end()]} not{words[verb.end() :]}" if verb else f"not {words}"
    return match["before"] + negated + match["after"]


def _has_value_of(others: list[str], item: str) -> bool:
    value = evaluate(item.replace("$", " "))
    values = [evaluate(other.replace("$", " ")) for other in others] if value is not None else []
    return any(other is not None and abs(other - value) < 1e-9 for other in values)


def split_list(text: str) -> ListParts:
    """A list, set, tuple, interval, union or column of a matrix, taken apart; one item where it is none of these."""
    if matrix := _MATRIX.fullmatch(text):
        return ListParts(matrix["head"], *_items(matrix["inside"], _ROWS), matrix["tail"])
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
    return ListParts(text[:start], *_items(text[start:end], _SEPARATORS), text[end:])


def _items(text: str, separator: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """What stands between separators outside of brackets, and those."""
    brackets = [(bracket.start(), 1 if bracket[0][-1] in "([{" else -1) for bracket in _BRACKET.finditer(text)]
    items, separators, begin, depth, passed = [], [], 0, 0, 0
    for match in separator.finditer(text):
        while passed < len(brackets) and brackets[passed][0] < match.start():
            depth += brackets[passed][1]
            passed += 1
        if depth == 0:
            items.append(text[begin : match.start()])
            separators.append(match[0])
            begin = match.end()
    return [*items, text[begin:]], separators
