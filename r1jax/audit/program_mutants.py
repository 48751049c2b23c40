"""Mutants of a reference program, made wrong on purpose: tests that a mutant passes are too weak."""

import ast
import copy
from collections.abc import Callable, Iterator

_FLIPPED = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
_SWAPPED |= {ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult}
GROSS = ("return_none", "return_sentinel")


def mutants(source: str) -> list[tuple[str, str]]:
    """Wrong versions of a Python program, by name; the same ones every time.

    Gross ones, which no tests should let pass: every `return` gives None ("return_none"), or a string that is nobody's
    answer ("return_sentinel"); a program that returns nothing has none. Subtle ones, each one change in the middle of
    the program, which may leave it right: a comparison flipped ("comparison"), one added to a whole number
    ("constant"), an arithmetic operator swapped for another ("arithmetic").

    Raises:
        SyntaxError: it is no Python.
    """
    tree = ast.parse(source)
    made = []
    if any(isinstance(node, ast.Return) and node.value is not None for node in ast.walk(tree)):
        values = (ast.Constant(None), ast.Constant("mutant"))
        made += [(name, _returning(tree, value)) for name, value in zip(GROSS, values, strict=True)]
    for name, change in (("comparison", _flip), ("constant", _increment), ("arithmetic", _swap)):
        mutant = copy.deepcopy(tree)
        sites = [apply for node in ast.walk(mutant) for apply in change(node)]
        if sites:
            sites[len(sites) // 2]()
            made.append((name, ast.unparse(mutant)))
    return made


def _returning(tree: ast.Module, value: ast.expr) -> str:
    mutant = copy.deepcopy(tree)
    for node in ast.walk(mutant):
        if isinstance(node, ast.Return) and node.value is not None:
            node.value = value
    return ast.unparse(mutant)


def _flip(node: ast.AST) -> Iterator[Callable[[], None]]:
    if isinstance(node, ast.Compare):
        yield lambda: node.ops.__setitem__(0, _FLIPPED[type(node.ops[0])]())


def _increment(node: ast.AST) -> Iterator[Callable[[], None]]:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield lambda: setattr(node, "value", node.value + 1)


def _swap(node: ast.AST) -> Iterator[Callable[[], None]]:
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _SWAPPED:
        yield lambda: setattr(node, "op", _SWAPPED[type(node.op)]())
