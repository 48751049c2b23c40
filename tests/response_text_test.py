"""A completion as text while it is sampled: the same pieces whatever the chunks, and never a part of a tag."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1jax.serve.response_text import Delta, ResponseText, ThoughtSplitter, TokenTexts
from r1jax.text.chat import split_response

PIECES = st.sampled_from(
    ["<think>", "</think>", "<answer>", "</answer>", "<", "</", "think", ">", " ", "\n", "a", "wait", "7", "==", "="]
)


def split(text: str, cuts: list[int], opened: bool = False, marker: str = "") -> Delta:
    splitter, delta, last = ThoughtSplitter(opened, marker), Delta(), 0
    for cut in [*sorted(min(cut, len(text)) for cut in cuts), len(text)]:
        delta += splitter.push(text[last:cut])
        last = cut
    return delta + splitter.push("", last=True)


@given(
    st.lists(PIECES, max_size=20).map("".join), st.lists(st.integers(0, 60), max_size=6), st.booleans(), st.booleans()
)
def test_chunks_do_not_matter(text, cuts, opened, with_marker):
    marker = "==" if with_marker else ""
    assert split(text, cuts, opened, marker) == split(text, [], opened, marker)
    assert split(text, list(range(len(text))), opened, marker) == split(text, [], opened, marker)


@given(
    st.text("ab 7\n等<", min_size=1, max_size=20),
    st.text("ab 7\n等<", min_size=1, max_size=20),
    st.text(" \n", max_size=3),
)
def test_well_formed_responses_are_split_as_graders_split_them(thought, answer, space):
    text = f"{space}<think>{thought}</think>{space}<answer>{answer}</answer>"
    response = split_response(text)
    assert split(text, [5, 9, 20]) == Delta(response.thought, response.final)


@pytest.mark.parametrize(
    ("text", "opened", "marker", "expected"),
    [
        ("<think> a </think> b", False, "", Delta("a", "b")),
        ("a </think> <answer> b </answer>", True, "", Delta("a", "b")),
        ("<think> never closed", False, "", Delta("never closed", "")),
        ("no tags, 12", False, "", Delta("", "no tags, 12")),
        ("7 <think> a </think>", False, "", Delta("", "7 <think> a </think>")),
        ("<think>a</think><answer>b</answer> User: and 2?", False, "", Delta("a", "b")),
        ("<think>a < b</think>c < d", False, "", Delta("a < b", "c < d")),
        ("== a == b", False, "==", Delta("a", "b")),
        ("<think></think>b", False, "", Delta("", "b")),
        ("  \n", False, "", Delta()),
        ("", True, "", Delta()),
    ],
)
def test_thoughts_and_answers(text, opened, marker, expected):
    assert split(text, [], opened, marker) == expected
    assert split(text, list(range(len(text))), opened, marker) == expected


def response(tokenizer, stops=(), opened=False) -> ResponseText:
    return ResponseText(tokenizer, tokenizer.eos_ids, stops, ThoughtSplitter(opened))


def test_tokens_of_the_thought_are_counted(tokenizer):
    thought, answer = tokenizer.encode("<think> 5 plus 7 </think>"), tokenizer.encode(" 12")[1:]
    text = response(tokenizer)
    delta, used = text.push([*thought, *answer, tokenizer.eos_ids[0]], "stop")
    assert delta == Delta("5 plus 7", "12") and used == len(thought) + len(answer)
    assert text.tokens == used + 1 and 0 < text.reasoning_tokens < len(thought)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_stop_string_may_lie_across_tokens_and_is_never_shown(tokenizer, size):
    ids = tokenizer.encode("5 + 7 = 12. So the answer is 12")[1:]
    text, seen, used = response(tokenizer, ["So the", "12!"]), Delta(), 0
    for i in range(0, len(ids), size):
        delta, count = text.push(ids[i : i + size], None if i + size < len(ids) else "length")
        seen, used = seen + delta, used + count
        if text.finish:
            break
    assert seen.content.strip() == "5 + 7 = 12." and text.finish == "stop"
    assert used == text.tokens < len(ids)


def test_what_might_become_a_stop_string_is_shown_at_the_end(tokenizer):
    text = response(tokenizer, ["12!"])
    delta, _ = text.push(tokenizer.encode("it is 12")[1:], "length")
    assert delta.content.endswith("12") and text.finish == "length"


def test_texts_of_tokens_make_the_whole_text(tokenizer):
    texts, ids = TokenTexts(tokenizer), tokenizer.encode("What is 5 + 7?\nIt is 12")[1:]
    assert "".join(map(texts, ids)).strip() == "What is 5 + 7?\nIt is 12"
    top = texts.of_top([5, 6, 5], [-0.1, -0.5, -2.0], 2)
    assert list(top.values()) == [-0.1, -0.5]
