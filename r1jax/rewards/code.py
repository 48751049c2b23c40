"""Accuracy on programs: functional tests and standard input and output, in sandboxes (`r1jax.rewards.sandbox`)."""

import ast
import dataclasses
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.rewards import functional, stdio
from r1jax.rewards.config import CodeConfig, GraderConfig

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^\s`{]*)")
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
    program = functional_program(final, row["prompt"], row.get("entry_point") or "")
    if program is None:
        return Grade(0.0, "no_answer")
    return functional.run(functional.read_tests(row), program, limits, cfg.partial_credit)


def extract(text: str, preferred: str) -> tuple[str, str] | None:
    """The program that a response gives, and its language, a key of `stdio.LANGUAGES`; None: it gives none.

    It is the last fenced block that is tagged with a language of ours, else the last that is not tagged, which is in
    the `preferred` language: what follows a program is often its output. Without any fence it is the whole text, if
    that is code.
    """
    blocks = _fenced(text)
    tagged = [(name, body) for tag, body in blocks if (name := stdio.language(tag))]
    plain = [(preferred, body) for tag, body in blocks if not tag]
    if tagged or plain:
        return (tagged or plain)[-1]
    if blocks or not text or (preferred == "python" and not _is_python(text)):
        return None
    return preferred, text


def functional_program(text: str, prompt: str, entry_point: str) -> str | None:
    """The Python program that a response gives to a functional task, None for none.

    Where the prompt is the head of the entry point's definition (HumanEval), a response may define it anew or go on
    where the prompt ends, and its first line, or all of it, may have lost its indentation.
    """
    blocks = _fenced(text)
    found = extract(text, "python")
    program = found[1] if found else text if not blocks else ""
    if entry_point and functional.defines(prompt, entry_point) and not functional.defines(program, entry_point):
        for body in (program, "    " + program, textwrap.indent(program, "    ")):
            whole = f"{prompt.rstrip()}\n{body}\n"
            if body.strip() and _compiles(whole):
                return whole
    return found[1] if found else None


def _fenced(text: str) -> list[tuple[str, str]]:
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


def _is_python(text: str) -> bool:
    """Whether a text is a Python program, not merely words or a number that happen to parse."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call) for node in body)


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
