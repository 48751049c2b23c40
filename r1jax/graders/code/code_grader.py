"""Grader of programs, by functional tests or by tests of standard input and output, in `r1jax.sandbox`."""

import ast
import dataclasses
import textwrap
from collections.abc import Collection, Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.code import functional_tests, program_extraction, stdio_tests
from r1jax.graders.code.program_extraction import extract_program
from r1jax.graders.config import GraderConfig
from r1jax.sandbox.config import CodeConfig

_MAX_CHARS = 2**18  # no program that long is an honest one


def is_code(row: Mapping[str, Any]) -> bool:
    """Whether a dataset's row has functional tests or tests of standard input and output."""
    return functional_tests.is_functional(row) or stdio_tests.is_stdio(row)


def check(row: Mapping[str, Any]) -> None:
    """Checks that programs can be graded by a row's tests.

    Raises:
        ValueError: what is wrong with its tests, its limits or its language.
    """
    if not is_code(row):
        raise ValueError("no tests: needs `test`, `test_list`, or a list `tests` or `public_tests`")
    if stdio_tests.is_stdio(row):
        stdio_tests.read_tests(row)
    else:
        functional_tests.read_tests(row)
    if row.get("language"):
        stdio_tests.check_language(row["language"])
    _limits(row, CodeConfig())


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 where the program in the response's summary passes every test, else 0.0; with `partial_credit` the share.

    Raises:
        SandboxError: the sandbox does not work.
    """
    row = {**rollout.prompt.metadata, "prompt": rollout.prompt.question}
    final, limits = rollout.response.final, _limits(row, cfg.code)
    if len(final) > _MAX_CHARS:
        return Grade(0.0, "too_complex")
    if stdio_tests.is_stdio(row):
        extracted = extract_program(final, stdio_tests.language_of_tag(row.get("language") or "") or "python")
        if extracted is None:
            return Grade(0.0, "no_answer")
        return stdio_tests.run(stdio_tests.read_tests(row), extracted[1], extracted[0], limits, cfg.partial_credit)
    tests = functional_tests.read_tests(row)
    program = functional_program(final, row["prompt"], row.get("entry_point") or "", tests.names)
    if program is None:
        return Grade(0.0, "no_answer")
    return functional_tests.run(tests, program, limits, cfg.partial_credit)


def functional_program(text: str, prompt: str, entry_point: str, names: Collection[str] = ()) -> str | None:
    """The Python program of a response to a functional task; None for none.

    Where the prompt is the beginning of the entry point's definition (HumanEval), a response may define it again or
    continue the prompt, perhaps with its first line, or all of it, unindented. Of several blocks the last counts with
    which the entry point returns a value, else the last that continues the prompt without calling it.

    Args:
        text: the summary.
        prompt: the question.
        entry_point: name of the tested function; "" for none.
        names: the names that the tests use of the program; by default the entry point.
    """
    extracted = extract_program(text, "python", names or [entry_point] * bool(entry_point))
    prompt_function = (
        _last_function(prompt, entry_point) if entry_point and functional_tests.defines(prompt, entry_point) else None
    )
    if not prompt_function or (extracted and program_extraction.defines(extracted[1], entry_point)):
        return extracted[1] if extracted else None
    candidates = program_extraction.candidates(text, "python")[::-1]
    for returns in (True, False):
        for body in candidates if returns else sorted(candidates, key=lambda body: entry_point in body):
            for continuation in (body, "    " + body, textwrap.indent(body, "    ")):
                source = f"{prompt.rstrip()}\n{continuation}\n"
                function = _last_function(source, entry_point) if body.strip() and _compiles(source) else None
                if function and (_returns(function) if returns else len(function.body) > len(prompt_function.body)):
                    return source
    return extracted[1] if extracted else None


def _last_function(source: str, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The last function of a name at the top of Python source."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return next((function for function in reversed(functions) if function.name == name), None)


def _returns(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function returns or yields a value, functions inside it aside."""
    nodes = list(function.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            nodes += ast.iter_child_nodes(node)
    return False


def _compiles(source: str) -> bool:
    try:
        compile(source, "<program>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _limits(row: Mapping[str, Any], cfg: CodeConfig) -> CodeConfig:
    """The limits for a row: its own on time and memory override the config's.

    Raises:
        ValueError: a row's limit is no number above 0.
    """
    time_s, memory_mb = row.get("time_limit_s") or cfg.time_s, row.get("memory_limit_mb") or cfg.memory_mb
    for name, value in (("time_limit_s", time_s), ("memory_limit_mb", memory_mb)):
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise ValueError(f"{name}={value!r} should be a number above 0")
    return dataclasses.replace(cfg, time_s=time_s, total_s=max(cfg.total_s, time_s), memory_mb=max(int(memory_mb), 1))
