"""Names that modules, tests and scripts take from r1jax exist: no error waits in a function for its first call."""

import ast
import importlib
import pathlib
import types
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = {
    path.relative_to(ROOT).as_posix(): path
    for folder in ("r1jax", "configs", "examples", "experiments", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if folder == "configs" or not path.is_relative_to(ROOT / "r1jax" / "configs")  # which is a link to configs/
}


def scripts(tree: ast.Module) -> Iterator[ast.Module]:
    """The module itself, and the programs for other processes among its strings of several lines."""
    yield tree
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and "import" in node.value
            and "\n" in node.value
        ):
            try:
                yield ast.parse(node.value)
            except (SyntaxError, ValueError):
                continue


def imported(node: ast.ImportFrom) -> Iterator[tuple[str, object]]:
    """Each name that the statement binds, with its value.

    Raises:
        ImportError: if there is no such module, or no such name in it.
    """
    module = importlib.import_module(node.module)
    for alias in node.names:
        if alias.name == "*":
            continue
        if not hasattr(module, alias.name):
            importlib.import_module(f"{node.module}.{alias.name}")
        yield alias.asname or alias.name, getattr(module, alias.name)


def bound_names(tree: ast.AST) -> set[str]:
    """Names that parameters, assignments, loops and the like bind, imports left out."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    return names | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def attributes(node: ast.AST, modules: dict[str, types.ModuleType]) -> Iterator[tuple[int, types.ModuleType, str]]:
    """Attributes read of these modules below `node`, where no function's local name hides the module."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        modules = {name: module for name, module in modules.items() if name not in bound_names(node)}
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
        yield node.lineno, modules[node.value.id], node.attr
    for child in ast.iter_child_nodes(node):
        yield from attributes(child, modules)


def faults(text: str) -> Iterator[str]:
    for tree in scripts(ast.parse(text)):
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "r1jax" and not node.level:
                try:
                    modules |= {name: it for name, it in imported(node) if isinstance(it, types.ModuleType)}
                except ImportError as error:
                    yield f"line {node.lineno}: {error}"
        for line, module, name in attributes(tree, modules):
            if not hasattr(module, name):
                yield f"line {line}: {module.__name__} has no {name}"


@pytest.mark.parametrize("file", FILES)
def test_names_taken_from_r1jax_exist(file: str):
    found = list(faults(FILES[file].read_text("utf-8")))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text, fault",
    [
        ("from PACKAGE.io import jsonl\njsonl.write\ndef f(jsonl): return jsonl.nothing\n", None),
        ("from PACKAGE.io import jsonl\ndef f(): return [jsonl.nothing for _ in ()]\n", "has no nothing"),
        ("def f():\n    from PACKAGE.io.jsonl import nothing\n", "nothing"),
        ("from PACKAGE.nowhere import write\n", "nowhere"),
        ("RUN = 'import sys\\nfrom PACKAGE.io import jsonl, nothing'\n", "nothing"),
    ],
)
def test_what_is_missing_is_found_and_a_local_name_is_none(text: str, fault: str | None):
    found = list(faults(text.replace("PACKAGE", "r1jax")))
    assert (fault is None and not found) or (len(found) == 1 and fault in found[0]), found
