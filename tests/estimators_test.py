"""Estimators by hand, by enumeration and by simulation."""

import itertools
import math

import numpy as np
import pytest

from r1jax.benchmarks import estimators
from r1jax.benchmarks.benchmark import Outcome
from r1jax.benchmarks.estimators import (
    by_question,
    consensus,
    consensus_at,
    figure,
    ks,
    majority,
    paired,
    pass_at_k,
    pass_by_question,
    question_means,
    standard_error,
)


def outcome(id_: str, sample: int, score: float | None, answer: str = "") -> Outcome:
    return Outcome(id_, sample, score, "right" if score else "wrong", answer)


def group(*pairs: tuple[str, float | None]) -> list[Outcome]:
    return [outcome("q", i, score, answer) for i, (answer, score) in enumerate(pairs)]


def test_trap29_pass_at_1_divides_by_the_samples_really_drawn():
    drawn = [outcome("a", i, score) for i, score in enumerate([1.0, 1.0, 1.0, 0.0])]
    drawn += [outcome("b", 0, 1.0), outcome("b", 1, None)]
    assert question_means(by_question(drawn)) == {"a": 0.75, "b": 1.0}
    # Nobody knows of a question without a graded sample.
    assert question_means(by_question([outcome("c", 0, None)])) == {}


@pytest.mark.parametrize("n, c", [(1, 0), (1, 1), (5, 2), (8, 7), (10, 0), (10, 10)])
def test_trap29_pass_at_k_is_the_mean_over_all_subsets(n, c):
    right = [True] * c + [False] * (n - c)
    for k in range(1, n + 1):
        subsets = list(itertools.combinations(right, k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)


def test_pass_at_k_is_the_codex_papers_own_product():
    """The paper computes 1 - prod(1 - k / i, i = n - c + 1 .. n)."""
    for n, c, k in [(200, 13, 100), (200, 1, 10), (200, 199, 1), (164, 82, 64), (10_000, 3, 5_000)]:
        product = 1.0 if n - c < k else 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))
        assert pass_at_k(n, c, k) == pytest.approx(product, rel=1e-9)
    # Public values: one right of two is pass@1 1/2 and pass@2 1.
    assert (pass_at_k(2, 1, 1), pass_at_k(2, 1, 2)) == (0.5, 1.0)


@pytest.mark.parametrize("n, c, k", [(3, 1, 4), (3, 4, 1), (3, 1, 0), (0, 0, 1), (3, -1, 1)])
def test_pass_at_k_refuses_what_it_cannot_know(n, c, k):
    with pytest.raises(ValueError, match="cannot be had"):
        pass_at_k(n, c, k)


def test_pass_at_k_takes_questions_with_enough_graded_samples_and_only_full_marks():
    groups = by_question(
        [
            outcome("a", 0, 1.0),
            outcome("a", 1, 0.0),
            outcome("b", 0, 1.0),
            outcome("b", 1, None),
            outcome("c", 0, 0.9),
            outcome("c", 1, 0.0),
        ]
    )
    assert pass_by_question(groups, 1) == [0.5, 1.0, 0.0]
    assert pass_by_question(groups, 2) == [1.0, 0.0]


def test_trap30_the_earliest_of_equals_wins_and_no_answer_is_no_vote():
    assert majority(["7", "42", "42", "7"]) == "7"
    assert majority(["", "", "", "5"]) == "5" and majority(["", ""]) == "" and majority([]) == ""
    assert consensus(group(("7", 0.0), ("42", 1.0))) == 0.0 and consensus(group(("42", 1.0), ("7", 0.0))) == 1.0
    assert consensus(group(("", 0.0), ("", 0.0), ("42", 1.0))) == 1.0
    assert consensus(group(("", 0.0), ("", 0.0))) == 0.0
    # The winner's own first sample could not be graded; its second could.
    assert consensus(group(("42", None), ("42", 1.0), ("7", 0.0))) == 1.0


def test_consensus_of_fewer_is_the_mean_over_subsets():
    drawn = group(("7", 0.0), ("42", 1.0), ("42", 1.0), ("7", 0.0), ("42", 1.0), ("9", 0.0))
    for k in (1, 2, 3, 5):
        subsets = [consensus(list(subset)) for subset in itertools.combinations(drawn, k)]
        # 200 draws: four standard errors of a share.
        assert consensus_at(drawn, k) == pytest.approx(np.mean(subsets), abs=4 * 0.5 / np.sqrt(200))
        assert consensus_at(drawn, k) == consensus_at(drawn, k)
    assert consensus_at(drawn, 6) == consensus(drawn) == 1.0


def test_curves_are_drawn_at_powers_of_two_and_the_end():
    assert ks(64) == [1, 2, 4, 8, 16, 32, 64] and ks(6) == [1, 2, 4, 6] and ks(1) == [1] and ks(0) == []


def test_the_question_is_the_unit_of_the_error():
    assert standard_error([1.0]) == 0.0 and standard_error([1.0, 2.0, 3.0]) == pytest.approx(1 / math.sqrt(3))
    once = [outcome(q, 0, float(q == "a")) for q in "ab"]
    often = [outcome(q, s, float(q == "a")) for q in "ab" for s in range(100)]
    errors = [figure(list(question_means(by_question(each)).values())).stderr for each in (once, often)]
    assert errors == [pytest.approx(0.5)] * 2


def test_an_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        each = figure(rng.binomial(4, rng.beta(2, 3, size=60)) / 4)
        held += each.low <= 0.4 <= each.high
    assert 0.90 <= held / 300 <= 0.98


def test_no_interval_claims_certainty_from_equal_questions():
    none, all_ = figure([0.0] * 30), figure([1.0] * 30)
    assert (none.value, none.stderr, none.low) == (0.0, 0.0, 0.0) and none.high == pytest.approx(0.1135, abs=1e-4)
    assert all_.low == pytest.approx(1 - 0.1135, abs=1e-4) and all_.high == 1.0
    assert math.isnan(figure([]).value)


def test_a_large_set_is_resampled_in_pieces_to_the_same_end(monkeypatch):
    values = np.random.default_rng(1).random(500)
    whole = estimators.resampled_means(values, 100)
    monkeypatch.setattr(estimators, "_AT_ONCE", 7 * 500)
    assert np.array_equal(estimators.resampled_means(values, 100), whole)


def test_a_paired_comparison_by_hand():
    a = {"q1": 0.0, "q2": 0.5, "q3": 1.0, "only a": 1.0}
    b = {"q1": 1.0, "q2": 0.5, "q3": 1.0, "only b": 0.0}
    comparison = paired(a, b)
    assert (comparison.n, comparison.difference) == (3, pytest.approx(1 / 3)) and comparison.stderr == pytest.approx(
        1 / 3
    )
    assert comparison.p_value == 1.0 and not comparison.beyond_noise  # one difference has either sign, each as often
    with pytest.raises(ValueError, match="no question in common"):
        paired({"x": 1.0}, {"y": 1.0})


def test_pairing_sees_what_two_separate_errors_hide():
    rng = np.random.default_rng(0)
    hard = rng.random(200)
    a = {str(i): float(p > 0.5) for i, p in enumerate(hard)}
    b = {str(i): float(p > 0.44) for i, p in enumerate(hard)}  # right wherever a is, and on a few more
    comparison = paired(a, b)
    assert comparison.beyond_noise and comparison.p_value < 0.01
    apart = math.hypot(standard_error(list(a.values())), standard_error(list(b.values())))
    assert abs(comparison.difference) < 1.96 * apart


def test_equal_models_differ_no_oftener_than_chance():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(100):
        rates = rng.beta(1, 1, size=50)
        a, b = (dict(enumerate(rng.binomial(4, rates) / 4)) for _ in range(2))
        wrong += paired(a, b).beyond_noise
    assert wrong <= 12  # 5 expected; more than 12 has a chance of 0.1%
    assert paired({"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 0.0}).p_value == 1.0
