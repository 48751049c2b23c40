"""Grader of programs by unittest files, for evaluations only (Aider-Polyglot's Python rows).

Program and tests share one process, for the tests use the program's classes: scores must not be trained on. A program
passes where a runner reports every test method as passed, with a secret that the program is not given, and unittest is
unchanged. That prevents exiting early, printing verdicts and changing assertions; it does not prevent code that
searches its process's frames for the secret, that undoes its changes in time, or whose objects equal everything.
"""

import ast
import dataclasses
import json
import secrets
from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.code import guest_archive
from r1jax.graders.code.program_extraction import extract_program
from r1jax.graders.config import GraderConfig
from r1jax.sandbox import runner
from r1jax.sandbox.config import CodeConfig


def check(row: Mapping[str, Any]) -> None:
    """Checks that programs can be graded by a row's tests.

    Raises:
        ValueError: it is not one solution file with a test file that has tests.
    """
    starter_files, test_files = row.get("starter_files"), row.get("test_files")
    if (
        not isinstance(starter_files, Mapping)
        or len(starter_files) != 1
        or not isinstance(test_files, Mapping)
        or not test_files
    ):
        raise ValueError("needs starter_files, of one file, and test_files: name -> content")
    if not _test_names(test_files):
        raise ValueError(f"no test method in {', '.join(test_files)}")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 where the response's program passes every test, else 0.0.

    Raises:
        SandboxError: the sandbox does not work.
    """
    row = rollout.prompt.metadata
    [name] = row["starter_files"]
    extracted = extract_program(
        rollout.response.final, "python", _imported_names(name.removesuffix(".py"), row["test_files"])
    )
    if extracted is None:
        return Grade(0.0, "no_answer")
    return run(name, extracted[1], row["test_files"], cfg.code)


def run(name: str, program: str, tests: Mapping[str, str], cfg: CodeConfig) -> Grade:
    """The grade of a program in a file of that name by test files, name -> content."""
    expected, code = _test_names(tests), secrets.token_hex(16)
    files = {**{file: text.encode() for file, text in tests.items()}, name: program.encode(errors="replace")}
    passed: set[str] = set()
    limits = dataclasses.replace(cfg, time_s=cfg.total_s)
    for module in {test.partition(".")[0] for test in expected}:
        outcome = runner.run(
            guest_archive.command("unittest_runner", module),
            limits,
            files={**guest_archive.files(), **files},
            stdin=f"{code}\n".encode(),
        )
        if outcome.status != "ok":
            return Grade(0.0, outcome.status)
        opening, _, report_text = outcome.stdout.decode(errors="replace").partition(code)
        if opening or not report_text:
            return Grade(0.0, "crash")
        report = json.loads(report_text)
        passed |= set(report["passed"]) if report["whole"] else set()
    return Grade(1.0, "right") if expected <= passed else Grade(0.0, "wrong")


def _test_names(tests: Mapping[str, str]) -> set[str]:
    """`module.Class.method` of every test in the files, found without running them."""
    names = set()
    for name, source in tests.items():
        for node in ast.parse(source).body:
            if name.endswith("_test.py") and isinstance(node, ast.ClassDef):
                methods = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
                names |= {f"{name[:-3]}.{node.name}.{method}" for method in methods if method.startswith("test")}
    return names


def _imported_names(module: str, tests: Mapping[str, str]) -> set[str]:
    """The names that the tests import from a module."""
    nodes = (node for source in tests.values() for node in ast.walk(ast.parse(source)))
    lists = (node.names for node in nodes if isinstance(node, ast.ImportFrom) and node.module == module)
    return {each.name for names in lists for each in names} - {"*"}
