"""What cold start asks a model by, and what a reply to it means."""

import pytest

from r1jax.text.chat import find_response
from r1jax.text.cold_start_prompts import EXAMPLES, few_shot, fill


@pytest.mark.parametrize(
    "text, continued, thought, final, well_formed",
    [
        ("<think>a</think> <answer>1</answer>\n\nQ: 2?\nA: <think>b</think> <answer>2</answer>", True, "a", "1", True),
        ("<think>my own</think><think>a</think> <answer>1</answer>", False, "a", "1", True),
        ("<think>my own</think>So it is 1.", False, "my own", "So it is 1.", False),
        ("<think>a</think> 1\n\nQ: 2?\nA: <answer>2</answer>", True, "a", "2", False),
        ("It is 1.", False, "", "It is 1.", False),
        ("", True, "", "", False),
    ],
)
def test_what_a_reply_to_a_request_for_the_tags_means(text, continued, thought, final, well_formed):
    response = find_response(text, continued)
    assert (response.thought, response.final, response.well_formed) == (thought, final, well_formed)


def test_a_chat_model_is_told_what_the_examples_are_for():
    text = few_shot("1 {prompt}?", EXAMPLES["zh"], "zh", chat=True)
    assert "请仿照" in text and text.endswith("问：1 {prompt}?\n答：") and "再检验一下" in text
    assert few_shot("1?", EXAMPLES["en"], "fr", chat=False).endswith("Q: 1?\nA: <think>")


def test_places_are_filled_all_at_once():
    assert fill("{a} {b} {} {c}", a="{b}", b="\\1") == "{b} \\1 {} {c}"
