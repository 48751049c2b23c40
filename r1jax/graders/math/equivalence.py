r"""Equivalence of an answer and the reference: part by part, numbers and expressions by their values."""

import itertools
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction

from r1jax.graders.math import expression_equivalence, expression_parser, expression_values, numerals
from r1jax.graders.math.conditions_and_domains import conditions_agree, renamed, with_bound_names_of
from r1jax.graders.math.expression_parser import Node
from r1jax.graders.math.expression_values import TooComplexError
from r1jax.graders.math.formula_structure import (
    MAX_ELEMENTS,
    Formula,
    Leaf,
    Listed,
    Named,
    Relation,
    assignment,
    leaves,
    structure,
)
from r1jax.graders.math.notation import without_spaces
from r1jax.graders.math.numerals import number
from r1jax.graders.math.splitting import may_be_list_or_number
from r1jax.graders.math.statement import Statement
from r1jax.graders.math.variable_names import NAME
from r1jax.graders.math.words_and_units import AMBIGUOUS, UNITS, is_unit_phrase, is_word, unit_name

__all__ = ["TooComplexError", "check_readable", "same", "without_unit"]

# Which brackets an answer may have for those of the reference; others: the same.
_BRACKETS_FOR = {"": ("", r"\{", "("), r"\{": ("", r"\{"), r"\cup": (r"\cup", "")}
_BASED = re.compile(r"(-?[0-9][0-9A-F.]*|-?[A-F][0-9A-F.]+|-?\.[0-9A-F]+)(?:_(\d+|\{\d+\}))?")
_UNIT = re.compile(
    r"(?:\s*\\text\s*\{(?P<text>[^{}]*)\}|(?<=[\d})])\s+(?P<words>[a-z]{2,}(?:\s+[a-z]{2,})*))"
    r"(?:\s*\^\s*(?:-?\d|\{-?\d\}))?$"
)
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
# Pairs of units, of the reference and of the answer, that change an expression's value. Without one it is in radians.
_OTHER_ANGLES = frozenset({("", "degree^1")})
_NEGATED_NAME = re.compile(rf"-\s*{NAME.pattern}")
_EMPTY = Leaf(r"\emptyset")
_EQUAL = frozenset({"=", r"\approx", r"\simeq", r"\sim"})


def check_readable(text: str) -> None:
    """Raises ValueError for a formula of which some part cannot be read, TooComplexError for one too large."""
    if structure(text) == Leaf(r"\ldots"):
        raise ValueError("nothing but dots")
    for tree in _trees(text):
        expression_values.value_at(tree, 0)  # raises where it is too large


def is_readable(text: str) -> bool:
    """Whether all of an answer's formula can be read, or is refused for its size and not for its words."""
    try:
        return all(True for _ in _trees(text, symbols=True))
    except ValueError:
        return False


def _trees(text: str, symbols: bool = False) -> Iterator[Node]:
    """The parsed leaves of a formula that are no plain numbers; `symbols` as of `numerals.number`."""
    for leaf in leaves(structure(text)):
        if not number(leaf, symbols) and not _based(leaf):
            yield expression_parser.parse(without_unit(leaf))


def same(gold: Statement, answer: Statement) -> bool:
    """Whether an answer states the same as the reference.

    Raises:
        ValueError: something in the answer cannot be read.
        TooComplexError: the answer, or comparing it, would take too long.
    """
    if gold.modulus != answer.modulus or not conditions_agree(gold, answer):
        return False
    text = answer.formula
    if answer.domains:
        text = with_bound_names_of(gold, answer)
        if text is None:
            return False
    if _same_text(gold.formula, text):
        return True
    readings = [(True, True)]
    if may_be_list_or_number(gold.formula) or may_be_list_or_number(text):  # 120,144 may be a number or a list
        readings += [(False, False), (False, True), (True, False)]
    error = None
    for grouped_gold, grouped_answer in readings:
        try:
            if _equal(_known(gold.formula, grouped_gold), structure(text, grouped_answer)):
                return True
        except ValueError as unreadable:
            error = unreadable
    if error:
        raise error
    return False


def _known(gold: str, grouped: bool) -> Formula:
    """The structure of a reference; of an equation of numbers, 0.56 = 56\\%, or an approximation, its exact value."""
    parsed = structure(gold, grouped)
    if isinstance(parsed, Relation) and all(_plain_value(side) is not None for side in parsed.sides):
        values = _settled(parsed, plain=False)
        return Leaf(values[0]) if values else parsed
    return parsed


def _same_text(gold: str, answer: str) -> bool:
    return without_spaces(gold) == without_spaces(answer)


def _equal(gold: Formula, answer: Formula) -> bool:
    """Whether two formulas are equal, of which the first is the reference."""
    if gold == answer:
        return True
    values, assigned = assignment(gold), assignment(answer)
    if values and assigned:
        return values.keys() == assigned.keys() and all(_equal(values[name], assigned[name]) for name in values)
    if assigned and isinstance(gold, Listed) and gold.opening == "(":  # x = 2, y = 3 for (2, 3)
        coordinates = {"x", "y", "z"}.issuperset(assigned)
        ordered = tuple(assigned[name] for name in (sorted(assigned) if coordinates else assigned))
        return _same_parts(gold, Listed("(", gold.closing, ordered))
    if values and isinstance(answer, Listed) and answer.opening == "(":
        in_order = tuple(values[name].value for name in sorted(values))
        return list(values) == sorted(values) and _same_parts(Listed("(", ")", in_order), answer)
    match gold, answer:
        case Named(), Named() if gold.name == answer.name:
            if gold.parameters and answer.parameters and len(gold.parameters) != len(answer.parameters):
                return False
            return _equal(gold.value, _by_parameters(gold, answer))
        case (Named(), Named()) | (Named(), Relation()):
            return _is_curve(gold) and _same_relation(_as_relation(gold), _as_relation(answer))
        case Named(), _:
            return _equal(gold.value, answer)
        case Relation(), (Named() | Relation()):
            return _same_relation(gold, _as_relation(answer))
        case Relation(), _:
            return False
        case _, Named():
            return _equal(gold, answer.value)
        case _, Relation():
            has_symbols = isinstance(gold, Leaf) and _plain_value(gold.text) is None
            return any(_equal(gold, Leaf(value)) for value in _settled(answer, _is_plain(gold), has_symbols))
        case Listed("("), Listed(r"\{", _, (element,)):  # the one solution, as a set
            return _equal(gold, element)
        case Listed(), Listed():
            if gold.opening != answer.opening:
                gold, answer = _as_vector(gold), _as_vector(answer)
            return _same_parts(gold, answer)
        case Listed(), Leaf():
            return gold.opening == r"\{" and len(gold.elements) == 1 and _equal(gold.elements[0], answer)
        case Leaf(), Listed():
            one = answer.opening == r"\{" and len(answer.elements) == 1
            return one and answer.elements[0] != _EMPTY and _equal(gold, answer.elements[0])
    return _same_leaf(gold.text, answer.text)


# Named values and relations.


def _by_parameters(gold: Named, answer: Named) -> Formula:
    """The answer's value by the reference's names of its parameters: f(t) = 2t as f(x) = 2x."""
    if len(gold.parameters) != len(answer.parameters) or not gold.parameters:
        return answer.value
    # A name of the reference's that means something else in the answer is no parameter there: f(t) = 3x.
    others = {name: f"{{{name}_{{other}}}}" for name in gold.parameters if name not in answer.parameters}
    return _renamed_parts(answer.value, others | dict(zip(answer.parameters, gold.parameters, strict=True)))


def _renamed_parts(part: Formula, names: Mapping[str, str]) -> Formula:
    match part:
        case Leaf(text):
            return Leaf(renamed(text, names))
        case Listed(opening, closing, elements):
            return Listed(opening, closing, tuple(_renamed_parts(element, names) for element in elements))
        case Named(name, parameters, value):
            return Named(name, parameters, _renamed_parts(value, names))
        case Relation(sides, relations):
            return Relation(tuple(renamed(side, names) for side in sides), relations)


def _is_curve(gold: Named) -> bool:
    """Whether a named value has symbols of its own: y = 2x + 3 is a line, which other equations describe too."""
    return isinstance(gold.value, Leaf) and bool(
        expression_equivalence.symbols(expression_parser.parse(without_unit(gold.value.text)))
    )


def _as_relation(part: Named | Relation) -> Relation:
    if isinstance(part, Relation):
        return part
    name = part.name + (f"({','.join(part.parameters)})" if part.parameters and "_" not in part.name else "")
    match part.value:
        case Leaf(text):
            return Relation((name, text), ("=",))
        case Relation(sides, relations):
            return Relation((name, *sides), ("=", *relations))
    return Relation((name,), ())


def _same_relation(gold: Relation, answer: Relation) -> bool:
    r"""Whether two relations are equivalent: one equation or inequality in another form, a chain side by side."""
    flipped = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}
    if len(gold.sides) == len(answer.sides) == 2:
        order, relation = gold.relations[0], answer.relations[0]
        if order not in ("=", r"\ne", *flipped) or relation not in ("=", r"\ne", *flipped):
            return order == relation and all(map(_same_leaf, gold.sides, answer.sides))
        factor = expression_equivalence.proportion(gold.sides, answer.sides)
        if not factor:
            return False
        return relation == (order if factor > 0 else flipped.get(order, order))
    if len(gold.sides) != len(answer.sides):
        return False
    turned = [flipped.get(each, each) for each in answer.relations[::-1]]
    versions = [(answer.sides, list(answer.relations)), (answer.sides[::-1], turned)]
    return any(
        list(gold.relations) == relations and all(map(_same_leaf, gold.sides, sides)) for sides, relations in versions
    )


def _settled(chain: Relation, plain: bool, has_symbols: bool = False) -> list[str]:
    """The values that an equation or approximation ends in; none where its sides disagree, or it is unsolved.

    Args:
        plain: the reference is a plain number: the last side is accepted; else the first that is exact.
        has_symbols: the reference has symbols, so that a number beside them is an equation still to be solved.
    """
    if not _EQUAL.issuperset(chain.relations) or any(_NEGATED_NAME.fullmatch(side) for side in chain.sides):
        return []
    labels = [bool(NAME.fullmatch(side)) for side in chain.sides]
    sides = [side for side, is_label in zip(chain.sides, labels, strict=True) if not is_label]
    if not sides:
        return chain.sides[-1:] if chain.sides else []
    approximate = any(each != "=" for each in chain.relations)
    numbers = [(side, value) for side in sides if (value := _plain_value(side)) is not None]
    if not all(_follows(a, b, approximate) for a, b in itertools.pairwise(numbers)):
        return []
    if numbers and len(numbers) < len(sides) and (approximate or has_symbols):  # 2x + 1 = 3 is to be solved
        return []
    if approximate and len(sides) - len(numbers) > 1:
        return []
    symbolic = [without_unit(side) for side in sides if _plain_value(side) is None]
    if not all(_names_another(a, b) or expression_equivalence.agree(a, b) for a, b in itertools.pairwise(symbolic)):
        return []
    exact = [side for side in sides[:-1] if approximate]
    return [sides[-1], *exact] if plain else [*exact, sides[-1]]


def _names_another(left: str, right: str) -> bool:
    """Whether the sides of an equation share no symbol, so that one only names the other: a + b = 2k."""
    return not expression_equivalence.symbols(expression_parser.parse(left)) & expression_equivalence.symbols(
        expression_parser.parse(right)
    )


def _plain_value(side: str) -> object | None:
    if (based := _based(side)) and based[2]:
        return _value_in_base(based)
    plain = number(side, symbols=True)
    return plain.value if plain else expression_equivalence.plain_value(without_unit(side))


def _follows(left: tuple[str, object], right: tuple[str, object], approximate: bool) -> bool:
    """Whether the right one of two sides of an equation, numbers both, is the left one's value, or close to it."""
    (printed, value), (decimal, rounded) = left, right
    plain, other = number(printed, symbols=True), number(decimal, symbols=True)
    if expression_values.close(value, rounded) or (plain and other and numerals.same_number(plain, other)):
        return True
    return (
        approximate and other is not None and expression_equivalence.rounds_to(value, rounded, numerals.places(decimal))
    )


# Lists and leaves.


def _same_parts(gold: Listed, answer: Listed) -> bool:
    """Element by element: in any order for a bare list, a set or a union, else in the reference's."""
    if gold.opening == r"\cup" and answer.opening == "":  # x < 1 or x > 2, written as a list
        names = {element.name if isinstance(element, Named) else "" for element in answer.elements}
        if len(names) > 1:
            return False
    is_range = answer.opening.endswith("<")  # of an inequality: no pair
    if (is_range and gold.opening not in ("(", "[", "(<", "[<")) or (
        answer.opening.rstrip("<") not in _BRACKETS_FOR.get(gold.opening.rstrip("<"), (gold.opening.rstrip("<"),))
    ):
        return False
    if gold.opening.rstrip("<") == answer.opening.rstrip("<") and gold.closing != answer.closing:
        return False
    if assignment(gold) and answer.opening == r"\{":  # x = 2, y = 3 is no set
        return False
    if len(gold.elements) != len(answer.elements):
        return False
    if len(gold.elements) > MAX_ELEMENTS:
        raise TooComplexError
    is_named = [all(isinstance(element, Named) for element in listed.elements) for listed in (gold, answer)]
    ordered = gold.opening not in _BRACKETS_FOR or is_named == [True, False] or _has_dots(gold)
    if ordered:
        return all(map(_equal, gold.elements, answer.elements))
    left = list(answer.elements)
    for element in gold.elements:
        match = next((other for other in left if _equal(element, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _as_vector(listed: Listed) -> Listed:
    """A column as the tuple of its elements, the other notation of a vector."""
    return Listed("(", ")", listed.elements) if listed.opening == "matrix 1" else listed


def _has_dots(gold: Listed) -> bool:
    return Leaf(r"\ldots") in gold.elements


def _is_plain(part: Formula) -> bool:
    return isinstance(part, Leaf) and number(part.text) is not None


def _same_leaf(gold: str, answer: str) -> bool:
    """Whether two numbers or expressions are equal."""
    target = number(gold)
    if target:
        value = number(answer, symbols=True)
        return value is not None and numerals.same_number(target, value)
    if based := _based(gold):
        own = _BASED.fullmatch(without_spaces(answer))  # the digits alone are accepted, another base is not
        digits = [match[1].lstrip("0") for match in (own, based) if match]
        return bool(own) and digits[0] == digits[1] and (own[2] or based[2]).strip("{}") == based[2].strip("{}")
    (gold, unit), (answer, other) = _unit_cut(gold), _unit_cut(answer)
    if (unit, other) in _OTHER_ANGLES or (unit and other and unit != other):
        return False
    return expression_equivalence.same_expression(gold, answer)


def _based(text: str) -> re.Match[str] | None:
    """A number with the base it is written in: 2516_8."""
    return _BASED.fullmatch(without_spaces(text)) if "_" in text and text[:1] in "-.0123456789ABCDEF" else None


def _value_in_base(based: re.Match[str]) -> Fraction | None:
    """The value of a number written in another base; None where its digits are not of that base."""
    base = int(based[2].strip("{}"))
    whole, _, behind = based[1].lstrip("-").partition(".")
    digits = [int(digit, 16) for digit in whole + behind]
    if not 2 <= base <= 16 or any(digit >= base for digit in digits):
        return None
    value = Fraction(sum(digit * base**place for place, digit in enumerate(reversed(digits))), base ** len(behind))
    return -value if based[1].startswith("-") else value


def without_unit(text: str) -> str:
    """An expression without the unit at its end."""
    return _unit_cut(text)[0]


def _unit_cut(text: str) -> tuple[str, str]:
    """An expression without its unit, and the unit."""
    match = _UNIT.search(text)
    if match and match.start() > 0:
        words = match["text"] if match["text"] is not None else match["words"]
        bare = match["words"] is not None

        known = not bare or words in UNITS - AMBIGUOUS or is_word(text, match.start("words"), match.end("words"))
        if is_unit_phrase(words) and known:
            power = re.search(r"-?\d", text[match.end("text" if match["text"] is not None else "words") :])
            return text[: match.start()].rstrip(), unit_name(f"{words}^{power[0]}" if power else words)
    if text.endswith(r"^\circ") and not _FUNCTION.search(text):
        return text.removesuffix(r"^\circ").rstrip(), "degree^1"
    return text, ""
