"""Rows of the public layouts, by hand, and rollouts that answer them with programs: what the tests of code share."""

import dataclasses
import shutil
import textwrap

import pytest

from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.graders.code import code_grader
from r1jax.graders.config import GraderConfig
from r1jax.sandbox import runner
from r1jax.sandbox.config import CodeConfig

# Each asks for a sum, and no two asserts or tests expect the same.
HUMANEVAL = {
    "prompt": 'def add(a, b):\n    """The sum of a and b."""\n',
    "entry_point": "add",
    "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(-4, 1) == -3\n",
}
LEETCODE = {
    "prompt": "class Solution:\n    def add(self, a: int, b: int) -> int:\n",
    "test": "def check(candidate):\n    assert candidate(a=2, b=3) == 5\n    assert candidate(a=-4, b=1) == -3\n\n"
    "check(Solution().add)",
}
MBPP = {
    "prompt": "Write add.",
    "test_list": ["assert add(2, 3) == 5", "assert add(-4, 1) == -3"],
    "test_setup_code": "",
}
STDIO = {
    "prompt": "Print the sum.",
    "tests": [{"input": "2 3\n", "output": "5\n"}, {"input": "-4 1\n", "output": "-3\n"}],
}
QUICK = CodeConfig(time_s=5.0, total_s=20.0)


def sandbox_missing() -> str:
    """Why no program can be run here, "" where it can."""
    try:
        runner.check_available(CodeConfig())
    except runner.SandboxError as error:
        return str(error)
    return ""


needs_sandbox = pytest.mark.skipif(bool(sandbox_missing()), reason=sandbox_missing())
needs_cpp = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="apt-get install g++")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="apt-get install nodejs")


def functional(test: str) -> dict:
    """A row whose tests call the program's `add`."""
    return {"prompt": "", "entry_point": "add", "test": textwrap.dedent(test)}


def rollout(row: dict, text: str) -> Rollout:
    metadata = {key: value for key, value in row.items() if key not in ("id", "prompt", "answer")}
    prompt = Prompt("p", row.get("prompt", ""), row.get("answer", ""), "code:test", metadata=metadata)
    return Rollout.of_text(prompt, text)


def answered(program: str, tag: str = "python") -> str:
    """A well-formed response that gives a program."""
    return f"<think>Let me see.</think><answer>\n```{tag}\n{program}\n```\n</answer>"


def judge(row: dict, program: str, partial_credit: bool = False, tag: str = "python", **limits: float) -> Grade:
    """The grade of a program by a row's tests, within `QUICK` limits."""
    cfg = GraderConfig(partial_credit=partial_credit, code=dataclasses.replace(QUICK, **limits))
    return code_grader.grade(rollout(row, answered(program, tag)), cfg)
