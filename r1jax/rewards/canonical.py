"""One spelling for answers that mean the same, for majority votes: no reference answer has a say in it.

Only the reference's kind is known, for an answer is read by it: as a choice, as words or as a formula.
"""

import functools

from r1jax.rewards import notation
from r1jax.rewards.answer import claim, said
from r1jax.rewards.expression import TooComplexError, signature
from r1jax.rewards.numerals import number


def spelling(gold: str, answer: str) -> str:
    """An answer's spelling; "" for one in which nothing is found.

    Plain numbers are exact fractions, units and percent signs aside, as in the grader; sets and bare lists are sorted;
    expressions go by their values at two points. What none of this reads is spelt as it stands, without white space.

    Args:
        gold: the reference, tidied.
        answer: tidied.
    """
    words = said(answer)
    if notation.choice(gold):
        return notation.choice(words) or notation.choice(words.upper()) or notation.compact(words)[:200]
    if number(gold) is None and notation.is_literal(gold):
        return notation.literal(words)[:200]
    formula = answer if number(answer) else claim(answer)
    return _formula(formula) if formula else ""


@functools.lru_cache(maxsize=4096)  # a group's samples often agree
def _formula(formula: str) -> str:
    if plain := number(formula):
        return str(plain.value)
    if notation.too_complex(formula):
        return notation.compact(formula)[:200]
    formula = notation.interval(notation.named(formula)[1])
    if parts := notation.parts(formula):
        elements = [_formula(element) for element in parts.elements]
        ordered = parts.opening in ("(", "[") or parts.opening.startswith("matrix")
        if len(elements) == 1 and parts.opening == r"\{":
            return elements[0]
        opening = parts.opening if ordered or parts.opening == r"\cup" else ""
        return f"{opening}{'; '.join(elements if ordered else sorted(elements))}{parts.closing if ordered else ''}"
    value = notation.sides(formula)[-1]  # the end of an equation
    if plain := number(value):
        return str(plain.value)
    try:
        return signature(value) or notation.compact(value)
    except TooComplexError:
        return notation.compact(value)
    except Exception:  # sympy breaks down on some nonsense that it parses
        return notation.compact(value)
