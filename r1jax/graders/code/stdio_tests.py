"""Tests of standard input and output: each runs in a new sandbox, and the output is compared outside.

The expected output is never in a sandbox with the program, so that the program cannot read or change it.
"""

import dataclasses
import functools
import json
import math
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any

from r1jax.config import nearest
from r1jax.data.types import Grade
from r1jax.graders.code import guest_archive
from r1jax.sandbox import runner
from r1jax.sandbox.config import CodeConfig, wait_s

_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_COMPILE_S, _COMPILE_MB, _BINARY_MB = 30.0, 1024, 64


@dataclasses.dataclass(frozen=True)
class Language:
    """How programs of a programming language are run.

    Attributes:
        tags: its names in a fenced block's tag.
        file: the program's file name in the sandbox.
        tools: compilers or interpreters, of which the machine needs one.
        run: the command; {tool} is the first of the tools that is installed.
        compile: shell command that prints the executable, which is named `program` in the sandbox; "": none.
    """

    tags: tuple[str, ...]
    file: str
    tools: tuple[str, ...]
    run: tuple[str, ...]
    compile: str = ""


LANGUAGES = {
    "python": Language(("python", "py", "python3"), "program.py", (runner.PYTHON,), ("{tool}", "program.py")),
    "cpp": Language(
        ("cpp", "c++", "cc", "cxx"),
        "program.cpp",
        ("g++", "clang++"),
        ("./program",),
        "{tool} -std=gnu++20 -O2 -o /tmp/program program.cpp 1>&2 && cat /tmp/program",
    ),
    "javascript": Language(("javascript", "js", "node"), "program.js", ("node",), ("{tool}", "program.js")),
}


@dataclasses.dataclass(frozen=True)
class Tests:
    """A row's tests.

    Attributes:
        cases: (input, expected output) of each.
        tolerance: accepted difference of a number from the expected one, absolute or relative; 0.0: none.
        checker: source that defines `check(input, expected, output)` where many outputs are right; "": none.
    """

    cases: tuple[tuple[str, str], ...]
    tolerance: float = 0.0
    checker: str = ""


def is_stdio(row: Mapping[str, Any]) -> bool:
    """Whether a dataset's row has tests of this kind."""
    return isinstance(row.get("tests"), list) or isinstance(row.get("public_tests"), list)


def read_tests(row: Mapping[str, Any]) -> Tests:
    """The tests of a row: `tests`, else `public_tests`, [{"input": ..., "output": ...}], `tolerance`, `checker`.

    Raises:
        ValueError: they are not in that format, or a program without output would pass.
    """
    test_rows = row["tests"] if isinstance(row.get("tests"), list) else row["public_tests"]
    cases = [
        (case.get("input"), case.get("output")) if isinstance(case, Mapping) else (None, None) for case in test_rows
    ]
    if not cases or not all(isinstance(part, str) for case in cases for part in case):
        raise ValueError('tests should be a list of {"input": text, "output": text}')
    tolerance, checker = row.get("tolerance") or 0.0, row.get("checker") or ""
    if not isinstance(tolerance, int | float) or not 0 <= tolerance < 1:
        raise ValueError(f"tolerance={tolerance!r} should be a number from 0 up to 1")
    if checker:
        try:
            compile(checker, "checker", "exec")
        except (SyntaxError, TypeError, ValueError) as error:
            raise ValueError(f"the checker is no Python: {error}") from None
        if not re.search(r"^def check\(", checker, re.MULTILINE):
            raise ValueError("the checker should define check(input, expected, output)")
    elif not any(output.strip() for _, output in cases):
        raise ValueError("no test expects any output")
    return Tests(tuple(cases), float(tolerance), checker)


def language_of_tag(name: str) -> str | None:
    """The key of LANGUAGES for a fenced block's tag or a row's `language`; None: an unsupported language or none."""
    return next((key for key, each in LANGUAGES.items() if name.strip().lower() in each.tags), None)


def check_language(name: Any) -> None:
    """Raises ValueError for a row's `language` that is not supported."""
    if not isinstance(name, str) or language_of_tag(name) is None:
        raise ValueError(f"no language named {name!r}; nearest: {nearest(str(name), LANGUAGES)}")


def same_output(printed: bytes, expected: str, tolerance: float) -> bool:
    """Whether an output is the expected one: the same lines of the same words, up to white space.

    Blank lines at the end are ignored. Numbers may differ by `tolerance`; from an expected whole number only in
    absolute terms, for in relative terms a billion and one would equal a billion.
    """
    printed_words, expected_words = _word_lines(printed), _word_lines(expected.encode())
    if printed_words == expected_words:
        return True
    if not tolerance or [len(line) for line in printed_words] != [len(line) for line in expected_words]:
        return False
    pairs = [pair for lines in zip(printed_words, expected_words, strict=True) for pair in zip(*lines, strict=True)]
    return all(word == expected_word or _is_near(word, expected_word, tolerance) for word, expected_word in pairs)


def _word_lines(text: bytes) -> list[list[bytes]]:
    lines = [line.split() for line in text.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _is_near(word: bytes, expected: bytes, tolerance: float) -> bool:
    if not (_NUMBER.fullmatch(word) and _NUMBER.fullmatch(expected)):
        return False
    relative = 0.0 if re.fullmatch(rb"[+-]?\d+", expected) else tolerance
    return math.isclose(float(word), float(expected), rel_tol=relative, abs_tol=tolerance)


def run(tests: Tests, program: str, language_name: str, cfg: CodeConfig, partial_credit: bool) -> Grade:
    """The grade of a program in a language of LANGUAGES, with `time_s` for each test and `total_s` for all.

    Raises:
        SandboxError: the sandbox does not work.
    """
    language = LANGUAGES[language_name]
    tool = _tool(language)
    if tool is None:
        return Grade(None, "ungradable")
    files = {language.file: program.encode(errors="replace")}
    if language.compile:
        limits = dataclasses.replace(
            cfg, time_s=_COMPILE_S, total_s=_COMPILE_S, memory_mb=_COMPILE_MB, output_mb=_BINARY_MB, disk_mb=_BINARY_MB
        )
        compiled = runner.run(["/bin/sh", "-c", language.compile.format(tool=tool)], limits, files=files)
        if compiled.status != "ok":
            return Grade(0.0, "compile_error")
        files = {"program": compiled.stdout}
    command = [part.format(tool=tool) for part in language.run]
    return _run_all(tests, command, files, cfg, partial_credit)


def _run_all(
    tests: Tests, command: Sequence[str], files: Mapping[str, bytes], cfg: CodeConfig, partial_credit: bool
) -> Grade:
    passed, first_failure, remaining_s, deadline = 0, "", cfg.total_s, time.monotonic() + wait_s(cfg.total_s)
    for stdin, expected in tests.cases:
        if remaining_s <= 0 or time.monotonic() > deadline:
            first_failure = first_failure or "timeout"
            break
        limits = dataclasses.replace(cfg, time_s=min(cfg.time_s, remaining_s))
        outcome = runner.run(command, limits, files=files, stdin=stdin.encode())
        remaining_s -= outcome.processor_s
        if outcome.status != "ok":
            verdict = _failure_verdict(outcome)
        elif tests.checker:
            verdict = "right" if _passes_checker(tests.checker, stdin, expected, outcome.stdout, cfg) else "wrong"
        else:
            verdict = "right" if same_output(outcome.stdout, expected, tests.tolerance) else "wrong"
        passed += verdict == "right"
        first_failure = first_failure or (verdict if verdict != "right" else "")
        if first_failure and not partial_credit:
            break
    if not first_failure:
        return Grade(1.0, "right")
    if partial_credit and passed:
        return Grade(passed / len(tests.cases), "partly_right")
    return Grade(0.0, first_failure)


def _failure_verdict(outcome: runner.Outcome) -> str:
    """The verdict on a program that failed. Python reports a syntax error of the program without a traceback."""
    last_line = outcome.stderr.rstrip().rpartition(b"\n")[2]
    is_syntax_error = (
        re.match(rb"(?:SyntaxError|IndentationError|TabError):", last_line) and b"Traceback" not in outcome.stderr
    )
    return "compile_error" if outcome.status == "crash" and is_syntax_error else outcome.status


def _passes_checker(checker: str, stdin: str, expected: str, printed: bytes, cfg: CodeConfig) -> bool:
    """Whether the task's checker accepts an output; it runs in a sandbox too, for untrusted text may make it hang."""
    checker_input = {"input": stdin, "expected": expected, "output": printed.decode(errors="backslashreplace")}
    files = {**guest_archive.files(), "check.py": checker.encode()}
    outcome = runner.run(
        guest_archive.command("output_checker"), cfg, files=files, stdin=json.dumps(checker_input).encode()
    )
    return outcome.status == "ok" and outcome.stdout == b"true"


@functools.cache
def _tool(language: Language) -> str | None:
    return next((tool for tool in language.tools if tool == runner.PYTHON or shutil.which(tool)), None)
