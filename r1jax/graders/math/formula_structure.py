r"""Structure of formulas: lists, sets, intervals, unions, matrices, equations, inequalities and named values.

The leaves are numbers and expressions, as text, which `numerals` and `expression_parser` parse. Nothing is dropped:
every part of a formula is in its structure.
"""

import functools
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from r1jax.graders.math.numerals import number
from r1jax.graders.math.splitting import (
    BRACKET,
    SEPARATOR,
    SET_BUILDER,
    expand_signs,
    expand_signs_of_each,
    list_elements,
    outer_brackets,
    split_outside_brackets,
)
from r1jax.graders.math.variable_names import NAME, names_of_tuple, occurs_in_value, parameters_of, spelled_name

MAX_ELEMENTS = 50


class Leaf(NamedTuple):
    """A number or an expression."""

    text: str


class Listed(NamedTuple):
    r"""A list of some kind.

    Attributes:
        opening: "" for a bare list, `(`, `[`, `\{`, `(<` and `[<` for the range of an inequality, `\cup` for a union,
            `\wedge` and `\vee` where a list would lose them, `:` for a ratio, `matrix` and the number of its columns.
        closing: the bracket behind it, else "".
        elements: two or more; one where it stands in braces.
    """

    opening: str
    closing: str
    elements: tuple["Formula", ...]


class Named(NamedTuple):
    """A value with its name: `x = 5`, `f(x) = 2x` (name f, parameters x), `x \\in (1, 2)`."""

    name: str
    parameters: tuple[str, ...]
    value: "Formula"


class Relation(NamedTuple):
    """Sides with relations between them: an equation, an inequality, an approximation; one relation or more."""

    sides: tuple[str, ...]
    relations: tuple[str, ...]


Formula = Leaf | Listed | Named | Relation

_UNION = re.compile(r"\\cup(?![A-Za-z])|\\text\s*\{\s*union\s*\}|(?<=[\])}\s])(?:U|union)(?=\s*(?:[\[(]|\\\{))")
_OR = re.compile(r"\s*(?:\\text\s*\{\s*or\s*\}|(?<![A-Za-z\\])or(?![A-Za-z])|\\vee(?![A-Za-z])|或)\s*")
_AND = re.compile(r"\\text\s*\{[\s,;]*and|(?<![A-Za-z\\])and(?![A-Za-z])|\\(?:wedge|land)(?![A-Za-z])")
_COLON = re.compile(r"(?<!:):(?![:=])")
_RELATION = re.compile(r"(?<![<>!:=])=(?!=)|<|>|\\(?:le|ge|ne|approx|simeq|sim|in|equiv|to)(?![A-Za-z])")
_MATRIX = re.compile(
    r"(?P<factor>[^{}]{0,20}?|-?\s*\\frac\s*\{[^{}]{1,40}\}\s*\{[^{}]{1,40}\})"
    r"[\[(]?\s*\\begin\s*\{(?:[bpB]?(?:small)?matrix|array)\}(?:\s*\{[clr|]+\})?(?P<cells>.*)"
    r"\\end\s*\{(?:[bpB]?(?:small)?matrix|array)\}\s*[\])]?",
    re.DOTALL,
)
_TRANSPOSED = re.compile(r"[\[(]([^\[\]()]+)[\])]\s*\^\s*(?:\\top|T|\{\s*(?:\\top|T|\{T\}|\\text\s*\{T\})\s*\})")
_FRENCH = re.compile(r"([\[\]])([^\[\]()]*,[^\[\]()]*)([\[\]])")
_DIFFERENCE = re.compile(
    r"(.+?)\s*(?:\\setminus|\\backslash|\\smallsetminus|\\|(?<=\})\s*-)\s*\\\{([^{}]+)\\\}", re.DOTALL
)
_ROWS = re.compile(r"\\\\(?:\[[^\]]{0,9}\])?|\\cr(?![A-Za-z])")
_POINT = re.compile(r"([A-Z](?:_\w|')?)\s*(\([^()]*,[^()]*\))")
_ORDERS = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}
_REALS = re.compile(r"\\mathbb\s*\{\s*R\s*\}")


@functools.lru_cache(maxsize=4096)
def structure(text: str, grouped: bool = True) -> Formula:
    r"""The structure of a formula.

    Args:
        text: tidied, without conditions.
        grouped: whether 27,108 is one number with its thousands set off, or a list of two.
    """
    text = text.strip()
    if matrix := _matrix(text):
        return matrix
    if (french := _FRENCH.fullmatch(text)) and french[1] + french[3] != "[]":  # ]2, 3[
        opening, closing = "[("[french[1] == "]"], "])"[french[3] == "["]
        ends = list_elements(french[2], False)
        return Listed(f"{opening}<", closing, tuple(map(Leaf, ends))) if len(ends) == 2 else Leaf(text)
    if (less := _DIFFERENCE.fullmatch(text)) and (without := _without_points(less[1], list_elements(less[2], False))):
        return without
    if _REALS.fullmatch(text):
        return _open(r"-\infty", r"\infty")
    if ranges := _ranges(text):
        return ranges
    opening, inner, closing = outer_brackets(text)
    if opening == r"\{" and (built := SET_BUILDER.fullmatch(inner)) and _relation(built[2]):
        return structure(built[2], grouped)
    elements = list_elements(inner, False) if opening else []
    if opening == r"\{" and elements:
        return Listed(opening, closing, tuple(structure(each, grouped) for each in expand_signs_of_each(elements)))
    if len(elements) > 1:
        points = expand_signs(inner)
        if len(points) > 1:  # (0, \pm 2) are two points
            return Listed("", "", tuple(structure(f"{opening}{point}{closing}", grouped) for point in points))
        return Listed(opening, closing, tuple(structure(element, grouped) for element in elements))
    if len(elements := list(expand_signs_of_each(list_elements(text, grouped)))) > 1:
        return _bare_list(text, tuple(structure(element, grouped) for element in elements))
    if relation := _relation(text):
        return _related(relation, grouped)
    if not opening and len(ratio := split_outside_brackets(text, _COLON)) > 1 and all(ratio):
        return Listed(":", "", tuple(Leaf(side) for side in ratio))
    if point := _POINT.fullmatch(text):
        return Named(point[1], (), structure(point[2]))
    return Leaf(text)


def _bare_list(text: str, elements: tuple[Formula, ...]) -> Listed:
    """A list without brackets, or of elements joined by "and" or "or" where the two differ."""
    if all(isinstance(element, Named) and isinstance(element.value, Listed) for element in elements):
        return Listed("" if not _AND.search(text) or _OR.search(text) else r"\wedge", "", elements)
    names = {element.name for element in elements if isinstance(element, Named)}
    propositions = all(isinstance(element, Leaf) and element.text.isalpha() for element in elements)
    if (len(names) > 1 and _OR.search(text)) or (propositions and (_OR.search(text) or r"\wedge" in text)):
        return Listed(r"\vee" if _OR.search(text) else r"\wedge", "", elements)
    return Listed("", "", elements)


def leaves(formula: Formula) -> Iterator[str]:
    """All texts of a formula's numbers and expressions, and of an equation's sides."""
    match formula:
        case Leaf(text):
            yield text
        case Listed(_, _, elements):
            for element in elements:
                yield from leaves(element)
        case Named(_, _, value):
            yield from leaves(value)
        case Relation(sides, _):
            yield from sides


def spelled(formula: Formula) -> str:
    """The text of a formula in canonical spelling."""
    match formula:
        case Leaf(text):
            return text
        case Listed(opening, closing, elements):
            if opening.startswith("matrix"):
                columns = int(opening.split()[1])
                rows = [elements[start : start + columns] for start in range(0, len(elements), columns)]
                cells = r" \\ ".join(" & ".join(map(spelled, row)) for row in rows)
                return rf"\begin{{pmatrix}}{cells}\end{{pmatrix}}"
            joint = {r"\cup": r" \cup ", r"\wedge": r" \wedge ", r"\vee": r" \vee ", ":": ":"}.get(opening, ", ")
            prefix = "" if opening in (r"\cup", r"\wedge", r"\vee", ":") else opening.rstrip("<")
            return f"{prefix}{joint.join(map(spelled, elements))}{closing}"
        case Named(name, parameters, value):
            arguments = f"({','.join(parameters)})" if parameters else ""
            return f"{name}{arguments} = {spelled(value)}"
        case Relation(sides, relations):
            pairs = itertools.zip_longest(sides, relations, fillvalue="")
            return " ".join(itertools.chain.from_iterable(pairs)).strip()


def assignment(formula: Formula) -> dict[str, Formula] | None:
    """The values of several names, `x = 2, y = 3` or `(x, y) = (2, 3)`; None for anything else."""
    if isinstance(formula, Listed) and formula.opening in ("", "(", r"\{"):
        names = [element.name for element in formula.elements if isinstance(element, Named)]
        if len(set(names)) == len(formula.elements) > 1:
            return {element.name: element for element in formula.elements}
    return None


# Lists.


def _matrix(text: str) -> Listed | None:
    if transposed := _TRANSPOSED.fullmatch(text):
        return Listed("matrix 1", "", tuple(Leaf(each) for each in list_elements(transposed[1], False)))
    matrix = _MATRIX.fullmatch(text)
    if not matrix or r"\begin" in matrix["cells"]:
        return None
    rows = [[cell.strip() for cell in row.split("&")] for row in _ROWS.split(matrix["cells"]) if row.strip()]
    columns = len(rows[0]) if rows else 0
    if not columns or any(len(row) != columns for row in rows):
        return None
    cells = [_scaled(matrix["factor"].strip(), cell) for row in rows for cell in row]
    return Listed(f"matrix {columns}", "", tuple(map(Leaf, cells)))


def _scaled(factor: str, cell: str) -> str:
    """A cell with the factor before its matrix, worked out where both are plain numbers."""
    if not factor:
        return cell
    plain, other = number("-1" if factor == "-" else factor), number(cell)
    if not plain or not other:
        return f"{factor} ({cell})"
    product = plain.value * other.value
    return str(product) if product.denominator == 1 else rf"\frac{{{product.numerator}}}{{{product.denominator}}}"


def _ranges(text: str) -> Formula | None:
    r"""A union, or ranges of one name joined by "or": x < 2 or x > 3, k < 0 or k = 1, x \ne 3."""
    union = split_outside_brackets(text, _UNION)
    if len(union) > 1 and all(union):
        return Listed(r"\cup", "", tuple(map(structure, union)))
    if excluded := _but_for_points(text):
        return excluded
    pieces = [piece for piece in split_outside_brackets(text, _OR) if piece]
    relations = [_relation(piece) for piece in pieces]
    if not all(relations):
        return None
    parts = [_interval(relation) for relation in relations]
    if len(pieces) > 1 and any(parts):
        names = {part.name if part else _name_of(relation) for part, relation in zip(parts, relations, strict=True)}
        if len(names) == 1 and None not in names:
            values = [
                part.value if part else Listed(r"\{", r"\}", (structure(relation.sides[1]),))
                for part, relation in zip(parts, relations, strict=True)
            ]
            return Named(names.pop(), (), Listed(r"\cup", "", tuple(values)))
    return None


def _but_for_points(text: str) -> Named | None:
    r"""An inequality that leaves out some values, 0 < x < 36, x \ne 9, as a union."""
    if _OR.search(text):
        return None
    pieces = split_outside_brackets(text, SEPARATOR)
    first, *others = (_relation(piece) for piece in pieces)
    if first and first.relations == (r"\ne",) and NAME.fullmatch(first.sides[0]):  # x \ne 2, 3
        written = [
            piece if other else f"{first.sides[0]} \\ne {piece}"
            for piece, other in zip(pieces, [first, *others], strict=True)
        ]
        excluded = [other for piece in written if (other := _relation(piece))]
        if len(excluded) == len(pieces) > 1 and all(each.sides[0] == first.sides[0] for each in excluded):
            points = [each.sides[1] for each in excluded if each.relations == (r"\ne",)]
            union = _without_points(r"\mathbb{R}", points) if len(points) == len(pieces) else None
            return Named(first.sides[0], (), union) if union else None
    if not first or not others or not (ranged := _interval(first)) or not isinstance(ranged.value, Listed):
        return None
    points = []
    for other in others:
        if not other or other.relations != (r"\ne",) or other.sides[0] != ranged.name:
            return None
        points.append(other.sides[1])
    union = _without_points(spelled(ranged.value), points)
    return Named(ranged.name, (), union) if union else None


def _name_of(relation: Relation) -> str | None:
    """The name to which an equation assigns its one value."""
    if relation.relations != ("=",) or not (name := NAME.fullmatch(relation.sides[0])):
        return None
    return spelled_name(name)


# Relations.


def _relation(text: str) -> Relation | None:
    """The sides of a relation; None where there is none."""
    sides = split_outside_brackets(text, _RELATION)
    if len(sides) < 2 or not all(sides):
        return None
    depth, relations = 0, []
    for match in re.finditer(rf"{BRACKET.pattern}|{_RELATION.pattern}", text):
        if BRACKET.fullmatch(match[0]):
            depth += 1 if match[0][-1] in "([{" else -1
        elif depth == 0:
            relations.append(match[0])
    return Relation(tuple(sides), tuple(relations)) if len(relations) == len(sides) - 1 else None


def _related(relation: Relation, grouped: bool) -> Formula:
    """The meaning of a relation: a named value, an interval of a name, or only itself."""
    sides, relations = relation
    if interval := _interval(relation):
        return interval
    value = relation if len(sides) == 2 else Relation(sides[1:], relations[1:])
    if len(sides) == 2 and relations == ("=",) and not NAME.fullmatch(sides[0]) and NAME.fullmatch(sides[1]):
        sides = sides[::-1]  # 5 = x
    if relations[0] in ("=", r"\in", r"\approx", r"\simeq"):
        rest = structure(sides[1], grouped) if len(sides) == 2 else value
        if relations == (r"\in",) and isinstance(rest, Listed) and rest.opening in ("(", "["):
            rest = rest._replace(opening=f"{rest.opening}<")
        if names := names_of_tuple(sides[0]):
            return _tuple_of_values(names, rest) or relation
        name = NAME.fullmatch(sides[0])
        if name and not occurs_in_value(name, " ".join(sides[1:])):
            return Named(spelled_name(name), parameters_of(name), rest)
    return relation


def _tuple_of_values(names: list[str], value: Formula) -> Formula | None:
    r"""(x, y) = (2, 3) as x = 2, y = 3; (x, y) \in \{(1, 2), ...\} as the set."""
    if isinstance(value, Listed) and value.opening == "(" and len(value.elements) == len(names):
        named = [Named(name, (), element) for name, element in zip(names, value.elements, strict=True)]
        return Listed("", "", tuple(named))
    return value if isinstance(value, Listed) and value.opening in ("", r"\{") else None


def _interval(relation: Relation) -> Named | None:
    r"""An inequality for one name as an interval, `1 < x \le 2` as (1, 2], x \ne 3 as all but 3; None for others."""
    sides, relations = list(relation.sides), list(relation.relations)
    if relations == [r"\ne"] and (name := NAME.fullmatch(sides[0])) and not name["arguments"]:
        ends = ((r"-\infty", sides[1]), (sides[1], r"\infty"))
        return Named(spelled_name(name), (), Listed(r"\cup", "", tuple(_open(*each) for each in ends)))
    if not all(each in _ORDERS for each in relations) or len(sides) > 3:
        return None
    if len(sides) == 2:
        if not NAME.fullmatch(sides[0]) and NAME.fullmatch(sides[1]):
            sides, relations = sides[::-1], [_ORDERS[relations[0]]]
        upward = relations[0] in (">", r"\ge")
        sides = [sides[1], sides[0], r"\infty"] if upward else [r"-\infty", *sides]
        relations = [_ORDERS[relations[0]], "<"] if upward else ["<", *relations]
    if relations[0] in (">", r"\ge"):
        sides, relations = sides[::-1], [_ORDERS[each] for each in relations[::-1]]
    name = NAME.fullmatch(sides[1])
    if not name or name["primes"] or {*relations} - {"<", r"\le"}:
        return None
    opening, closing = "(["[relations[0] != "<"], ")]"[relations[1] != "<"]
    name_text = spelled_name(name) + (f"({','.join(parameters_of(name))})" if name["arguments"] else "")
    return Named(name_text, (), Listed(f"{opening}<", closing, (Leaf(sides[0]), Leaf(sides[2]))))


def _without_points(whole: str, points: list[str]) -> Listed | None:
    r"""An interval without some of its points as a union: (2, 102) \setminus \{12\}, \mathbb{R} \setminus \{3\}."""
    interval = structure(whole)
    if not isinstance(interval, Listed) or interval.opening[:1] not in ("(", "[") or len(interval.elements) != 2:
        return None
    low, high = (spelled(end) for end in interval.elements)
    ends = [low, *sorted(points, key=lambda point: plain.value if (plain := number(point)) else 0), high]
    pieces = [_open(a, b) for a, b in itertools.pairwise(ends)]
    pieces[0] = pieces[0]._replace(opening=interval.opening)
    pieces[-1] = pieces[-1]._replace(closing=interval.closing)
    return Listed(r"\cup", "", tuple(pieces))


def _open(low: str, high: str) -> Listed:
    return Listed("(<", ")", (Leaf(low), Leaf(high)))
