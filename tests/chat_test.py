"""Responses taken apart."""

import pytest
from steps import assert_linear

from r1jax.text.chat import Response, continuation, plain, render, split_response


def test_a_well_formed_response_splits_into_thought_and_answer() -> None:
    response = split_response("<think> a </think>\n<answer> b </answer>")
    assert (response.thought, response.final, response.answers, response.well_formed) == ("a", "b", ("b",), True)


@pytest.mark.parametrize(
    "text, final, answers",
    [
        ("42", "42", ()),
        ("<think>41", "", ()),
        ("<think>41</think> 42", "42", ()),
        ("41</think> 42", "42", ()),
        ("<think>41</think> 42 <think>43", "42", ()),
        ("<think>41</think><think>43", "", ()),
        ("<think><answer>41</answer></think> 42", "42", ()),
        ("<answer>41</answer> or <answer>42</answer>", "41\n42", ("41", "42")),
        ("</answer>41<answer>42</answer>", "42", ("42",)),
    ],
)
def test_trap20_the_final_part_is_outside_every_thought(text: str, final: str, answers: tuple[str, ...]) -> None:
    response = split_response(text)
    assert (response.final, response.answers, response.well_formed) == (final, answers, False)


@pytest.mark.parametrize(
    "text, thought, final, well_formed",
    [
        ("|m| a |m| b ", "a", "b", True),
        ("|m|a|m|b|m|c", "a|m|b", "c", False),
        ("so |m|a|m|b", "a", "b", False),
        ("|m|a", "a", "", False),
        ("b", "", "b", False),
        ("|m||m|b", "", "b", False),
        ("<think>a</think>b", "", "<think>a</think>b", False),
        ("|m|<answer>a</answer>|m|b", "<answer>a</answer>", "b", True),
    ],
)
def test_in_the_marked_form_the_final_part_follows_the_last_marker(
    text: str, thought: str, final: str, well_formed: bool
) -> None:
    assert split_response(text, "|m|") == Response(thought, final, (), well_formed)


@pytest.mark.parametrize(
    "disguised, bare",
    [
        ("Ａ＜", "A<"),
        ("𝐚𝑏", "ab"),
        ("ﬁ", "fi"),
        ("a\u200bb\u00adc\ufeff", "abc"),
        ("a\u3164b", "ab"),
        ("é", "é"),
        ("中文", "中文"),
    ],
)
def test_plain_text_has_no_disguise(disguised: str, bare: str) -> None:
    assert plain(disguised) == bare


@pytest.mark.parametrize("loop", ["<answer>", "</think><answer></answer>", "<think>", "</answer>", "<answer> </think>"])
def test_a_response_caught_in_a_loop_of_tags_splits_quickly(loop: str) -> None:
    assert_linear(split_response, loop, large=5_000_000)
    assert_linear(lambda text: split_response(text, marker=loop), loop, large=5_000_000)


def test_an_unknown_template_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="r1_zero"):
        render("r1", "1 + 1?")


def test_a_question_with_braces_is_rendered_as_it_stands() -> None:
    assert render("plain", "{x} {prompt}") == "{x} {prompt}"


@pytest.mark.parametrize(
    ("prompt", "response", "rest"),
    [
        ("a<think>\n", "<think>\nb</think>c", "b</think>c"),
        ("a<think>\n", " <think>b</think>c", "b</think>c"),
        ("a<think>", "<think>\nb</think>c", "\nb</think>c"),
        ("a<think>\n", "b</think>c", "b</think>c"),
        ("a<think>\n\n</think>\n\n", "<think>b</think>c", "<think>b</think>c"),  # closed again
        ("a", "<think>b</think>c", "<think>b</think>c"),
    ],
)
def test_trap40_a_response_follows_its_prompt_with_one_tag(prompt: str, response: str, rest: str) -> None:
    assert continuation(prompt, response) == rest
