"""Functional tests: formats of rows, and the grading of asserts."""

import ast
import json
import pathlib
import textwrap

import pytest
from programs import HUMANEVAL, LEETCODE, MBPP, functional, judge, needs_sandbox

from r1jax.data.types import Grade
from r1jax.graders.code import assert_instrumentation
from r1jax.graders.code.functional_tests import read_tests

DATA = pathlib.Path(__file__).parents[2] / "shared/data"


# Reading tests.


def test_the_programs_names_are_those_that_tests_use_without_defining_them() -> None:
    assert read_tests(HUMANEVAL).names == ("add",)
    assert read_tests(LEETCODE).names == ("Solution",)
    assert read_tests(MBPP).names == ("add",)
    pairs = {"test_list": ["assert f([Pair(1, 2)]) == len([x for x in (1,)])"], "test_setup_code": ""}
    assert read_tests(pairs).names == ("Pair", "f")


def test_a_function_may_have_the_name_of_one_of_pythons_own() -> None:
    assert read_tests({"test_list": ["assert sum(10, 15) == 6"]}).names == ("sum",)


def test_source_before_the_entry_point_runs_before_the_tests_too() -> None:
    prompt = "import math\n\ndef poly(x):\n    return math.pow(x, 2)\n\n@staticmethod\ndef add(x):\n    '''Zero.'''\n"
    tests = read_tests({"prompt": prompt, "entry_point": "add", "test": "def check(f):\n    assert poly(f(1)) == 1"})
    assert tests.names == ("add",)
    assert tests.preamble == ("import math\n\ndef poly(x):\n    return math.pow(x, 2)\n",)


@pytest.mark.parametrize(
    "row",
    [
        {"test": "def check(f:\n", "entry_point": "f"},
        {"test": "def check(f):\n    f(1)\n", "entry_point": "f"},  # no assert
        {"test": "def check(f):\n    assert False, f(1)\n", "entry_point": "f"},
        {"test": "def check(f):\n    assert True, f(1)\n", "entry_point": "f"},  # none that can fail
        {"test": "def check(f):\n    assert (f(1) == 2, 'no')\n", "entry_point": "f"},
        {"test": "assert 1 + 1 == 2"},  # asks nothing
        {"test": "def check(f):\n    assert close(f(1), 2)\n", "entry_point": "f"},  # a helper of nobody's
        {"test": 5, "entry_point": "f"},
        {"test": "def check(f):\n    assert f(1) == 2", "entry_point": 5},
        {"test_list": "assert f(1) == 2"},
        {"test_list": []},
        {"test_list": [None]},
    ],
)
def test_tests_that_could_grade_nothing_are_refused(row: dict) -> None:
    with pytest.raises(ValueError):
        read_tests(row)


def test_asserts_on_no_branch_are_required() -> None:
    counted = assert_instrumentation.AssertCounter()
    source = """
        def check(f):
            assert f(0)
            for x in f(1):
                assert x
            if f(2):
                assert f(3)
            try:
                assert f(4)
            except ValueError:
                pass
    """
    counted.visit(ast.parse(textwrap.dedent(source)))
    assert (counted.places, counted.required) == (4, {0, 1})


# Grades.


@needs_sandbox
@pytest.mark.parametrize("row", [HUMANEVAL, MBPP])
def test_a_right_program_is_right_and_a_wrong_one_wrong(row: dict) -> None:
    assert judge(row, "def add(a, b): return a + b") == Grade(1.0, "right")
    assert judge(row, "def add(a, b): return a - b") == Grade(0.0, "wrong")


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        ("def add(a, b: return 5", "compile_error"),
        ("", "no_answer"),
        ("def sub(a, b): return 5", "crash"),
        ("def add(a, b): return a / 0", "crash"),
        ("import no_such_module", "crash"),
        ("def add(a, b): return bytearray(2**40)", "memory"),
        ("def add(a, b):\n    while True: print('flood' * 1000)", "output"),
        ("def add(a, b): return 'x' * 2**23", "output"),
    ],
)
def test_failures_have_different_verdicts(program: str, verdict: str) -> None:
    assert judge(MBPP, program) == Grade(0.0, verdict)


@needs_sandbox
@pytest.mark.parametrize("program", ["def add(a, b):\n    while True: pass", "while True: pass"])
def test_a_program_that_does_not_end_is_timed_out(program: str) -> None:
    assert judge(MBPP, program, time_s=0.5) == Grade(0.0, "timeout")


@needs_sandbox
def test_all_calls_together_have_a_limit() -> None:
    slow = functional("def check(f):\n    for _ in range(100):\n        assert f(1) == 1\n")
    program = "import time\ndef add(x):\n    end = time.process_time() + 0.1\n"
    program += "    while time.process_time() < end: pass\n    return x"
    assert judge(slow, program, time_s=0.5, total_s=1.0) == Grade(0.0, "timeout")


@needs_sandbox
def test_a_call_that_waits_is_not_measured_by_the_clock() -> None:
    program = "import time\ndef add(a, b):\n    time.sleep(0.6)\n    return a + b"
    assert judge(MBPP, program, time_s=0.4) == Grade(1.0, "right")


@needs_sandbox
def test_partial_credit_is_the_share_of_asserts_that_never_failed() -> None:
    row = functional("""
        def check(f):
            assert f(1) == 1
            for x in range(4):
                assert f(x) < 3
            assert f(5) == 5, "not five"
            assert True
            assert f(-1) == -1
    """)
    program = "def add(x): return {program}"
    assert judge(row, "def add(x): return x", partial_credit=True) == Grade(0.5 + 0.25, "partly_right")
    assert judge(row, "def add(x): return x") == Grade(0.0, "wrong")
    assert judge(row, "def add(x): return min(x, 2) if x < 5 else x", partial_credit=True) == Grade(1.0, "right")
    dies = "import os\ndef add(x): return x if x < 5 else os._exit(0)"
    assert judge(row, dies, partial_credit=True) == Grade(0.25, "partly_right")
    assert judge(row, program.format(program="None"), partial_credit=True) == Grade(0.0, "wrong")


@needs_sandbox
def test_tests_that_fail_before_they_call_the_program_are_ungradable() -> None:
    row = functional("import no_such_module\ndef check(f):\n    assert f(1) == 1\n")
    assert judge(row, "def add(x): return x") == Grade(None, "ungradable")


@needs_sandbox
def test_a_test_that_passes_a_function_is_ungradable() -> None:
    row = functional("def check(f):\n    assert f(lambda x: x) == 1\n")
    assert judge(row, "def add(f): return f(1)") == Grade(None, "ungradable")


@needs_sandbox
def test_objects_of_the_programs_own_are_made_changed_and_passed_but_never_compared() -> None:
    node = "class Node:\n    def __init__(self, value): self.value, self.left = value, None\n"
    row = {"test_setup_code": "root = Node(1)\nroot.left = Node(5)\nroot.left.left = Node(7)"}
    program = node + "def depth(node): return 1 + depth(node.left) if node else 0"
    assert judge({**row, "test_list": ["assert depth(root) == 3 and root.left.value == 5"]}, program).score == 1.0
    assert judge({**row, "test_list": ["assert root.left == root.left"]}, program).score == 0.0
    assert judge({**row, "test_list": ["assert root"]}, program).score == 0.0


@needs_sandbox
def test_a_class_of_the_programs_own_that_leetcode_has_too_is_its_own() -> None:
    row = {"test_setup_code": "root = TreeNode(1)\nroot.left = TreeNode(5)", "test_list": ["assert depth(root) == 2"]}
    node = "class TreeNode:\n    def __init__(self, value): self.val, self.left = value, None\n"
    assert judge(row, node + "def depth(node): return 1 + depth(node.left) if node else 0") == Grade(1.0, "right")


@needs_sandbox
def test_a_call_made_for_its_effect_changes_the_tests_own_values() -> None:
    row = functional("""
        def check(f):
            values, table, group, head = [3, 1, 2], {}, {1}, list_node([1, 2])
            f(values, table, group, head)
            assert values == [1, 2, 3] and table == {"a": [1]} and group == {1, 2}
            assert is_same_list(head, list_node([7, 8]))
    """)
    row["entry_point"] = "Solution().add"
    program = """
class Solution:
    def add(self, values, table, group, head):
        values.sort()
        table["a"] = [1]
        group.add(2)
        head.val, head.next.val = 7, 8
"""
    assert judge(row, program) == Grade(1.0, "right")


@needs_sandbox
def test_exceptions_arrive_as_the_nearest_of_pythons_own() -> None:
    row = functional("""
        def check(f):
            try:
                f(1)
            except ValueError as error:
                assert str(error) == "odd"
            else:
                assert f(0) is None
    """)
    assert judge(row, "class Odd(ValueError): pass\ndef add(x): raise Odd('odd')") == Grade(1.0, "right")
    assert judge(row, "def add(x): raise KeyError('odd')") == Grade(0.0, "crash")


@needs_sandbox
def test_a_program_that_reaches_an_assert_false_fails() -> None:
    row = functional("""
        def check(f):
            assert f(0) == 0
            try:
                f(-1)
                assert False, "took a negative number"
            except ValueError:
                pass
    """)
    assert judge(row, "def add(x):\n    if x < 0: raise ValueError\n    return x") == Grade(1.0, "right")
    assert judge(row, "def add(x): return x") == Grade(0.0, "wrong")


@needs_sandbox
def test_builtin_types_are_passed_by_name_and_printing_does_no_harm() -> None:
    row = {"test_list": ["assert without((1, 'a'), int) == ['a']"]}
    program = "def without(x, kind):\n    print('debugging')\n    return [y for y in x if not isinstance(y, kind)]"
    assert judge(row, program) == Grade(1.0, "right")


@needs_sandbox
def test_leetcode_snippets_have_leetcodes_imports_and_classes() -> None:
    test = "def check(candidate):\n    assert is_same_tree(candidate(tree_node([1, 2])), tree_node([1, None, 2]))\n\n"
    program = """
from sortedcontainers import SortedList
class Solution:
    def flip(self, root: Optional[TreeNode]) -> Optional[TreeNode]:
        queue = deque([root]); heap = []; heappush(heap, inf); SortedList([pow(3, 2, 5)])
        root.left, root.right = root.right, root.left
        return root
"""
    assert judge({"prompt": "", "test": test + "check(Solution().flip)"}, program) == Grade(1.0, "right")


@needs_sandbox
def test_a_demonstration_at_the_end_of_a_program_is_not_run() -> None:
    assert judge(MBPP, "def add(a, b): return a + b\nif __name__ == '__main__':\n    print(add(*input()))").score == 1.0


@needs_sandbox
@pytest.mark.parametrize("name", ["humaneval/test", "mbpp/all", "leetcode/train"])
def test_reference_solutions_pass_and_pass_no_longer_when_they_return_nothing(name: str) -> None:
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for row in rows[5 :: len(rows) // 4]:
        assert judge(row, row["answer"]) == Grade(1.0, "right"), row["id"]
        whole = row["answer"] if "def " in row["answer"] else row["prompt"] + row["answer"]
        empty = "\n".join(
            line.split("return ")[0] + "return None" if "return " in line else line for line in whole.splitlines()
        )
        assert judge(row, empty).score == 0.0, row["id"]
