"""Figures of reward models: by hand on a few scores, and on many whose truth is planted."""

import math

import numpy as np
import pytest

from r1jax.stages.reward_agreement import auroc, calibration, clustered_error, of_labels, of_pairs


def test_of_four_pairs_by_hand():
    scores = np.array([[math.log(3), 0.0], [0.0, math.log(3)], [1.0, 1.0], [5.0, 5.0 - math.log(3)]])
    lengths = np.array([[10, 30], [40, 10], [20, 20], [9, 6]])
    row = of_pairs(scores, lengths, ["a", "b", "c", "d"])
    assert (row["n"], row["accuracy"]) == (4, 0.625)  # right, wrong, a tie, right
    assert row["stderr"] == pytest.approx(np.std([1, 0, 0.5, 1], ddof=1) / 2)
    assert row["loss"] == pytest.approx((2 * math.log(4 / 3) + math.log(4) + math.log(2)) / 4)
    assert row["margin"] == pytest.approx(math.log(3) / 4)
    assert row["longer_wins"] == 0.625
    assert row["prefers_longer"] == pytest.approx(1 / 3)  # of three unequal pairs, only the last one's
    # Sure by 3/4 in three pairs, of which two are right; by 1/2 in the tie, which is half right.
    assert [(bin_["n"], bin_["predicted"], bin_["observed"]) for bin_ in row["reliability"]] == [
        (1, 0.5, 0.5),
        (3, pytest.approx(0.75), pytest.approx(2 / 3)),
    ]
    assert row["calibration_error"] == pytest.approx(3 / 4 * (3 / 4 - 2 / 3))
    assert [(each["from"], each["to"], each["n"], each["accuracy"]) for each in row["by_length"]] == [
        (0.0, 0.5, 1, 1.0),
        (1.0, 2.0, 2, 0.75),
        (2.0, None, 1, 0.0),
    ]


def test_of_four_labels_by_hand():
    scores = np.array([math.log(3), -math.log(3), 0.0, -math.log(3)], np.float32)
    row = of_labels(scores, np.array([True, True, False, False]), np.array([1, 2, 3, 4]), list("abcd"))
    assert (row["n"], row["accuracy"], row["safe_share"]) == (4, 0.625, 0.5)
    assert row["auroc"] == 0.625  # of four comparisons: two won, one tied, one lost
    assert row["length_auroc"] == 0.0
    assert row["margin"] == pytest.approx(math.log(3) / 2)
    assert [(bin_["n"], bin_["observed"]) for bin_ in row["reliability"]] == [(2, 0.5), (1, 0.0), (1, 1.0)]
    assert [each["n"] for each in row["by_length"]] == [1, 1, 1, 1]


def test_a_model_that_prefers_the_longer_one_is_seen_to():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 1000, (2000, 2))
    row = of_pairs(lengths.astype(np.float64), lengths, np.arange(2000))
    assert row["prefers_longer"] == 1.0
    assert row["accuracy"] == row["longer_wins"] == pytest.approx(0.5, abs=0.05)
    assert [each["accuracy"] for each in row["by_length"]] == [0.0, 0.0, pytest.approx(1.0, abs=0.01), 1.0]
    labels = of_labels(lengths[:, 0], lengths[:, 0] > 500, lengths[:, 0], np.arange(2000))
    assert labels["auroc"] == labels["length_auroc"] == 1.0


def test_scores_that_are_the_true_log_odds_are_calibrated_and_doubled_ones_are_not():
    rng = np.random.default_rng(0)
    scores, prompts = rng.normal(0, 1.5, (40_000, 2)), np.arange(40_000)
    flipped = rng.random(40_000) > 1 / (1 + np.exp(scores[:, 1] - scores[:, 0]))
    pairs = np.where(flipped[:, None], scores[:, ::-1], scores)
    lengths = np.ones((40_000, 2))
    assert of_pairs(pairs, lengths, prompts)["calibration_error"] < 0.01
    assert of_pairs(2 * pairs, lengths, prompts)["calibration_error"] > 0.08
    safe = rng.random(40_000) < 1 / (1 + np.exp(-scores[:, 0]))
    assert of_labels(scores[:, 0], safe, lengths[:, 0], prompts)["calibration_error"] < 0.01
    assert of_labels(2 * scores[:, 0], safe, lengths[:, 0], prompts)["calibration_error"] > 0.05


def test_bins_hold_both_ends():
    error, table = calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0.0)
    assert error == 0.0 and [(row["from"], row["to"]) for row in table] == [(0.0, 0.1), (0.9, 1.0)]


def test_the_area_under_the_curve_counts_ties_half_and_needs_both_kinds():
    assert auroc(np.array([2.0, 1.0, 0.0]), np.array([True, True, False])) == (1.0, 0.0)
    assert auroc(np.zeros(4), np.array([True, False, True, False])) == (0.5, 0.0)
    assert auroc(np.zeros(2), np.array([True, True])) == (None, None)


def test_the_areas_error_is_its_spread_over_samples():
    rng = np.random.default_rng(0)
    positive = np.arange(120) < 40
    areas, errors = zip(*(auroc(rng.normal(positive * 1.0, 1.0), positive) for _ in range(500)), strict=True)
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.1)


def test_pairs_of_one_prompt_are_one_cluster():
    values = np.array([1.0, 0.0, 1.0, 1.0])
    assert clustered_error(values, list("abcd")) == pytest.approx(np.std(values, ddof=1) / 2)
    # Two prompts of two equal pairs each are no more than two values.
    doubled = np.repeat([1.0, 0.0, 1.0], 2)
    assert clustered_error(doubled, list("aabbcc")) == pytest.approx(np.std([1, 0, 1], ddof=1) / math.sqrt(3))
    assert clustered_error(values, list("aaaa")) == 0.0


def test_auroc_is_the_share_of_pairs_in_order_with_equal_scores_half():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.4
    above, below = scores[positive][:, None], scores[~positive]
    assert auroc(scores, positive)[0] == pytest.approx(((above > below) + 0.5 * (above == below)).mean())


def test_a_score_that_is_nan_makes_auroc_nan():
    area, error = auroc(np.array([1.0, np.nan, 0.0, 2.0]), np.array([True, True, False, False]))
    assert math.isnan(area) and math.isnan(error)
