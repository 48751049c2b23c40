"""One spelling for votes: what the grader calls equal votes together, what it tells apart does not."""

import json
import pathlib

import pytest

from r1jax.data.types import Prompt, Rollout
from r1jax.graders import countdown, exact_match, reasoning_gym
from r1jax.graders.config import GraderConfig
from r1jax.graders.math import math_grader

SHARED = pathlib.Path(__file__).parent.parent.parent / "shared" / "data"


def grade(answer: str, gold: str, grader=math_grader, source: str = "maths:test", **metadata):
    prompt = Prompt("q", "What?", gold, source, metadata=metadata)
    text = f"<think>so</think> <answer>{answer}</answer>"
    return grader.grade(Rollout.of_text(prompt, text), GraderConfig())


@pytest.mark.parametrize(
    "gold, answers",
    [
        ("1/2", ["0.5", "\\frac12", "\\dfrac{1}{2}", "50\\%", "\\frac{2}{4}", "0.50", "The answer is 1/2."]),
        ("1000", ["1,000", "1000", " 1000. ", "1000.0", "1{,}000", "1000 apples"]),
        (
            "\\frac{\\sqrt{3}}{2}",
            ["\\sqrt{3}/2", "\\frac{3}{2\\sqrt3}", "\\frac{\\sqrt 3}{2}", "\\dfrac{\\sqrt{3}}{2}"],
        ),
        ("1,2", ["2, 1", "\\{1,2\\}", "1 and 2", "1, 2"]),
        ("(1,2)", ["(1, 2)", "\\left(1,2\\right)", "( 1 , 2 )"]),
        ("x^2+1", ["1+x^2", "x^2 + 1", "x\\cdot x+1"]),
        ("5", ["x = 5", "5"]),
        ("B", ["(B)", "\\text{B}", "b", "B."]),
        ("blue whale", ["Blue  Whale", "a blue whale", "\\text{blue whale}"]),
    ],
)
def test_trap30_all_spellings_of_an_answer_vote_together(gold, answers):
    grades = [grade(answer, gold) for answer in [gold, *answers]]
    assert {each.score for each in grades} == {1.0}
    assert len({each.answer for each in grades}) == 1 and grades[0].answer


@pytest.mark.parametrize(
    "gold, one, other",
    [
        ("7", "12", "1,2"),
        ("(1,2)", "(1,2)", "(2,1)"),
        ("7", "34", "3.4"),
        ("x+1", "x+1", "x-1"),
        ("[0,1)", "[0,1)", "[0,1]"),
        ("\\sqrt{2}", "\\sqrt{2}", "\\sqrt{3}"),
        ("B", "A", "C"),
        ("red", "blue", "green"),
    ],
)
def test_trap30_different_answers_do_not(gold, one, other):
    assert grade(one, gold).answer != grade(other, gold).answer


def test_no_answer_is_no_vote():
    for text in ("", "\\boxed{}"):
        assert grade(text, "5").answer == ""
    assert grade("\\boxed{4} or \\boxed{5}", "5").answer == ""


def test_other_graders_vote_too():
    metadata = {"source_dataset": "chain_sum"}
    task = {"grader": reasoning_gym, "source": "reasoning_gym:chain_sum", "entry_metadata": metadata}
    assert grade("1,234", "1234", **task).answer == grade("1234.", "1234", **task).answer == "1234"
    assert grade("1,2", "12", **task).answer != "12"
    assert grade("1 + 2", "3", countdown, nums=[1, 2], target=3).answer == "1+2"
    assert grade("The Eiffel Tower", "Eiffel tower", exact_match) == (1.0, "right", "eiffel tower", None)
    assert grade("答案：北京。", "北京", exact_match).score == 1.0
    assert grade("Paris or Rome", "Paris", exact_match).score == 0.0


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data beside the project")
def test_respelt_references_of_math500_vote_with_themselves():
    rows = [json.loads(line) for line in (SHARED / "math500" / "test.jsonl").open(encoding="utf-8")][::4]
    for row in rows:
        gold = row["answer"]
        respelt = [
            gold.replace("\\frac", "\\dfrac"),
            f" {gold} ",
            gold.replace("(", "\\left(").replace(")", "\\right)"),
        ]
        first = grade(gold, gold)
        for answer in respelt:
            found = grade(answer, gold)
            assert found.score != 1.0 or found.answer == first.answer, (gold, answer)
