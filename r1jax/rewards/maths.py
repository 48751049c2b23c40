r"""Accuracy on mathematics: whether the final answer equals the reference.

What the final answer is, `r1jax.rewards.answer` says. Plain numbers, choices, words and lists are compared by our own
rules; for expressions math-verify reads and compares (`r1jax.rewards.expression`).

**Work left undone is no answer.** "85 + 61" has the value 146, and a policy that is asked for it learns within ten
steps to say the question again and stop. So where the reference is a plain number, the answer must be one, or end in
one ("85 + 61 = 146"). Elsewhere no part of the answer may be arithmetic that comes to a plain number (2*3, 2^{10},
\sqrt{16}, 5!, \frac{84}{2}), unless the reference has the same kind of it; and no function (\log, \binom, \gcd ...) may
occur that the reference does without.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.rewards import notation
from r1jax.rewards.answer import MAX_ANSWER, claim, final_answer, said
from r1jax.rewards.canonical import spelling
from r1jax.rewards.config import GraderConfig
from r1jax.rewards.expression import TooComplexError, parse, same_equation, same_expression
from r1jax.rewards.numerals import is_harmless, number, rounded, same

_MAX_ELEMENTS = 50
# Which brackets an answer may have for those of the reference; others: the same.
_BRACKETS_FOR = {"": ("", r"\{", "("), r"\{": ("", r"\{"), r"\cup": (r"\cup", "")}
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_BASED = re.compile(r"(-?[0-9A-Z.]+)(?:_(\d|\{\d+\}))?")
_UNIT = re.compile(r"(?:\s*\\text\s*\{([A-Za-z. -]*)\}|(?<=[\d})])\s+([a-z]{2,}))(?:\s*\^\s*(?:\d|\{\d\}))?$")


def check(row: Mapping[str, Any]) -> None:
    """Refuses a row whose reference answer could never be matched; to be called when data is loaded.

    Raises:
        ValueError: nothing reads an answer in it, or it is too long or too complex.
    """
    answer = row["answer"]
    if _reference(answer) is None:
        raise ValueError(
            f"reference answer {answer[:200]!r} cannot be read as mathematics; mend it or leave the line out"
        )


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 when the final answer equals the reference, 0.0 when it does not or is missing.

    Returns:
        a score of None only where the reference answer cannot be read, which `check` refuses at load time.
    """
    gold = _reference(rollout.prompt.answer)
    if gold is None:
        return Grade(None, "ungradable")
    answer = final_answer(rollout.response)
    if answer is None:
        return Grade(0.0, "no_answer")
    if len(answer) > MAX_ANSWER:
        return Grade(0.0, "too_complex")
    tidied = notation.tidy(answer)
    try:
        right = _is_right(gold, tidied)
    except TooComplexError:
        return Grade(0.0, "too_complex")
    except Exception:  # sympy breaks down on some nonsense that it parses
        return Grade(0.0, "malformed")
    if right is None:
        return Grade(0.0, "malformed")
    return Grade(float(right), "right" if right else "wrong", spelling(gold, tidied))


@functools.lru_cache(maxsize=4096)
def _reference(answer: str) -> str | None:
    """A reference answer in plain spelling; None where it cannot be read."""
    if len(answer) > MAX_ANSWER:
        return None
    gold = notation.tidy(" ".join(answer.split())).rstrip(" .,;")
    gold = next(filter(None, notation.approximations(gold)), "")  # the exact side, or the only one
    if not gold or notation.too_complex(gold):
        return None
    if number(gold) or notation.choice(gold) or notation.is_literal(gold):
        return gold
    gold = claim(gold)
    return gold if gold and _is_readable(gold) else None


def _is_readable(formula: str) -> bool:
    """Whether a formula has a meaning; of a list, and of an equation, each part."""
    if number(formula):
        return True
    pieces = notation.sides(formula)
    if len(pieces) == 1 and (parts := notation.parts(notation.interval(formula))):
        pieces = parts.elements
    if len(pieces) > 1 or pieces[0] != formula:
        return all(map(_is_readable, pieces))
    try:
        return parse(_without_unit(formula)) is not None
    except Exception:  # sympy breaks down on some nonsense that it parses
        return False


def _is_right(gold: str, answer: str) -> bool | None:
    """Whether an answer is right; None where none is found in it."""
    if notation.compact(gold) == notation.compact(answer).rstrip(".,;"):
        return True
    words = said(answer)
    if letter := notation.choice(gold):
        return letter in (notation.choice(words), notation.choice(words.upper()))
    if number(gold) is None and notation.is_literal(gold):
        return notation.literal(words) == notation.literal(gold)
    formula = answer if number(answer) else claim(answer)
    if formula is None:
        return None
    if (lead := _TEXT.match(formula)) and is_harmless(lead[1]):
        formula = formula[lead.end() :].lstrip(" :")
    if notation.too_complex(formula):
        raise TooComplexError
    return _equal(gold, formula)


def _equal(gold: str, answer: str) -> bool:
    """Whether two formulas are equal, of which the first is the reference.

    Raises:
        TooComplexError: the answer, or comparing it, would take too long.
    """
    if notation.compact(gold) == notation.compact(answer):
        return True
    gold_name, gold = notation.named(gold)
    gold_sides, target, gold_parts = notation.sides(gold), number(gold), notation.parts(notation.interval(gold))
    if len(gold_sides) > 1 and not (gold_name or target or gold_parts):
        sides = notation.sides(answer)
        return len(gold_sides) == len(sides) == 2 and same_equation(gold_sides, sides)
    name, answer = notation.named(answer)
    answer = notation.interval(answer)
    parts = notation.parts(answer)
    if gold_name and gold_name.lower() != (name or gold_name).lower():
        return False
    if parts and parts.opening == r"\{" and len(parts.elements) == 1 and not gold_parts:
        return _equal(gold, parts.elements[0])
    if gold_parts or parts:
        return bool(gold_parts and parts) and _same_parts(gold_parts, parts)
    if gold_name and not name and len(notation.sides(answer)) > 1:  # -x = 5 for x = 5
        return False
    answer = _settled(answer, plain=target is not None)
    if answer is None:
        return False
    if target:
        value = number(answer)
        return value is not None and same(target, value)
    if "_" in gold and (based := _BASED.fullmatch(notation.compact(gold))):
        given = _BASED.fullmatch(notation.compact(answer))  # the digits alone will do, another base will not
        return bool(given) and given[1] == based[1] and (given[2] or based[2]).strip("{}") == based[2].strip("{}")
    return same_expression(_without_unit(gold), _without_unit(answer))


def _settled(answer: str, plain: bool) -> str | None:
    """The value that an equation or approximation comes down to; None where it says two things.

    Args:
        plain: a plain number is wanted: of an approximation the right side; else its left one, which is exact.
    """
    *exact, last = notation.approximations(answer)
    if len(exact) == 1 and rounded(exact[0], last):
        return exact[0]
    before = notation.sides(answer)[:-1]
    if any(re.fullmatch(rf"-\s*{notation.NAME}", side) for side in before):  # -x = 5
        return None
    if not all(is_harmless(words) for side in before for words in _TEXT.findall(side)):
        return None
    *before, value = notation.sides(last if plain or not any(exact) else exact[0])
    others = [number(side) for side in (notation.sides(answer)[:-1] if plain else before)]
    end = number(value)
    if any(other and not (end and same(other, end)) for other in others):
        return None
    return value


def _same_parts(gold: notation.Parts, answer: notation.Parts) -> bool:
    """Element by element: in any order for a bare list, a set or a union, else in the reference's."""
    if answer.opening not in _BRACKETS_FOR.get(gold.opening, (gold.opening,)):
        return False
    if gold.opening == answer.opening and gold.closing != answer.closing:
        return False
    if len(gold.elements) != len(answer.elements):
        return False
    if len(gold.elements) > _MAX_ELEMENTS:
        raise TooComplexError
    named = [all(notation.named(element)[0] for element in parts.elements) for parts in (gold, answer)]
    if gold.opening not in _BRACKETS_FOR or named == [True, False]:
        return all(_equal(g, a) for g, a in zip(gold.elements, answer.elements, strict=True))
    left = list(answer.elements)
    for element in gold.elements:
        match = next((other for other in left if _equal(element, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _without_unit(text: str) -> str:
    """Without a unit at the end of an expression."""
    match = _UNIT.search(text)
    if match and is_harmless(match[1] or match[2]):
        text = text[: match.start()].rstrip()
    return text.removesuffix(r"^\circ").rstrip()
