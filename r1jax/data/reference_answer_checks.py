"""Checks of generated reference answers, computed anew from the question's text.

reasoning-gym makes question and answer in one go, and some of its generators err: 59 of the first 500 syllogisms have a
wrong answer. So where the truth can be had in a few lines, by arithmetic, by trying all cases or by following the moves
of a solution, a question whose reference fails is left out. The checks share no code with the library, nor do they look
into an entry's metadata, but for `propositional_logic`, which has its reference there. docs/rewards.md has the list of
tasks, and how many references failed.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from typing import Any

from r1jax.data import reference_puzzle_checks as puzzles
from r1jax.data.reference_puzzle_checks import Entry, UnknownQuestionError, find

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


def is_right(task: str, entry: Entry) -> bool:
    """Whether an entry's reference passes its task's check; True where there is none, or where it cannot be applied."""
    if task not in CHECKS:
        return True
    try:
        return CHECKS[task](entry)
    except UnknownQuestionError:
        return True
    except (ValueError, ArithmeticError, LookupError, SyntaxError, TypeError):
        return False  # the reference is nothing that would answer the question


# Arithmetic, in exact fractions.

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}


def _value(text: str, number: Callable[[str], Any] = Fraction, **names: Fraction) -> Any:
    """The value of an expression; `number` reads the numbers in it."""

    def value(node: ast.AST) -> Any:
        match node:
            case ast.BinOp(left=left, op=op, right=right):
                return _OPERATORS[type(op)](value(left), value(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.Constant():
                return number(ast.get_source_segment(text, node))
            case ast.Name(id=name):
                return names[name]
        raise ValueError(f"{ast.dump(node)} in {text!r}")

    text = text.strip()
    return value(ast.parse(text, mode="eval").body)


def _numbers(text: str) -> list[Fraction]:
    return [Fraction(number.replace(",", "")) for number in _NUMBER.findall(text)]


def _computed(pattern: str, compute: Callable[..., Any], read: Callable[[str], Any] = Fraction) -> Callable[..., bool]:
    """A check that the reference is what `compute` makes of the pattern's groups."""
    return lambda entry: read(entry["answer"]) == compute(*find(pattern, entry))


def _rounded(digits: str, expression: str) -> Fraction:
    """A value at so many significant digits, as the question has it: halves go up."""
    exact = _value(expression)
    with localcontext() as context:
        context.prec, context.rounding = int(digits), ROUND_HALF_UP
        return Fraction(Decimal(exact.numerator) / Decimal(exact.denominator))


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def _prime_factorization(entry: Entry) -> bool:
    factors = [int(factor) for factor in entry["answer"].split("×")]
    return math.prod(factors) == int(find(r"factorization of (\d+)", entry)[0]) and all(map(_is_prime, factors))


def _count_primes(low: str, high: str) -> int:
    sieve = bytearray([1]) * (int(high) + 1)
    sieve[:2] = bytes(len(sieve[:2]))
    for number in range(2, math.isqrt(int(high)) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(sieve[number * number :: number]))
    return sum(sieve[int(low) :])


def _base_conversion(entry: Entry) -> bool:
    names = {"binary": 2, "hexadecimal": 16}
    source, digits, target = find(r"the (\S+) number (\w+) to (\S+)", entry)
    source_base, target_base = (names.get(name) or int(name.removeprefix("base-")) for name in (source, target))
    return int(entry["answer"], target_base) == int(digits, source_base)


_LEGS = {
    **dict.fromkeys(("snake", "sea slug", "jellyfish", "flatworm", "leech"), 0),
    **dict.fromkeys(("chicken", "bird", "human", "duck"), 2),
    **dict.fromkeys(("dog", "cat", "cow", "horse", "lion", "elephant", "giraffe", "tiger", "deer", "sheep"), 4),
    "starfish": 5,
    **dict.fromkeys(("insect", "ant", "butterfly", "beetle", "bee", "wasp", "grasshopper", "cricket", "cockroach"), 6),
    **dict.fromkeys(("praying mantis", "firefly"), 6),
    **dict.fromkeys(("spider", "scorpion"), 8),
    **dict.fromkeys(("crab", "lobster", "shrimp"), 10),
    "woodlouse": 14,
}


def _legs(animals: str) -> int:
    counts = [animal.strip().split(" ", 1) for animal in animals.split(",")]
    return sum(int(count) * _LEGS[name.removesuffix("s") if name not in _LEGS else name] for count, name in counts)


def _fraction_simplification(entry: Entry) -> bool:
    above, below = map(int, re.findall(r"-?\d+", find(r"the fraction (.+) to its", entry)[0]))
    top, bottom = map(int, re.findall(r"-?\d+", entry["answer"]))
    return top * below == above * bottom and bottom > 0 and math.gcd(top, bottom) == 1


def _simple_equations(entry: Entry) -> bool:
    [equation] = find(r": (.+)$", entry)
    [name] = set(re.findall("[a-z]", equation))
    left, right = equation.split("=")

    def difference(value: Fraction) -> Fraction:
        return _value(left, **{name: value}) - _value(right, **{name: value})

    answer = Fraction(entry["answer"])
    return difference(answer) == 0 != difference(answer + 1)  # it is linear, so that there is no other


def _number_sorting(entry: Entry) -> bool:
    direction, numbers = find(r"in (ascending|descending) order: ([^\n]+)", entry)
    return _numbers(entry["answer"]) == sorted(_numbers(numbers), reverse=direction == "descending")


def _number_filtering(entry: Entry) -> bool:
    action, which, bound, numbers = find(
        r"(Keep|Remove) all numbers (larger|smaller) than (\S+) in this list: (.+?\])", entry
    )
    of_those = operator.gt if which == "larger" else operator.lt
    expected = [number for number in _numbers(numbers) if of_those(number, Fraction(bound)) == (action == "Keep")]
    return _numbers(entry["answer"]) == expected


def _number_format(entry: Entry) -> bool:
    which, numbers = find(r"pick the (largest|smallest) number .*candidates: (.+)", entry)
    expected = (max if which == "largest" else min)(_numbers(numbers))
    return abs(Fraction(entry["answer"]) - expected) <= Fraction(1, 10**5)  # floats, written to six places


def _made_of(entry: Entry, numbers: str, target: str) -> bool:
    """Whether the reference is an expression of all the numbers, each once, that has the target's value."""
    answer = entry["answer"]
    return _value(answer) == int(target) and sorted(map(int, re.findall(r"\d+", answer))) == sorted(_numbers(numbers))


def _dice(dice: str, least: str) -> Fraction:
    ways = [1]
    for count, sides in re.findall(r"(\d+)d(\d+)", dice):
        for _ in range(int(count)):
            ways = [sum(ways[max(total - int(sides), 0) : total]) for total in range(len(ways) + int(sides))]
    return Fraction(sum(ways[int(least) :]), sum(ways))


def _last_angle(sides: str, angles: str) -> Fraction | None:
    angle = 180 * (int(sides) - 2) - sum(_numbers(angles))
    return angle if 0 < angle < 180 else None  # else there is no such convex polygon, and nothing to be found


_SUM = r"problem: (.+) =$"
# task -> whether an entry's reference is right.
CHECKS: Mapping[str, Callable[[Entry], bool]] = {
    "base_conversion": _base_conversion,
    "basic_arithmetic": _computed(r"(?:Calculate|What is|Solve|Compute|Evaluate:) (.+)[.?]$", _value),
    "binary_matrix": puzzles.binary_matrix,
    "bitwise_arithmetic": _computed(
        r"value\.\n(.+)$", lambda text: _value(text, lambda digits: int(digits, 16)), lambda answer: int(answer, 16)
    ),
    "chain_sum": _computed(_SUM, _value),
    "count_bits": _computed(r"the number (\d+)\?", lambda number: bin(int(number)).count("1")),
    "count_primes": _computed(r"between (\d+) and (\d+) \(inclusive\)", _count_primes),
    "countdown": lambda entry: _made_of(
        entry, *find(r"numbers:? ((?:\d+, )*\d+)", entry), *find(r"(?:Calculate|make|equals) (\d+)", entry)
    ),
    "course_schedule": _computed(
        r"total of (\d+) courses.*:\n(\[.*\])",
        puzzles.can_finish,
        lambda answer: {"True": True, "False": False}[answer],
    ),
    "decimal_arithmetic": _computed(r"of (\d+) significant.*\n(.+) = \?$", _rounded),
    "decimal_chain_sum": _computed(_SUM, _value),
    "dice": _computed(r"these dice: (.+?)\. .*rolling (\d+) or higher", _dice),
    "fraction_simplification": _fraction_simplification,
    "gcd": _computed(r"numbers: (.+?)\.", lambda numbers: math.gcd(*map(int, numbers.split(", ")))),
    "jugs": puzzles.jugs,
    "knights_knaves": puzzles.knights_knaves,
    "largest_island": puzzles.largest_island,
    "lcm": _computed(r"numbers: (.+)$", lambda numbers: math.lcm(*map(int, numbers.split(", ")))),
    "leg_counting": _computed(r"if you have (.+)\?", _legs),
    "mini_sudoku": puzzles.sudoku,
    "number_filtering": _number_filtering,
    "number_format": _number_format,
    "number_sorting": _number_sorting,
    "prime_factorization": _prime_factorization,
    "products": _computed(r"multiplication: (.+?)\. Give", _value),
    "propositional_logic": puzzles.propositional_logic,
    "puzzle24": lambda entry: _made_of(entry, *find(r"using (.+?)\.", entry), "24"),
    "rotten_oranges": puzzles.rotten_oranges,
    "shortest_path": puzzles.shortest_path,
    "simple_equations": _simple_equations,
    "simple_geometry": _computed(r"(\d+)(?: sides|-gon).*angles are: (.+?)\. ", _last_angle),
    "sudoku": puzzles.sudoku,
    "syllogism": puzzles.syllogism,
    "tower_of_hanoi": puzzles.tower_of_hanoi,
}
