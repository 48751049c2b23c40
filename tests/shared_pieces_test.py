"""Shared pieces of r1jax/io: no other module writes whole files, reads JSONL, hashes or asks a server by itself."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = {
    path.relative_to(ROOT / "r1jax").as_posix(): path
    for path in sorted((ROOT / "r1jax").rglob("*.py"))
    if path.relative_to(ROOT / "r1jax").parts[0] not in ("io", "configs")
}

# What is called: the piece of r1jax/io in its place, and the modules that may call it, each with the reason.
RULES: dict[str, tuple[str, dict[str, str]]] = {
    "write": (
        "files.write_bytes, write_text, write_json, replacing; jsonl.write, append",
        {
            "sandbox/runner.py": "a pipe to the supervisor",
            "sandbox/supervisor.py": "a file of /proc",
            "data/token_cache.py": "files of a folder that is put in its place when it is whole",
        },
    ),
    "rename": (
        "files.replacing",
        {
            "training/checkpoint.py": "moves a damaged state's folder out of the way",
            "conversion/model_conversion.py": "puts a finished folder in the place of the old one",
            "data/token_cache.py": "puts a finished folder in its place",
        },
    ),
    "json.loads": (
        "files.read_json, parse_json, parse_object; jsonl.objects, read_objects, read_log, parse",
        {
            "core/processes.py": "a notice of the coordination service",
            "sandbox/runner.py": "a line of bubblewrap's status pipe",
            "text/chat_template.py": "an answer of the template process",
            "text/template_sandbox.py": "a request to the template process",
            "rewards/custom_rewards.py": "an answer of the process of a custom reward",
            "graders/code/functional_tests.py": "the report of a sandboxed program",
            "graders/code/unittest_grader.py": "the report of a sandboxed program",
            "graders/code/guest": "inside the sandbox, without r1jax",
            "graders/ifeval_instructions.py": "a response that should be JSON",
            "graders/reasoning_gym.py": "answers that are JSON",
            "data/conversations.py": "fields that hold JSON as text",
            "data/reference_puzzle_checks.py": "answers that are JSON",
            "benchmarks/sets/livecodebench.py": "fields that hold JSON as text",
        },
    ),
    "hash": (
        "provenance",
        {"cpu_devices.py": "looks for an installed plug-in of JAX, no version"},
    ),
    "network": (
        "openai_client",
        {
            "core/processes.py": "whether a port answers",
            "tools/serve.py": "listens; it asks no server",
            "tools/watch.py": "serves a page to this machine's browser",
        },
    ),
    "print": (
        "console.say, ProgressPrinter",
        {
            "config.py": "the one line of an error that ends a command",
            "core/processes.py": "the message of the process that fails, whichever it is",
            "report/live.py": "below a notebook's cell; say() would start JAX's backend in the notebook's process",
            "running.py": "the report's place, printed by process 0 with its table",
            "tools/": "a command's own output",
            "planning/command.py": "a command's own output",
        },
    ),
}
NETWORK = {"socket", "http", "urllib", "requests", "httpx", "aiohttp", "openai"}


def is_write_mode(call: ast.Call) -> bool:
    """Whether a call of `open`, or of a method `open`, names a mode that writes."""
    modes = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    texts = [arg.value for arg in modes if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return any(set(text) <= set("rwxab+t") and set(text) & set("wxa+") for text in texts)


def rule_of_call(call: ast.Call) -> str:
    """The rule that a call comes under; "": none."""
    function = call.func
    if not isinstance(function, ast.Attribute):
        name = getattr(function, "id", "")
        return "print" if name == "print" else "write" if name == "open" and is_write_mode(call) else ""
    name, module = function.attr, getattr(function.value, "id", "")
    if module == "json" and name in ("loads", "load"):
        return "json.loads"
    if (name == "open" and is_write_mode(call)) or (name in ("write_text", "write_bytes") and module != "files"):
        return "write"
    if module == "os" and name in ("replace", "rename", "fsync"):
        return "rename"
    # Of a path; a text's `replace` has two arguments, that of dataclasses has keywords.
    is_rename = name == "rename" or (name == "replace" and len(call.args) == 1)
    return "rename" if is_rename and not call.keywords else ""


def rule_of_import(module: str) -> str:
    if module in ("hashlib", "importlib.metadata"):
        return "hash"
    return "network" if module.split(".")[0] in NETWORK else ""


def uses(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The rules that a module's calls and imports come under, with their lines."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                rules = [rule_of_import(name.name) for name in names]
            case ast.ImportFrom(module=str(module), level=0):
                rules = [rule_of_import(module)]
            case ast.Call():
                rules = [rule_of_call(node)]
            case _:
                continue
        yield from ((rule, node.lineno) for rule in rules if rule)


def is_allowed(path: str, allowed: dict[str, str]) -> bool:
    return any(path == name or path.startswith(name.rstrip("/") + "/") for name in allowed)


@pytest.mark.parametrize("path", FILES)
def test_modules_use_the_shared_pieces(path: str):
    for rule, line in uses(ast.parse(FILES[path].read_text("utf-8"))):
        piece, allowed = RULES[rule]
        assert is_allowed(path, allowed), f"r1jax/{path}:{line} ({rule}): use r1jax/io's {piece}"


def test_every_exception_is_still_one():
    rules_of = {path: {rule for rule, _ in uses(ast.parse(file.read_text("utf-8")))} for path, file in FILES.items()}
    for rule, (_, allowed) in RULES.items():
        for name in allowed:
            assert any(rule in rules for path, rules in rules_of.items() if is_allowed(path, {name: ""})), (rule, name)


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import hashlib", "hash"),
        ("from importlib.metadata import version", "hash"),
        ("import urllib.request", "network"),
        ("from http import client", "network"),
        ("open(path, 'w')", "write"),
        ("path.open('ab+')", "write"),
        ("path.open(mode='w')", "write"),
        ("(folder / name).write_text(text)", "write"),
        ("os.replace(a, b)", "rename"),
        ("part.replace(path)", "rename"),
        ("part.rename(path)", "rename"),
        ("[json.loads(line) for line in lines]", "json.loads"),
        ("print('done')", "print"),
    ],
)
def test_the_rules_see_what_they_are_for(code: str, rule: str):
    assert [found for found, _ in uses(ast.parse(code))] == [rule]


@pytest.mark.parametrize(
    "code",
    ["path.open('rb')", "open(path)", "text.replace('a', 'b')", "replace(cfg, a=1)", "files.write_text(path, text)"],
)
def test_the_rules_let_other_calls_pass(code: str):
    assert not list(uses(ast.parse(code)))
