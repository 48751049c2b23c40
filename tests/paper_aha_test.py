"""The experiment on the aha moment: what it counts in a response, by hand."""

import importlib
import pathlib
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).parent.parent / "experiments" / "paper"))
aha, study = map(importlib.import_module, ("aha", "study"))


def sample(thought: str) -> dict:
    question = "Make 50 from 3, 5, 7 with + - *, each number once"
    return {"question": question, "thought": thought, "text": f"<think> {thought} </think> <answer> 1 </answer>"}


@pytest.mark.parametrize(
    "thought, results, retries",
    [
        ("I think (3+7)*5", [], 0),
        ("3+7=10*5=50", [50], 0),
        ("3+7=10-5=5, no. 3+7=10*5=50, yes", [5, 50], 1),
        ("3*5=15+7=22, no. 3*5=15+7=22, no. 3+5=8+7=15, or so", [22, 22, 15], 2),
        ("3+7=10, no. 3+7=10*5=50", [50], 0),  # the first uses two numbers alone: no attempt
        ("3+3=6*7=42, no. 3+7=10*5=50", [50], 0),  # nor is one that uses a number twice
        ("3+7=10*5=50, not 50. Wait, 7-3=4*5=20", [50, 20], 0),  # right, and rejected all the same
    ],
)
def test_attempts_and_retries_by_hand(thought, results, retries):
    assert aha.attempts(sample(thought)) == results
    assert aha.retries(sample(thought)) == retries


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
