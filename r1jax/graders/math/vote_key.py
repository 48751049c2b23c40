"""Vote keys: one text for all answers that mean the same, for majority votes, without the reference's value.

Only the reference's kind is used, which decides how an answer is parsed: as a choice, as words or as a formula.
"""

import functools

from r1jax.graders.math import expression_equivalence, notation
from r1jax.graders.math.equivalence import without_unit
from r1jax.graders.math.expression_values import TooComplexError
from r1jax.graders.math.final_answer import stated_formula
from r1jax.graders.math.formula_structure import Formula, Leaf, Listed, Named, Relation, spelled, structure
from r1jax.graders.math.numerals import number
from r1jax.graders.math.statement import Statement, parse_statement


def vote_key(gold: Statement | str, answer: str) -> str:
    """An answer's vote key; "" where no answer can be parsed.

    The key of a plain number is its exact fraction, without unit; sets and bare lists are sorted; expressions are
    represented by their values at two points, and anything else by its text without white space.

    Args:
        gold: the reference: text for a choice or words, else a statement.
        answer: normalised; for a choice or words the result of `stated_answer`.
    """
    if isinstance(gold, str):
        if notation.choice_letter(gold):
            return (
                notation.choice_letter(answer)
                or notation.choice_letter(answer.upper())
                or notation.without_spaces(answer)[:200]
            )
        return notation.normalize_words(answer)[:200]
    formula = answer if number(answer, symbols=True) else stated_formula(answer)
    return _formula_key(parse_statement(formula).formula) if formula else ""


@functools.lru_cache(maxsize=4096)  # a group's samples often agree
def _formula_key(text: str) -> str:
    if plain := number(text, symbols=True):
        return str(plain.value)
    if notation.is_too_complex(text):
        return notation.without_spaces(text)[:200]
    return _structure_key(structure(text))


def _structure_key(formula: Formula) -> str:
    match formula:
        case Leaf(text):
            return _expression_key(text)
        case Named(_, _, value):
            return _structure_key(value)
        case Relation(sides, relations):
            return _expression_key(sides[-1]) if set(relations) == {"="} else notation.without_spaces(spelled(formula))
        case Listed(opening, closing, elements):
            keys = [_structure_key(element) for element in elements]
            if len(keys) == 1 and opening == r"\{":
                return keys[0]
            ordered = opening in ("(", "[", ":") or opening.startswith("matrix")
            prefix = opening if ordered or opening == r"\cup" else ""
            return f"{prefix}{'; '.join(keys if ordered else sorted(keys))}{closing if ordered else ''}"


def _expression_key(text: str) -> str:
    if plain := number(text, symbols=True):
        return str(plain.value)
    try:
        return expression_equivalence.signature(without_unit(text)) or notation.without_spaces(text)
    except (ValueError, TooComplexError):
        return notation.without_spaces(text)
