r"""Whether two expressions are equal, by math-verify and sympy, with bounds set around both.

Equal is exactly equal: 3.464102 is not 2\sqrt{3}.

math-verify's own time-outs are off. They need signals and the main thread, and do not fire while one long operation
holds the interpreter lock; a killable process (`r1jax.rewards.pool`) does what they cannot.
"""

import functools
import logging
import math
import re
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

_MAX_DIGITS = 20_000.0  # of any number on the way to a value
_AGREE = 1e-12  # relative; values are computed to 25 digits
# What any answer may use; every other command must be in the reference, itself or one of its family.
_ALGEBRA = frozenset(re.findall(r"\w+", """
    frac sqrt pi cdot times div infty text circ emptyset varnothing mathbb alpha beta gamma delta theta lambda mu omega
    phi varphi sigma rho tau epsilon varepsilon
    """))  # fmt: skip
_FAMILIES = tuple(map(frozenset, (
    ("log", "ln", "lg", "exp"), ("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan"),
    ("binom", "dbinom", "tbinom", "!"),
)))  # fmt: skip
_FRACTION = re.compile(r"\\frac\s*\{\s*-?(\d+)\s*\}\s*\{\s*-?(\d+)\s*\}|(\d+)\s*/\s*(\d+)", re.ASCII)
_TEXT = re.compile(r"\\text\s*\{[^{}]*\}")


class TooComplexError(Exception):
    """An expression that would take too long to compare."""


@functools.cache
def _math_verify() -> ModuleType:
    import math_verify  # imports sympy: about a second, and only the graders need it

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its time-outs are off
    return math_verify


@functools.cache
def _reading() -> Any:
    """How math-verify is to read: formulas only, and no unit stripped, for which it takes the c of a + b + c."""
    from latex2sympy2_extended import NormalizationConfig

    return _math_verify().LatexExtractionConfig(
        normalization_config=NormalizationConfig(basic_latex=True, malformed_operators=True, nits=True, boxed="none")
    )


@functools.lru_cache(maxsize=1024)  # a group's samples share their reference answer, and often their own
def parse(formula: str) -> Any | None:
    """A formula as a sympy expression, unevaluated; None where math-verify cannot read it.

    Raises:
        TooComplexError: a number in it, or on the way to its value, has too many digits.
    """
    if not _balanced(formula):
        return None
    library = _math_verify()
    formula = re.sub(r"(?<!\\)%", r"\\%", formula.replace("$", ""))
    # Without its fallback to strings, which drops the % from them.
    found = library.parse(f"${formula}$", [_reading()], fallback_mode="no_fallback", parsing_timeout=None)
    if not found or isinstance(found[0], bool):
        return None
    if _digits(found[0]) > _MAX_DIGITS:
        raise TooComplexError
    return found[0]


def _balanced(formula: str) -> bool:
    """Whether all brackets close in order; on those that do not the parser may spend minutes."""
    open_ones = []
    for bracket in re.findall(r"(?<!\\)[({\[)}\]]", formula):
        if bracket in "({[":
            open_ones.append({"(": ")", "{": "}", "[": "]"}[bracket])
        elif not open_ones or open_ones.pop() != bracket:
            return False
    return not open_ones


def same_expression(gold: str, answer: str) -> bool:
    """Whether an answer is the reference in another form, with no more work left undone.

    Raises:
        TooComplexError: as for `parse`.
    """
    pair = _comparable([gold], [answer])
    if pair is None:
        return False
    [left], [right] = pair
    for point in range(2):  # cheaper than math-verify where they differ, and it takes all that is small for equal
        values = [_value(expression, point) for expression in (left, right)]
        if None not in values and not _close(*values):
            return False
    return bool(_math_verify().verify(left, right, timeout_seconds=None))


def signature(formula: str) -> str | None:
    """What equal expressions have in common: their values at two points, to 12 digits; None where there is no value.

    Raises:
        TooComplexError: as for `parse`.
    """
    expression = parse(formula)
    if expression is None or not hasattr(expression, "free_symbols"):
        return None
    values = [_value(expression, point) for point in range(2 if expression.free_symbols else 1)]
    return None if None in values else " ".join(str(value.evalf(12)) for value in values)


def same_equation(gold: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether two equations say the same: their differences, left minus right, are in constant proportion, not 0.

    Args:
        gold: its two sides.
        answer: its two sides.

    Raises:
        TooComplexError: as for `parse`.
    """
    pair = _comparable(gold, answer)
    if pair is None:
        return False
    values = [[_value(left - right, point) for point in range(4)] for left, right in pair]
    if any(value is None or value == 0 for row in values for value in row):
        return False
    (g, *golds), (a, *answers) = values
    return all(_close(a * other, g * value) for other, value in zip(golds, answers, strict=True))


def _comparable(gold: Sequence[str], answer: Sequence[str]) -> tuple[list[Any], list[Any]] | None:
    """Both parsed; None where one cannot be read, or the answer uses what the reference does without."""
    allowed = _union(_functions, gold)
    for family in _FAMILIES:
        allowed |= family if family & allowed else set()
    if not _union(_functions, answer) <= allowed:
        return None
    golds, answers = [*map(parse, gold)], [*map(parse, answer)]
    if None in golds or None in answers or not _union(_names, answers) <= _union(_names, golds):
        return None
    unfinished = _union(undone, answers) | _union(_divisions, answer)
    return (golds, answers) if unfinished <= _union(undone, golds) | _union(_divisions, gold) else None


def _union(of: Callable[[Any], set[str]], things: Iterable[Any]) -> set[str]:
    return set().union(*map(of, things))


def _names(expression: Any) -> set[str]:
    return {symbol.name for symbol in expression.free_symbols}


def _divisions(formula: str) -> set[str]:
    """Divisions of integers that come out even; the parser does them on its own."""
    pairs = [(int(over or a), int(under or b)) for over, under, a, b in _FRACTION.findall(formula)]
    return {"division"} if any(under and over % under == 0 for over, under in pairs) else set()


def _functions(formula: str) -> set[str]:
    """What a formula uses beyond plain algebra: commands, words, texts, factorials, bases and bars."""
    bare = re.sub(r"\\[A-Za-z]+", " ", _TEXT.sub(" ", formula))
    found = {*re.findall(r"\\([A-Za-z]+)", formula)} - _ALGEBRA
    return found.union(_TEXT.findall(formula), re.findall(r"[A-Za-z]{3,}|!|(?<=[0-9A-Z])_|[<>|&]", bare))


def _digits(e: Any) -> float:
    """A bound on the decimal digits, before or behind the point, of any number met in working out an expression."""
    import sympy

    if not isinstance(e, sympy.Basic):  # a matrix
        return max(map(_digits, e.flat()), default=1.0) if isinstance(e, sympy.MatrixBase) else math.inf
    if e.is_Rational:
        return math.log10(max(abs(e.p), e.q)) + 1
    if e.is_Float:
        return abs(math.frexp(e)[1]) / 3 + 1 if abs(e) < 1e300 else math.inf
    if not e.args:
        return 1.0
    if isinstance(e, sympy.Sum | sympy.Product | sympy.Integral | sympy.Limit | sympy.Derivative):
        return math.inf
    below = [_digits(arg) for arg in e.args]
    if isinstance(e, sympy.Pow | sympy.exp):
        base = below[0] if e.is_Pow else 1.0
        return max(below[-1], base * max(1.0, _magnitude(e.args[-1], below[-1])))
    if isinstance(e, sympy.factorial | sympy.binomial | sympy.gamma):
        return max(_magnitude(arg, digits) * digits for arg, digits in zip(e.args, below, strict=True))
    return sum(below) if isinstance(e, sympy.Add | sympy.Mul) else max(below)


def _magnitude(e: Any, digits: float) -> float:
    """A bound on the absolute value of an expression; for one with variables, on how much it makes of an exponent."""
    if not e.is_number:
        return digits + 1
    return abs(complex(e.evalf(5))) if digits < 8 else 10.0 ** min(digits, 300)


def undone(expression: Any) -> set[str]:
    """The kinds of arithmetic in an expression that would come to a plain number, by the names of sympy's classes."""
    import sympy

    kinds = set()
    for node in sympy.preorder_traversal(expression):
        if isinstance(node, sympy.Add | sympy.Mul) and _has_plain_work(node):
            kinds.add(node.func.__name__)
        spelled = _is_inverse(node) or (node.is_Mul and all(arg.is_Number or _is_inverse(arg) for arg in node.args))
        if getattr(node, "is_number", False) and node.args and not spelled and node.doit().is_Number:
            kinds.add(node.func.__name__)
    return kinds


def _is_inverse(e: Any) -> bool:
    """Whether an expression is how the parser writes the denominator of a fraction."""
    return e.is_Pow and e.base.is_Number and e.exp == -1


def _has_plain_work(node: Any) -> bool:
    """Whether terms or factors of a sum or product are numbers that could be put together.

    A product may hold a sign and one fraction in its lowest terms: -3/4 x.
    """
    numbers = [arg for arg in node.args if arg.is_Number and not (node.is_Mul and arg == -1)]
    under = [arg.base for arg in node.args if _is_inverse(arg)]
    if node.is_Add:
        return len(numbers) + len(under) > 1 or 0 in numbers
    if len(numbers) > 1 or len(under) > 1:
        return True
    if numbers and under:
        return bool((numbers[0] / under[0]).is_Integer)
    return 1 in numbers and not any(arg.is_Pow and arg.exp == -1 for arg in node.args)


def _value(expression: Any, point: int) -> Any | None:
    """An expression's value to 25 digits, with numbers put for its variables; None where it has none."""
    import sympy

    at = {
        # The same number for the same name in every expression, and no two numbers in a simple relation.
        symbol: sympy.Rational(1013 + 97 * point + sum((i + 7) * ord(c) ** 2 for i, c in enumerate(symbol.name)), 8887)
        for symbol in expression.free_symbols
    }
    value = expression.evalf(25, subs=at)
    return value if getattr(value, "is_number", False) and value.is_finite else None


def _close(a: Any, b: Any) -> bool:
    return bool(abs(a - b) <= _AGREE * max(abs(a), abs(b)))
