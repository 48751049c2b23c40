r"""Equality of expressions by their values, and arithmetic left undone (2 + 3 for 5); with bounds on size.

Equal is exactly equal: 3.464102 is not 2\sqrt{3}. Two expressions are compared by their values at points where every
symbol has a number of its own: exactly where they are rational, else to 60 digits. Symbols stand for positive numbers,
as lengths and constants do: \sqrt{ab} is \sqrt{a}\sqrt{b}. Where one of them has an absolute value or a floor,
negative ones are tried too.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from r1jax.graders.math.expression_parser import Node, UnreadableError, parse
from r1jax.graders.math.expression_values import AGREE, POSITIVE_POINTS, close, context, to_mp, value_at

# What any answer may use; every other function must be in the reference, itself or one of its family.
_ALGEBRA = frozenset({"number", "symbol", "constant", "+", "-", "*", "/", "^", "root", "degree", "%", "call"})
_FAMILIES = tuple(
    map(
        frozenset,
        (
            ("log", "ln", "log10", "exp"),
            ("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot"),
            ("binom", "!"),
        ),
    )
)
_UNEVEN = frozenset({"abs", "floor", "ceil", "max", "min", "gcd", "lcm"})


def same_expression(gold: str, answer: str) -> bool:
    """Whether an answer is the reference in another form, without further unevaluated arithmetic.

    Raises:
        TooComplexError: a number in one of them, or on the way to its value, is too large.
        UnreadableError: one of them is no expression.
    """
    golds, answers = (parse(gold),), (parse(answer),)
    if golds == answers:
        return True
    if not _may_stand_for(golds, answers):
        return False
    pairs = [(value_at(golds[0], point), value_at(answers[0], point)) for point in _points(golds + answers)]
    compared = [(a, b) for a, b in pairs if a is not None or b is not None]
    return bool(compared) and all(a is not None and b is not None and close(a, b) for a, b in compared)


def proportion(gold: Sequence[str], answer: Sequence[str]) -> float | None:
    """The constant by which the difference of an answer's sides is that of the reference's; None where there is none.

    Raises:
        TooComplexError, UnreadableError: as for `same_expression`.
    """
    golds, answers = tuple(map(parse, gold)), tuple(map(parse, answer))
    if not _speaks_of(golds, answers):
        return None
    ratios = []
    for point in _points(golds + answers):
        left, right = (_difference(sides, point) for sides in (golds, answers))
        if not left or not right:  # none, or zero, where there is no ratio
            return None
        ratios.append(
            right / left
            if isinstance(right, Fraction) and isinstance(left, Fraction)
            else context.convert(to_mp(right) / to_mp(left))
        )
    first = ratios[0]
    if not ratios or not all(close(first, other) for other in ratios) or abs(context.im(to_mp(first))) > AGREE:
        return None
    return float(context.re(to_mp(first)))


def signature(formula: str) -> str | None:
    """A key that equal expressions share: their values at two points, to 12 digits; None where there is no value.

    Raises:
        TooComplexError, UnreadableError: as for `same_expression`.
    """
    tree = parse(formula)
    values = [value_at(tree, point) for point in range(2 if symbols(tree) else 1)]
    return None if None in values else " ".join(context.nstr(to_mp(value), 12) for value in values)


def plain_value(formula: str) -> Any | None:
    """The value of an expression without symbols; None for any other, and for what cannot be read."""
    try:
        tree = parse(formula)
        return None if symbols(tree) else value_at(tree, 0)
    except UnreadableError:
        return None


def rounds_to(value: Any, printed: Any, places: int) -> bool:
    """Whether a value, rounded to so many decimal places, is the rounded one."""
    return bool(abs(to_mp(value) - to_mp(printed)) <= to_mp(Fraction(1, 2)) / context.mpf(10) ** places * (1 + AGREE))


def agree(left: str, right: str) -> bool:
    """Whether two expressions have the same values, evaluated or not.

    Raises:
        TooComplexError, UnreadableError: as for `same_expression`.
    """
    trees = (parse(left), parse(right))
    pairs = [(value_at(trees[0], point), value_at(trees[1], point)) for point in _points(trees)]
    return all(a is not None and b is not None and close(a, b) for a, b in pairs)


def symbols(tree: Node) -> frozenset[str]:
    """The names of the symbols and unknown functions in a tree, but for the bound ones."""
    inner = frozenset().union(*map(symbols, tree.args)) if tree.args else frozenset()
    if tree.op == "bind":
        return inner - {tree.data.split()[1]}
    return inner | {tree.data} if tree.op in ("symbol", "call") else inner


def _may_stand_for(golds: Sequence[Node], answers: Sequence[Node]) -> bool:
    """Whether answers use no symbol and no function that the references lack, and no further unevaluated arithmetic."""
    return _speaks_of(golds, answers) and _union(undone, answers) <= _union(undone, golds)


def _speaks_of(golds: Sequence[Node], answers: Sequence[Node]) -> bool:
    """Whether answers use no symbol and no function that the references do without."""
    allowed = _union(_operations, golds)
    for family in _FAMILIES:
        allowed |= family if family & allowed else frozenset()
    if any(Node("constant", (), "e") in _nodes(gold) for gold in golds):
        allowed |= {"exp"}
    if not _union(_operations, answers) <= allowed | _ALGEBRA:
        return False
    return _union(symbols, answers) <= _union(symbols, golds)


def _union(of: Any, trees: Iterable[Node]) -> frozenset[str]:
    return frozenset().union(*map(of, trees))


def _operations(tree: Node) -> frozenset[str]:
    return frozenset(node.data.split()[0] if node.op == "bind" else node.op for node in _nodes(tree))


def _nodes(tree: Node) -> Iterator[Node]:
    yield tree
    for arg in tree.args:
        yield from _nodes(arg)


# Unevaluated arithmetic.


@functools.lru_cache(maxsize=4096)
def undone(tree: Node) -> frozenset[str]:
    """The operations in an expression whose value would be a plain number, by name."""
    return frozenset(_kind(node) for node in _nodes(tree) if _is_undone(node))


def _kind(node: Node) -> str:
    """An operation's name; a power of -1 is a division."""
    return "/" if node.op == "^" and node.args[1] == Node("-", (Node("number", (), Fraction(1)),)) else node.op


def _is_undone(node: Node) -> bool:
    if node.op == "+" and _has_plain_terms(node):
        return True
    if node.op in ("*", "/") and _has_plain_factors(node):
        return True
    return bool(node.args) and not _is_spelled(node) and not symbols(node) and _is_rational(node)


def _is_spelled(node: Node) -> bool:
    """Whether a node is a plain number as written: 3, -3, 2/3, 42%, 90 degrees; not unevaluated arithmetic."""
    if node.op == "-":
        return node.args[0].op != "-" and _is_spelled(node.args[0])
    if node.op == "/":
        over, under = node.args
        plain = over.args[0] if over.op == "-" else over
        return plain.op == under.op == "number" and bool(under.data) and (plain.data / under.data).denominator != 1
    return node.op == "number" or (node.op in ("%", "degree") and _is_spelled(node.args[0]))


def _has_plain_terms(node: Node) -> bool:
    """Whether terms of a sum are numbers that could be added."""
    plain = [term for term in node.args if _is_spelled(term)]
    return len(plain) > 1 or any(term.op == "number" and not term.data for term in plain)


def _has_plain_factors(node: Node) -> bool:
    """Whether factors of a product are numbers that could be multiplied; it may hold one fraction: -3/4 x."""
    over, under = _factors(node)
    if len(over) > 1 or len(under) > 1:
        return True
    if over and under:
        return not under[0] or (over[0] / under[0]).denominator == 1
    return over == [1]


def _factors(node: Node) -> tuple[list[Fraction], list[Fraction]]:
    """The plain numbers that multiply a product, and those that divide it."""
    if node.op == "number":
        return [node.data], []
    if node.op == "-":
        return _factors(node.args[0])
    if node.op == "*":
        pairs = [_factors(arg) for arg in node.args]
        return [n for over, _ in pairs for n in over], [n for _, under in pairs for n in under]
    if node.op == "/":
        (over, under), (below, above) = _factors(node.args[0]), _factors(node.args[1])
        if over == [1]:  # the 1 of 1/x is no factor
            over = []
        return over + above, under + below
    return [], []


def _is_rational(node: Node) -> bool:
    """Whether a node without symbols has a plain number as its value: exactly, or to 40 digits a small ratio."""
    value = value_at(node, 0)
    if value is None or isinstance(value, Fraction):
        return value is not None
    if abs(context.im(value)) > AGREE:
        return False
    value = context.re(value)
    if abs(value) > 10**15 or not context.isfinite(value):
        return False
    near = Fraction(*map(int, _ratio(value))).limit_denominator(10_000)
    return abs(value - to_mp(near)) <= AGREE * max(1, abs(value))


def _ratio(value: Any) -> tuple[int, int]:
    return (int(context.nint(value * 2**160)), 2**160)


def _points(trees: Sequence[Node]) -> Iterator[int]:
    """The points at which trees are compared; negative ones only where the sign matters."""
    if not _union(symbols, trees):
        return iter((0,))
    uneven = _union(_operations, trees) & _UNEVEN
    return iter(range(2 * POSITIVE_POINTS if uneven else POSITIVE_POINTS))


def _difference(sides: Sequence[Node], point: int) -> Any | None:
    left, right = (value_at(side, point) for side in sides)
    if left is None or right is None:
        return None
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left - right
    return to_mp(0) if close(left, right) else to_mp(left) - to_mp(right)
