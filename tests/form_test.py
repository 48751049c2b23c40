"""The form of a response: tags and length."""

import numpy as np
import pytest

from r1jax.data.types import Prompt, Rollout
from r1jax.rewards.form import r1_zero_format, soft_overlong_penalty


def _rollout(text: str, finish: str = "stop") -> Rollout:
    prompt = Prompt(id="p", question="?", answer="1", source="maths")
    return Rollout(prompt, 0, np.zeros(0, np.int32), np.zeros(0, np.float32), text, finish)


@pytest.mark.parametrize(
    "text",
    ["<think>a</think><answer>b</answer>", " <think>\na\n\nc\n</think>\n<answer>\nb\n</answer>\n"],
)
def test_trap22_a_thought_then_an_answer_is_well_formed_with_and_without_newlines(text: str) -> None:
    assert r1_zero_format(_rollout(text)) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "<think>a</think>",
        "<answer>b</answer>",
        "<think>a</think>b",
        "<think>a</think><think>a</think><answer>b</answer>",
        "<think>a</think><answer>b</answer><answer>b</answer>",
        "<think>a</think><answer>b</answer> so there",
        "well <think>a</think><answer>b</answer>",
        "<think>a</think> then <answer>b</answer>",
        "<answer>b</answer><think>a</think>",
        "</think>a<think><answer>b</answer>",
        "<think>a<answer>b</answer></think>",
        "<think>a<answer></think>b</answer>",
        "<think><think>a</think></think><answer>b</answer>",
        "<think>a</think><answer><think>b</think></answer>",
        "<think>a</think><answer>b",
        "<think> </think><answer>b</answer>",
        "<think>a</think><answer> </answer>",
    ],
)
def test_trap22_anything_else_is_not_well_formed(text: str) -> None:
    assert r1_zero_format(_rollout(text)) == 0.0


def test_a_response_that_was_cut_off_is_not_well_formed() -> None:
    assert r1_zero_format(_rollout("<think>a</think><answer>b</answer>", finish="length")) == 0.0


@pytest.mark.parametrize(
    "tokens, penalty", [(0, 0), (80, 0), (85, -0.25), (90, -0.5), (100, -1), (101, -1), (9999, -1)]
)
def test_trap16_trap26_overlong_penalty_counts_tokens_and_is_clamped(tokens: int, penalty: float) -> None:
    assert soft_overlong_penalty(tokens, max_tokens=100, buffer=20) == pytest.approx(penalty)


def test_overlong_penalty_without_buffer_is_off() -> None:
    assert soft_overlong_penalty(500, max_tokens=100, buffer=0) == 0.0


@pytest.mark.parametrize("buffer", [-1, 101])
def test_overlong_buffer_out_of_range_is_refused(buffer: int) -> None:
    with pytest.raises(ValueError, match="overlong_buffer"):
        soft_overlong_penalty(5, max_tokens=100, buffer=buffer)
