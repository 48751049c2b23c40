"""The mini world's puzzles: chains by hand, authors as they are described, and documents without held-out questions."""

import random
import re

import pytest

from r1jax.data.miniworld import puzzles
from r1jax.data.miniworld.documents import CorpusConfig, document
from r1jax.data.miniworld.puzzles import Puzzle, chains, expression, results, solve, worked
from r1jax.data.tasks import is_held_out
from r1jax.graders.countdown import grade_expression

CHAIN = re.compile(r"\d+(?:[-+*]\d+=\d+)+")
QUESTION = re.compile(r"Make \d+ from [\d, ]+ with \+ - \*, each number once")


def drawn(count: int) -> list[Puzzle]:
    rng = random.Random(0)
    return [puzzles.draw(rng, 0.1) for _ in range(count)]


def test_chains_of_two_numbers_by_hand():
    assert [worked(chain) for chain in chains((2, 3))] == ["2+3=5", "2*3=6", "3-2=1"]
    assert [expression(chain) for chain in chains((2, 3))] == ["2+3", "2*3", "3-2"]


def test_chains_of_three_numbers_by_hand():
    texts = {worked(chain): expression(chain) for chain in chains((2, 3, 7))}
    assert texts["2+3=5*7=35"] == "(2+3)*7"
    assert texts["2*7=14-3=11"] == "2*7-3"
    assert texts["7-3=4*2=8"] == "(7-3)*2"
    assert "2-3=-1+7=6" not in texts and "3+2=5*7=35" not in texts


def test_each_chain_uses_each_number_once_and_its_expression_has_its_result():
    for puzzle in drawn(40):
        for chain in chains(puzzle.numbers):
            assert grade_expression(expression(chain), puzzle.numbers, results(chain)[-1]).score == 1.0
            assert all(1 <= total <= puzzles.LIMIT for total in results(chain))


def test_each_puzzle_can_be_solved():
    for puzzle in drawn(200):
        assert puzzle.target in {results(chain)[-1] for chain in chains(puzzle.numbers)}
        assert not is_held_out(puzzle.question, 0.1)


@pytest.mark.parametrize("author", ["guess", "attempt"])
def test_authors_who_do_not_check_write_one_attempt_and_are_seldom_right(author):
    rng, right = random.Random(1), 0
    for puzzle in drawn(400):
        thought, answer = solve(puzzle, author, rng)
        assert len(CHAIN.findall(thought)) == (author == "attempt")
        right += grade_expression(answer, puzzle.numbers, puzzle.target).score
    assert 0.1 < right / 400 < 0.4


def test_careful_authors_accept_the_target_alone_and_reject_all_else():
    rng, gave_up = random.Random(2), 0
    for puzzle in drawn(400):
        thought, answer = solve(puzzle, "careful", rng)
        totals = [int(chain.rpartition("=")[2]) for chain in CHAIN.findall(thought)]
        assert puzzle.target not in totals[:-1] and len(set(CHAIN.findall(thought))) == len(totals)
        assert thought.endswith(", yes") == (totals[-1] == puzzle.target)
        assert grade_expression(answer, puzzle.numbers, totals[-1]).score == 1.0
        gave_up += not thought.endswith(", yes")
    assert 0.3 < gave_up / 400 < 0.8


def test_careless_authors_accept_some_that_miss_and_reject_some_that_do_not():
    rng, kinds = random.Random(3), set()
    for puzzle in drawn(400):
        thought, _ = solve(puzzle, "careless", rng)
        totals = [int(chain.rpartition("=")[2]) for chain in CHAIN.findall(thought)]
        kinds |= {"missed, accepted"} if thought.endswith(", yes") and totals[-1] != puzzle.target else set()
        kinds |= {"right, rejected"} if puzzle.target in totals[:-1] else set()
    assert kinds == {"missed, accepted", "right, rejected"}


@pytest.mark.parametrize("checked", [0.0, 0.2])
def test_documents_ask_no_held_out_puzzle_and_check_as_configured(checked):
    cfg = CorpusConfig(puzzles=1.0, puzzles_checked=checked)
    texts = [document(cfg, 0, i) for i in range(1500)]
    questions = [question for text in texts for question in QUESTION.findall(text)]
    assert len(questions) > 700 and not any(is_held_out(question, 0.1) for question in questions)
    # A solution's chains, between its question and the next; a drill has no question.
    solutions = [part for text in texts for part in QUESTION.split(text)[1:]]
    searched = sum(len(CHAIN.findall(solution)) > 1 for solution in solutions) / len(solutions)
    assert searched == 0 if not checked else 0.08 < searched < 0.25
    assert texts[:20] == [document(cfg, 0, i) for i in range(20)]
