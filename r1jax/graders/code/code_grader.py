"""Accuracy on programs: functional tests and standard input and output, in sandboxes (`r1jax.sandbox.programs`)."""

import ast
import dataclasses
import textwrap
from collections.abc import Collection, Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.code import blocks, functional, stdio
from r1jax.graders.code.blocks import extract
from r1jax.graders.config import GraderConfig
from r1jax.sandbox.config import CodeConfig

_MAX_CHARS = 2**18  # no program that long is an honest one


def is_code(row: Mapping[str, Any]) -> bool:
    """Whether a dataset's row has tests of a kind that this module grades by."""
    return functional.is_functional(row) or stdio.is_stdio(row)


def check(row: Mapping[str, Any]) -> None:
    """Refuses a row that no program could be graded against.

    Raises:
        ValueError: what is wrong with its tests, its limits or its language.
    """
    if not is_code(row):
        raise ValueError("no tests: needs `test`, `test_list`, or a list `tests` or `public_tests`")
    if stdio.is_stdio(row):
        stdio.read_tests(row)
    else:
        functional.read_tests(row)
    if row.get("language"):
        stdio.check_language(row["language"])
    _limits(row, CodeConfig())


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 when the program in the response's final part passes every test; its share of them, if `partial_credit`.

    Raises:
        SandboxError: there is no sandbox.
    """
    row = {**rollout.prompt.metadata, "prompt": rollout.prompt.question}
    final, limits = rollout.response.final, _limits(row, cfg.code)
    if len(final) > _MAX_CHARS:
        return Grade(0.0, "too_complex")
    if stdio.is_stdio(row):
        found = extract(final, stdio.language(row.get("language") or "") or "python")
        if found is None:
            return Grade(0.0, "no_answer")
        return stdio.run(stdio.read_tests(row), found[1], found[0], limits, cfg.partial_credit)
    tests = functional.read_tests(row)
    program = functional_program(final, row["prompt"], row.get("entry_point") or "", tests.names)
    if program is None:
        return Grade(0.0, "no_answer")
    return functional.run(tests, program, limits, cfg.partial_credit)


def functional_program(text: str, prompt: str, entry_point: str, names: Collection[str] = ()) -> str | None:
    """The Python program that a response gives to a functional task, None for none.

    Where the prompt is the head of the entry point's definition (HumanEval), a response may define it anew or go on
    where the prompt ends, and its first line, or all of it, may have lost its indentation. Of several blocks the last
    counts with which the entry point returns something, then the last that goes on without calling it.

    Args:
        names: what the tests take from the program; by default the entry point.
    """
    found = extract(text, "python", names or [entry_point] * bool(entry_point))
    head = _entry(prompt, entry_point) if entry_point and functional.defines(prompt, entry_point) else None
    if not head or (found and blocks.defines(found[1], entry_point)):
        return found[1] if found else None
    candidates = blocks.candidates(text, "python")[::-1]
    for returns in (True, False):
        for body in candidates if returns else sorted(candidates, key=lambda body: entry_point in body):
            for part in (body, "    " + body, textwrap.indent(body, "    ")):
                whole = f"{prompt.rstrip()}\n{part}\n"
                entry = _entry(whole, entry_point) if body.strip() and _compiles(whole) else None
                if entry and (_returns(entry) if returns else len(entry.body) > len(head.body)):
                    return whole
    return found[1] if found else None


def _entry(source: str, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The last function of a name at the top of Python source."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return next((each for each in reversed(functions) if each.name == name), None)


def _returns(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function gives back a value, those inside it aside."""
    rest = list(function.body)
    while rest:
        node = rest.pop()
        if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            rest += ast.iter_child_nodes(node)
    return False


def _compiles(source: str) -> bool:
    try:
        compile(source, "<program>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _limits(row: Mapping[str, Any], cfg: CodeConfig) -> CodeConfig:
    """The limits of a row: its own on time and memory in the settings' place.

    Raises:
        ValueError: they are no numbers above 0.
    """
    time_s, memory_mb = row.get("time_limit_s") or cfg.time_s, row.get("memory_limit_mb") or cfg.memory_mb
    for name, value in (("time_limit_s", time_s), ("memory_limit_mb", memory_mb)):
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise ValueError(f"{name}={value!r} should be a number above 0")
    return dataclasses.replace(cfg, time_s=time_s, total_s=max(cfg.total_s, time_s), memory_mb=max(int(memory_mb), 1))
