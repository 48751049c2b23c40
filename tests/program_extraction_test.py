"""Extraction of programs: the last block that defines the required names, and none that only uses them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import HUMANEVAL, LEETCODE, MBPP, STDIO, needs_sandbox, rollout

from r1jax.graders.code import code_grader, unittest_grader
from r1jax.graders.code.program_extraction import defines, extract_program
from r1jax.graders.config import GraderConfig

ADD = "def add(a, b):\n    return a + b"
BROKEN = "def add(a, b:\n    return a + b"
WRONG = "def add(a, b):\n    return 0"
SOLUTION = "class Solution:\n    def add(self, a, b):\n        return a + b"
READER = "a, b = map(int, input().split())\nprint(a + b)"
MAIN = "def add(a, b):\n    return a + b\n\ndef main():\n    print(add(*map(int, input().split())))\n\nmain()"

# Blocks that show, use or test a program.
USES = [
    "print(add(2, 3))",
    "assert add(2, 3) == 5",
    "from solution import add\nprint(add(2, 3))",
    "add(2, 3)",
    'if __name__ == "__main__":\n    print(add(2, 3))',
    ">>> add(2, 3)\n5",
    "5\n-3",
    "Output: 5",
    "add",
    "import unittest\nfrom solution import add\n\nclass TestAdd(unittest.TestCase):\n"
    "    def test_it(self):\n        self.assertEqual(add(2, 3), 5)\n\nunittest.main()",
    "def test_add():\n    assert add(2, 3) == 5\n\ntest_add()",
    "for a, b in [(1, 2)]:\n    result = add(a, b)\n    print(result)",
    "import functools\nadd = functools.cache(add)",
    'import io, sys\nsys.stdin = io.StringIO("2 3")\nprint(add(2, 3))',
]


def answer(*blocks: str, tag: str = "python") -> str:
    return "\n\nso\n\n".join(f"```{tag}\n{block}\n```" for block in blocks)


@pytest.mark.parametrize("use", USES)
def test_a_block_that_only_uses_the_program_does_not_replace_it(use: str) -> None:
    assert extract_program(answer(ADD, use), "python", ["add"]) == ("python", ADD)
    assert extract_program(answer(ADD, use, tag=""), "python", ["add"]) == ("python", ADD)
    assert extract_program(answer(MAIN, use), "python") == ("python", MAIN)


@pytest.mark.parametrize(
    "text, program",
    [
        (answer(ADD, WRONG), WRONG),
        (answer(WRONG, "print(add(2, 3))", ADD, "print(add(2, 3))"), ADD),
        (answer(ADD, BROKEN), BROKEN),  # still the last
        (answer(ADD, "class Other:\n    def add(self): ..."), ADD),
        (answer(ADD, "def outer():\n    def add(a, b): ..."), ADD),
        (answer(ADD, "if True:\n    add = lambda a, b: 0"), "if True:\n    add = lambda a, b: 0"),
        (answer(ADD, "from operator import add"), "from operator import add"),
        (
            answer(ADD, "try:\n    from fast import add\nexcept ImportError:\n    def add(a, b): return 0"),
            "try:\n    from fast import add\nexcept ImportError:\n    def add(a, b): return 0",
        ),
        (answer(ADD) + "\n" + answer(WRONG, tag=""), ADD),  # a tag says what is the program
        (answer(ADD, tag="") + "\n" + answer("print(add(2, 3))"), ADD),
        (answer("x = 1", "print(5)"), "print(5)"),  # nobody defines it
    ],
)
def test_of_several_definitions_the_last_counts(text: str, program: str) -> None:
    assert extract_program(text, "python", ["add"]) == ("python", program)


def test_blocks_are_not_joined_and_one_that_defines_all_comes_before_one_that_defines_some() -> None:
    both = f"{ADD}\n\ndef sub(a, b):\n    return a - b"
    assert extract_program(answer(both, ADD), "python", ["add", "sub"]) == ("python", both)
    assert extract_program(answer("def helper(a, b): ...", ADD), "python", ["add"]) == ("python", ADD)
    assert extract_program(answer(ADD, "def sub(a, b): ..."), "python", ["add", "sub"]) == (
        "python",
        "def sub(a, b): ...",
    )


@pytest.mark.parametrize(
    "blocks, number",
    [
        ((READER, MAIN), 1),
        ((MAIN, READER), 1),  # the last that reads input
        ((READER, "print(2 + 3)"), 0),
        ((READER, "a, b = 2, 3\nprint(a + b)"), 0),
        ((READER, "print(a + b)"), 0),
        ((MAIN, "main()"), 0),
        ((MAIN, "import sys\nsys.setrecursionlimit(10**6)\nmain()"), 0),
        ((ADD, MAIN), 1),
        ((ADD, "print(add(*map(int, input().split())))"), 1),
        ((MAIN, "n = int(input())\nprint(add(n, n))"), 0),
        ((MAIN, "def main():\n    print(add(int(input()), 0))\n\nmain()"), 1),  # defined anew: it is the last word
        ((READER, "a, b = map(int, input(.split())"), 1),
        ((READER, "3 4\n7"), 0),
        ((READER, "Input: 3 4\nOutput: 7"), 0),
        ((READER, "$ python program.py\n7"), 0),
        (("print('hello')", "print('Hello')"), 1),
        (("import sys\nprint(sum(map(int, sys.stdin)))", "print(5)"), 0),
        (("print(sum(map(int, open(0))))", "print(5)"), 0),
    ],
)
def test_a_program_that_reads_and_prints_is_the_last_that_reads(blocks: tuple[str, ...], number: int) -> None:
    assert extract_program(answer(*blocks), "python") == ("python", blocks[number])


@pytest.mark.parametrize(
    "tag, program, use",
    [
        ("cpp", "#include <iostream>\nint main() { int a; std::cin >> a; }", "add(2, 3); // 5"),
        ("cpp", "#include <iostream>\nint main() { int a; std::cin >> a; }", "int main() { assert(add(2, 3) == 5); }"),
        ("javascript", "const a = require('fs').readFileSync(0); console.log(add(a));", "console.log(add(5));"),
    ],
)
def test_in_other_languages_too(tag: str, program: str, use: str) -> None:
    assert extract_program(answer(program, use, tag=tag), "python") == (tag, program)


@pytest.mark.parametrize("use", ["print(add(2, 3))", "assert add(2, 3) == 5\nadd(1, 2)", ">>> add(2, 3)\n5"])
@pytest.mark.parametrize("body", ["return a + b", "    return a + b", "    c = a\n    return c + b"])
def test_a_body_of_the_prompts_function_is_not_replaced_by_its_use(body: str, use: str) -> None:
    program = code_grader.functional_program(answer(body, use), HUMANEVAL["prompt"], "add")
    namespace: dict = {}
    exec(program, namespace)
    assert namespace["add"](2, 3) == 5


def test_a_body_that_returns_nothing_is_found_too() -> None:
    prompt = 'def order(x):\n    """Sort."""\n'
    program = code_grader.functional_program(answer("x.sort()", "y = [2, 1]\norder(y)"), prompt, "order")
    namespace: dict = {}
    exec(program, namespace)
    numbers = [2, 1]
    namespace["order"](numbers)
    assert numbers == [1, 2]


@needs_sandbox
@pytest.mark.parametrize(
    "row, program, use",
    [
        (MBPP, ADD, "print(add(2, 3))"),
        (HUMANEVAL, ADD, "assert add(2, 3) == 5"),
        (HUMANEVAL, "return a + b", "print(add(2, 3))"),
        (LEETCODE, SOLUTION, "s = Solution()\nprint(s.add(2, 3))"),
        (STDIO, MAIN, "print(add(2, 3))"),
        (STDIO, READER, "5\n"),
    ],
    ids=["mbpp", "humaneval", "body", "leetcode", "stdio", "output"],
)
def test_programs_followed_by_an_example_are_right(row: dict, program: str, use: str) -> None:
    assert code_grader.grade(rollout(row, answer(program, use)), GraderConfig())[:2] == (1.0, "right")
    wrong = program.replace("a + b", "a - b").replace("c + b", "c - b")
    assert code_grader.grade(rollout(row, answer(wrong, use)), GraderConfig()).score == 0.0
    assert code_grader.grade(rollout(row, answer(program, wrong)), GraderConfig()).score == 0.0


@needs_sandbox
def test_an_exercise_followed_by_an_example_is_right() -> None:
    tests = {
        "sums_test.py": "import unittest\nfrom sums import (add)\n\nclass SumsTest(unittest.TestCase):\n"
        "    def test_add(self):\n        self.assertEqual(add(2, 3), 5)\n"
    }
    row = {"prompt": "?", "starter_files": {"sums.py": ""}, "test_files": tests}
    for use in USES[:4]:
        assert unittest_grader.grade(rollout(row, answer(ADD, use)), GraderConfig()).score == 1.0
    assert unittest_grader.grade(rollout(row, answer(ADD, WRONG)), GraderConfig()).score == 0.0


@pytest.mark.parametrize(
    "source",
    [
        "import add",
        "from x import add",
        "from . import add",
        "print(add)",
        "add: int",
        "for add in x: pass",
        "add(1)",
        "x.add = 1",
        "add = add + 1",
        "",
        "add = ",
    ],
)
def test_sources_that_do_not_define_the_name(source: str) -> None:
    assert not defines(source, "add")


@given(st.text("`\n\tpyc+x=1(): def add", max_size=80), st.lists(st.sampled_from(["add", "x", "("]), max_size=2))
def test_any_text_is_read_without_an_error(text: str, names: list[str]) -> None:
    extract_program(text, "python", names)
    code_grader.functional_program(text, HUMANEVAL["prompt"], "add", names)


def test_deep_and_many_blocks_are_read_in_a_moment() -> None:
    deep = "if x:\n    pass\n" + "elif x:\n    pass\n" * 2000
    for body in (deep, "x = " + "(" * 5000, "x" + ".a" * 5000 + "(0)", "-" * 5000 + "1"):
        extract_program(answer(body, "print(1)"), "python", ["add"])
        code_grader.functional_program(answer(body, body), HUMANEVAL["prompt"], "add")
    many = "```python\nx\n```\n" * 10**4
    extract_program(many, "python", ["add", "sub"])
    code_grader.functional_program(many, HUMANEVAL["prompt"], "add")
