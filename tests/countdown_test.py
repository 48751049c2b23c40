"""Countdown grader: accepted expressions, and that nothing else passes, hangs or raises."""

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.graders import countdown
from r1jax.graders.config import GraderConfig

ROWS = Path(__file__).parents[2] / "shared/data/countdown/test.jsonl"


def _grade(text: str, nums: list[int], target: int, **fields: object) -> Grade:
    prompt = Prompt("p", "?", "", "countdown:x", metadata={"nums": nums, "target": target, **fields})
    rollout = Rollout.of_text(prompt, text)
    return countdown.grade(rollout, GraderConfig())._replace(answer="")  # canonical_test has what votes go by


@pytest.mark.parametrize(
    "text",
    [
        "75-(83-18)",
        " 75 - ( 83 - 18 ) ",
        "75-(83-18) = 10",
        "75-(83-18).",
        "-(83-18)+75",
        "75--18-83",
        "75-[83-{18}]",
        "75 − (83 – 18)",
        "$75-(83-18)$",
        r"\(75-\left(83-18\right)\)",
        r"\boxed{75-(83-18)}",
        r"<think>a</think><answer>75-(83-18)</answer>",
        r"<think>a</think><answer>\boxed{75-(83-18)=10}</answer>",
        r"<think>75+83</think> The answer is \boxed{75-(83-18)}.",
        "75\n-(83\n-18)",
        r"\boxed{75-(83-18)} again \boxed{75 - (83 - 18)}",
    ],
)
def test_an_expression_that_reaches_the_target_is_right(text: str) -> None:
    assert _grade(text, [83, 18, 75], 10) == Grade(1.0, "right")


@pytest.mark.parametrize(
    "text", [r"6 \times 8 \div 4", "6×8÷4", "6·8/4", r"6 \cdot \frac{8}{4}", r"\dfrac{6*8}{4}", r"-\frac{-6}{4}*8"]
)
def test_the_usual_spellings_of_product_and_quotient_are_read(text: str) -> None:
    assert _grade(text, [4, 6, 8], 12).verdict == "right"


def test_values_are_exact_fractions() -> None:
    assert _grade("8/(3-8/3)", [3, 3, 8, 8], 24).score == 1.0
    assert _grade("(1/3)*3", [1, 3, 3], 1).score == 1.0
    assert _grade("1/3+7/10", [1, 3, 7, 10], 1).score == 0.0


@pytest.mark.parametrize(
    "text, nums, target, verdict",
    [
        ("2.5*4", [2, 5, 4], 10, "malformed"),
        ("2**3", [2, 3], 8, "malformed"),
        ("7//2", [7, 2], 3, "malformed"),
        ("7%2", [7, 2], 1, "malformed"),
        ("3!*4", [3, 4], 24, "malformed"),
        ("2^3", [2, 3], 8, "malformed"),
        ("2(3)", [2, 3], 6, "malformed"),
        ("(2)(3)", [2, 3], 6, "malformed"),
        ("2 3", [2, 3], 6, "malformed"),
        ("2,3", [2, 3], 6, "malformed"),
        ("2e1", [2, 1], 20, "malformed"),
        ("2_5", [2, 5], 25, "malformed"),
        ("0x10", [0, 10], 16, "malformed"),
        ("+5", [5], 5, "malformed"),
        ("\uff15", [5], 5, "malformed"),
        ("25", [2, 5], 25, "wrong"),
        ("05+3", [5, 3], 8, "wrong"),
        ("99**98**97", [99, 98, 97], 1, "malformed"),
        ("abs(-5)", [5], 5, "malformed"),
        ("__import__('os').system('true')", [5], 5, "malformed"),
        ("True", [1], 1, "malformed"),
        ("", [5], 5, "no_answer"),
        ("()", [5], 5, "wrong"),
        ("5)", [5], 5, "malformed"),
        ("(5", [5], 5, "malformed"),
        ("(5]", [5], 5, "malformed"),
        ("5+", [5], 5, "malformed"),
        ("*5", [5], 5, "malformed"),
        (r"\frac{6}", [6], 6, "malformed"),
        (r"\frac62", [6, 2], 3, "wrong"),
        (r"\frac(6)(2)", [6, 2], 3, "malformed"),
    ],
)
def test_trap19_what_is_no_expression_of_the_numbers_never_passes(
    text: str, nums: list[int], target: int, verdict: str
) -> None:
    assert _grade(text, nums, target) == Grade(0.0, verdict)


@pytest.mark.parametrize(
    "text",
    [
        "10",
        "5+5",
        "2*5+0",
        "2*5*1",
        "5*2-3+3",
        "5/(2-2)",
        "2*5/(3-3)",
        "5*2=11-1",
        "2*5=3",
        "10=2*5",
        "2*5=10=10",
        "2*5==",
    ],
)
def test_other_numbers_other_values_and_untrue_or_chained_equations_are_wrong(text: str) -> None:
    assert _grade(text, [2, 5], 10).score == 0.0


def test_a_division_by_zero_is_wrong() -> None:
    assert _grade("5/(3-3)", [5, 3, 3], 5) == Grade(0.0, "wrong")
    assert _grade(r"\frac{5}{3-3}", [5, 3, 3], 5) == Grade(0.0, "wrong")


def test_every_number_is_used_as_often_as_it_is_given() -> None:
    assert _grade("3+3", [3, 3], 6).score == 1.0
    assert _grade("3+3", [3], 6).score == 0.0
    assert _grade("3+3", [3, 3, 1], 6).score == 0.0
    assert _grade("3+3+1-1", [3, 3, 1], 6).score == 0.0


def test_a_row_that_says_so_lets_numbers_be_left_out() -> None:
    assert _grade("3+3", [3, 3, 1], 6, use_all=False).score == 1.0
    assert _grade("3+3", [3, 1], 6, use_all=False).score == 0.0


def test_trap20_only_the_answer_outside_the_thought_counts_and_answers_that_differ_count_for_nothing() -> None:
    for text in (
        r"<think>\boxed{2*5}</think> It is 10",
        "<think>2*5",
        r"\boxed{2*5} \boxed{2+5}",
        "<answer>2*5</answer><answer>2+5</answer>",
        "2*5 or 2+5",
        "2+5, 2*5",
    ):
        assert _grade(text, [2, 5], 10).score == 0.0, text


@pytest.mark.parametrize(
    "text, verdict",
    [
        ("(" * 100 + "5" + ")" * 100, "too_complex"),
        ("(" * 2000, "wrong"),
        ("-" * 4000 + "5", "right"),
        ("9" * 4000, "wrong"),
        ("1+" * 10**6, "too_complex"),
        ("(" * 10**6, "too_complex"),
        (" " * 4000 + "5", "right"),
        ("9^{9^{9^{9}}}", "malformed"),
    ],
)
def test_huge_and_deep_answers_cost_nothing(text: str, verdict: str) -> None:
    assert _grade(text, [5], 5).verdict == verdict


@pytest.mark.parametrize(
    "row",
    [
        {"nums": [1, 2]},
        {"target": 3},
        {"nums": [], "target": 3},
        {"nums": "12", "target": 3},
        {"nums": [1, "2"], "target": 3},
        {"nums": [1, 2.0], "target": 3},
        {"nums": [1, -2], "target": 3},
        {"nums": [True, 2], "target": 3},
        {"nums": [1, 2], "target": "3"},
        {"nums": [1, 2], "target": 2.5},
        {"nums": [1, 2], "target": 3, "use_all": 1},
    ],
)
def test_trap25_a_row_that_nothing_could_be_graded_against_is_refused(row: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"nums|target|use_all"):
        countdown.check(row)


def test_a_row_is_recognised_by_its_fields() -> None:
    assert countdown.is_countdown({"prompt": "?", "nums": [1], "target": 1})
    assert not countdown.is_countdown({"prompt": "?", "answer": "1"})
    countdown.check({"nums": [1, 2], "target": -3, "use_all": False})


# An expression and what it holds: its text, its exact value (None: divided by zero) and its numbers.
Tree = tuple[str, Fraction | None, list[int]]


def _join(left: Tree, operator: str, right: Tree) -> Tree:
    value = None
    if left[1] is not None and right[1] is not None:
        if operator == "/":
            value = left[1] / right[1] if right[1] else None
        else:
            value = {"+": left[1] + right[1], "-": left[1] - right[1], "*": left[1] * right[1]}[operator]
    return f"({left[0]} {operator} {right[0]})", value, left[2] + right[2]


TREES = st.recursive(
    st.integers(0, 100).map(lambda n: (str(n), Fraction(n), [n])),
    lambda trees: st.builds(_join, trees, st.sampled_from("+-*/"), trees),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_any_expression_over_the_numbers_passes_exactly_when_its_value_is_the_target(tree: Tree) -> None:
    text, value, numbers = tree
    target = int(value) if value is not None else 1
    assert countdown.grade_expression(text, numbers, target).score == float(value is not None and value == target)
    assert countdown.grade_expression(text, numbers, target + 1).score == 0.0


@settings(max_examples=200, deadline=None)
@given(TREES, st.lists(st.integers(0, 100), max_size=8))
def test_an_expression_of_other_numbers_never_passes(tree: Tree, others: list[int]) -> None:
    text, value, numbers = tree
    if value is not None and value.denominator == 1 and Counter(others) != Counter(numbers):
        assert countdown.grade_expression(text, others, int(value)).score == 0.0


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text("0123456789+-*/()[]{}= .\\fractimes$", max_size=60)))
def test_no_text_raises(text: str) -> None:
    assert countdown.grade_expression(text, [1, 2, 3], 6).score in (0.0, 1.0)
    assert _grade(text, [1, 2, 3], 6).score in (0.0, 1.0)


@pytest.mark.skipif(not ROWS.exists(), reason=f"no data at {ROWS}")
def test_trap23_every_reference_passes_and_no_perturbed_one_does() -> None:
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    perturbed = 0
    for row in rows:
        countdown.check(row)
        answer, nums, target = row["answer"], row["nums"], row["target"]
        for text in (answer, rf"\boxed{{{answer}}}", f"<think>a</think><answer>{answer} = {target}</answer>"):
            assert _grade(text, nums, target).score == 1.0, row
        for i, char in enumerate(answer):
            # Another operator, digit or number: Python's own arithmetic says which of them are right all the same.
            swaps = "+-*/" if char in "+-*/" else "0123456789" if char.isdigit() else ""
            for other in swaps.replace(char, ""):
                text = answer[:i] + other + answer[i + 1 :]
                try:
                    truly = char in "+-*/" and "//" not in text and "**" not in text and abs(eval(text) - target) < 1e-9
                except ZeroDivisionError:
                    truly = False
                assert _grade(text, nums, target).score == float(truly), (row, text)
                perturbed += 1
        for text in (
            f"{answer}+0",
            f"{answer}*1",
            f"{answer}+{nums[0]}-{nums[0]}",
            str(target),
            answer[1:],
            f"-({answer})",
        ):
            assert _grade(text, nums, target).score == 0.0, (row, text)
    assert perturbed > 5000
