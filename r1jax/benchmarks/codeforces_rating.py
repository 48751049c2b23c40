"""Expected rating and percentile from which problems were solved and how hard these are.

A player of rating r solves a problem of rating d with probability 1 / (1 + 10^((d - r) / 400)): Elo's model, by which
Codeforces itself rates problems. The rating given is the most likely one, at which as many problems are expected to be
solved as were (with several samples, the mean share of them). It is not the paper's procedure, which has models take
part in recent contests beside people: numbers of the two are of one kind, and not the same.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from r1jax.benchmarks.benchmark import Figure, Outcome, Row
from r1jax.benchmarks.estimators import by_question, question_means

LOWEST, HIGHEST = 0.0, 4000.0  # where none or all are solved, no rating is most likely: these stand in
# Rating and percentile of the same model, as the paper prints both (arXiv 2501.12948, table 4).
_PUBLISHED = ((717.0, 20.3), (759.0, 23.6), (1134.0, 58.7), (1820.0, 93.4), (2029.0, 96.3), (2061.0, 96.6))


def figures(rows: Mapping[str, Row], outcomes: Sequence[Outcome]) -> dict[str, Figure]:
    """The "rating" and "percentile" of a model, from the questions that have a rating; {} where none has."""
    means = question_means(by_question(outcomes))
    rated = {id_: float(rows[id_]["rating"]) for id_ in means if rows[id_].get("rating")}
    if not rated:
        return {}
    problems, solved = np.array(list(rated.values())), np.array([means[id_] for id_ in rated])
    rating = expected_rating(problems, solved)
    spread = rating_error(problems, rating)
    low, high = rating - 1.96 * spread, rating + 1.96 * spread
    figures_by_name = {"rating": Figure(rating, spread, low, high, unit="")}
    if (share := percentile(rating)) is not None:
        figures_by_name["percentile"] = Figure(share / 100)
    return figures_by_name


def expected_rating(problems: np.ndarray, solved: np.ndarray) -> float:
    """The most likely rating, by bisection of a sum that rises with it; between 0 and 4,000.

    Args:
        problems: `[Q]` their ratings.
        solved: `[Q]` the share of samples that solve each, 0 to 1.
    """
    low, high = LOWEST, HIGHEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _chance(problems, middle).sum() < solved.sum() else (low, middle)
    return (low + high) / 2


def rating_error(problems: np.ndarray, rating: float) -> float:
    """Its standard error: one over the root of the Fisher information, each question counted as one trial."""
    chance = _chance(problems, rating)
    information = (math.log(10) / 400) ** 2 * float((chance * (1 - chance)).sum())
    return 1 / math.sqrt(information) if information else math.inf


def percentile(rating: float) -> float | None:
    """The share of rated people below, in percent, interpolated between the pairs that the paper prints.

    None outside of them (717 to 2061): nothing is known there.
    """
    ratings, shares = zip(*_PUBLISHED, strict=True)
    return float(np.interp(rating, ratings, shares)) if ratings[0] <= rating <= ratings[-1] else None


def _chance(problems: np.ndarray, rating: float) -> np.ndarray:
    return 1 / (1 + 10 ** ((problems - rating) / 400))
