"""Functional tests: the dataset's asserts in one sandbox, the program under test in another, two pipes between them.

The tests and what they expect are never where the program is. It is asked for one value at a time and answers with
plain data, of which the tests' side builds objects of exactly Python's own types; comparing, and so the verdict, is
done there. The program can choose its answers and nothing else. What that leaves open: it sees the arguments, so it may
know the answers by heart; and an assert that compares two of its own answers is pleased by any constant.

Pipes and no socket: one made here belongs to the host's network namespace, so that the program could list the host's
interfaces with it and bind abstract names there.
"""

import ast
import contextlib
import dataclasses
import functools
import inspect
import json
import os
from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade
from r1jax.graders.code import asserts, pack
from r1jax.graders.code.guest import leetcode
from r1jax.sandbox import programs
from r1jax.sandbox.config import CodeConfig

_GRACE_S = 2.0  # the tester keeps the time of all tests itself, and is killed only where it fails to


@dataclasses.dataclass(frozen=True)
class Tests:
    """A row's tests, made ready.

    Attributes:
        preamble: sources that run before the program, and before the tests too.
        source: the tests, their asserts made to be counted.
        names: the program's names that the tests use.
        places: how many asserts there are that can fail.
        required: the places of those that run whatever the program answers: one that did not run is one that failed.
        nodes: whether ListNode and TreeNode are LeetCode's.
    """

    preamble: tuple[str, ...]
    source: str
    names: tuple[str, ...]
    places: int
    required: frozenset[int]
    nodes: bool


def is_functional(row: Mapping[str, Any]) -> bool:
    """Whether a dataset's row has functional tests."""
    return "test" in row or "test_list" in row


def read_tests(row: Mapping[str, Any]) -> Tests:
    """The tests of a row in one of the public layouts: `test` with `entry_point` (HumanEval), `test` that calls `check`
    itself (LeetCode), or `test_list` with `test_setup_code` (MBPP).

    Raises:
        ValueError: no Python, no assert that can fail, or names that nobody defines.
    """
    entry_point = row.get("entry_point") or ""
    if "test" in row:
        parts = [row["test"]]
    else:
        listed = row["test_list"] if isinstance(row["test_list"], list) else [None]
        parts = [row.get("test_setup_code") or "", *listed]
    if not all(isinstance(part, str) for part in (entry_point, *parts)):
        raise ValueError("the tests are no text")
    return _tests("\n".join(parts), entry_point, preamble(str(row.get("prompt", "")), entry_point))


def preamble(prompt: str, entry_point: str) -> str:
    """What stands before the entry point's definition in a prompt that is Python: imports and helpers; else nothing."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError):
        for node in ast.parse(prompt).body:
            if isinstance(node, ast.FunctionDef) and node.name == entry_point:
                first = min(each.lineno for each in (node, *node.decorator_list))
                return "\n".join(prompt.split("\n")[: first - 1])
    return ""


def defines(source: str, name: str) -> bool:
    """Whether Python source defines a name at its top; False where it is no Python."""
    try:
        return name in asserts.names(source)[1]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


@functools.lru_cache(maxsize=64)  # a group's responses are graded one after the other
def _tests(source: str, entry_point: str, before: str) -> Tests:
    try:
        tree = ast.parse(source)
        if entry_point and not any(asserts.is_check(node) for node in tree.body):
            tree.body += ast.parse(f"check({entry_point})").body
        tree.body[:0] = [ast.Import([ast.alias(name)]) for name in asserts.stdlib_modules(tree)]
        is_leetcode = "Solution" in asserts.names(ast.unparse(tree))[0]
        known = frozenset(dir(leetcode)) if is_leetcode else frozenset()
        names = asserts.program_names(ast.unparse(tree), before, known)
    except (SyntaxError, RecursionError) as error:
        raise ValueError(f"the tests are no Python: {error}") from None
    counted = asserts.Counted()
    instrumented = ast.unparse(ast.fix_missing_locations(counted.visit(tree)))
    if not counted.places:
        raise ValueError("the tests have no assert that can fail")
    prelude = (inspect.getsource(leetcode), before) if is_leetcode else (before,)
    return Tests(prelude, instrumented, names, counted.places, frozenset(counted.required), is_leetcode)


def run(tests: Tests, program: str, cfg: CodeConfig, partial_credit: bool) -> Grade:
    """The grade of a program by tests: `time_s` for each call of it, `total_s` for all of them.

    Raises:
        SandboxError: there is no sandbox.
    """
    limits = dataclasses.replace(cfg, time_s=cfg.total_s + _GRACE_S, total_s=cfg.total_s + _GRACE_S)
    sources, nodes = (*tests.preamble, tests.source), tests.nodes
    asked = {"names": tests.names, "keep_going": partial_credit, "time_s": cfg.time_s, "total_s": cfg.total_s}
    with contextlib.ExitStack() as stack:
        with contextlib.ExitStack() as ends:  # closed here, so that each side hears when the other is gone
            requests, replies = _pipe(ends), _pipe(ends)
            channel = (requests[0], replies[1])
            candidate = _start("candidate", channel, limits, sources=(*tests.preamble, program), nodes=nodes)
            stack.callback(candidate.kill)
            tester = _start("tester", (replies[0], requests[1]), limits, sources=sources, nodes=nodes, **asked)
        told = tester.wait()
    ended = candidate.wait().status
    try:
        report = json.loads(told.stdout)
    except ValueError:  # it choked on what it was told
        report = {"passed": [], "failed": [], "first": "", "end": "crash" if told.status == "ok" else told.status}
    return _grade(tests, report, ended, partial_credit)


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    """The descriptors of a pipe's two ends, to read and to write."""
    ends = os.pipe()
    for end in ends:
        stack.callback(os.close, end)
    return ends


def _start(script: str, channel: tuple[int, int], cfg: CodeConfig, **task: Any) -> programs.Program:
    """A script in a sandbox, with the descriptors from which it reads and to which it writes."""
    files = {**pack.files(), "task.json": json.dumps(task).encode()}
    command = pack.command(script, *channel, cfg.output_mb * 2**20)
    return programs.start(command, cfg, files=files, pass_fds=channel)


def _grade(tests: Tests, report: Mapping[str, Any], ended: str, partial_credit: bool) -> Grade:
    """The grade by the tester's report; how the program's process ended only names the failure."""
    end, failed = report["end"], set(report["failed"])
    if end == "ungradable":
        return Grade(None, "ungradable")
    passed = set(report["passed"]) - failed
    if end == "done" and passed and not failed and tests.required <= passed:
        return Grade(1.0, "right")
    verdict = report["first"] or (end if end != "done" else "wrong")
    if verdict == "crash" and ended in ("memory", "output", "timeout"):
        verdict = ended
    if partial_credit and passed:
        return Grade(len(passed) / tests.places, "partly_right")
    return Grade(0.0, verdict)
