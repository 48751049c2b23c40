r"""Formulas near a reference, with a letter dropped or renamed, and an evaluator that compares them.

A letter stands for a value of its own, drawn from its name; `i` is the imaginary unit and `e` Euler's number. Two
formulas that differ at such a point are not equal; those that cannot be evaluated are left alone. The evaluator reads
LaTeX by itself and not by the graders' parsers, so that an audit does not repeat their errors.

Names that are bound are left alone: the x of `f(x) =`, a name before an equals sign or alone on a side of an
inequality, the k of `k\pi`, of which a condition says that it is an integer, a parameter that all elements of a tuple
depend on; and letters that may be units.
"""

import cmath
import math
import re
import zlib
from collections.abc import Iterator

_LONGEST = 300  # characters; of longer formulas nothing is evaluated
_POINTS = (1, 2)
_TYPESETTING = re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])\.?|\\[,;:! ]|~|\\q?quad(?![A-Za-z])|(?<!\\)\$")
_NAME = r"(?:[A-Za-z]|\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|omega)(?![A-Za-z]))"
_INDEX = r"_\s*(?:\w|\{\s*\w{1,9}\s*\})"
_PRIMES = r"(?:'+|\^\s*\{?\s*(?:\\prime\s*)+\}?)"
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|(?P<name>{_NAME}(?:\s*{_INDEX})?(?:\s*{_PRIMES})?)"
    r"|\\(?P<command>[A-Za-z]+)|(?P<sign>[-+*/^(){}\[\]]|\\[{}]))"
)
_FUNCTIONS = {
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "ln": cmath.log,
    "log": cmath.log,
    "sqrt": cmath.sqrt,
    "sec": lambda x: 1 / cmath.cos(x),
    "csc": lambda x: 1 / cmath.sin(x),
    "cot": lambda x: 1 / cmath.tan(x),
    "exp": cmath.exp,
}


class _Unreadable(Exception):
    """The text is no formula of the kind that is evaluated."""


def evaluate(text: str, point: int = 1) -> complex | None:
    r"""The value of a formula at one of many points; None where it cannot be read, or has no value there.

    Numbers, letters with indices and primes, + - * / ^, products by juxtaposition, fractions, roots, sines and kin.
    """
    if len(text) > _LONGEST:
        return None
    try:
        evaluator = _Evaluator(_TYPESETTING.sub(" ", text).rstrip(" .,;"), point)
        value = evaluator.total()
        if not evaluator.at_end() or not cmath.isfinite(value):
            return None
    except (_Unreadable, ArithmeticError, ValueError, RecursionError):
        return None
    return value


class _Evaluator:
    """By recursive descent: a total of products of powers of factors."""

    def __init__(self, text: str, point: int) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._place, self._point, position = 0, point, 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if not match or not match.lastgroup:
                raise _Unreadable
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()

    def at_end(self) -> bool:
        return self._place == len(self._tokens)

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._place] if not self.at_end() else ("end", "")

    def _take(self, *texts: str) -> bool:
        taken = self._next()[1] in texts and not self.at_end()
        self._place += taken
        return taken

    def total(self) -> complex:
        value = self._product()
        while self._next()[1] in ("+", "-"):
            sign = -1 if self._take("-") else 1
            if sign == 1:
                self._take("+")
            value += sign * self._product()
        return value

    def _product(self) -> complex:
        sign = 1
        while self._next()[1] in ("+", "-"):
            sign *= -1 if self._take("-") else 1
            if self._next()[1] == "+":
                self._take("+")
        value = self._power()
        while True:
            kind, text = self._next()
            if self._take("*", "cdot", "times"):
                value *= self._signed_power()
            elif self._take("/", "div"):
                value /= self._signed_power()
            elif kind == "number" and self._tokens[self._place - 1][0] == "number":
                raise _Unreadable  # 2 3
            elif kind in ("number", "name", "command") or text in ("(", "{", "["):
                value *= self._power()
            else:
                return sign * value

    def _signed_power(self) -> complex:
        return -self._signed_power() if self._take("-") else self._power()

    def _power(self) -> complex:
        value = self._factor()
        if self._take("^"):
            exponent = self._signed_power()
            if abs(exponent) > 1000:
                raise _Unreadable
            value = value**exponent
        return value

    def _factor(self) -> complex:
        kind, text = self._next()
        self._place += 1
        if kind == "number":
            return float(text)
        if kind == "name":
            return self._value(text)
        if text in ("(", "{", "["):
            value = self.total()
            if not self._take({"(": ")", "{": "}", "[": "]"}[text]):
                raise _Unreadable
            return value
        if text == "pi":
            return math.pi
        if text in ("frac", "dfrac", "tfrac", "cfrac"):
            over, under = self._argument(), self._argument()
            return over / under
        if text == "sqrt":
            degree = self.total() if self._take("[") else 2
            if degree != 2 and not self._take("]"):
                raise _Unreadable
            return self._argument() ** (1 / degree)
        if text in _FUNCTIONS:
            exponent = self._argument() if self._take("^") else 1
            value = self._power()
            while self._next()[0] in ("number", "name"):  # \sin 2x
                value *= self._power()
            return _FUNCTIONS[text](value) ** exponent
        raise _Unreadable

    def _argument(self) -> complex:
        r"""What stands in braces, or the next digit or letter: \frac12."""
        kind, text = self._next()
        if kind == "number" and len(text) > 1 and "." not in text:
            self._tokens[self._place] = (kind, text[1:])
            return float(text[0])
        return self._factor()

    def _value(self, name: str) -> complex:
        name = re.sub(r"[\s{}]", "", name).replace(r"^\prime", "'").replace(r"\prime", "'")
        if name in ("i", "e"):
            return 1j if name == "i" else math.e
        return 1.1 + zlib.crc32(f"{name} {self._point}".encode()) / 2**32


_HIDDEN = re.compile(r"\\(?:text\w*|mbox|math[a-z]+|operatorname)\s*\{[^{}]*\}|\\begin\s*\{\w+\*?\}|\\end\s*\{\w+\*?\}")
_LETTER = re.compile(
    rf"\\[A-Za-z]+|(?P<name>[A-Za-z])(?P<index>\s*{_INDEX})?(?P<primes>\s*{_PRIMES})?(?P<power>\s*\^\s*(?:\w|\{{[^{{}}]*\}}))?"
)
_PROSE = re.compile(
    r"(?<![A-Za-z\\])(?:[A-Za-z]{4,}|sin|cos|tan|log|ln|pi)|\d(?:st|nd|rd|th)(?![A-Za-z])|[^\x00-\x7f]"
    r"|\\(?:int|sum|prod|lim|forall|exists)(?![A-Za-z])"
)
_CONDITION = re.compile(r"\\mathbb|\\in(?![A-Za-z])|(?<![A-Za-z\\])(?:where|for|integers?|real|any|all)(?![A-Za-z])")
_BASED = re.compile(r"\s*-?[0-9A-Z.]+\s*_\s*(?:\d+|\{\d+\})[\s.]*")
_RELATION = re.compile(r"<|>|=|\\(?:leq?|geq?|neq?|approx|equiv|in|sim)(?![A-Za-z])")
_BOUNDARY = re.compile(
    rf"{_RELATION.pattern}|[,;:&]|\\\\|\\(?:cup|cap|pm|mp|text)(?![A-Za-z])|(?<![A-Za-z])(?:and|or)(?![A-Za-z])"
)
_HEAD = re.compile(rf"[\s(\[{{]*\\?[A-Za-z]+(?:\s*{_INDEX})?(?:\s*{_PRIMES})?\s*(?:\([^()]*\))?\s*")
_POSSIBLE_UNIT = re.compile(
    r"(?<=[\d})])(?:(?:\s|~|\\[,;: ])+[A-Za-z]{1,3}|[cmk]m|[km]g|m[lL]|ft)(?:\s*\^\s*\{?\d\}?)?\s*(?=$|[,;])"
)
_MULTIPLE = re.compile(r"([A-Za-z])\s*\\pi(?![A-Za-z])|\\pi\s*([A-Za-z])(?![A-Za-z])")
_FRESH = "tuwvpqrzyxhg"


def letters_changed(text: str) -> Iterator[tuple[str, str]]:
    """Formulas that are not equal to the reference, as (kind, formula).

    Kinds: "letter dropped", an index, a prime or a factor; "letter renamed", each letter in turn, everywhere.
    """
    visible_text = _HIDDEN.sub(lambda part: " " * len(part[0]), text).replace("$", " ")
    if len(text) > _LONGEST or _PROSE.search(visible_text) or _BASED.fullmatch(text):
        return
    letters = [match for match in _LETTER.finditer(visible_text) if match["name"]]
    bound = _bound(visible_text, [match["name"] for match in letters])
    letters = [match for match in letters if match["name"] not in bound]
    units = [part.span() for part in _POSSIBLE_UNIT.finditer(visible_text)]
    letters = [match for match in letters if not any(start <= match.start() < end for start, end in units)]
    dropped = []
    for group in ("index", "primes"):
        spans = [match.span(group) for match in letters if match[group]]
        dropped += [text[:start] + text[end:] for start, end in (*spans[:1], *spans[-1:])]
    factors = [
        match.span() for match in letters if _is_factor(visible_text[: match.start()], visible_text[match.end() :])
    ]
    dropped += [text[:start] + text[end:] for start, end in (*factors[:1], *factors[-1:])]
    for wrong in dict.fromkeys(dropped):
        if _differ(text, wrong):
            yield "letter dropped", wrong
    names = {match["name"] for match in letters}
    used = {match["name"] for match in _LETTER.finditer(text) if match["name"]}
    fresh = next((name for name in _FRESH if name not in used), None)
    for name in sorted(names) if fresh else ():
        places = [match.start() for match in letters if match["name"] == name]
        wrong = "".join(fresh if place in places else char for place, char in enumerate(text))
        if _differ(text, wrong):
            yield "letter renamed", wrong


def _is_factor(before: str, after: str) -> bool:
    """Whether a letter between these is multiplied by what stands beside it."""
    return bool(re.search(r"[\w)}]\s*$", before) or re.match(r"\s*(?:[\w(]|\\(?:frac|sqrt|pi|sin|cos|tan)\b)", after))


def _bound(text: str, names: list[str]) -> set[str]:
    """Letters that another could stand for, or that may be left out."""
    bound: set[str] = set()
    items = re.split(r"[,;&]|\\\\|(?<![A-Za-z])(?:and|or)(?![A-Za-z])", text)
    for item in items:
        sides = _RELATION.split(item)
        for side in sides if len(sides) > 1 else ():
            if _HEAD.fullmatch(side):
                bound.update(re.findall(r"(?<![A-Za-z\\])[A-Za-z]|(?<=[A-Z])[A-Z]", side))
    for match in _MULTIPLE.finditer(text):
        bound.update(filter(None, match.groups()))
    if _CONDITION.search(text):
        bound.update(names)
    if len(items) > 1:
        bound.update(
            name for name in names if all(name in re.findall(r"(?<![A-Za-z\\])[A-Za-z]", part) for part in items)
        )
    return bound


def _differ(text: str, wrong: str) -> bool:
    """Whether two formulas are certainly not equal: each part that changed has another value, at every point.

    Of equations the ratio of left minus right must change from point to point as well: 2x = 4 is x = 2.
    """
    pieces, others = _BOUNDARY.split(text), _BOUNDARY.split(wrong)
    if len(pieces) != len(others):
        return False
    changed = [(one, other) for one, other in zip(pieces, others, strict=True) if one != other]
    values = [
        (evaluate(_unbracketed(one), point), evaluate(_unbracketed(other), point))
        for one, other in changed
        for point in _POINTS
    ]
    if not values or any(None in pair or cmath.isclose(*pair, rel_tol=1e-6, abs_tol=1e-9) for pair in values):
        return False
    return not _RELATION.search(text) or _ratio(text, wrong)


def _ratio(text: str, wrong: str) -> bool:
    """Whether what is not a single equation or inequality, or one that is not the other times a factor."""
    sides, others = _RELATION.split(text), _RELATION.split(wrong)
    if len(sides) != 2 or _HEAD.fullmatch(sides[0]) or re.search("[,;]", text):
        return True
    ratios = []
    for point in _POINTS:
        values = [evaluate(side, point) for side in (*sides, *others)]
        if None in values or 0 in values or values[0] == values[1]:
            return False
        ratios.append((values[2] - values[3]) / (values[0] - values[1]))
    return not cmath.isclose(*ratios, rel_tol=1e-6)


def _unbracketed(piece: str) -> str:
    """A piece of a list without the brackets that the list's other pieces close or open."""
    piece = _TYPESETTING.sub(" ", _HIDDEN.sub(" ", piece)).strip().rstrip(".")
    while piece.startswith(("(", "[", r"\{", "{")) and _depth(piece) > 0:
        piece = piece.removeprefix("\\")[1:].lstrip()
    while piece.endswith((")", "]", "}")) and _depth(piece) < 0:
        piece = piece[:-1].removesuffix("\\").rstrip()
    return piece


def _depth(piece: str) -> int:
    return sum(piece.count(char) for char in "([{") - sum(piece.count(char) for char in ")]}")
