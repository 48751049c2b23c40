"""Composed requests of the mini world: right answers, good replies that follow their instructions, sides of splits.

Also what authors of mixed quality write to them, and the levels of problems.
"""

import collections
import random

import pytest

from r1jax.data.miniworld import composed_requests, problems, replies, requests
from r1jax.data.miniworld.composed_requests import COMPOSED_KINDS, composed, is_for_tuning
from r1jax.data.miniworld.problems import Problem
from r1jax.data.miniworld.requests import Request
from r1jax.data.tasks import is_held_out
from r1jax.data.types import Prompt, Rollout
from r1jax.graders import exact_match, ifeval
from r1jax.graders.config import GraderConfig
from r1jax.rewards.language_consistency import language_of
from r1jax.tools.write_miniworld import composition


def grade(request: Request, text: str) -> float:
    grader = ifeval if request.instructions else exact_match
    prompt = Prompt("id", request.question, request.answer, f"{request.grader}:world", metadata=composition(request))
    return grader.grade(Rollout.of_text(prompt, text), GraderConfig()).score


def of_kind(kind: str) -> list[Request]:
    return [request for request in composed() if request.kind == kind]


def test_each_kind_has_many_requests_on_both_sides_of_both_splits():
    questions = [request.question for request in composed()]
    assert len(set(questions)) == len(questions) > 1500
    assert not set(questions) & {request.question for request in requests.requests()}
    for kind in COMPOSED_KINDS:
        sides = collections.Counter(
            (is_held_out(request.question, 0.1), is_for_tuning(request)) for request in of_kind(kind)
        )
        assert min(sides.values()) > 5 and len(sides) == 4
        tuned = sides[False, True] / (sides[False, True] + sides[False, False])
        assert tuned == pytest.approx(composed_requests.FOR_TUNING, abs=0.08)


def test_good_replies_are_right_and_questions_are_in_their_language():
    for request in composed()[::3]:
        assert grade(request, request.polite) == 1.0, request
        assert language_of(request.question) == request.language, request
        if not request.instructions:
            assert grade(request, request.answer) == 1.0, request


def test_answers_worked_out_by_hand():
    answers = {request.question: request.answer for request in composed()}
    assert answers["How many legs do a cat and a hen have in all?"] == "6"
    assert answers["蚂蚁加上蜘蛛的脚有?个"] == "14"
    assert answers["Which day comes 3 days after Saturday?"] == "Tuesday"
    assert answers["星期六加3是?"] == "星期二"
    assert answers["Name the capitals of Cuba and Norway."] == "Havana, Oslo"
    assert answers["热，大，对：?"] == "冷，小"


def test_a_translation_is_made_of_the_translations_of_its_phrases():
    single = {request.answer for request in requests.requests() if request.kind == "translation"}
    for request in of_kind("phrases"):
        parts = request.answer.replace("，", ", ").split(", ")
        assert len(parts) == request.level in (2, 3) and set(parts) <= single
        assert grade(request, parts[0]) == 0.0


def test_an_instruction_that_is_left_out_is_missed():
    rng = random.Random(0)
    for request in of_kind("instructions"):
        assert len(request.instructions) == request.level
        for kept in range(request.level):
            assert grade(request, composed_requests.partly_followed(request, kept, rng)) == 0.0, request


def test_the_careful_are_right_the_hasty_curt_and_the_careless_wrong():
    rng = random.Random(0)
    for request in [*composed()[::4], *requests.requests()[::4]]:
        said = {author: replies.written(request, author, rng) for author in replies.TUNING_AUTHORS}
        assert said["careful"] == request.polite and said["careless"] != request.polite
        if request.grader != "open":
            hasty = 0.0 if request.instructions else 1.0
            assert [grade(request, text) for text in said.values()] == [1.0, hasty, 0.0], request
        told = any(letter.isdigit() for letter in said["careless"])
        assert told or request.kind != "secret"


def test_authors_write_by_their_shares_and_the_same_for_the_same_seed():
    rows = [row for i, each in enumerate(requests.requests()) for row in replies.tuning_rows_by_authors(0, i, each)]
    assert rows[8 : 8 + replies.REPLIES] == replies.tuning_rows_by_authors(0, 4, requests.requests()[4])
    counts = collections.Counter(row["author"] for row in rows)
    for author, share in replies.TUNING_AUTHORS.items():
        assert counts[author] / len(rows) == pytest.approx(share, abs=4 * (share * (1 - share) / len(rows)) ** 0.5)


@pytest.mark.parametrize(
    ("kind", "parts", "level"),
    [
        ("chain", (3, "+", 4), 1),
        ("chain", (30, "+", 4), 2),
        ("chain", (3, "+", 4, "-", 5, "+", 6), 3),
        ("chain", (13, "+", 4, "-", 5, "+", 6, "-", 1, "+", 2), 5),
        ("gcd", (12, 6), 1),
        ("gcd", (34, 21), 5),
        ("relatives", ("Mary", "sisters", 2, 3), 1),
    ],
)
def test_levels_count_steps_and_in_sums_the_second_digit(kind, parts, level):
    """12 % 6 = 0 is one step; 34 and 21, of Fibonacci's numbers, take seven, beyond the highest level."""
    assert Problem(kind, "", parts, 0).level == level


def test_longer_sums_are_drawn_only_where_they_are_asked_for():
    def longest(*most: int) -> int:
        drawn = [problems.draw(random.Random(seed), *most) for seed in range(400)]
        return max(len(each.parts) // 2 + 1 for each in drawn if each.kind == "chain")

    assert (longest(), longest(6)) == (4, 6)
