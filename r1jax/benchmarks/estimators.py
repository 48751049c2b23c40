"""Estimators over graded samples (means, pass@k, votes, paired tests), with errors by question.

Samples of one question are not independent of each other, so each question is first brought down to one number.
"""

import collections
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from r1jax.benchmarks.benchmark import Figure, Outcome

_RESAMPLES = 2_000
_SUBSETS = 200  # votes of k among more samples: as many subsets of each question are drawn
_FLIPS = 10_000
_Z = 1.959964  # of a 95% interval
_AT_ONCE = 4_000_000  # numbers of a bootstrap that exist at a time


def by_question(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of each question, by sample; questions in the order of their first outcome."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.id, []).append(outcome)
    return {id_: sorted(group, key=lambda outcome: outcome.sample) for id_, group in groups.items()}


def question_means(groups: Mapping[str, Sequence[Outcome]]) -> dict[str, float]:
    """Each question's mean score over the samples really drawn and graded; without those that have none (trap 29)."""
    graded = {id_: [o.score for o in group if o.score is not None] for id_, group in groups.items()}
    return {id_: sum(scores) / len(scores) for id_, scores in graded.items() if scores}


def standard_error(per_question: Sequence[float] | np.ndarray) -> float:
    """Of a mean over questions; 0.0 for fewer than two."""
    n = len(per_question)
    return float(np.std(per_question, ddof=1) / math.sqrt(n)) if n > 1 else 0.0


def figure(per_question: Sequence[float] | np.ndarray, unit: str = "%") -> Figure:
    """The mean over questions, its standard error, and a 95% interval by resampling questions (percentiles, 2,000).

    Where all questions are wholly right, or all wholly wrong, resampling would claim certainty: Wilson's interval for
    that many questions stands in.
    """
    values = np.asarray(per_question, np.float64)
    n = len(values)
    if not n:
        return Figure(math.nan, None, None, None, unit)
    mean = float(values.mean())
    if np.ptp(values) == 0:
        margin = _Z**2 / (n + _Z**2)
        low, high = (0.0, margin) if mean == 0 else (1 - margin, 1.0) if mean == 1 else (mean, mean)
        return Figure(mean, 0.0, low, high, unit)
    low, high = np.percentile(resampled_means(values), [2.5, 97.5])
    return Figure(mean, standard_error(values), float(low), float(high), unit)


def resampled_means(values: np.ndarray, resamples: int = _RESAMPLES, seed: int = 0) -> np.ndarray:
    """`[resamples]` means of as many questions drawn with replacement."""
    n, rng = len(values), np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // n)
    sizes = [min(rows, resamples - first) for first in range(0, resamples, rows)]
    return np.concatenate([values[rng.integers(n, size=(size, n))].mean(axis=1) for size in sizes])


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that one of k samples is right, unbiased, from n of which c are (arXiv 2107.03374, equation 1).

    Raises:
        ValueError: k is not between 1 and n, or c not between 0 and n.
    """
    if not (1 <= k <= n and 0 <= c <= n):
        raise ValueError(f"pass@{k} cannot be had from {n} samples, {c} of them right")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def majority(answers: Sequence[str]) -> str:
    """The most frequent answer, the first drawn among equals. An empty answer is no vote; "" if all are: trap 30."""
    votes = collections.Counter(answer for answer in answers if answer)
    return votes.most_common(1)[0][0] if votes else ""


def consensus(group: Sequence[Outcome]) -> float:
    """The score of the majority's answer: that of the first graded sample which gave it; 0.0 without any."""
    winner = majority([outcome.answer for outcome in group])
    won = [outcome.score for outcome in group if outcome.answer == winner and outcome.score is not None]
    return won[0] if winner and won else 0.0


def consensus_at(group: Sequence[Outcome], k: int) -> float:
    """The same expected of k samples: the mean over 200 random subsets, each in the order drawn; of all samples, exact.

    Seeded by the number of samples alone, so that models meet the same subsets.
    """
    n = len(group)
    if k >= n:
        return consensus(group)
    rng = np.random.default_rng([n, k])
    subsets = np.sort(np.argsort(rng.random((_SUBSETS, n)), axis=1)[:, :k], axis=1)
    return float(np.mean([consensus([group[i] for i in subset]) for subset in subsets]))


def ks(most: int) -> list[int]:
    """The k that curves are drawn at: powers of two up to `most`, and `most` itself."""
    return sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | {most}) if most else []


def pass_by_question(groups: Mapping[str, Sequence[Outcome]], k: int) -> list[float]:
    """pass@k of each question that has k graded samples; a score counts as right from 1.0 on."""
    graded = [[outcome.score for outcome in group if outcome.score is not None] for group in groups.values()]
    return [pass_at_k(len(s), sum(score >= 1.0 for score in s), k) for s in graded if len(s) >= k]


class Paired(NamedTuple):
    """Two models on the questions that both were asked.

    Attributes:
        n: those questions.
        difference: the second's mean score minus the first's.
        stderr: of the difference, from the differences question by question.
        p_value: how often chance alone, flipping the signs of those differences, does as much.
        beyond_noise: p_value below 0.05.
    """

    n: int
    difference: float
    stderr: float
    p_value: float
    beyond_noise: bool


def paired(a: Mapping[str, float], b: Mapping[str, float]) -> Paired:
    """Compares two models question by question, with a sign-flip permutation test (10,000 flips, seeded).

    Args:
        a: question id -> mean score of one model.
        b: the same of the other.

    Raises:
        ValueError: no question is in both.
    """
    shared = [id_ for id_ in a if id_ in b]
    if not shared:
        raise ValueError("the two have no question in common")
    differences = np.array([b[id_] - a[id_] for id_ in shared])
    moved = differences[differences != 0]  # a zero has no sign to flip
    observed, rng = abs(moved.sum()), np.random.default_rng(0)
    rows = max(1, _AT_ONCE // max(len(moved), 1))
    as_much = 0
    for first in range(0, _FLIPS, rows):
        signs = rng.choice((-1.0, 1.0), size=(min(rows, _FLIPS - first), len(moved)))
        as_much += int((np.abs(signs @ moved) >= observed - 1e-9).sum())
    p_value = (1 + as_much) / (1 + _FLIPS)
    return Paired(len(shared), float(differences.mean()), standard_error(differences), p_value, p_value < 0.05)
