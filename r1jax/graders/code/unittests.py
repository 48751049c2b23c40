"""Programs tested by a unittest file, as exercises have it (Aider-Polyglot's Python rows).

Program and tests share one process, for the tests use the program's classes as their own: this is for evaluations, not
for rewards that something learns from. A pass needs every test method of the file reported as passed, by a runner that
holds a code which the program is not given, with unittest as it was before. That stops leaving early, printing verdicts
and changed assertions; it does not stop code that looks through its process's frames for the code, that undoes its
changes in time, or whose objects claim to equal everything.
"""

import ast
import dataclasses
import json
import secrets
from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.code import pack
from r1jax.graders.code.blocks import extract
from r1jax.graders.config import GraderConfig
from r1jax.sandbox import programs
from r1jax.sandbox.config import CodeConfig


def check(row: Mapping[str, Any]) -> None:
    """Refuses a row that no program could be graded by.

    Raises:
        ValueError: it is not one solution file with a test file that has tests.
    """
    starter, tests = row.get("starter_files"), row.get("test_files")
    if not isinstance(starter, Mapping) or len(starter) != 1 or not isinstance(tests, Mapping) or not tests:
        raise ValueError("needs starter_files, of one file, and test_files: name -> content")
    if not _methods(tests):
        raise ValueError(f"no test method in {', '.join(tests)}")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 when the file that the response gives passes every test.

    Raises:
        SandboxError: there is no sandbox.
    """
    row = rollout.prompt.metadata
    [name] = row["starter_files"]
    found = extract(rollout.response.final, "python", _imported(name.removesuffix(".py"), row["test_files"]))
    if found is None:
        return Grade(0.0, "no_answer")
    return run(name, found[1], row["test_files"], cfg.code)


def run(name: str, program: str, tests: Mapping[str, str], cfg: CodeConfig) -> Grade:
    """The grade of a program in a file of that name."""
    wanted, code = _methods(tests), secrets.token_hex(16)
    files = {**{file: text.encode() for file, text in tests.items()}, name: program.encode(errors="replace")}
    passed: set[str] = set()
    limits = dataclasses.replace(cfg, time_s=cfg.total_s)
    for module in {test.partition(".")[0] for test in wanted}:
        outcome = programs.run(pack.command("unittest_runner", module), limits, files={**pack.files(), **files},
                              stdin=f"{code}\n".encode())  # fmt: skip
        if outcome.status != "ok":
            return Grade(0.0, outcome.status)
        opening, _, report = outcome.stdout.decode(errors="replace").partition(code)
        if opening or not report:
            return Grade(0.0, "crash")
        told = json.loads(report)
        passed |= set(told["passed"]) if told["whole"] else set()
    return Grade(1.0, "right") if wanted <= passed else Grade(0.0, "wrong")


def _methods(tests: Mapping[str, str]) -> set[str]:
    """`module.Class.method` of every test that the files define, read without running them."""
    found = set()
    for name, source in tests.items():
        for node in ast.parse(source).body:
            if name.endswith("_test.py") and isinstance(node, ast.ClassDef):
                methods = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
                found |= {f"{name[:-3]}.{node.name}.{method}" for method in methods if method.startswith("test")}
    return found


def _imported(module: str, tests: Mapping[str, str]) -> set[str]:
    """The names that the tests import from a module."""
    nodes = (node for source in tests.values() for node in ast.walk(ast.parse(source)))
    lists = (node.names for node in nodes if isinstance(node, ast.ImportFrom) and node.module == module)
    return {each.name for names in lists for each in names} - {"*"}
