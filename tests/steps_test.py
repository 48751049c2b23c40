"""Steps: joined they are the text, empty pieces are none, and scores of responses worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1jax.text.steps import combine_steps, first_step_end, separated, split_steps

COMMA, LINES = (", ",), ("\n", "\n\n")


def test_a_step_ends_with_its_separator_whose_blank_begins_the_next_one():
    assert split_steps("12+7=19, 19-30=-11", COMMA) == ["12+7=19,", " 19-30=-11"]
    assert split_steps("so\n\nthen\nend", LINES) == ["so\n\n", "then\n", "end"]
    assert split_steps("7*3=21+5=26 no; 7+3=10. yes", ("; ", ". ")) == ["7*3=21+5=26 no;", " 7+3=10.", " yes"]
    assert split_steps("3,000 apples", COMMA) == ["3,000 apples"]  # a comma without a blank is no separator here
    assert split_steps("one two", (" ",)) == ["one", " two"]


def test_empty_pieces_make_no_steps():
    assert split_steps("a; ; ; b; ", ("; ",)) == ["a;", " ; ; b; "]
    assert split_steps("\n\n\na\n\n\n", ("\n",)) == ["\n\n\na\n\n\n"]
    assert split_steps("", COMMA) == [] and split_steps("\n", ("\n",)) == ["\n"]


@given(st.text("ab ,;.\n", max_size=40))
def test_joined_they_are_the_text_and_a_prefix_of_steps_is_cut_alike(text):
    separators = (", ", "; ", "\n")
    steps = split_steps(text, separators)
    assert "".join(steps) == text
    for count in range(1, len(steps) - 1):  # the last may have gained what follows
        assert split_steps("".join(steps[:count]), separators) == steps[:count]
    end = first_step_end(text, separators)
    assert end is None or text[:end] == steps[0] or len(steps) == 1


def test_listed_steps_get_the_separators_that_they_lack():
    assert separated(["a", "b"], ("\n",)) == ["a\n", "b"]
    assert separated(["a\n", "b"], ("\n",)) == ["a\n", "b"]
    assert separated(["12+7=19", "19-30=-11", "so"], COMMA) == ["12+7=19,", " 19-30=-11,", " so"]
    assert separated(["12+7=19,", " 19-30=-11"], COMMA) == ["12+7=19,", " 19-30=-11"]
    steps = ["a;", " b.", " c"]
    assert separated(steps, ("; ", ". ")) == split_steps("".join(steps), ("; ", ". ")) == steps


@pytest.mark.parametrize(("how", "score"), [("minimum", 0.2), ("last", 0.6), ("mean", 0.5), ("sum", 1.5)])
def test_the_score_of_a_response_by_hand(how, score):
    assert combine_steps([0.7, 0.2, 0.6], how) == pytest.approx(score)
    assert combine_steps([], how) == 0.0
