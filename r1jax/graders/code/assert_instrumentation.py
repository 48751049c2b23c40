"""Instrumentation of a dataset's asserts: each is counted, and the program's names that tests use are found."""

import ast
import builtins
import symtable
import sys
from collections.abc import Iterator

_BUILTINS = frozenset(dir(builtins))


def used_and_defined_names(source: str) -> tuple[set[str], set[str]]:
    """The module-level names that `source` uses, and those that it defines.

    Raises:
        SyntaxError: it is no Python.
    """
    top = symtable.symtable(source, "<tests>", "exec")
    used, defined = set(), set()
    for table in _tables(top):
        for symbol in table.get_symbols():
            if table is not top and not symbol.is_global():
                continue
            if symbol.is_referenced():
                used.add(symbol.get_name())
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                defined.add(symbol.get_name())
    return used, defined


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


def program_names(tests: str, preamble: str, test_globals: frozenset[str]) -> tuple[str, ...]:
    """The names that tests use of the program.

    Where they call `check(candidate)` at the top, these are the names in that call's arguments only. The program may
    not define another name that the tests use without defining it: it would grade itself.

    Args:
        tests: source of the tests.
        preamble: source that runs before the tests, and separately before the program.
        test_globals: names that are defined where the tests run.

    Raises:
        SyntaxError: no Python.
        ValueError: a name that is defined nowhere, or no name of the program.
    """
    used, defined = used_and_defined_names(f"{preamble}\n{tests}")
    defined |= test_globals
    undefined = used - defined - _BUILTINS
    check_calls = [node for node in ast.parse(tests).body if is_check_call(node)]
    if check_calls:
        from_program = {name for call in check_calls for name in _names_in(call) if name != "check"} - defined
    else:
        from_program = undefined or used & _BUILTINS  # a function may have the name of a builtin, such as sum
    if undefined_helpers := sorted(undefined - from_program):
        raise ValueError(f"the tests use {', '.join(undefined_helpers)}, which they do not define")
    if not from_program:
        raise ValueError("the tests ask nothing of the program")
    return tuple(sorted(from_program))


def stdlib_modules(tests: ast.Module) -> list[str]:
    """Modules of the standard library that tests use without importing them, because the reference solution did.

    They must not come from the program, which could then choose an expected value such as `sys.getsizeof(x)`.
    """
    used, defined = used_and_defined_names(ast.unparse(tests))
    nodes = list(ast.walk(tests))
    attribute_owners = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    used_alone = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in attribute_owners}
    return sorted((used - defined - used_alone - _BUILTINS) & sys.stdlib_module_names)


def is_check_call(node: ast.stmt) -> bool:
    """Whether a statement is a call of `check`."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id="check"))):
            return True
    return False


def _names_in(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


class AssertCounter(ast.NodeTransformer):
    """Rewrites tests for `r1jax.graders.code.guest.assert_runner`: each assert has a number, its place.

    `assert x` becomes `try: _record(place, x)`, `except _Anything as error: _record_failure(place, error)`. A call that
    is a statement of its own becomes a call of `_call_for_effect`: only there are changes of the arguments by the
    program copied back, for elsewhere a program could change the values that its answer is compared with.

    Attributes:
        places: number of asserts so far that can pass or fail. `assert True` always passes, and `assert False` is where
            no right program gets to.
        required: the places of those that run whatever the program answers, because they are in no branch.
    """

    def __init__(self) -> None:
        self.places = 0
        self.required: set[int] = set()
        self._branches = self._next_place = 0

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        constant = isinstance(node.test, ast.Constant | ast.Tuple)
        if constant and (node.test.value if isinstance(node.test, ast.Constant) else node.test.elts):
            return ast.copy_location(ast.Pass(), node)
        if not constant:
            self.places += 1
            if not self._branches:
                self.required.add(self._next_place)
        place = ast.Constant(self._next_place)
        self._next_place += 1
        failure = _statement("_record_failure", place, ast.Name("_error", ast.Load()))
        handler = ast.ExceptHandler(ast.Name("_Anything", ast.Load()), "_error", [failure])
        return ast.Try([_statement("_record", place, node.test)], [handler], [], [])

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        call = node.value
        if isinstance(call, ast.Call):
            node.value = ast.Call(ast.Name("_call_for_effect", ast.Load()), [call.func, *call.args], call.keywords)
        return node

    def _visit_branch(self, node: ast.AST) -> ast.AST:
        self._branches += 1
        self.generic_visit(node)
        self._branches -= 1
        return node

    visit_If = visit_While = visit_Try = visit_TryStar = visit_Match = _visit_branch


def _statement(function: str, *args: ast.expr) -> ast.Expr:
    return ast.Expr(ast.Call(ast.Name(function, ast.Load()), list(args), []))
