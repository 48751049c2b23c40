"""Ratings from solved problems: what Elo's model says, on constructed histories."""

import math

import numpy as np
import pytest

from r1jax.benchmarks.benchmark import Outcome
from r1jax.benchmarks.codeforces_rating import expected_rating, figures, percentile, rating_error


def test_one_of_two_equal_problems_is_their_own_rating():
    assert expected_rating(np.array([1500.0, 1500.0]), np.array([1.0, 0.0])) == pytest.approx(1500, abs=1e-6)
    # Three of four: the odds are 3, so 400 log10(3) above.
    rating = expected_rating(np.full(4, 1200.0), np.array([1.0, 1.0, 1.0, 0.0]))
    assert rating == pytest.approx(1200 + 400 * math.log10(3), abs=1e-6)
    # Shares of samples count like problems.
    assert expected_rating(np.array([1200.0]), np.array([0.75])) == pytest.approx(rating, abs=1e-6)


def test_two_problems_by_hand():
    """Ratings 1000 and 1400, one solved: by symmetry 1200."""
    assert expected_rating(np.array([1000.0, 1400.0]), np.array([1.0, 0.0])) == pytest.approx(1200, abs=1e-6)


@pytest.mark.parametrize("true", [900, 1500, 2400])
def test_a_players_rating_comes_back_within_its_error(true):
    rng = np.random.default_rng(true)
    within = 0
    for _ in range(100):
        problems = rng.uniform(800, 2800, size=150)
        solved = (rng.random(150) < 1 / (1 + 10 ** ((problems - true) / 400))).astype(float)
        rating = expected_rating(problems, solved)
        within += abs(rating - true) <= 1.96 * rating_error(problems, rating)
    assert 88 <= within <= 100


def test_solving_more_is_never_worse_and_order_means_nothing():
    rng = np.random.default_rng(0)
    problems, solved = rng.uniform(800, 2500, 50), rng.integers(0, 2, 50).astype(float)
    base = expected_rating(problems, solved)
    order = rng.permutation(50)
    assert expected_rating(problems[order], solved[order]) == pytest.approx(base)
    for i in np.flatnonzero(solved == 0)[:5]:
        more = solved.copy()
        more[i] = 1.0
        assert expected_rating(problems, more) > base


def test_none_and_all_solved_end_at_the_bounds():
    problems = np.array([800.0, 1600.0])
    assert expected_rating(problems, np.zeros(2)) == pytest.approx(0, abs=1e-6)
    assert expected_rating(problems, np.ones(2)) == pytest.approx(4000, abs=1e-6)


def test_percentiles_are_those_that_the_paper_prints_and_unknown_beyond():
    assert percentile(2029) == pytest.approx(96.3) and percentile(759) == pytest.approx(23.6)
    assert percentile(1134) < percentile(1444) < percentile(1820)
    assert percentile(500) is None and percentile(2500) is None


def test_figures_are_of_the_rated_problems():
    rows = {"a": {"rating": 1500}, "b": {"rating": 1500}, "c": {}}
    outcomes = [Outcome("a", 0, 1.0, "right"), Outcome("b", 0, 0.0, "wrong"), Outcome("c", 0, 1.0, "right")]
    values = figures(rows, outcomes)
    assert values["rating"].value == pytest.approx(1500) and values["rating"].unit == ""
    assert values["rating"].stderr == pytest.approx(1 / math.sqrt((math.log(10) / 400) ** 2 * 0.5))
    assert 0.587 < values["percentile"].value < 0.934
    assert figures({"c": {}}, outcomes[2:]) == {}
