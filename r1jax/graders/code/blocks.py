"""The program that a response gives: which of its fenced blocks it is.

A response often shows how its program is used, or what it prints, in a block of its own. Such a block is not the
program. Blocks are never joined: a program in pieces is graded by one of them.
"""

import ast
import builtins
import functools
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from r1jax.graders.code import asserts, stdio

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^\s`{]*)")
# Something that only a program has: a broken one is still the program.
_TRACE_OF_CODE = re.compile(r"[(=]|^\s*(?:import|from|def|class|for|while|if|else|return|print)\b", re.MULTILINE)
_READS = {
    "python": re.compile(r"\b(?:input|stdin)\b|\bopen\(0"),
    "cpp": re.compile(r"\b(?:cin|scanf|getline|getchar|getchar_unlocked|fread|fgets|gets|read)\b"),
    "javascript": re.compile(r"\b(?:readFileSync|stdin|readline|prompt)\b"),
}
_ENTRY = {"cpp": re.compile(r"\bmain\s*\(")}  # what every program of the language has
_MOST_BLOCKS = 100  # the last ones: those before them are not looked at
_BUILTINS = frozenset(dir(builtins))

Program = tuple[str, str]  # language, a key of `stdio.LANGUAGES`, and source


def extract(text: str, preferred: str, names: Collection[str] = ()) -> Program | None:
    """The program that a response gives, and its language, a key of `stdio.LANGUAGES`; None: it gives none.

    It is one of the fenced blocks that are tagged with a language of ours, else of those that are not tagged, which are
    in the `preferred` language: what follows a program is often its output. Without any fence it is the whole text, if
    that is code.

    Args:
        names: what tests take from the program. The last block that defines all of them is the program, one that is
            tagged before one that is not; else the last that defines any. Where none does, and for programs that read
            and print, it is the last block that reads input, or else the last; but none that uses what an earlier block
            defines without defining it anew.
    """
    blocks = fenced(text)
    tagged, plain = _tagged(blocks), _plain(blocks, preferred)
    if tagged or plain:
        for enough in (all, any) if names else ():
            for program in (*reversed(tagged), *reversed(plain)):
                if program[0] == "python" and enough(defines(program[1], name) for name in names):
                    return program
        return _last_program(tagged or plain)
    if blocks or not text or (preferred == "python" and not is_python(text)):
        return None
    return preferred, text


def candidates(text: str, language: str) -> list[str]:
    """The blocks that are tagged with a language, else those that are not tagged, else, without a fence, the text."""
    blocks = fenced(text)
    programs = [body for name, body in _tagged(blocks) if name == language] or [body for _, body in _plain(blocks, "")]
    return programs if blocks else [text]


def _tagged(blocks: Iterable[tuple[str, str]]) -> list[Program]:
    return [(name, body) for tag, body in blocks if (name := stdio.language(tag))][-_MOST_BLOCKS:]


def _plain(blocks: Iterable[tuple[str, str]], language: str) -> list[Program]:
    return [(language, body) for tag, body in blocks if not tag][-_MOST_BLOCKS:]


def fenced(text: str) -> list[tuple[str, str]]:
    """Each fenced block's tag and content, in order, but empty ones; one that never closes reaches to the end."""
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
    """Whether a text is a Python program, not merely words or a number that happen to parse."""
    tree = _parsed(text)
    return tree is not None and not all(map(_is_words, tree.body))


def _is_words(node: ast.stmt) -> bool:
    """An expression that is no call, or `Output: 5`."""
    match node:
        case ast.Expr(value=value):
            return not isinstance(value, ast.Call)
        case ast.AnnAssign(value=None):
            return True
    return False


def defines(source: str, name: str) -> bool:
    """Whether Python source gives a name a meaning of its own: a definition, an assignment, an import from Python's own
    library. An import from elsewhere is a use (`from solution import add`), and so is `add = cache(add)`.

    Of source that is no Python, a line that begins with `def` or `class` and the name is enough.
    """
    tree = _parsed(source)
    if tree is None:
        return bool(re.search(rf"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+{re.escape(name)}\b", source, re.MULTILINE))
    return name in _bound(tree)


def _bound(tree: ast.Module) -> set[str]:
    """The names that a module gives a meaning at its top, in branches too, but not where it is run as a program."""
    bound: set[str] = set()
    for node in _statements(tree.body):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                bound.add(node.name)
            case ast.Assign() | ast.AnnAssign() if node.value:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                bound |= {each for target in targets for each in _names(target)} - (_names(node.value) - bound)
            case ast.Import():
                bound |= {each.asname or each.name for each in node.names if _is_pythons(each.name)}
            case ast.ImportFrom(level=0) if _is_pythons(node.module or ""):
                bound |= {each.asname or each.name for each in node.names}
    return bound


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements with those of branches and loops among them, in order."""
    rest = list(reversed(body))
    while rest:
        node = rest.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not _is_main_guard(node):
            handlers = [each for handler in getattr(node, "handlers", []) for each in handler.body]
            parts = [getattr(node, part, []) for part in ("body", "orelse", "finalbody")]
            rest += reversed([*parts[0], *handlers, *parts[1], *parts[2]])


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in _names(node.test)


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _is_pythons(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


class _Facts(NamedTuple):
    """What a block is to others.

    Attributes:
        whole: it may be a program: it is no output, and no session of an interpreter.
        reads: it reads input.
        functions: functions and classes that it defines.
        variables: the other names that it assigns.
        free: names that it uses and leaves to others.
    """

    whole: bool
    reads: bool
    functions: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    free: frozenset[str] = frozenset()


def _last_program(blocks: Sequence[Program]) -> Program:
    """The last block that reads input, else the last, but none that only uses what others define."""
    functions: set[str] = set()
    variables: set[str] = set()
    standing, reading = [], []
    for number, (language, source) in enumerate(blocks):
        facts = _facts(language, source)
        if facts.reads:
            reading.append(number)
        uses = facts.free & functions or (not facts.reads and facts.free & variables)
        if facts.whole and (not uses or facts.functions & functions):
            standing.append(number)
        functions |= facts.functions
        variables |= facts.variables
    both = sorted({*standing} & {*reading})
    return blocks[(both or reading or standing or range(len(blocks)))[-1]]


def _facts(language: str, source: str) -> _Facts:
    reads = bool(_READS[language].search(source))
    if language != "python":
        return _Facts(language not in _ENTRY or bool(_ENTRY[language].search(source)), reads)
    tree = _parsed(source)
    try:
        used, defined = asserts.names(source) if tree else (set(), set())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None:
        is_session = source.lstrip().startswith(">>>")
        whole = not is_session and bool(_TRACE_OF_CODE.search(source))
        return _Facts(whole, whole and reads)
    nodes = [node for node in _statements(tree.body) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {each.asname or each.name for node in nodes for each in node.names}
    bound = _bound(tree)
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    free = (used - defined - _BUILTINS) | (imported - bound)
    return _Facts(is_python(source), _reads(tree), *map(frozenset, (functions, bound - functions - imported, free)))


def _reads(tree: ast.Module) -> bool:
    """Whether a module reads standard input. A test that puts something else in its place does not."""
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
def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
