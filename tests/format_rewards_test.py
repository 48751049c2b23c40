"""Format rewards: response format, length penalty, repetition penalty."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from steps import assert_linear

from r1jax.data.types import Prompt, Rollout
from r1jax.rewards.format_rewards import repetition_penalty, soft_overlong_penalty, well_formed
from r1jax.text.chat import TAGS, join_response

DATA = pathlib.Path(__file__).parents[2] / "shared/data"


def _rollout(text: str, finish: str = "stop", marker: str = "", **metadata: str) -> Rollout:
    prompt = Prompt(id="p", question="?", answer="1", source="maths", marker=marker, metadata=metadata)
    return Rollout.of_text(prompt, text, finish=finish)


@pytest.mark.parametrize("marker", ["", "||"])
def test_a_request_that_needs_no_thought_may_be_answered_without_one(marker: str) -> None:
    assert well_formed(_rollout(" Hello! ", marker=marker, thought="optional")) == 1.0
    assert well_formed(_rollout("Hello!", marker=marker)) == 0.0
    assert well_formed(_rollout("Hello!", "length", marker, thought="optional")) == 0.0
    for text in ("", "||a", "a||b", "<think>a", "a</think>", "<answer>b</answer>"):
        if marker or "||" not in text:
            assert well_formed(_rollout(text, marker=marker, thought="optional")) == 0.0, text
    assert well_formed(_rollout(join_response("a", "b", marker), marker=marker, thought="optional")) == 1.0


@pytest.mark.parametrize(
    "text",
    ["<think>a</think><answer>b</answer>", " <think>\na\n\nc\n</think>\n<answer>\nb\n</answer>\n"],
)
def test_trap22_a_thought_then_an_answer_is_well_formed_with_and_without_newlines(text: str) -> None:
    assert well_formed(_rollout(text)) == 1.0


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
        "<think>a</think><answer>\u200b</answer>",
        "<think>\u3164</think><answer>b</answer>",
        "\u200b<think>a</think><answer>b</answer>",
        "<THINK>a</THINK><ANSWER>b</ANSWER>",
        "<Think>a</think><answer>b</answer>",
        "<think >a</think><answer>b</answer>",
        "< think>a</think><answer>b</answer>",
        "<thіnk>a</thіnk><answer>b</answer>",  # a Cyrillic i
        "＜think＞a＜/think＞＜answer＞b＜/answer＞",
        "<th\u200bink>a</th\u200bink><answer>b</answer>",
        "<think>a</THINK><ANSWER>c</ANSWER></think><answer>b</answer>",
        "<think>a ＜/think＞ c</think><answer>b</answer>",
        "<think>a <аnswer>c</аnswer></think><answer>b</answer>",
        "<think>a</think><answer>b < / answer > c</answer>",
        "<think>a</th\u00adink>c</think><answer>b</answer>",
        "<think>a</think>\u2800<answer>b</answer>",
        "<think>a</think><answer>b</answer>.",
        "<think>a</think><answer>b</answer><think>c</think><answer>d</answer>",
    ],
)
def test_trap22_anything_else_is_not_well_formed(text: str) -> None:
    assert well_formed(_rollout(text)) == 0.0


OPENS = "<user>?<bot><think>\n"  # a prompt of DeepSeek-R1's kind


@pytest.mark.parametrize(
    ("text", "marker", "form", "final"),
    [
        ("a</think>\n<answer>b</answer>", "", 1.0, "b"),
        ("<think>\na</think><answer>b</answer>", "", 1.0, "b"),  # the tag once more than was asked for is one tag
        ("a</think> b", "", 0.0, "b"),
        ("the answer is b", "", 0.0, ""),
        # The marked form has tags of its own, and is not spoiled by one that the template opens.
        ("|| a || b", "||", 1.0, "b"),
        ("a || b", "||", 0.0, ""),
    ],
)
def test_trap40_the_tag_that_a_prompt_has_opened_is_a_part_of_the_form(
    text: str, marker: str, form: float, final: str
) -> None:
    rollout = _rollout(text, marker=marker)
    opened = dataclasses.replace(rollout, prompt=dataclasses.replace(rollout.prompt, text=OPENS))
    assert (well_formed(opened), opened.response.final) == (form, final)


def test_trap40_a_prompt_may_open_the_marked_thought_too() -> None:
    rollout = _rollout(" a || b", marker="||")
    opened = dataclasses.replace(rollout, prompt=dataclasses.replace(rollout.prompt, text="<user>?<bot>||"))
    assert well_formed(opened) == 1.0 and (opened.response.thought, opened.response.final) == ("a", "b")


def test_trap40_an_opened_thought_that_is_closed_at_once_leaves_an_answer_alone() -> None:
    for text, form in (("</think>\n\nHello!", 1.0), ("Hello!", 0.0), ("a</think>Hello!", 0.0)):
        rollout = _rollout(text, thought="optional")
        opened = dataclasses.replace(rollout, prompt=dataclasses.replace(rollout.prompt, text=OPENS))
        assert well_formed(opened) == form, text


def test_a_response_that_was_cut_off_is_not_well_formed() -> None:
    assert well_formed(_rollout("<think>a</think><answer>b</answer>", finish="length")) == 0.0


@pytest.mark.parametrize(
    "text, form",
    [
        ("|m|a|m|b", 1.0),
        ("\n|m|\na\n|m|\nb", 1.0),
        ("|m|a|m|b|m|", 0.0),
        ("|m|a|m|b|m|c", 0.0),
        ("so |m|a|m|b", 0.0),
        ("a|m|b", 0.0),
        ("|m|a", 0.0),
        ("|m|a|m|", 0.0),
        ("|m||m|b", 0.0),
        ("|m|\u200b|m|b", 0.0),
        ("<think>a</think><answer>b</answer>", 0.0),
        ("", 0.0),
    ],
)
def test_trap22_the_cold_start_form_is_a_marked_thought_then_a_marked_summary(text: str, form: float) -> None:
    assert well_formed(_rollout(text, marker="|m|")) == form
    assert well_formed(_rollout(text, "length", marker="|m|")) == 0.0


RIGHT_ORDER = ("<think>", "a", "</think>", "<answer>", "a", "</answer>")


@given(st.permutations(RIGHT_ORDER), st.sampled_from(["", " ", "\n"]))
def test_trap22_only_one_order_of_the_tags_is_well_formed(order: list[str], between: str) -> None:
    assert well_formed(_rollout(between.join(RIGHT_ORDER))) == 1.0
    assert well_formed(_rollout(between.join(order))) == float(tuple(order) == RIGHT_ORDER)


@given(st.sampled_from(TAGS), st.integers(0, 6), st.sampled_from(["", "\n"]))
def test_trap22_a_tag_more_anywhere_is_not_well_formed(tag: str, place: int, between: str) -> None:
    assert well_formed(_rollout(between.join([*RIGHT_ORDER[:place], tag, *RIGHT_ORDER[place:]]))) == 0.0


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


@pytest.mark.parametrize("period", [1, 2, 3, 7, 19, 20, 21, 50, 100, 400])
def test_a_loop_of_any_period_is_penalised_by_the_formula(period: int) -> None:
    words = [f"w{index}" for index in range(period)]
    total = 2000
    looped = " ".join((words * (total // period + 1))[:total])
    assert repetition_penalty(looped, 20) == pytest.approx(period / (total - 19) - 1)


def test_repetition_penalties_computed_by_hand() -> None:
    assert repetition_penalty("a b a b a", 2) == pytest.approx(2 / 4 - 1)  # ab ba ab ba
    assert repetition_penalty("a b c d e", 2) == 0.0
    assert repetition_penalty("the the the the", 1) == pytest.approx(1 / 4 - 1)


SENTENCE = "So we try the next case and see that it fails, since the sum is odd while the square is even. "
# fmt: off
LOOPS = (
    "the ", "wait, no. ", SENTENCE, "等等，这里不对。", "我们再检查一遍，", "=", "ab", "{", "\n\n1", "カタ", "<think>",
    "\u200b", r"\frac{1}{2} + ",
)
# fmt: on


@pytest.mark.parametrize("piece", LOOPS)
def test_any_long_loop_scores_near_minus_1(piece: str) -> None:
    assert repetition_penalty(piece * (30_000 // len(piece)), 20) < -0.95


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the " * 19,
        "n | n^2 | n^3\n" + "\n".join(f"{n} | {n**2} | {n**3}" for n in range(50)),
        "\n".join(f"- the case n = {n} gives {n} + {n + 1} = {2 * n + 1}" for n in range(50)),
        "Let me check: 12 * 7 = 84. Yes, 12 * 7 = 84. So the answer is 84.",
    ],
)
def test_short_texts_tables_and_lists_cost_nothing(text: str) -> None:
    assert repetition_penalty(text, 20) == 0.0


def test_a_paragraph_repeated_three_times_costs_its_share() -> None:
    paragraph = " ".join(f"word{index}" for index in range(200))
    assert repetition_penalty("\n\n".join([paragraph] * 3), 20) == pytest.approx(200 / 581 - 1)


@given(st.text(max_size=400), st.integers(1, 30))
def test_the_penalty_lies_between_minus_1_and_0_and_grows_when_the_text_is_repeated(text: str, ngram: int) -> None:
    once = repetition_penalty(text, ngram)
    assert -1.0 < once <= 0.0
    assert repetition_penalty(f"{text} {text} {text} {text}", ngram) <= once + 1e-9


def test_the_penalty_takes_time_linear_in_the_text() -> None:
    for piece in ("wait no ", "x"):
        assert_linear(lambda text: repetition_penalty(text, 20), piece, large=2_000_000)


@pytest.mark.parametrize("name, field", [("longcot_marco_o1", "thinking"), ("longcot_huatuo", "thinking")])
def test_chains_of_thought_as_people_read_them_cost_next_to_nothing(name: str, field: str) -> None:
    path = DATA / name / "train.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    penalties = [repetition_penalty(json.loads(row)[field], 20) for row in path.read_text("utf-8").splitlines()]
    assert np.mean(penalties) > -0.002
    assert min(penalties) > -0.1
