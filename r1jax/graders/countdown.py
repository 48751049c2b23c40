"""Countdown: an expression that reaches a target with the numbers given. Read by a grammar of our own, never evaluated.

    sum:     product (("+" | "-") product)*
    product: factor (("*" | "/") factor)*
    factor:  "-"* (number | group | \\frac group group)
    group:   "(" sum ")" | "[" sum "]" | "{" sum "}"

A number is a run of digits as it was given, so that 25 is not 2 and 5, and 2.5, 2(3), 2**3, 7//2, 5!, 05 and 2e1 are
nothing. Values are exact fractions.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.math.final_answer import final_answer

_MAX_CHARS, _MAX_DEPTH = 4096, 50  # each level of brackets costs three Python frames
_SPELLINGS = (
    (r"\\left|\\right|\\[,;:!() ]|\\quad|\\\[|\\\]|\$", " "),
    (r"\\times|\\cdot|\\ast|[×·∙⋅∗]", "*"),
    (r"\\div|[÷∕⁄]", "/"),
    (r"[−–—－]", "-"),
    (r"\\[dt]frac", r"\\frac"),
)
_TOKEN = re.compile(r"\s*([0-9]+|\\frac|[-+*/()\[\]{}])")
_CLOSES = {"(": ")", "[": "]", "{": "}"}


class _Malformed(ValueError):
    """Not an expression of the grammar."""


class _TooDeep(ValueError):
    """Brackets within brackets beyond what is read."""


def _tokens(text: str) -> list[str]:
    tokens, position, text = [], 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise _Malformed(text[position])
        tokens.append(match[1])
        position = match.end()
    return tokens


def _value(tokens: list[str]) -> Fraction:
    tokens = tokens[::-1]  # the functions below take them off the end
    value = _sum(tokens, 0)
    if tokens:
        raise _Malformed(tokens[-1])
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


def _group(tokens: list[str], depth: int, opens: str) -> Fraction:
    if not tokens or tokens[-1] not in opens:
        raise _Malformed("an opening bracket is missing")
    if depth == _MAX_DEPTH:
        raise _TooDeep
    closing = _CLOSES[tokens.pop()]
    value = _sum(tokens, depth + 1)
    if not tokens or tokens.pop() != closing:
        raise _Malformed(f"{closing} is missing")
    return value


def assess(answer: str, numbers: Sequence[int], target: int, *, use_all: bool = True) -> Grade:
    r"""Grades one expression, or one equation whose right side is the target itself.

    The usual other spellings are read (× ÷ · − and LaTeX's \times \div \cdot \frac{}{} \left \right). A minus may stand
    before a factor. An equation that is false, turned round or chained (1 + 2 = 3 = 3) is wrong, so is a division by
    zero; a product sign is never implied.

    Args:
        numbers: not negative; every one of them is used exactly once, as often as it is listed.
        use_all: False: some may be left out.
    """
    if len(answer) > _MAX_CHARS:
        return Grade(0.0, "too_complex")
    for pattern, plain in _SPELLINGS:
        answer = re.sub(pattern, plain, answer)
    expression, *sides = answer.strip().removesuffix(".").split("=")
    try:
        tokens = _tokens(expression)
        used = Counter(token for token in tokens if token.isdigit())
        given = Counter(map(str, numbers))
        # Before any value: what the numbers given can make is small, whatever the answer holds.
        fair = used == given if use_all else used <= given
        value = _value(tokens) if fair else None
    except _Malformed:
        return Grade(0.0, "malformed")
    except _TooDeep:
        return Grade(0.0, "too_complex")
    except ZeroDivisionError:
        return Grade(0.0, "wrong")
    right = value == target and [side.strip() for side in sides] in ([], [str(target)])
    return Grade(float(right), "right" if right else "wrong")


def is_countdown(row: Mapping[str, Any]) -> bool:
    """Whether a dataset's row is a Countdown question, by its fields."""
    return "nums" in row and "target" in row


def check(row: Mapping[str, Any]) -> None:
    """Refuses a row that no answer could be graded against.

    Raises:
        ValueError: `nums` is no list of integers from 0, `target` no integer, or `use_all` neither true nor false.
    """
    numbers, target, use_all = row.get("nums"), row.get("target"), row.get("use_all", True)
    if not isinstance(numbers, list) or not numbers or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError(f"Countdown needs nums, a list of integers from 0, got {numbers!r}")
    if type(target) is not int:
        raise ValueError(f"Countdown needs target, an integer, got {target!r}")
    if type(use_all) is not bool:
        raise ValueError(f"use_all says whether every number is to be used, true or false, got {use_all!r}")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 when the final answer reaches the target with the numbers given, each used once, else 0.0.

    Args:
        rollout: its prompt's metadata has `nums` and `target`, as `check` wants them; `use_all` false lets numbers be
            left out.
    """
    answer = final_answer(rollout.response)
    if answer is None:
        return Grade(0.0, "no_answer")
    row = rollout.prompt.metadata
    graded = assess(answer, row["nums"], row["target"], use_all=row.get("use_all", True))
    return graded._replace(answer="".join(answer.split())[:200])
