"""A dataset's tests, read: which names they take from the program, and their asserts made to be counted one by one."""

import ast
import builtins
import symtable
import sys
from collections.abc import Iterator

_BUILTINS = frozenset(dir(builtins))


def names(source: str) -> tuple[set[str], set[str]]:
    """The module-level names that `source` uses, and those that it defines itself.

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


def program_names(tests: str, before: str, known: frozenset[str]) -> tuple[str, ...]:
    """The names that tests take from the program.

    Where they call `check(candidate)` at the top, the program's are the names of that call's arguments alone. A helper
    that nobody defines is not left for the program to define: it would judge itself.

    Args:
        before: what runs before the tests; the program has it too, and they use their own.
        known: names that the tests' surroundings define.

    Raises:
        SyntaxError: no Python.
        ValueError: a name that nobody defines, or none that is the program's.
    """
    used, defined = names(f"{before}\n{tests}")
    defined |= known
    free = used - defined - _BUILTINS
    calls = [node for node in ast.parse(tests).body if is_check(node)]
    if calls:
        found = {name for call in calls for name in _loaded(call) if name != "check"} - defined
    else:
        found = free or used & _BUILTINS  # a function may have the name of one of Python's own: sum, say
    if unknown := sorted(free - found):
        raise ValueError(f"the tests use {', '.join(unknown)}, which they do not define")
    if not found:
        raise ValueError("the tests ask nothing of the program")
    return tuple(sorted(found))


def stdlib_modules(tests: ast.Module) -> list[str]:
    """Modules of Python's own library that tests name without importing them, since the reference solution did.

    They are not the program's to give: `sys.getsizeof(x)`, the expected value, would be whatever it likes.
    """
    used, defined = names(ast.unparse(tests))
    nodes = list(ast.walk(tests))
    dotted = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    alone = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in dotted}
    return sorted((used - defined - alone - _BUILTINS) & sys.stdlib_module_names)


def is_check(node: ast.stmt) -> bool:
    """Whether a statement is a call of `check`."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id="check"))):
            return True
    return False


def _loaded(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


class Counted(ast.NodeTransformer):
    """Rewrites tests for `r1jax/graders/code/guest/tester.py`: each assert has a place, where its outcome is recorded.

    `assert x` becomes `try: _record(place, x)`, `except _Anything as error: _record_failure(place, error)`. A call that
    is a statement of its own becomes a call of `_call_for_effect`: it alone brings back what the program changed in its
    arguments, for elsewhere a program could change what its answer is compared with.

    Attributes:
        places: asserts so far whose outcome is open. `assert True` says nothing, and `assert False` stands where no
            right program comes.
        required: the places of those that must run whatever the program answers, as no branch leads round them.
    """

    def __init__(self) -> None:
        self.places = 0
        self.required: set[int] = set()
        self._branches = self._place = 0

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        constant = isinstance(node.test, ast.Constant | ast.Tuple)
        if constant and (node.test.value if isinstance(node.test, ast.Constant) else node.test.elts):
            return ast.copy_location(ast.Pass(), node)
        if not constant:
            self.places += 1
            if not self._branches:
                self.required.add(self._place)
        place = ast.Constant(self._place)
        self._place += 1
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
