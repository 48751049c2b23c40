"""Tests of standard input and output: comparison of outputs, limits, languages, checkers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import STDIO, judge, needs_cpp, needs_node, needs_sandbox

from r1jax.data.types import Grade
from r1jax.graders.code.stdio_tests import check_language, language_of_tag, read_tests, same_output

LINES = st.lists(st.lists(st.text("ab1.-", min_size=1, max_size=3), max_size=3), max_size=4)


def test_trap21_printing_only_the_first_lines_is_wrong() -> None:
    assert same_output(b"1\n2\n", "1\n2", 0.0)
    assert not same_output(b"1\n", "1\n2", 0.0)
    assert not same_output(b"1\n2\n3\n", "1\n2", 0.0)
    assert not same_output(b"", "1", 0.0)
    assert not same_output(b"1 2", "1\n2", 0.0)


@given(LINES, st.sampled_from([b" ", b"\t", b"  "]), st.sampled_from([b"\n", b" \n", b"\r\n"]), st.integers(0, 3))
def test_spacing_within_lines_and_blank_lines_at_the_end_do_not_count(
    lines: list[list[str]], space: bytes, end: bytes, blank: int
) -> None:
    expected = "\n".join(" ".join(line) for line in lines)
    printed = end.join(space.join(word.encode() for word in line) for line in lines) + end * blank
    assert same_output(printed, expected, 0.0)
    assert not same_output(printed + b"\nmore", expected, 0.1)


@given(LINES, LINES)
def test_other_words_are_another_output(printed: list[list[str]], expected: list[list[str]]) -> None:
    def text(lines: list[list[str]]) -> str:
        return "\n".join(" ".join(line) for line in lines).rstrip("\n")

    assert same_output(text(printed).encode(), text(expected), 0.0) == (text(printed) == text(expected))


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        (b"0.3333", "0.33333333", True),
        (b"3333.3", "3333.33333", True),
        (b"0.333", "0.33333333", False),
        (b"1e-5", "0.0", True),
        (b"2.00000", "2", True),
        (b"1000000001", "1000000000", False),  # a billion and one is near a billion only relatively
        (b"nan", "0.5", False),
        (b"nan", "nan", True),
        (b"inf", "1e400", False),
        (b"0x1", "1.0", False),
        (b"1_0", "10.0", False),
        (b"yes 0.50001", "yes 0.5", True),
        (b"no 0.5", "yes 0.5", False),
        (b"0.5\n0.5", "0.5 0.5", False),
        (b"0.5 0.5", "0.5", False),
    ],
)
def test_numbers_may_differ_by_the_tolerance(printed: bytes, expected: str, same: bool) -> None:
    assert same_output(printed, expected, 1e-4) == same
    assert not same_output(b"0.3333", "0.33333333", 0.0)


@given(st.binary(max_size=40), st.text(max_size=20), st.sampled_from([0.0, 1e-6]))
def test_comparing_never_raises(printed: bytes, expected: str, tolerance: float) -> None:
    same_output(printed, expected.encode(errors="ignore").decode(), tolerance)


@pytest.mark.parametrize(
    "row",
    [
        {"tests": []},
        {"tests": ["1"]},
        {"tests": [{"input": "1"}]},
        {"tests": [{"input": 1, "output": 2}]},
        {"tests": [{"input": "1", "output": " \n"}]},  # silence would pass
        {"tests": STDIO["tests"], "tolerance": "1e-6"},
        {"tests": STDIO["tests"], "tolerance": -1.0},
        {"tests": STDIO["tests"], "tolerance": 2.0},
        {"tests": STDIO["tests"], "checker": "def check(input"},
        {"tests": STDIO["tests"], "checker": "def judge(input, expected, output): return True"},
        {"tests": STDIO["tests"], "checker": 5},
        {"tests": {"fname": "559.json"}, "public_tests": []},
    ],
)
def test_tests_that_could_grade_nothing_are_refused(row: dict) -> None:
    with pytest.raises(ValueError):
        read_tests(row)


def test_public_tests_stand_in_where_the_others_are_no_list() -> None:
    row = {"tests": {"fname": "559.json"}, "public_tests": [{"input": "1", "output": "2"}]}
    assert read_tests(row).cases == (("1", "2"),)


def test_languages_have_their_usual_names() -> None:
    assert [language_of_tag(name) for name in ("py", "Python3", "C++", "cpp", "js", "rust", "")] == [
        "python",
        "python",
        "cpp",
        "cpp",
        "javascript",
        None,
        None,
    ]
    with pytest.raises(ValueError, match="javascript"):
        check_language("javascipt")


RIGHT = "a, b = map(int, input().split())\nprint(a + b)"


@needs_sandbox
def test_a_right_program_is_right_and_its_share_counts_as_partial_credit() -> None:
    assert judge(STDIO, RIGHT) == Grade(1.0, "right")
    half = "a, b = map(int, input().split())\nprint(abs(a) + b)"
    assert judge(STDIO, half) == Grade(0.0, "wrong")
    assert judge(STDIO, half, partial_credit=True) == Grade(0.5, "partly_right")


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        ("print(0)", "wrong"),
        ("print(5", "compile_error"),
        ("print(-3, 'too', 'much')", "wrong"),
        ("raise ValueError", "crash"),
        ("exec('1 +')", "crash"),  # its own text is Python
        (RIGHT + "\nraise SystemExit(3)", "crash"),
        (RIGHT + "\nimport os\nos.abort()", "crash"),
        ("x = bytearray(2**40)", "memory"),
        ("while True: print('flood' * 1000)", "output"),
    ],
)
def test_failures_have_different_verdicts(program: str, verdict: str) -> None:
    assert judge(STDIO, program) == Grade(0.0, verdict)


@needs_sandbox
def test_trap21_a_time_out_is_a_score_and_all_tests_together_have_a_limit() -> None:
    assert judge(STDIO, "while True: pass", time_s=0.4) == Grade(0.0, "timeout")
    many = {**STDIO, "tests": STDIO["tests"] * 50}
    slow = "import time\nwhile time.process_time() < 0.2: pass\n" + RIGHT
    assert judge(many, slow, partial_credit=True, time_s=1.0, total_s=1.5).score < 0.2


@needs_sandbox
def test_a_tasks_own_limits_override_the_config() -> None:
    slow = "import time\nwhile time.process_time() < 0.6: pass\n" + RIGHT
    assert judge({**STDIO, "time_limit_s": 0.4}, slow) == Grade(0.0, "timeout")
    assert judge({**STDIO, "time_limit_s": 10.0}, slow, time_s=0.4, total_s=0.4) == Grade(1.0, "right")
    large = "x = bytearray(300 * 2**20)\n" + RIGHT
    assert judge({**STDIO, "memory_limit_mb": 128}, large) == Grade(0.0, "memory")
    assert judge({**STDIO, "memory_limit_mb": 1024}, large) == Grade(1.0, "right")


@needs_sandbox
def test_a_large_stack_that_is_not_used_does_not_count() -> None:
    """As programs with deep recursion have it."""
    work = "lambda: print(sum(map(int, input().split())))"
    program = f"import threading\nthreading.stack_size(1 << 28)\nthreading.Thread(target={work}).start()"
    assert judge({**STDIO, "memory_limit_mb": 256}, program) == Grade(1.0, "right")


@needs_sandbox
def test_each_test_runs_in_a_sandbox_of_its_own() -> None:
    program = f"import os\nassert not os.path.exists('/tmp/seen')\nopen('/tmp/seen', 'w').close()\n{RIGHT}"
    assert judge(STDIO, program) == Grade(1.0, "right")


@needs_sandbox
def test_a_checker_decides_where_many_outputs_are_right() -> None:
    checker = """
def check(input, expected, output):
    print("thinking")
    a, b = map(int, output.split())
    return a * b == int(input) and a <= b
"""
    row = {"prompt": "Give two factors.", "tests": [{"input": "12\n", "output": "2 6"}], "checker": checker}
    assert judge(row, "print(3, 4)") == Grade(1.0, "right")
    assert judge(row, "print(4, 3)") == Grade(0.0, "wrong")
    assert judge(row, "print('three', 4)") == Grade(0.0, "wrong")  # the checker raises
    hangs = {**row, "checker": "def check(input, expected, output):\n    while True: pass"}
    assert judge(hangs, "print(3, 4)", time_s=2.0) == Grade(0.0, "wrong")


CPP = '#include <cstdio>\nint main() { long a, b; scanf("%%ld%%ld", &a, &b); printf("%%ld\\n", a %s b); }'
JAVASCRIPT = """
const [a, b] = require("fs").readFileSync(0, "utf8").trim().split(/\\s+/).map(Number);
console.log(a %s b);
"""


@needs_sandbox
@needs_cpp
def test_cpp_is_compiled_and_run() -> None:
    assert judge(STDIO, CPP % "+", tag="cpp") == Grade(1.0, "right")
    assert judge(STDIO, CPP % "*", tag="c++") == Grade(0.0, "wrong")
    assert judge(STDIO, "int main() { return x; }", tag="cpp") == Grade(0.0, "compile_error")
    assert judge(STDIO, "int main() { int* p = 0; return *p; }", tag="cpp") == Grade(0.0, "crash")


@pytest.mark.slow
@needs_sandbox
@needs_cpp
def test_cpp_with_every_header_is_compiled_within_the_limits() -> None:
    program = "#include <bits/stdc++.h>\nint main() { long a, b; std::cin >> a >> b; std::cout << a + b; }"
    assert judge(STDIO, program, tag="cpp") == Grade(1.0, "right")


@needs_sandbox
@needs_node
def test_javascript_is_run() -> None:
    assert judge(STDIO, JAVASCRIPT % "+", tag="js") == Grade(1.0, "right")
    assert judge(STDIO, JAVASCRIPT % "-", tag="javascript") == Grade(0.0, "wrong")


@needs_sandbox
def test_a_language_without_a_compiler_is_ungradable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r1jax.graders.code.stdio_tests._tool", lambda language: None)
    assert judge(STDIO, CPP % "+", tag="cpp") == Grade(None, "ungradable")
