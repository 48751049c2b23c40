"""Grader of programs by unittest files: reference solutions pass, unfinished files and forged verdicts do not."""

import json
import pathlib

import pytest

from r1jax.benchmarks import reading
from r1jax.benchmarks.benchmark import find
from r1jax.data.types import Prompt, Rollout
from r1jax.graders.code import unittest_grader
from r1jax.graders.config import GraderConfig
from r1jax.sandbox.config import CodeConfig

SHARED = pathlib.Path(__file__).parent.parent.parent / "shared" / "data" / "aider_polyglot" / "test.jsonl"
TESTS = {
    "double_test.py": """
import unittest
from double import double


class DoubleTest(unittest.TestCase):
    def test_two(self):
        self.assertEqual(double(2), 4)

    def test_words(self):
        with self.assertRaises(TypeError):
            double(None)


if __name__ == "__main__":
    unittest.main()
"""
}


def run(program: str, tests=TESTS):
    return unittest_grader.run("double.py", program, tests, CodeConfig(total_s=10))


def test_a_right_program_passes_and_a_wrong_one_does_not():
    assert run("def double(x):\n    return 2 * x\n") == (1.0, "right", "", None)
    assert run("def double(x):\n    return x\n").verdict == "wrong"
    assert run("def double(x):\n    print('OK')\n    return x + 2\n")[:2] == (1.0, "right")
    assert run("def double(x:").score == 0.0


@pytest.mark.parametrize(
    "program",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "print('OK')\nimport os\nos._exit(0)",
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\ndef double(x):\n    x + 1",
        "import unittest.case as c\nc.TestCase.run = lambda self, result: result.addSuccess(self)\ndef double(x): 0",
        "import unittest\nunittest.TestCase.assertEqual.__code__ = (lambda *a: None).__code__\n"
        "def double(x):\n    x + 1",
        "import unittest\ndef double(x): raise unittest.SkipTest('no')",
        "import sys, json\n"
        "print(json.dumps({'whole': True, 'passed': ['double_test.DoubleTest.test_two']}))\nsys.exit(0)",
        "import sys\nt = sys.modules['double_test']\nt.unittest = None\ndef double(x): 0",
    ],
)
def test_trap21_no_verdict_is_forged(program):
    assert run(program).score == 0.0


def test_rows_need_one_file_and_tests():
    unittest_grader.check({"starter_files": {"a.py": ""}, "test_files": TESTS})
    for row in (
        {},
        {"starter_files": {"a.py": "", "b.py": ""}, "test_files": TESTS},
        {"starter_files": {"a.py": ""}, "test_files": {"a_test.py": "x = 1"}},
    ):
        with pytest.raises(ValueError):
            unittest_grader.check(row)


@pytest.mark.skipif(not SHARED.is_file(), reason="no shared data beside the project")
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 17])
def test_exercises_pass_with_their_own_solution_and_not_with_the_unfinished_file(every):
    bench = find("aider_polyglot")
    data = reading.read(bench, SHARED, bench.grader, {})
    assert (len(data.rows), data.left_out) == (34, 191)

    def score(row, program):
        prompt = Prompt(row["id"], row["prompt"], "", "unittests:aider", metadata=row)
        text = f"Here:\n```python\n{program}\n```"
        rollout = Rollout.of_text(prompt, text)
        return unittest_grader.grade(rollout, GraderConfig()).score

    for row in data.rows[::every]:
        [solution], [starter] = row["example_solution"].values(), row["starter_files"].values()
        assert score(row, solution) == 1.0, row["id"]
        assert score(row, starter) == 0.0, row["id"]
        assert starter in json.dumps(row["prompt"]) or starter in row["prompt"]
