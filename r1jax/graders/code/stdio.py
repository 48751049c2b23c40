"""Programs that read standard input and print: each test in a fresh sandbox, what it printed compared out here.

The expected output never enters a sandbox where the program is, so there is nothing for it to read, patch or imitate.
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
from r1jax.graders.code import pack
from r1jax.sandbox import programs
from r1jax.sandbox.config import CodeConfig

_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_COMPILE_S, _COMPILE_MB, _BINARY_MB = 30.0, 1024, 64


@dataclasses.dataclass(frozen=True)
class Language:
    """How programs of a language are run.

    Attributes:
        tags: what a fenced block may call it.
        file: the program's name inside.
        tools: any one of these must be on the machine.
        run: the command; {tool} is the first of the tools that is there.
        compile: a shell command that prints the executable, named `program` inside; "": there is nothing to compile.
    """

    tags: tuple[str, ...]
    file: str
    tools: tuple[str, ...]
    run: tuple[str, ...]
    compile: str = ""


LANGUAGES = {
    "python": Language(("python", "py", "python3"), "program.py", (programs.PYTHON,), ("{tool}", "program.py")),
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
        cases: input and expected output of each.
        tolerance: by how much a number may differ from the expected one, absolutely or relatively; 0.0: not at all.
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
        ValueError: they are not of that form, or a program that prints nothing would pass.
    """
    given = row["tests"] if isinstance(row.get("tests"), list) else row["public_tests"]
    cases = [(case.get("input"), case.get("output")) if isinstance(case, Mapping) else (None, None) for case in given]
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


def language(name: str) -> str | None:
    """The key of LANGUAGES for a fenced block's tag or a row's `language`; None: another language or none at all."""
    return next((key for key, each in LANGUAGES.items() if name.strip().lower() in each.tags), None)


def check_language(name: Any) -> None:
    """Raises ValueError for a row's `language` that is none of ours."""
    if not isinstance(name, str) or language(name) is None:
        raise ValueError(f"no language named {name!r}; nearest: {nearest(str(name), LANGUAGES)}")


def same_output(printed: bytes, expected: str, tolerance: float) -> bool:
    """Whether a whole output is the expected one: the same lines of the same words, however they are spaced.

    Blank lines at the end do not count. A number may differ by `tolerance`; where a whole number is expected only
    absolutely, for relatively a billion and one would be a billion.
    """
    ours, theirs = _words(printed), _words(expected.encode())
    if ours == theirs:
        return True
    if not tolerance or [len(line) for line in ours] != [len(line) for line in theirs]:
        return False
    pairs = [pair for lines in zip(ours, theirs, strict=True) for pair in zip(*lines, strict=True)]
    return all(word == wanted or _near(word, wanted, tolerance) for word, wanted in pairs)


def _words(text: bytes) -> list[list[bytes]]:
    lines = [line.split() for line in text.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _near(word: bytes, wanted: bytes, tolerance: float) -> bool:
    if not (_NUMBER.fullmatch(word) and _NUMBER.fullmatch(wanted)):
        return False
    relative = 0.0 if re.fullmatch(rb"[+-]?\d+", wanted) else tolerance
    return math.isclose(float(word), float(wanted), rel_tol=relative, abs_tol=tolerance)


def run(tests: Tests, program: str, name: str, cfg: CodeConfig, partial_credit: bool) -> Grade:
    """The grade of a program in a language of LANGUAGES: `time_s` for each test, `total_s` for all.

    Raises:
        SandboxError: there is no sandbox.
    """
    spoken = LANGUAGES[name]
    tool = _tool(spoken)
    if tool is None:
        return Grade(None, "ungradable")
    files = {spoken.file: program.encode(errors="replace")}
    if spoken.compile:
        limits = dataclasses.replace(
            cfg, time_s=_COMPILE_S, total_s=_COMPILE_S, memory_mb=_COMPILE_MB, output_mb=_BINARY_MB, disk_mb=_BINARY_MB
        )
        compiled = programs.run(["/bin/sh", "-c", spoken.compile.format(tool=tool)], limits, files=files)
        if compiled.status != "ok":
            return Grade(0.0, "compile_error")
        files = {"program": compiled.stdout}
    command = [part.format(tool=tool) for part in spoken.run]
    return _run_all(tests, command, files, cfg, partial_credit)


def _run_all(
    tests: Tests, command: Sequence[str], files: Mapping[str, bytes], cfg: CodeConfig, partial_credit: bool
) -> Grade:
    passed, first, deadline = 0, "", time.monotonic() + cfg.total_s
    for given, expected in tests.cases:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            first = first or "timeout"
            break
        limits = dataclasses.replace(cfg, time_s=min(cfg.time_s, left_s))
        outcome = programs.run(command, limits, files=files, stdin=given.encode())
        if outcome.status != "ok":
            verdict = _failure(outcome)
        elif tests.checker:
            verdict = "right" if _ask_checker(tests.checker, given, expected, outcome.stdout, cfg) else "wrong"
        else:
            verdict = "right" if same_output(outcome.stdout, expected, tests.tolerance) else "wrong"
        passed += verdict == "right"
        first = first or (verdict if verdict != "right" else "")
        if first and not partial_credit:
            break
    if not first:
        return Grade(1.0, "right")
    if partial_credit and passed:
        return Grade(passed / len(tests.cases), "partly_right")
    return Grade(0.0, first)


def _failure(outcome: programs.Outcome) -> str:
    """The verdict on a program that did not end well. Python complains of its own grammar without a traceback."""
    complaint = outcome.stderr.rstrip().rpartition(b"\n")[2]
    unread = re.match(rb"(?:SyntaxError|IndentationError|TabError):", complaint) and b"Traceback" not in outcome.stderr
    return "compile_error" if outcome.status == "crash" and unread else outcome.status


def _ask_checker(checker: str, given: str, expected: str, printed: bytes, cfg: CodeConfig) -> bool:
    """What the task's checker says. Untrusted text is data to it, and it has limits too: that text may make it hang."""
    told = {"input": given, "expected": expected, "output": printed.decode(errors="backslashreplace")}
    files = {**pack.files(), "check.py": checker.encode()}
    answer = programs.run(pack.command("checker"), cfg, files=files, stdin=json.dumps(told).encode())
    return answer.status == "ok" and answer.stdout == b"true"


@functools.cache
def _tool(spoken: Language) -> str | None:
    return next((tool for tool in spoken.tools if tool == programs.PYTHON or shutil.which(tool)), None)
