"""Values of expressions at points where every symbol has a number of its own, with bounds on every size.

A value is exact, a Fraction, where it is rational; else a number of 60 digits.
"""

import functools
import math
import zlib
from fractions import Fraction
from typing import Any

import mpmath

from r1jax.graders.math.expression_parser import Node

POSITIVE_POINTS = 4  # from there on, some symbols are negative
_MAX_BITS = 70_000  # of any exact number on the way to a value
_MAX_POWER = 10_000
_MAX_FACTORIAL = 5_000
_MAX_TERMS = 1_000
_EXACT_POWER = 256  # above it a fraction's power is computed to 60 digits
context = mpmath.mp.clone()
context.dps = 60
AGREE = context.mpf(10) ** -40  # relative


class TooComplexError(Exception):
    """An expression that would take too long to compare."""


class _NoValueError(ArithmeticError):
    """An expression without a value at a point, as 1/0."""


def to_mp(value: Any) -> Any:
    """A value as a number of 60 digits."""
    return context.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else context.convert(value)


def close(a: Any, b: Any) -> bool:
    """Whether two values are equal: exactly, or to 40 digits where they are not both exact."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    a, b = to_mp(a), to_mp(b)
    return bool(abs(a - b) <= AGREE * max(abs(a), abs(b)))


def _number_for(name: str, point: int) -> Fraction:
    """The same number for the same name in every expression, alternately below and above 1, and later negative."""
    share = zlib.crc32(f"{name} {point}".encode()) % 9973
    value = Fraction(share + 3001, 13001) if point % 2 else Fraction(share + 14009, 12007)
    return -value if point >= POSITIVE_POINTS and share % 2 else value


@functools.lru_cache(maxsize=8192)
def value_at(tree: Node, point: int) -> Any | None:
    """A tree's value at a point: a Fraction where it is rational, else a number of 60 digits; None where it has none.

    Raises:
        TooComplexError: a number in it, or on the way, is too large.
    """
    try:
        value = _evaluate(tree, point, {})
    except (ArithmeticError, ValueError, TypeError):
        return None
    if not isinstance(value, Fraction) and not context.isfinite(value):
        return None
    return value


def _evaluate(node: Node, point: int, bound: dict[str, Any]) -> Any:
    if node.op == "number":
        return node.data
    if node.op == "symbol":
        return bound[node.data] if node.data in bound else _number_for(node.data, point)
    if node.op == "constant":
        return {"pi": context.pi, "e": context.e, "i": context.j}[node.data] * 1
    if node.op == "bind":
        return _series(node, point, bound)
    args = [_evaluate(arg, point, bound) for arg in node.args]
    if node.op == "call":
        return _unknown(f"{node.data} {len(args)}", args, point)
    value = _operate(node.op, args)
    return _bounded(value) if isinstance(value, Fraction) else value


def _bounded(value: Fraction) -> Fraction:
    """An exact value; raises TooComplexError where it is too large."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MAX_BITS:
        raise TooComplexError
    return value


def _operate(op: str, args: list[Any]) -> Any:
    """The value of an operation, exact where its operands are and it can be."""
    exact = all(isinstance(arg, Fraction) for arg in args)
    if op in ("+", "*"):
        if not exact:
            args = [to_mp(arg) for arg in args]
        total = args[0]
        for arg in args[1:]:
            total = total + arg if op == "+" else total * arg
            if isinstance(total, Fraction):
                _bounded(total)
        return total
    if op in ("^", "root"):
        return _power(args[0], args[1] if op == "^" else _reciprocal(args[1]))
    if exact and op in _EXACT:
        return _EXACT[op](*args)
    if exact and op in ("max", "min"):
        return (max if op == "max" else min)(args)
    if exact and op in ("gcd", "lcm") and all(arg.denominator == 1 for arg in args):
        return Fraction((math.gcd if op == "gcd" else math.lcm)(*(int(arg) for arg in args)))
    args = [to_mp(arg) for arg in args]
    if op == "/":
        return args[0] / args[1]
    if op not in _REAL:
        raise _NoValueError(op)
    return _REAL[op](*args)


def _reciprocal(value: Any) -> Any:
    if not value:
        raise _NoValueError("a root of degree 0")
    return 1 / value


def _divided(over: Fraction, under: Fraction) -> Fraction:
    if not under:
        raise _NoValueError("division by zero")
    return over / under


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(exponent, Fraction) and abs(exponent) > _MAX_POWER:
        raise TooComplexError
    if not isinstance(base, Fraction) or not isinstance(exponent, Fraction):
        exponent_value = to_mp(exponent)
        if abs(exponent_value) > _MAX_POWER:
            raise TooComplexError
        return context.power(to_mp(base), exponent_value)
    if not base:
        if exponent <= 0:
            raise _NoValueError("0 to the power 0")
        return Fraction(0)
    if exponent.denominator == 1:
        whole = int(exponent)
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits * abs(whole) > _MAX_BITS and base.denominator == 1:
            raise TooComplexError
        return base**whole if base.denominator == 1 or abs(whole) <= _EXACT_POWER else context.power(to_mp(base), whole)
    if base > 0 and (root := _exact_root(base, exponent.denominator)) is not None:
        return _power(root, Fraction(exponent.numerator))
    if base < 0 and exponent.denominator % 2:  # the real root: \sqrt[3]{-8} is -2
        return (-1 if exponent.numerator % 2 else 1) * _power(-base, exponent)
    return context.power(to_mp(base), to_mp(exponent))


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    parts = []
    for part in (value.numerator, value.denominator):
        if degree > 64 or part.bit_length() > 4096:
            return None
        root = _integer_root(part, degree)
        if root**degree != part:
            return None
        parts.append(root)
    return Fraction(*parts)


def _integer_root(value: int, degree: int) -> int:
    """The largest integer whose power is not above a positive value."""
    low, high = 0, 1 << (value.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
    return low


def _factorial(value: Fraction) -> Fraction:
    if value.denominator != 1 or value < 0:
        raise _NoValueError("a factorial of no natural number")
    if value > _MAX_FACTORIAL:
        raise TooComplexError
    return Fraction(math.factorial(int(value)))


def _binomial(n: Fraction, k: Fraction) -> Any:
    if k.denominator != 1 or n.denominator != 1:
        return _REAL["binom"](to_mp(n), to_mp(k))
    if not 0 <= k <= n:
        raise _NoValueError("a binomial outside of its triangle")
    if n > _MAX_FACTORIAL:
        raise TooComplexError
    return Fraction(math.comb(int(n), int(k)))


def _series(node: Node, point: int, bound: dict[str, Any]) -> Any:
    """A sum or product between plain bounds; between others a value that only the same bounds and body have."""
    kind, name = node.data.split()
    lower, upper = (_evaluate(arg, point, bound) for arg in node.args[:2])
    body = node.args[2]
    plain = all(isinstance(end, Fraction) and end.denominator == 1 for end in (lower, upper))
    terms_in_all = bound.get("", 1) * max(upper - lower + 1, 1) if plain else 0  # of all series around this one
    if plain and terms_in_all <= _MAX_TERMS:
        inner = bound | {"": terms_in_all}
        terms = [_evaluate(body, point, inner | {name: Fraction(k)}) for k in range(int(lower), int(upper) + 1)]
        return _operate("+" if kind == "sum" else "*", terms or [Fraction(kind == "prod")])
    if plain:
        raise TooComplexError
    inner = [_evaluate(body, point, bound | {name: _number_for("the bound name", place)}) for place in range(2)]
    return _unknown(kind, [lower, upper, *inner], point)


def _unknown(name: str, args: list[Any], point: int) -> Any:
    """The value of an unknown function: a number that only the same arguments give."""
    weights = [to_mp(_number_for(f"{name} {place}", point)) for place in range(len(args))]
    total = sum(
        (weight * to_mp(arg) for weight, arg in zip(weights, args, strict=True)), to_mp(_number_for(name, point))
    )
    return context.exp(context.sin(total)) + total


_EXACT = {
    "-": lambda a: -a,
    "/": _divided,
    "%": lambda a: a / 100,
    "!": _factorial,
    "binom": _binomial,
    "abs": abs,
    "floor": lambda a: Fraction(math.floor(a)),
    "ceil": lambda a: Fraction(math.ceil(a)),
}
_REAL = {
    "-": lambda a: -a,
    "%": lambda a: a / 100,
    "degree": lambda a: a * context.pi / 180,
    "abs": abs,
    "floor": context.floor,
    "ceil": context.ceil,
    "exp": context.exp,
    "ln": context.ln,
    "log": lambda a, base=None: context.ln(a) if base is None else context.ln(a) / context.ln(base),
    "log10": lambda a: context.ln(a) / context.ln(10),
    "!": lambda a: context.gamma(a + 1),
    "binom": context.binomial,
    "max": lambda *a: max(a),
    "min": lambda *a: min(a),
    "arcsin": context.asin,
    "arccos": context.acos,
    "arctan": context.atan,
    "arccot": context.acot,
    "Re": context.re,
    "Im": context.im,
    "arg": context.arg,
    **{name: getattr(context, name) for name in ["sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"]},
}
