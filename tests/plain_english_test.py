"""Language of the code: headlines that name a module's contents, identifiers in the field's words, and the glossary."""

import ast
import io
import pathlib
import re
import tokenize

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
FILES = sorted(
    path for folder in ("r1jax", "configs", "examples", "experiments") for path in (ROOT / folder).rglob("*.py")
)
LONGEST_HEADLINE = 110

# Words that neither a headline nor a part of an identifier (`a_wall`, `told_apart`, `StrangersFile`) may be, each
# with what to write for it.
WORDS = {
    "bury": "discard, end",
    "buried": "discarded, ended",
    "deed": "action, call",
    "deeds": "actions, calls",
    "door": "entry point",
    "dress": "format, render",
    "dressed": "formatted, rendered",
    "hands": "authors, sources, processes",
    "house": "package, repository",
    "mend": "repair, fix",
    "mended": "repaired, fixed",
    "myself": "this process",
    "ours": "r1jax's, the reference's",
    "poured": "copied",
    "road": "path, pipeline",
    "roads": "paths, pipelines",
    "roof": "top-level modules",
    "room": "package, free space",
    "rooms": "packages",
    "spoiled": "corrupted",
    "stranger": "untrusted author",
    "strangers": "untrusted authors",
    "tenant": "process, request",
    "tenants": "processes, requests",
    "theirs": "the other side's",
    "told": "read, distinguished, reported",
    "untold": "unreported",
    "wall": "limit, sandbox; for time: elapsed",
    "walls": "limits, sandbox",
    "whoever": "the reader, the caller",
}
# Words that say nothing as a whole identifier, though they may be a part of one (`kept_rows`).
ALONE = {
    "asked": "questions, prompts, requested",
    "found": "matches, the type of what was found",
    "given": "value, argument, the type's role",
    "has": "present, available",
    "heard": "received",
    "kept": "kept_rows, retained",
    "meant": "intended value, the type's role",
    "mine": "own, local, this process's",
    "said": "text, prediction, statement",
    "shown": "visible_text, displayed",
    "told": "reported, message",
    "wanted": "expected, required",
    "what": "description, subject",
    "who": "owner, author, client",
    "whose": "owner, author",
    "yours": "the caller's",
}
# Words that no docstring, comment or message may hold, in any sense: of those above, and of what they were used for.
IN_PROSE = {word: WORDS[word] for word in ("buried", "deed", "deeds", "dressed", "mended", "poured", "road", "spoiled")}
IN_PROSE |= {word: WORDS[word] for word in ("stranger", "strangers", "tenant", "tenants", "theirs", "whoever")}
# A headline is a noun phrase: it begins neither with a question word nor with a verb.
OPENINGS = {
    *("From", "How", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why"),
    *("Asks", "Draws", "Grades", "Keeps", "Leaves", "Makes", "Reads", "Runs", "Takes", "Trains", "Turns", "Writes"),
}
# Identifiers that are written to disk, set in config files or defined by a library, and so stay.
FIXED = set()


def headline(tree: ast.Module) -> str:
    return (ast.get_docstring(tree) or "").split("\n")[0]


def headline_faults(line: str) -> list[str]:
    """What is wrong with the first line of a module's docstring."""
    faults = []
    if len(line) > LONGEST_HEADLINE:
        faults.append(f"has {len(line)} characters, more than {LONGEST_HEADLINE}")
    if not line.rstrip("`)\"'").endswith((".", ":")):
        faults.append("ends neither with a full stop nor with a colon")
    words = re.findall(r"[A-Za-z]+", line)
    if words and words[0] in OPENINGS:
        faults.append(f"begins with {words[0]!r}: begin with the noun of what the module holds")
    for word in words:
        if plain := WORDS.get(word.lower()):
            faults.append(f"says {word!r}: write {plain}")
    return faults


def defined_names(tree: ast.Module) -> dict[str, int]:
    """Every name that a module defines (variables, attributes, arguments, functions, classes), with its first line."""
    names: dict[str, int] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.setdefault(name, node.lineno)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.setdefault(name, node.lineno)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.ExceptHandler(name=str(name)):
                names.setdefault(name, node.lineno)
    return names


def name_parts(name: str) -> list[str]:
    """`told_apart` -> told, apart; `StrangersFile` -> strangers, file."""
    return [part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def name_faults(name: str) -> list[str]:
    if name in FIXED:
        return []
    whole = name.strip("_").lower()
    faults = [f"{name!r} says nothing alone: write {ALONE[whole]}"] if whole in ALONE else []
    return faults + [f"{name!r} has {part!r}: write {WORDS[part]}" for part in name_parts(name) if part in WORDS]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_names_its_contents_in_the_fields_words(path: pathlib.Path):
    tree = ast.parse(path.read_text("utf-8"))
    where = path.relative_to(ROOT)
    faults = [f"{where}:1 {fault}" for fault in headline_faults(headline(tree))] if tree.body else []
    for name, line in defined_names(tree).items():
        faults += [f"{where}:{line} {fault}" for fault in name_faults(name)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_comments_and_messages_use_no_private_words(path: pathlib.Path):
    faults = []
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for word in re.findall(r"(?<![\w`'\"/.-])[A-Za-z]+(?![\w`'\"/-])", token.string):
                if plain := IN_PROSE.get(word.lower()):
                    faults.append(f"{path.relative_to(ROOT)}:{token.start[0]} says {word!r}: write {plain}")
    assert not faults, "\n".join(faults)


def test_the_checks_themselves_find_what_they_are_for():
    assert not headline_faults("Groups of rollouts: the samples of one question.")
    assert headline_faults("What a run says while it goes.")
    assert headline_faults("Files that strangers made.")
    assert headline_faults("A headline without its stop")
    assert headline_faults("A headline that goes on" + " and on" * 20 + ".")
    tree = ast.parse("def f(told_apart, *, kept):\n    for found in x: self.walls = 1\nclass StrangersFile: pass")
    assert sorted(name for name in defined_names(tree) if name_faults(name)) == [
        "StrangersFile",
        "found",
        "kept",
        "told_apart",
        "walls",
    ]


def glossary() -> dict[str, str]:
    """Term -> definition, from lines `- **term**: definition`."""
    entries = {}
    for line in GLOSSARY.read_text("utf-8").splitlines():
        if line.startswith("- "):
            entry = re.fullmatch(r"- \*\*(.+?)\*\*: (.+)", line)
            assert entry, f"a glossary line is `- **term**: definition`, not {line!r}"
            assert entry[1] not in entries, f"{entry[1]!r} stands twice in the glossary"
            entries[entry[1]] = entry[2]
    return entries


def test_the_glossary_is_sorted_and_defines_the_terms_that_it_uses():
    entries = glossary()
    assert list(entries) == sorted(entries, key=str.casefold)
    for term, definition in entries.items():
        # *term* in a definition refers to another line.
        for other in re.findall(r"\*([^*]+)\*", definition):
            assert other in entries, f"{term!r} uses {other!r}, which has no line"


def test_code_that_the_glossary_names_exists():
    names = set()
    for path in FILES:
        tree = ast.parse(path.read_text("utf-8"))
        names |= set(defined_names(tree)) | {path.stem}
        names |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is str}
    for term, definition in glossary().items():
        for code in re.findall(r"`([^`]+)`", definition):
            exists = (ROOT / code).exists() if "/" in code else all(part in names for part in code.split("."))
            assert exists or code in names, f"the line of {term!r} names {code!r}, which is nowhere in the code"
