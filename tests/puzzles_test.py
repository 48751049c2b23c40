"""The mini world's puzzles: attempts by hand, authors as described, and documents without held-out questions."""

import random
import re

import pytest

from r1jax.configs.process_reward import ATTEMPTS
from r1jax.data.miniworld import puzzles
from r1jax.data.miniworld.documents import CorpusConfig, document
from r1jax.data.miniworld.puzzles import Puzzle, attempts, expression, solve, worked
from r1jax.data.tasks import is_held_out
from r1jax.graders.countdown import grade_expression
from r1jax.text.steps import split_steps

CHAIN = re.compile(r"\d+(?:[-+]\d+=\d+){2,}")  # a check, 14-9=5, has one operation
QUESTION = re.compile(r"Make \d+ from [\d, ]+ with \+ and -, in this order")


def drawn(count: int) -> list[Puzzle]:
    rng = random.Random(0)
    return [puzzles.draw(rng, 0.1) for _ in range(count)]


def test_attempts_of_three_numbers_by_hand():
    assert attempts((9, 5, 3)) == [(9, 5, 3), (9, 5, -3), (9, -5, 3), (9, -5, -3)]
    assert attempts((9, 7, 4)) == [(9, 7, 4), (9, 7, -4), (9, -7, 4)]  # 9-7=2, and 2-4 is below 0
    assert worked((9, -5, 3)) == "9-5=4+3=7" and expression((9, -5, 3)) == "9-5+3"
    assert Puzzle((9, 5, 3), 7).question == "Make 7 from 9, 5, 3 with + and -, in this order"


def test_each_puzzle_is_solved_by_one_of_its_attempts_and_graded_right():
    for puzzle in drawn(200):
        assert not is_held_out(puzzle.question, 0.1)
        right = [attempt for attempt in attempts(puzzle.numbers) if sum(attempt) == puzzle.target]
        assert right
        assert all(grade_expression(expression(each), puzzle.numbers, puzzle.target).score == 1.0 for each in right)


@pytest.mark.parametrize("author", ["guess", "attempt"])
def test_authors_who_do_not_check_write_one_attempt_and_are_seldom_right(author):
    rng, right = random.Random(1), 0
    for puzzle in drawn(400):
        thought, answer = solve(puzzle, author, rng)
        assert len(CHAIN.findall(thought)) == (author == "attempt")
        right += grade_expression(answer, puzzle.numbers, puzzle.target).score
    assert 0.15 < right / 400 < 0.4


def test_careful_authors_accept_the_target_alone_reject_all_else_and_repeat_nothing():
    rng, gave_up = random.Random(2), 0
    for puzzle in drawn(400):
        thought, answer = solve(puzzle, "careful", rng)
        totals = [int(chain.rpartition("=")[2]) for chain in CHAIN.findall(thought)]
        assert puzzle.target not in totals[:-1] and len(set(CHAIN.findall(thought))) == len(totals)
        assert thought.endswith(" yes") == (totals[-1] == puzzle.target)
        assert grade_expression(answer, puzzle.numbers, totals[-1]).score == 1.0
        gave_up += not thought.endswith(" yes")
    assert 0.1 < gave_up / 400 < 0.4


def test_careless_authors_accept_some_that_miss_and_reject_some_that_do_not():
    rng, kinds = random.Random(3), set()
    for puzzle in drawn(400):
        thought, _ = solve(puzzle, "careless", rng)
        totals = [int(chain.rpartition("=")[2]) for chain in CHAIN.findall(thought)]
        kinds |= {"missed, accepted"} if thought.endswith(" yes") and totals[-1] != puzzle.target else set()
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


def test_process_rewards_cut_a_thought_at_each_attempt_whatever_stands_between_two():
    for rejection, joint in puzzles._REJECTIONS:
        thought = f"9-4=5, 13-5=8 {rejection}{joint}9+4=13, 13-13=0 yes"
        assert len(split_steps(thought, ATTEMPTS)) == 2, joint
