"""Conditions and domains of two statements compared, and the answer's letters renamed to the reference's."""

import re
from collections.abc import Mapping

from r1jax.graders.math.formula_structure import Leaf, Named, structure
from r1jax.graders.math.numerals import number
from r1jax.graders.math.statement import Statement

_LETTERS = re.compile(r"\\text\s*\{[^{}]*\}|\\[A-Za-z]+|[A-Za-z]")
_INTEGERS = frozenset("kmnltjp")  # letters that stand for integers where no domain is given


def conditions_agree(gold: Statement, answer: Statement) -> bool:
    """Whether an answer's conditions are the reference's, or it has none, or only keeps a denominator from being 0."""
    if not answer.conditions or answer.conditions == gold.conditions:
        return True
    if gold.conditions or gold.domains or not all(r"\ne" in each for each in answer.conditions):
        return False
    named = structure(answer.formula)
    own = named.name if isinstance(named, Named) and isinstance(named.value, Leaf) else ""
    names = {each.partition(r"\ne")[0].strip() for each in answer.conditions}
    divides = re.search(r"\\frac|/", gold.formula) and not number(gold.formula)
    return all(name == own or (divides and name in _LETTERS.findall(gold.formula)) for name in names)


def with_bound_names_of(gold: Statement, answer: Statement) -> str | None:
    """The answer's formula by the reference's names of integers; None where its domains are other ones."""
    required = {name: domain for name, domain in gold.domains if domain != "R"}
    stated = {name: domain for name, domain in answer.domains if domain != "R"}
    letters = [letter for letter in _LETTERS.findall(answer.formula) if len(letter) == 1]
    if required:
        if not stated:  # of the same names over the reals, another set
            return None if any(name in required or name in letters for name, _ in answer.domains) else answer.formula
        if sorted(required.values()) != sorted(stated.values()) or not stated.keys() <= set(letters):
            return None
        return renamed(answer.formula, dict(zip(stated, required, strict=True)))
    if not stated:
        return answer.formula
    # The reference leaves its domain implicit: k of 2k\\pi, as an integer.
    if not _INTEGERS.issuperset(stated):
        return None
    known = {letter for letter in _LETTERS.findall(gold.formula) if letter in _INTEGERS}
    missing = [name for name in stated if name not in known]
    spare = sorted(known - set(letters))
    if missing and (len(missing) != 1 or len(spare) != 1 or set(stated.values()) != {"Z"}):
        return None
    return renamed(answer.formula, dict(zip(missing, spare, strict=True))) if missing else answer.formula


def renamed(text: str, names: Mapping[str, str]) -> str:
    """A formula with other names of single letters; commands and text stay."""
    return _LETTERS.sub(lambda letter: names.get(letter[0], letter[0]), text)
