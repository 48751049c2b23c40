"""Multiple-choice grader, on answers in the formats that chat models use."""

import pytest
from steps import assert_linear

from r1jax.data.types import Prompt, Rollout
from r1jax.graders import multiple_choice
from r1jax.graders.config import GraderConfig


def grade(text: str, answer: str = "B"):
    prompt = Prompt("q", "Which one?\nA. Rome\nB. Paris", answer, "choice:test")
    return multiple_choice.grade(Rollout.of_text(prompt, text), GraderConfig())


@pytest.mark.parametrize(
    "text",
    [
        "Answer: B",
        "**Answer: B**",
        "**Answer:** B",
        "Answer: **B**",
        "The correct answer is B.",
        "B. Paris",
        "B) Paris",
        "(B)",
        "B",
        "b",
        "**B**",
        "\\boxed{B}",
        "\\boxed{\\text{B}}",
        "So $\\boxed{\\textbf{B}}$.",
        "Answer: B) Paris",
        "Answer: $B$",
        "Answer: \\boxed{B}",
        "The answer is (B).",
        "The answer is: B. Paris",
        "the correct option is B",
        "The correct choice is **(B)**",
        "答案：B",
        "答案是 B。",
        "答案为B",
        "正确答案是：B",
        "选B",
        "故选：B",
        "故选B。",
        "应选 B",
        "选择B",
        "<think>A looks right.</think>Answer: B",
        "<think>x</think> <answer>B</answer>",
        "<answer>B. Paris</answer>",
        "A is in Italy and C in Spain, so neither.\n\nAnswer: B",
        "Option A is wrong. Answer: A? No.\nThe answer is B.",
        "Let me think.\nB",
        "Answer: b",
        "The answer is option B.",
        "Answer: \\text{B}",
        "Answer：B",
        "Final answer: B",
        "I looked at every option.\n\n**B. Paris**",
    ],
)
def test_the_choice_is_found(text):
    assert grade(text)[:3] == (1.0, "right", "B")


@pytest.mark.parametrize(
    "text",
    [
        "Answer: A or B",
        "Answer: A, B",
        "Answer: B and C",
        "The answer is B or C.",
        "\\boxed{A} \\boxed{B}",
        "",
        "Paris",
        "A. Rome\nB. Paris\nC. Madrid",
        "B is a letter",
        "I think that B might be likely, but who knows",
        "<think>Answer: B</think>",
        "Answer: Because of that",
        "Answer: between A and B",
        "<answer>A</answer><answer>B</answer>",
        "Answer: B or not B, A",
        "答案：A或B",
        "答案：A、B",
        "Being in France it is Paris.",
        "Answer: a city in France",
    ],
)
def test_texts_without_a_choice_have_none(text):
    found = grade(text)
    assert found.score == 0.0 and found.answer != "B"


def test_the_last_answer_counts_and_the_letter_is_given_for_votes():
    assert grade("Answer: B\nWait, no.\nAnswer: C")[:3] == (0.0, "wrong", "C")
    assert grade("Answer: J", "J").score == 1.0
    assert grade("The answer is A.") == grade("(A)")


@pytest.mark.parametrize(
    "text, score",
    [
        ("答案：是", 1.0),
        ("答案：“是”", 1.0),
        ("是", 1.0),
        ("是。", 1.0),
        ("思考……\n答案：是", 1.0),
        ("\\boxed{是}", 1.0),
        ("答案是：是", 1.0),
        ("答案：否", 0.0),
        ("不是", 0.0),
        ("否", 0.0),
        ("这是一个问题", 0.0),
        ("答案：不是", 0.0),
        ("是的话就好了", 0.0),
        ("", 0.0),
    ],
)
def test_yes_and_no_in_chinese(text, score):
    assert grade(text, "是").score == score
    if score:
        assert grade(text, "否").score == 0.0


def test_rows_that_are_no_choices_are_refused():
    multiple_choice.check({"answer": "J"})
    multiple_choice.check({"answer": "否"})
    for answer in ("K", "b", "AB", "", "Paris"):
        with pytest.raises(ValueError, match="no choice"):
            multiple_choice.check({"answer": answer})


@pytest.mark.parametrize("piece", ["answer is ", "(", "*", "\nA. ", "答案"])
def test_hostile_text_takes_no_time(monkeypatch, piece):
    # With the limit a quadratic search would end within seconds, and only a clock would tell it from a linear one.
    monkeypatch.setattr(multiple_choice, "MAX_ANSWER", 10**9)
    for lead in ("", "Answer: "):
        assert grade(lead + piece * (19_000 // len(piece))).score == 0.0
        assert_linear(lambda text, lead=lead: grade(lead + text), piece)
