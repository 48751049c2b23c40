"""One spelling for answers that mean the same, for majority votes: no reference answer has a say in it.

Only the reference's kind is known, for an answer is read by it: as a choice, as words or as a formula.
"""

import functools

from r1jax.graders.math import expression, notation
from r1jax.graders.math.comparison import without_unit
from r1jax.graders.math.evaluation import TooComplexError
from r1jax.graders.math.final_answer import claim
from r1jax.graders.math.numerals import number
from r1jax.graders.math.statement import Statement, statement
from r1jax.graders.math.structure import Formula, Leaf, Listed, Named, Relation, spelled, structure


def spelling(gold: Statement | str, answer: str) -> str:
    """An answer's spelling; "" for one in which nothing is found.

    Plain numbers are exact fractions, units and percent signs aside, as in the grader; sets and bare lists are sorted;
    expressions go by their values at two points. What none of this reads is spelt as it stands, without white space.

    Args:
        gold: the reference: text for a choice or words, else a statement.
        answer: tidied; for a choice or words what it says, `answer.said`.
    """
    if isinstance(gold, str):
        if notation.choice(gold):
            return notation.choice(answer) or notation.choice(answer.upper()) or notation.compact(answer)[:200]
        return notation.literal(answer)[:200]
    formula = answer if number(answer, symbols=True) else claim(answer)
    return _vote(statement(formula).formula) if formula else ""


@functools.lru_cache(maxsize=4096)  # a group's samples often agree
def _vote(text: str) -> str:
    if plain := number(text, symbols=True):
        return str(plain.value)
    if notation.too_complex(text):
        return notation.compact(text)[:200]
    return _spelling(structure(text))


def _spelling(formula: Formula) -> str:
    match formula:
        case Leaf(text):
            return _value(text)
        case Named(_, _, value):
            return _spelling(value)
        case Relation(sides, relations):
            return _value(sides[-1]) if set(relations) == {"="} else notation.compact(spelled(formula))
        case Listed(opening, closing, elements):
            spelt = [_spelling(element) for element in elements]
            if len(spelt) == 1 and opening == r"\{":
                return spelt[0]
            ordered = opening in ("(", "[", ":") or opening.startswith("matrix")
            shown = opening if ordered or opening == r"\cup" else ""
            return f"{shown}{'; '.join(spelt if ordered else sorted(spelt))}{closing if ordered else ''}"


def _value(text: str) -> str:
    if plain := number(text, symbols=True):
        return str(plain.value)
    try:
        return expression.signature(without_unit(text)) or notation.compact(text)
    except (ValueError, TooComplexError):
        return notation.compact(text)
