"""Extraction of a response's program from its fenced code blocks.

A response often shows how its program is used, or its output, in a block of its own, which is not the program. Blocks
are never joined: of a program in pieces, one piece is graded.
"""

import ast
import builtins
import functools
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from r1jax.graders.code import assert_instrumentation, stdio_tests

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^\s`{]*)")
# Syntax by which a block that does not parse is still taken for a program.
_CODE_TOKEN = re.compile(r"[(=]|^\s*(?:import|from|def|class|for|while|if|else|return|print)\b", re.MULTILINE)
_READS_INPUT = {
    "python": re.compile(r"\b(?:input|stdin)\b|\bopen\(0"),
    "cpp": re.compile(r"\b(?:cin|scanf|getline|getchar|getchar_unlocked|fread|fgets|gets|read)\b"),
    "javascript": re.compile(r"\b(?:readFileSync|stdin|readline|prompt)\b"),
}
_ENTRY_POINT = {"cpp": re.compile(r"\bmain\s*\(")}  # in every program of the language
_MAX_BLOCKS = 100  # only the last ones are considered
_BUILTINS = frozenset(dir(builtins))

Program = tuple[str, str]  # language, a key of `stdio.LANGUAGES`, and source


def extract_program(text: str, preferred: str, names: Collection[str] = ()) -> Program | None:
    """A response's program with its language, a key of `stdio_tests.LANGUAGES`; None where it has none.

    It is one of the fenced blocks that are tagged with a supported language, else one of the untagged ones, which are
    taken to be in the `preferred` language. Without any fence it is the whole text, if that is code.

    Args:
        names: the names that tests use of the program. The program is the last block that defines all of them, tagged
            blocks first; else the last that defines any. Where none does, and for programs that read and print, it is
            the last block that reads input, or else the last block; but none that uses what an earlier block defines
            without defining it again.
    """
    blocks = fenced_blocks(text)
    tagged, untagged = _tagged_programs(blocks), _untagged_programs(blocks, preferred)
    if tagged or untagged:
        for quantifier in (all, any) if names else ():
            for program in (*reversed(tagged), *reversed(untagged)):
                if program[0] == "python" and quantifier(defines(program[1], name) for name in names):
                    return program
        return _last_program(tagged or untagged)
    if blocks or not text or (preferred == "python" and not is_python(text)):
        return None
    return preferred, text


def candidates(text: str, language: str) -> list[str]:
    """The blocks that are tagged with a language, else the untagged blocks; the whole text where it has no blocks."""
    blocks = fenced_blocks(text)
    programs = [body for name, body in _tagged_programs(blocks) if name == language] or [
        body for _, body in _untagged_programs(blocks, "")
    ]
    return programs if blocks else [text]


def _tagged_programs(blocks: Iterable[tuple[str, str]]) -> list[Program]:
    return [(name, body) for tag, body in blocks if (name := stdio_tests.language_of_tag(tag))][-_MAX_BLOCKS:]


def _untagged_programs(blocks: Iterable[tuple[str, str]], language: str) -> list[Program]:
    return [(language, body) for tag, body in blocks if not tag][-_MAX_BLOCKS:]


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """(tag, content) of each non-empty fenced block, in order; one that does not close reaches to the end."""
    blocks: list[tuple[str, list[str]]] = []
    fence, indent = "", 0
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if not fence and match:
            indent, fence = len(match[1]), match[2]
            blocks.append((match[3], []))
        elif fence and match and match[2].startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        elif fence:
            lead = len(line) - len(line.lstrip(" \t"))
            blocks[-1][1].append(line[min(lead, indent) :])
    return [(tag, "\n".join(lines)) for tag, lines in blocks if any(map(str.strip, lines))]


def is_python(text: str) -> bool:
    """Whether a text is a Python program, and not only words or a number that happen to parse."""
    tree = _parse(text)
    return tree is not None and not all(map(_is_prose, tree.body))


def _is_prose(node: ast.stmt) -> bool:
    """Whether a statement is an expression without a call, or like `Output: 5`."""
    match node:
        case ast.Expr(value=value):
            return not isinstance(value, ast.Call)
        case ast.AnnAssign(value=None):
            return True
    return False


def defines(source: str, name: str) -> bool:
    """Whether Python source defines a name, by a definition, an assignment or an import from the standard library.

    Other imports are uses (`from solution import add`), and so is `add = cache(add)`. In source that does not parse, a
    line that begins with `def` or `class` and the name counts.
    """
    tree = _parse(source)
    if tree is None:
        return bool(re.search(rf"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+{re.escape(name)}\b", source, re.MULTILINE))
    return name in _defined_names(tree)


def _defined_names(tree: ast.Module) -> set[str]:
    """The names that a module defines at module level, in branches too, but not under `if __name__ == ...`."""
    defined: set[str] = set()
    for node in _statements(tree.body):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                defined.add(node.name)
            case ast.Assign() | ast.AnnAssign() if node.value:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                defined |= {each for target in targets for each in _used_names(target)} - (
                    _used_names(node.value) - defined
                )
            case ast.Import():
                defined |= {each.asname or each.name for each in node.names if _is_stdlib(each.name)}
            case ast.ImportFrom(level=0) if _is_stdlib(node.module or ""):
                defined |= {each.asname or each.name for each in node.names}
    return defined


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements and those in their branches and loops, in order."""
    pending = list(reversed(body))
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not _is_main_guard(node):
            handlers = [each for handler in getattr(node, "handlers", []) for each in handler.body]
            parts = [getattr(node, part, []) for part in ("body", "orelse", "finalbody")]
            pending += reversed([*parts[0], *handlers, *parts[1], *parts[2]])


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in _used_names(node.test)


def _used_names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _is_stdlib(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


class _BlockFacts(NamedTuple):
    """Facts about a block that decide which one is the program.

    Attributes:
        may_be_program: whether it is neither output nor an interpreter session.
        reads: whether it reads input.
        functions: functions and classes that it defines.
        variables: other names that it assigns.
        free: names that it uses without defining them.
    """

    may_be_program: bool
    reads: bool
    functions: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    free: frozenset[str] = frozenset()


def _last_program(blocks: Sequence[Program]) -> Program:
    """The last block that reads input, else the last block, without blocks that only use what others define."""
    functions: set[str] = set()
    variables: set[str] = set()
    complete, reading = [], []
    for number, (language, source) in enumerate(blocks):
        facts = _block_facts(language, source)
        if facts.reads:
            reading.append(number)
        uses = facts.free & functions or (not facts.reads and facts.free & variables)
        if facts.may_be_program and (not uses or facts.functions & functions):
            complete.append(number)
        functions |= facts.functions
        variables |= facts.variables
    complete_and_reading = sorted({*complete} & {*reading})
    return blocks[(complete_and_reading or reading or complete or range(len(blocks)))[-1]]


def _block_facts(language: str, source: str) -> _BlockFacts:
    reads = bool(_READS_INPUT[language].search(source))
    if language != "python":
        return _BlockFacts(language not in _ENTRY_POINT or bool(_ENTRY_POINT[language].search(source)), reads)
    tree = _parse(source)
    try:
        used, defined = assert_instrumentation.used_and_defined_names(source) if tree else (set(), set())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None:
        is_session = source.lstrip().startswith(">>>")
        may_be_program = not is_session and bool(_CODE_TOKEN.search(source))
        return _BlockFacts(may_be_program, may_be_program and reads)
    nodes = [node for node in _statements(tree.body) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {each.asname or each.name for node in nodes for each in node.names}
    names_defined_here = _defined_names(tree)
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    free = (used - defined - _BUILTINS) | (imported - names_defined_here)
    return _BlockFacts(
        is_python(source), _reads(tree), *map(frozenset, (functions, names_defined_here - functions - imported, free))
    )


def _reads(tree: ast.Module) -> bool:
    """Whether a module reads standard input; a test that replaces it does not."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id="input" | "stdin" | "fileinput", ctx=ast.Load()):
                return True
            case ast.Attribute(attr="stdin", ctx=ast.Load()):
                return True
            case ast.Call(
                func=ast.Name(id="open") | ast.Attribute(attr="open" | "read" | "fdopen"),
                args=[ast.Constant(value=0 | "/dev/stdin"), *_],
            ):
                return True
    return False


@functools.lru_cache(maxsize=64)
def _parse(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
