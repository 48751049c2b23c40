"""Countdown grader: whether an expression of given numbers has the target's value, by a parser of its own.

The expression is never passed to `eval`.

    sum:     product (("+" | "-") product)*
    product: factor (("*" | "/") factor)*
    factor:  "-"* (number | group | \\frac group group)
    group:   "(" sum ")" | "[" sum "]" | "{" sum "}"

A number is a run of digits as it was given: 25 is not 2 and 5. 2.5, 2(3), 2**3, 7//2, 5!, 05 and 2e1 are malformed.
Values are exact fractions.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.math.final_answer import final_answer

_MAX_CHARS, _MAX_DEPTH = 4096, 50  # each level of brackets takes three Python frames
_SPELLINGS = (
    (r"\\left|\\right|\\[,;:!() ]|\\quad|\\\[|\\\]|\$", " "),
    (r"\\times|\\cdot|\\ast|[×·∙⋅∗]", "*"),
    (r"\\div|[÷∕⁄]", "/"),
    (r"[−–—－]", "-"),
    (r"\\[dt]frac", r"\\frac"),
)
_TOKEN = re.compile(r"\s*([0-9]+|\\frac|[-+*/()\[\]{}])")
_CLOSES = {"(": ")", "[": "]", "{": "}"}


class _MalformedError(ValueError):
    """The text is no expression of the grammar."""


class _TooDeepError(ValueError):
    """Brackets are nested deeper than `_MAX_DEPTH`."""


def _tokens(text: str) -> list[str]:
    tokens, position, text = [], 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise _MalformedError(text[position])
        tokens.append(match[1])
        position = match.end()
    return tokens


def _value(tokens: list[str]) -> Fraction:
    tokens = tokens[::-1]  # the functions below pop them from the end
    value = _sum(tokens, 0)
    if tokens:
        raise _MalformedError(tokens[-1])
    return value


def _sum(tokens: list[str], depth: int) -> Fraction:
    value = _product(tokens, depth)
    while tokens and tokens[-1] in "+-":
        value = value + _product(tokens, depth) if tokens.pop() == "+" else value - _product(tokens, depth)
    return value


def _product(tokens: list[str], depth: int) -> Fraction:
    value = _factor(tokens, depth)
    while tokens and tokens[-1] in "*/":
        value = value * _factor(tokens, depth) if tokens.pop() == "*" else value / _factor(tokens, depth)
    return value


def _factor(tokens: list[str], depth: int) -> Fraction:
    sign = 1
    while tokens and tokens[-1] == "-":
        tokens.pop()
        sign = -sign
    if tokens and tokens[-1].isdigit():
        return sign * Fraction(int(tokens.pop()))
    if tokens and tokens[-1] == "\\frac":
        tokens.pop()
        return sign * _group(tokens, depth, "{") / _group(tokens, depth, "{")
    return sign * _group(tokens, depth, "([{")


def _group(tokens: list[str], depth: int, opening_brackets: str) -> Fraction:
    if not tokens or tokens[-1] not in opening_brackets:
        raise _MalformedError("an opening bracket is missing")
    if depth == _MAX_DEPTH:
        raise _TooDeepError
    closing = _CLOSES[tokens.pop()]
    value = _sum(tokens, depth + 1)
    if not tokens or tokens.pop() != closing:
        raise _MalformedError(f"{closing} is missing")
    return value


def grade_expression(answer: str, numbers: Sequence[int], target: int, *, use_all: bool = True) -> Grade:
    r"""Grades one expression, or one equation whose right side is the target.

    Other spellings of operators are accepted (× ÷ · − and LaTeX's \times \div \cdot \frac{}{} \left \right). A factor
    may have a minus sign. An equation that is false, reversed or chained (1 + 2 = 3 = 3) is wrong, and so is a division
    by zero; a product needs its sign.

    Args:
        numbers: not negative; each is used exactly once, as often as it is listed.
        use_all: False: some may be left out.
    """
    if len(answer) > _MAX_CHARS:
        return Grade(0.0, "too_complex")
    for pattern, spelling in _SPELLINGS:
        answer = re.sub(pattern, spelling, answer)
    expression, *right_sides = answer.strip().removesuffix(".").split("=")
    try:
        tokens = _tokens(expression)
        used_numbers = Counter(token for token in tokens if token.isdigit())
        available = Counter(map(str, numbers))
        # Checked before evaluation: the values that the available numbers can make are small.
        numbers_match = used_numbers == available if use_all else used_numbers <= available
        value = _value(tokens) if numbers_match else None
    except _MalformedError:
        return Grade(0.0, "malformed")
    except _TooDeepError:
        return Grade(0.0, "too_complex")
    except ZeroDivisionError:
        return Grade(0.0, "wrong")
    is_right = value == target and [side.strip() for side in right_sides] in ([], [str(target)])
    return Grade(float(is_right), "right" if is_right else "wrong")


def is_countdown(row: Mapping[str, Any]) -> bool:
    """Whether a dataset's row has the fields of a Countdown question."""
    return "nums" in row and "target" in row


def check(row: Mapping[str, Any]) -> None:
    """Checks that answers can be graded against a row.

    Raises:
        ValueError: `nums` is no list of integers from 0, `target` no integer, or `use_all` neither true nor false.
    """
    numbers, target, use_all = row.get("nums"), row.get("target"), row.get("use_all", True)
    if not isinstance(numbers, list) or not numbers or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError(f"Countdown needs nums, a list of integers from 0, got {numbers!r}")
    if type(target) is not int:
        raise ValueError(f"Countdown needs target, an integer, got {target!r}")
    if type(use_all) is not bool:
        raise ValueError(f"use_all should be true (every number is used) or false, got {use_all!r}")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 where the final answer has the target's value and uses each number once, else 0.0.

    Args:
        rollout: its prompt's metadata has `nums`, `target` and perhaps `use_all`, see `check`.
    """
    answer = final_answer(rollout.response)
    if answer is None:
        return Grade(0.0, "no_answer")
    row = rollout.prompt.metadata
    result = grade_expression(answer, row["nums"], row["target"], use_all=row.get("use_all", True))
    return result._replace(answer="".join(answer.split())[:200])
