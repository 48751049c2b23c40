"""Multiple-choice grader on responses with boxes: a box with a choice decides, one without is ignored."""

import pytest
from steps import assert_linear

from r1jax.data.types import Prompt, Rollout
from r1jax.graders import multiple_choice
from r1jax.graders.config import GraderConfig


def grade(text: str, answer: str = "D"):
    prompt = Prompt("q", "Which one?", answer, "choice:test")
    return multiple_choice.grade(Rollout.of_text(prompt, text), GraderConfig())


@pytest.mark.parametrize(
    "text",
    [
        "In the limit \\boxed{E \\ll \\Delta} holds.\n\nAnswer: D",
        "\\boxed{E = mc^2}, hence \\boxed{m = 3}. The answer is D.",
        "\\boxed{A = 5}\n\n**Answer: D**",
        "\\boxed{42}\n\nD",
        "Answer: D\n\nCheck: \\boxed{x = 5}",
        "\\boxed{}\nAnswer: D",
        "We get \\boxed{F=A+B}.\n\\boxed{D}",
        "\\boxed{D} and so \\boxed{(D)}: \\boxed{\\text{D. Paris}}",
        "\\boxed{d}\n\nAnswer: D",
        "Answer: D\n\n\\boxed{D}",
        "Answer: \\boxed{D}",
        "Some think that the answer is A. It is \\boxed{D}",
        "The answer is A for most.\n\\boxed{D}",
        "Answer: A? No. \\boxed{D}",
        "<answer>\\boxed{x^2}\nD</answer>\n<answer>Answer: D</answer>",
        "\\boxed{D} is right, since a city is the answer.",
        "答案：\\boxed{D}",
        "由\\boxed{A=1}可知，故选D。",
        "x" * 30_000 + " \\boxed{D}",
    ],
)
def test_a_box_without_a_choice_is_ignored(text):
    assert grade(text)[:3] == (1.0, "right", "D")


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{D}\n\nAnswer: A",
        "Answer: A\n\n\\boxed{D}",
        "**The correct answer is A.**\n\\boxed{D}",
        "\\boxed{D}. So the answer is A.",
        "\\boxed{A} \\boxed{D}",
        "\\boxed{A or D}\n\nAnswer: D",
        "\\boxed{A, D} Answer: D",
        "\\boxed{D} \\boxed{A and D}",
        "\\boxed{D}\nAnswer: A or D",
        "<answer>\\boxed{A}</answer><answer>\\boxed{D}</answer>",
        "<answer>D</answer><answer>Paris</answer>",
        "A\nD",
        "D\n\\boxed{x}\nA",
        "Answer: \\boxed{E \\ll \\Delta}",
        "\\boxed{42}",
        "\\boxed{D \\ll 5}",
    ],
)
def test_boxes_and_statements_that_disagree_are_no_answer(text):
    assert grade(text)[:2] == (0.0, "no_answer")
    assert grade(text, "A")[:2] == (0.0, "no_answer")


@pytest.mark.parametrize(
    "text, score",
    [
        ("\\boxed{x>0}\n答案：是", 1.0),
        ("\\boxed{是} \\boxed{对}", 1.0),
        ("\\boxed{x>0}\n答案：否", 0.0),
        ("\\boxed{是}\n答案：否", 0.0),
        ("答案：是或否", 0.0),
        ("答案：是否", 0.0),
        ("\\boxed{是/否}", 0.0),
        ("答案：是，对的", 1.0),
    ],
)
def test_yes_and_no_beside_boxes(text, score):
    assert grade(text, "是").score == score


@pytest.mark.parametrize("piece", ["\\boxed{A} ", "\\boxed{", "\\boxed{x} ", "Answer: A\n", "\\boxed{A} Answer: a b "])
def test_many_boxes_take_no_time(monkeypatch, piece):
    monkeypatch.setattr(multiple_choice, "MAX_ANSWER", 10**9)  # with the limit nothing would be left to measure
    assert_linear(grade, piece, large=200_000)
