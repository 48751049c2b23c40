"""Mathematics, graded."""

import json
from pathlib import Path

import pytest

from r1jax.data.types import Prompt, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.math import math_grader
from r1jax.graders.math.final_answer import final_answer
from r1jax.text.chat import split_response

MATH500 = Path(__file__).parents[2] / "shared/data/math500/test.jsonl"


def _accuracy(text: str, gold: str) -> float | None:
    prompt = Prompt(id="p", question="?", answer=gold, source="maths:test")
    rollout = Rollout.of_text(prompt, text)
    return math_grader.grade(rollout, GraderConfig()).score


@pytest.mark.parametrize(
    "text, answer",
    [
        ("41", "41"),
        ("<think>40</think>\n<answer>41</answer>", "41"),
        (r"<think>40</think> So it is \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{5} and again \boxed{ 5 }", "5"),
        ("<answer>5</answer> <answer> 5</answer>", "5"),
        (r"<answer>so \boxed{5}</answer>", "5"),
        (r"truncated \boxed{5} and \boxed{6", "5"),
    ],
)
def test_the_final_answer_is_the_box_or_the_whole_final_part(text: str, answer: str) -> None:
    assert final_answer(split_response(text)) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<think>41</think>",
        r"<think>\boxed{41}",
        r"<think>a</think><think>\boxed{41}",
        r"\boxed{}",
        r"\boxed{41} or \boxed{42}",
        "<answer>41</answer><answer>42</answer>",
        r"<answer>41</answer><answer>\boxed{42}</answer>",
    ],
)
def test_no_answer_or_several_that_differ_is_none(text: str) -> None:
    assert final_answer(split_response(text)) is None
    assert _accuracy(text, "41") == 0.0


def test_trap20_the_answer_inside_the_thought_is_not_graded() -> None:
    text = r"<think>\boxed{42}</think> The answer is 41"
    assert _accuracy(text, "42") == 0.0
    assert _accuracy(text, "41") == 1.0


def test_trap20_two_different_boxes_are_wrong_for_either() -> None:
    assert [_accuracy(r"\boxed{41} \boxed{42}", gold) for gold in ("41", "42")] == [0.0, 0.0]


@pytest.mark.parametrize(
    "text", ["<answer>Adding up,\n\nwe get\n41.\n</answer>", "\\boxed{\n41\n}", "3x = 123\nx = 41"]
)
def test_trap20_a_multi_line_answer_works(text: str) -> None:
    assert _accuracy(text, "41") == 1.0


def test_trap22_ill_formed_tags_do_not_hide_a_right_answer() -> None:
    assert _accuracy("<think>a</think> noise <answer>41</answer> noise", "41") == 1.0


TRAP23_GOLDS = ["5", "-3", r"\frac{14}{3}", r"\left( 3, \frac{\pi}{2} \right)", r"\text{Evelyn}", "p - q", r"11\sqrt2"]
TRAP23_GOLDS += [
    r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}",
    r"10\%",
    "(-2,1)",
    "6 - 5i",
    r"x \in [-2,7]",
    "11,\\! 111",
]


@pytest.mark.parametrize("gold", TRAP23_GOLDS)
def test_trap23_the_reference_fed_back_scores_1(gold: str) -> None:
    math_grader.check({"answer": gold})
    assert _accuracy(rf"<think>a</think> \boxed{{{gold}}}", gold) == 1.0


def test_trap23_every_reference_of_math500_fed_back_scores_1() -> None:
    if not MATH500.exists():
        pytest.skip(f"no MATH-500 at {MATH500}")
    golds = [json.loads(line)["answer"] for line in MATH500.read_text(encoding="utf-8").splitlines()]
    assert [gold for gold in golds if _accuracy(rf"<think>a</think> \boxed{{{gold}}}", gold) != 1.0] == []


@pytest.mark.parametrize(
    "answer", ["18.", "$18", r"\$18", "18.00", r"18\text{ dollars}", "18 dollars", "$18$", "x = 18"]
)
@pytest.mark.parametrize("form", [r"\boxed{%s}", "<think>a</think><answer>%s</answer>", "The answer is %s"])
def test_trap24_other_ways_to_write_18_equal_18(answer: str, form: str) -> None:
    assert _accuracy(form.replace("%s", answer), "18") == 1.0


@pytest.mark.parametrize("percent", ["42%", r"42\%", "42 %"])
@pytest.mark.parametrize("form", [r"\boxed{*}", "<answer>*</answer>", "The answer is *."])
def test_trap24_42_percent_is_not_42(percent: str, form: str) -> None:
    assert _accuracy(form.replace("*", percent), "42") == 0.0
    assert _accuracy(form.replace("*", "42"), percent) == 0.0
    assert _accuracy(form.replace("*", percent), "0.42") == 1.0


@pytest.mark.parametrize("gold", ["", "...", r"\frac{", "€"])
def test_trap25_an_unparseable_reference_is_refused_and_never_a_reward(gold: str) -> None:
    with pytest.raises(ValueError, match="reference answer"):
        math_grader.check({"answer": gold})
    assert _accuracy(gold, gold) is None


@pytest.mark.parametrize(
    "answer, gold",
    [
        ("41, 42", "42"),
        ("x^2 + 1", "1"),
        (r"2\frac12", "2"),
        ("no idea", "5"),
        ("(1, 2)", "(2, 1)"),
        ("Eve", r"\text{Evelyn}"),
    ],
)
def test_a_wrong_answer_that_contains_the_right_one_scores_0(answer: str, gold: str) -> None:
    assert _accuracy(f"<answer>{answer}</answer>", gold) == 0.0


@pytest.mark.parametrize(
    "answer, gold",
    [
        ("1,234", "1234"),
        ("11111", r"11,\! 111"),
        ("0.5", r"\frac12"),
        ("Evelyn.", r"\text{Evelyn}"),
        ("yes", "Yes"),
        ("It is 7", "7"),
        ("共有3人,答案是41元。", "41"),
        ("答案是 $x=41$。", "41"),
        ("答案是42%", "0.42"),
    ],
)
def test_equal_answers_score_1(answer: str, gold: str) -> None:
    assert _accuracy(f"<answer>{answer}</answer>", gold) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "To find the final answer to the problem 85 + 61, we need to add 61 to 85 and then",
        "85 + 61 = 147",
        "<answer>85 + 61</answer>",
        r"\boxed{85+61}",
        r"\boxed{200 - 54}",
        r"The answer is $100+46$.",
    ],
)
def test_trap20_a_sum_said_again_is_not_its_answer(text: str) -> None:
    """A model rewarded for such texts went from 11% to 70% "right" in ten steps, and could add no better."""
    assert _accuracy(text, "146") == 0.0


@pytest.mark.parametrize(
    "text, gold",
    [
        ("85 + 61 = 146", "146"),
        ("146", "146"),
        (r"\boxed{-56}", "-56"),
        ("28 - 84 is -56", "-56"),
        (r"\boxed{1\frac{1}{2}}", "3/2"),
        (r"\boxed{3\times 10^{-5}}", "0.00003"),
        (r"\boxed{2+\sqrt{3}}", r"2+\sqrt{3}"),
        (r"\boxed{3+2}", "2+3"),
    ],
)
def test_sums_that_were_worked_out_or_cannot_be_count(text: str, gold: str) -> None:
    assert _accuracy(text, gold) == 1.0
