"""The experiment on the aha moment: what it counts in a response, by hand."""

import pytest
from paper_scripts import script

aha, study = map(script, ("aha", "study"))


def sample(thought: str) -> dict:
    question = "Make 8 from 9, 5, 4 with + and -, in this order"
    return {"question": question, "thought": thought, "text": f"<think> {thought} </think> <answer> 1 </answer>"}


@pytest.mark.parametrize(
    "thought, results, retries",
    [
        ("I think 9-5+4", [], 0),
        ("9-5=4+4=8", [8], 0),
        ("9+5=14+4=18, no. 9-5=4+4=8, yes", [18, 8], 1),
        ("9+5=14-4=10, no. 9+5=14-4=10, no. 9+5=14+4=18, or so", [10, 10, 18], 2),
        ("9+5=14, no. 9-5=4+4=8", [8], 0),  # the first uses two numbers alone: no attempt
        ("9+9=18+4=22, no. 9-5=4+4=8", [8], 0),  # nor is one that uses a number twice
        ("9-5=4+4=8, not 8. Wait, 9-5=4-4=0", [8, 0], 0),  # right, and rejected all the same
    ],
)
def test_attempts_and_retries_by_hand(thought, results, retries):
    assert aha.attempts(sample(thought)) == results
    assert aha.retries(sample(thought)) == retries


@pytest.mark.parametrize(
    "text, right",
    [
        ("9-5=4+4=8. The answer is 9-5+4", True),
        ("<think> 9+5=14+4=18 </think> <answer> 9+5+4 </answer>", False),
        ("9-5+4 or 9+5-4", False),
        ("9-5=4+4=8", False),  # the work is no expression
    ],
)
def test_the_last_expression_by_hand(text, right):
    assert aha.last_expression_is_right(sample("") | {"text": text}) is right


def test_the_ten_words_are_whole_words_in_any_case():
    assert aha.words(sample("Wait, but that is wrong. Retry: check, verify")) == 6
    assert aha.words(sample("waiting, button, checked, wrongly, errors")) == 0


@pytest.mark.parametrize(
    "values, step",
    [([0, 0, 10, 10], 15.0), ([0, 10, 10, 10], 5.0), ([10, 10, 0], 15.0), ([4, 4], 10.0), ([0, 20, 5, 10], 2.5)],
)
def test_the_step_of_half_of_a_rise_by_hand(values, step):
    assert aha.step_of_half([0, 10, 20, 30][: len(values)], values) == step


def test_spread_by_hand():
    assert study.spread([1.0, 2.0, 3.0]) == "2.0 ± 1.0"
    assert study.spread([2.0]) == "2.0"


def test_a_page_keeps_what_people_wrote_and_replaces_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "HERE", tmp_path)
    (tmp_path / "x.md").write_text("# X\n\nWhy.\n\n## Measured\n\nold\n")
    study.write_page("x", "new")
    assert (tmp_path / "x.md").read_text() == "# X\n\nWhy.\n\n## Measured\n\nnew\n"
