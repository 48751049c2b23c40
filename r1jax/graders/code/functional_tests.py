"""Functional tests: the dataset's asserts in one sandbox, the program under test in another, and two pipes.

The tests and their expected values are never where the program is. The program is called for one value at a time and
replies with plain data, from which the tests' side builds objects of exactly Python's own types and compares them. The
program controls only its answers. Not prevented: it sees the arguments, so it may have memorised the
answers; and an assert that compares two of its answers passes with any constant.

Pipes instead of a socket, which would belong to the host's network namespace: by it the program could list the host's
interfaces and bind abstract names there.
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
from r1jax.graders.code import assert_instrumentation, guest_archive
from r1jax.graders.code.guest import leetcode_prelude
from r1jax.sandbox import runner
from r1jax.sandbox.config import CodeConfig, wait_s

_GRACE_S = 2.0  # the assert runner enforces the time limit of all tests itself, and is killed only where it fails to


@dataclasses.dataclass(frozen=True)
class Tests:
    """A row's tests, prepared.

    Attributes:
        preamble: sources that run before the program, and separately before the tests.
        source: the instrumented tests.
        names: the names of the program that the tests use.
        places: number of asserts that can fail.
        required: the places of asserts that run whatever the program answers: one that did not run has failed.
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
    """The tests of a row in a public format: `test` and `entry_point` (HumanEval), `test` with its own call of `check`
    (LeetCode), or `test_list` and `test_setup_code` (MBPP).

    Raises:
        ValueError: no Python, no assert that can fail, or a name that is defined nowhere.
    """
    entry_point = row.get("entry_point") or ""
    if "test" in row:
        parts = [row["test"]]
    else:
        test_sources = row["test_list"] if isinstance(row["test_list"], list) else [None]
        parts = [row.get("test_setup_code") or "", *test_sources]
    if not all(isinstance(part, str) for part in (entry_point, *parts)):
        raise ValueError("the tests are no text")
    return _tests("\n".join(parts), entry_point, preamble(str(row.get("prompt", "")), entry_point))


def preamble(prompt: str, entry_point: str) -> str:
    """The source before the entry point's definition in a Python prompt: imports and helpers; else ""."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError):
        for node in ast.parse(prompt).body:
            if isinstance(node, ast.FunctionDef) and node.name == entry_point:
                first = min(each.lineno for each in (node, *node.decorator_list))
                return "\n".join(prompt.split("\n")[: first - 1])
    return ""


def defines(source: str, name: str) -> bool:
    """Whether Python source defines a name at module level; False where it is no Python."""
    try:
        return name in assert_instrumentation.used_and_defined_names(source)[1]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


@functools.lru_cache(maxsize=64)  # a group's responses are graded one after the other
def _tests(source: str, entry_point: str, preamble_source: str) -> Tests:
    try:
        tree = ast.parse(source)
        if entry_point and not any(assert_instrumentation.is_check_call(node) for node in tree.body):
            tree.body += ast.parse(f"check({entry_point})").body
        tree.body[:0] = [ast.Import([ast.alias(name)]) for name in assert_instrumentation.stdlib_modules(tree)]
        is_leetcode = "Solution" in assert_instrumentation.used_and_defined_names(ast.unparse(tree))[0]
        test_globals = frozenset(dir(leetcode_prelude)) if is_leetcode else frozenset()
        names = assert_instrumentation.program_names(ast.unparse(tree), preamble_source, test_globals)
    except (SyntaxError, RecursionError) as error:
        raise ValueError(f"the tests are no Python: {error}") from None
    counter = assert_instrumentation.AssertCounter()
    instrumented = ast.unparse(ast.fix_missing_locations(counter.visit(tree)))
    if not counter.places:
        raise ValueError("the tests have no assert that can fail")
    preambles = (inspect.getsource(leetcode_prelude), preamble_source) if is_leetcode else (preamble_source,)
    return Tests(preambles, instrumented, names, counter.places, frozenset(counter.required), is_leetcode)


def run(tests: Tests, program: str, cfg: CodeConfig, partial_credit: bool) -> Grade:
    """The grade of a program by tests, with `time_s` for each call of it and `total_s` for all of them.

    Raises:
        SandboxError: the sandbox does not work.
    """
    limits = dataclasses.replace(cfg, time_s=cfg.total_s + _GRACE_S, total_s=cfg.total_s + _GRACE_S)
    # By the clock; the program's own server counts the processor time of a call, its sandbox that of all.
    waits = {"time_s": wait_s(cfg.time_s), "total_s": wait_s(cfg.total_s) - _GRACE_S}
    sources, nodes = (*tests.preamble, tests.source), tests.nodes
    tester_options = {"names": tests.names, "keep_going": partial_credit, **waits}
    with contextlib.ExitStack() as stack:
        with contextlib.ExitStack() as own_ends:  # closed here, so that each side notices when the other has ended
            requests, replies = _pipe(own_ends), _pipe(own_ends)
            channel = (requests[0], replies[1])
            program_options = {"sources": (*tests.preamble, program), "nodes": nodes, "time_s": cfg.time_s}
            own_limits = dataclasses.replace(cfg, time_s=cfg.total_s)
            candidate = _start("program_server", channel, own_limits, **program_options)
            stack.callback(candidate.kill)
            tester = _start(
                "assert_runner", (replies[0], requests[1]), limits, sources=sources, nodes=nodes, **tester_options
            )
        outcome = tester.wait()
        if b'"end": "crash"' in outcome.stdout:
            candidate.await_end(_GRACE_S)  # which says why
    program_status = candidate.wait().status
    try:
        report = json.loads(outcome.stdout)
    except ValueError:  # the assert runner failed on the program's replies
        report = {"passed": [], "failed": [], "first": "", "end": "crash" if outcome.status == "ok" else outcome.status}
    return _grade_of_report(tests, report, program_status, partial_credit)


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    """The descriptors of a pipe's ends for reading and writing."""
    ends = os.pipe()
    for end in ends:
        stack.callback(os.close, end)
    return ends


def _start(script: str, channel: tuple[int, int], cfg: CodeConfig, **task: Any) -> runner.Program:
    """Starts a script in a sandbox, with the descriptors from which it reads and to which it writes."""
    files = {**guest_archive.files(), "task.json": json.dumps(task).encode()}
    command = guest_archive.command(script, *channel, cfg.output_mb * 2**20)
    return runner.start(command, cfg, files=files, pass_fds=channel)


def _grade_of_report(tests: Tests, report: Mapping[str, Any], program_status: str, partial_credit: bool) -> Grade:
    """The grade by the assert runner's report; the status of the program's process only refines a failure."""
    end, failed = report["end"], set(report["failed"])
    if end == "ungradable":
        return Grade(None, "ungradable")
    passed = set(report["passed"]) - failed
    if end == "done" and passed and not failed and tests.required <= passed:
        return Grade(1.0, "right")
    verdict = report["first"] or (end if end != "done" else "wrong")
    if verdict == "crash" and program_status in ("memory", "output", "timeout"):
        verdict = program_status
    if partial_credit and passed:
        return Grade(len(passed) / tests.places, "partly_right")
    return Grade(0.0, verdict)
