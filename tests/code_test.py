"""Grader of programs: extraction of the program, and rows that can be graded."""

import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import HUMANEVAL, LEETCODE, MBPP, STDIO, needs_sandbox, rollout

from r1jax.graders.code import code_grader
from r1jax.graders.code.code_grader import check, functional_program, is_code
from r1jax.graders.code.program_extraction import extract_program
from r1jax.graders.config import GraderConfig

DATA = pathlib.Path(__file__).parents[2] / "shared/data"
PROMPT = 'import math\n\ndef add(a, b):\n    """The sum."""\n'


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\nx = 1\n```", "x = 1"),
        ("```py\nx = 1\n```\nor rather\n```python\nx = 2\n```", "x = 2"),  # the last one
        ("```python\nx = 1\n```\nIt prints\n```\n1\n```", "x = 1"),  # a tag says what is the program
        ("```\nx = 1\n```", "x = 1"),
        ("```python\nx = 1", "x = 1"),
        ("~~~~python\nx = '''\n~~~\n'''\n~~~~", "x = '''\n~~~\n'''"),
        ("1. First\n   ```python\n   if x:\n       y()\n   ```", "if x:\n    y()"),
        ("```python title=a.py\nx = 1\n```", "x = 1"),
        ("x = 1\nprint(x)", "x = 1\nprint(x)"),
        ("```python\r\nx = 1\r\n```", "x = 1\r"),
        ("The answer is 5.", None),
        ("5", None),
        ("add", None),
        ("```python\n\n```", None),
        ("```text\nx = 1\n```", None),
        ("```rust\nfn main() {}\n```", None),
        ("", None),
    ],
)
def test_the_program_is_the_last_block_that_is_one(text: str, program: str | None) -> None:
    found = extract_program(text, "python")
    assert found == (None if program is None else ("python", program))


def test_the_tag_names_the_language_else_the_row_does() -> None:
    assert extract_program("```cpp\nint main() {}\n```", "python") == ("cpp", "int main() {}")
    assert extract_program("```\nint main() {}\n```", "cpp") == ("cpp", "int main() {}")
    assert extract_program("int main() {}", "cpp") == ("cpp", "int main() {}")


@given(st.text("`~ \n\tpyc+x=1(", max_size=60))
def test_any_text_is_read_without_an_error(text: str) -> None:
    extract_program(text, "python")
    functional_program(text, PROMPT, "add")


def test_a_million_fences_are_read_in_a_moment() -> None:
    for text in ("```\n" * 10**5, "`" * 10**6, "``` ```\n" * 10**5, "```python\n" * 10**5, "~~~ \t" * 10**5):
        extract_program(text, "cpp")


@pytest.mark.parametrize(
    "text",
    [
        "```python\n    return a + b\n```",
        "```python\nreturn a + b\n```",
        "return a + b",
        "```python\n    c = a\n    return c + b\n```",
        "c = a\n    return c + b",  # its first line's indentation was stripped with the text's
        "```python\nc = a\nreturn c + b\n```",
        "```python\nif True:\n    return a + b\n```",
    ],
)
def test_a_body_continues_the_prompt(text: str) -> None:
    program = functional_program(text, PROMPT, "add")
    namespace: dict = {}
    exec(program, namespace)
    assert namespace["add"](2, 3) == 5


def test_a_complete_function_is_the_program() -> None:
    whole = "def add(a, b):\n    return a + b"
    assert functional_program(f"```python\n{whole}\n```", PROMPT, "add") == whole
    assert functional_program(whole, "Write add.", "") == whole
    assert functional_program("I do not know.", PROMPT, "add") is None
    assert functional_program("```text\nreturn 5\n```", PROMPT, "add") is None


def test_rows_with_tests_are_code() -> None:
    assert all(is_code(row) for row in (HUMANEVAL, LEETCODE, MBPP, STDIO))
    assert not is_code({"prompt": "2 + 3 =", "answer": "5"})
    assert not is_code({"prompt": "?", "tests": {"fname": "559.json"}})


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2 + 3 =", "answer": "5"},
        {**STDIO, "tests": []},
        {**STDIO, "time_limit_s": "2"},
        {**STDIO, "time_limit_s": -1},
        {**STDIO, "memory_limit_mb": True},
        {**STDIO, "memory_limit_mb": float("inf")},
        {**STDIO, "language": "rust"},
        {**MBPP, "test_list": ["assert True"]},
    ],
)
def test_a_row_that_could_never_be_graded_is_refused(row: dict) -> None:
    with pytest.raises(ValueError):
        check(row)


def test_rows_of_the_public_formats_are_accepted() -> None:
    for row in (
        HUMANEVAL,
        LEETCODE,
        MBPP,
        STDIO,
        {**STDIO, "language": "cpp", "time_limit_s": 2, "memory_limit_mb": 256},
    ):
        check(row)


@pytest.mark.parametrize(
    "name", ["humaneval/test", "mbpp/all", "leetcode/train", "codeforces/test", "code_contests/test"]
)
def test_rows_of_the_public_data_can_be_graded(name: str) -> None:
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    for line in path.read_text("utf-8").splitlines()[::20]:
        check(json.loads(line))


@needs_sandbox
def test_trap20_what_counts_stands_outside_the_thought() -> None:
    right, wrong = "```python\ndef add(a, b): return a + b\n```", "```python\ndef add(a, b): return 0\n```"
    for thought, answer, score in ((wrong, right, 1.0), (right, wrong, 0.0)):
        response = rollout(MBPP, f"<think>{thought}</think><answer>{answer}</answer>")
        assert code_grader.grade(response, GraderConfig()).score == score
    assert code_grader.grade(rollout(MBPP, f"<think>{right}"), GraderConfig())[:2] == (0.0, "no_answer")


def test_no_program_and_one_too_long_to_be_honest_cost_nothing() -> None:
    assert code_grader.grade(rollout(STDIO, "I do not know."), GraderConfig())[:2] == (0.0, "no_answer")
    assert code_grader.grade(rollout(STDIO, "x = 1\n" * 10**5), GraderConfig())[:2] == (0.0, "too_complex")
