r"""Comparison of a reference with what a grader reads in it.

A grader that cuts off what it cannot read accepts a part of the answer. Feeding the reference back does not show it,
since both sides are cut alike. So a grader that has `reading(answer) -> str | None`, the text of all that it compares
by, is held to the reference: the same numbers, letters and signs must occur in both, as often
(`r1jax.audit.reading_tokens`). Order is not compared, and of two sides that are equal numbers ("0.56 = 56\%") one is
enough.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from r1jax.audit.maths_cases import number, split_list
from r1jax.audit.reading_tokens import tokens

Reader = Callable[[str], str | None]
_MOST_WAYS = 64
_BROKEN_NE = re.compile(r"\n(?=eq?(?![A-Za-z]))eq?")  # \neq or \ne where an escape was taken for a line break
_ORDER = re.compile(r"\s*([<>≤≥≠]|\\(?:leq?|geq?|neq?|leqslant|geqslant|lt|gt)(?![A-Za-z]))\s*")
_ORDERS = {
    "≤": "<=",
    "le": "<=",
    "leq": "<=",
    "leqslant": "<=",
    "≥": ">=",
    "ge": ">=",
    "geq": ">=",
    "geqslant": ">=",
    "lt": "<",
    "gt": ">",
    "≠": "ne",
    "neq": "ne",
}
_LEFT_RIGHT = re.compile(r"\\(?:left|right)\s*(?![A-Za-z])")
_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}")


class Reading(NamedTuple):
    """What a grader reads in a reference.

    Attributes:
        text: all that it compares by; None: it reads nothing.
        lost: tokens of the reference that are missing from it, as often as they are.
        added: tokens of it that the reference does not have.
    """

    text: str | None
    lost: tuple[str, ...]
    added: tuple[str, ...]


def compare(reference: str, text: str | None) -> Reading:
    """Compares a reference with the text that a grader reads in it; None: it reads nothing."""
    present = tokens(_BROKEN_NE.sub(r"\\ne ", text or ""))
    ways = []
    for way in _ways(reference):
        expected = tokens(way)
        if any(len(token) == 1 and token.isupper() for token in (expected | present)) and _WORD.search(way):
            expected, counted = _folded(expected), _folded(present)
        else:
            counted = present
        lost, added = expected - counted, counted - expected
        del added[r"\times"]  # for 2(3) and 2x
        ways.append(Reading(text, tuple(sorted(lost.elements())), tuple(sorted(added.elements()))))
    return min(ways, key=lambda way: len(way.lost) + len(way.added))


def _folded(counts: Counter[str]) -> Counter[str]:
    folded: Counter[str] = Counter()
    for token, count in counts.items():
        folded[token.lower() if len(token) == 1 else token] += count
    return folded


def _ways(reference: str) -> Iterator[str]:
    r"""The reference in all spellings that say the same.

    Where it has two sides that are equal numbers, or rounded from one another, either side; of a list the elements with
    and without `\pm` written out as two, and inequalities as the interval of their name.
    """
    reference = _BROKEN_NE.sub(r"\\ne ", reference)
    parts = split_list(reference)
    spellings = [list(dict.fromkeys(_spellings(item))) for item in parts.items]
    every_last = [alternatives[-1] for alternatives in spellings]
    for items in itertools.chain([every_last], itertools.islice(itertools.product(*spellings), _MOST_WAYS)):
        yield parts._replace(items=list(items)).text()
    sides = re.split(r"\\approx(?![A-Za-z])|≈|=", reference)
    values = [value / (100 if "%" in side else 1) for side in sides if (value := number(side)) is not None]
    if len(sides) == len(values) == 2 and abs(values[0] - values[1]) <= abs(values[0]) / 100:
        yield from sides


def _spellings(item: str) -> Iterator[str]:
    yield item
    if re.search(r"\\[pm][pm](?![A-Za-z])", item):
        upper = re.sub(r"\\pm(?![A-Za-z])", "+", re.sub(r"\\mp(?![A-Za-z])", "-", item))
        lower = re.sub(r"\\pm(?![A-Za-z])", "-", re.sub(r"\\mp(?![A-Za-z])", "+", item))
        yield f"{upper}, {lower}"
    sides = _ORDER.split(_LEFT_RIGHT.sub(" ", item))
    orders = [_ORDERS.get(sign.lstrip("\\"), sign.lstrip("\\")) for sign in sides[1::2]]
    sides = [side.strip() for side in sides[::2]]
    for sign in orders[1:]:
        if sign[0] != orders[0][0]:  # 1 < x > 3
            return
    if len(sides) == 3 and "ne" not in orders:
        low, name, high = sides if orders[0][0] == "<" else sides[::-1]
        opening, closing = orders if orders[0][0] == "<" else orders[::-1]
        yield f"{name} = {'(['[len(opening) - 1]}{low}, {high}{')]'[len(closing) - 1]}"
    elif len(sides) == 2 and sides[0]:
        (name, bound), (order,) = sides, orders
        bracket = len(order) - 1
        if order == "ne":
            yield rf"{name} = (-\infty, {bound}) \cup ({bound}, \infty)"
        elif order[0] == "<":
            yield rf"{name} = (-\infty, {bound}{')]'[bracket]}"
            yield rf"{bound} = {'(['[bracket]}{name}, \infty)"  # 5 < x
        else:
            yield rf"{name} = {'(['[bracket]}{bound}, \infty)"
            yield rf"{bound} = (-\infty, {name}{')]'[bracket]}"
