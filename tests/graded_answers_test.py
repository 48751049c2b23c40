"""Ways to choose one of several graded answers, by hand."""

import math
from types import SimpleNamespace

import pytest
from paper_scripts import script

graded = script("graded_answers")


def answer(read: str, score: float, *chances: float) -> dict:
    return {"answer": read, "score": score, "tokens": 3, "chances": list(chances)}


ANSWERS = [
    answer("5", 0.0, 0.9, 0.3),
    answer("5", 0.0, 0.8, 0.1),
    answer("4", 1.0, 0.5, 0.9),
    answer("", 0.0, 0.2, 0.95),
]


@pytest.mark.parametrize(
    ("way", "score"),
    [
        ("one answer", 0.25),
        ("majority", 0.0),
        ("reranked, minimum", 1.0),  # 0.3, 0.1, 0.5, 0.2
        ("reranked, last", 0.0),  # the one without an answer
        ("reranked, mean", 1.0),  # 0.6, 0.45, 0.7, 0.575
        ("weighted majority", 1.0),  # 0.3 + 0.1 against 0.5
        ("any (bound)", 1.0),
    ],
)
def test_one_of_four_by_hand(way, score):
    assert graded.ways_to_choose()[way](ANSWERS) == score


def test_accuracy_is_over_disjoint_groups():
    best = graded.ways_to_choose()["any (bound)"]
    assert graded.accuracy([ANSWERS], 2, best) == 50.0 and graded.accuracy([ANSWERS], 1, best) == 25.0
    assert graded.mean_tokens([ANSWERS]) == 3.0
    assert graded.ways_to_choose()["majority"]([answer("", 0.0)]) == 0.0


def test_a_reward_model_of_whole_responses_gives_one_chance_each():
    reader = SimpleNamespace(reading=SimpleNamespace(steps=()), score=lambda rollouts: [0.0, math.log(3), None])
    assert graded.chances_of(reader, [None] * 3) == [[0.5], [pytest.approx(0.75)], [0.0]]
    of_steps = SimpleNamespace(reading=SimpleNamespace(steps=("; ",)), step_chances=lambda rollouts: [[0.25, 0.5]])
    assert graded.chances_of(of_steps, [None]) == [[0.25, 0.5]]
