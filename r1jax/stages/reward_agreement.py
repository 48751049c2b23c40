"""Agreement of a reward model's scores with people's or judges' preferences, on examples it has not seen.

Every figure of a mean has its standard error, in which examples of one prompt count as one cluster.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

BINS = 10
_RATIOS = (0.5, 1.0, 2.0)  # of the chosen response's length to the rejected one's


def of_pairs(scores_N2: np.ndarray, lengths_N2: np.ndarray, prompts: Sequence[Hashable]) -> dict[str, Any]:
    """The row of an evaluation on pairs.

    Args:
        scores_N2: of the chosen and of the rejected response.
        lengths_N2: of the same, in characters of the text read.
        prompts: of each pair.

    Returns:
        accuracy: share of pairs whose chosen response scores higher; equal scores count half.
        longer_wins: share of pairs whose chosen response is the longer one: the accuracy of preferring the longer one.
        prefers_longer: share, of the pairs of unequal lengths, whose longer response scores higher.
        calibration_error, reliability: see `calibration`; the prediction is the chance that the response which scores
            higher is the chosen one, so from 0.5 to 1.
        by_length: accuracy by the ratio of the chosen response's length to the rejected one's.
    """
    margins, prompts = _float64(scores_N2[:, 0]) - _float64(scores_N2[:, 1]), np.asarray(prompts)
    right, longer = _half_right(margins), np.sign(lengths_N2[:, 0] - lengths_N2[:, 1])
    error, table = calibration(_sigmoid(np.abs(margins)), right, 0.5)
    unequal = longer != 0
    ratio = lengths_N2[:, 0] / np.maximum(lengths_N2[:, 1], 1)
    groups, edges = np.digitize(ratio, _RATIOS), (0.0, *_RATIOS, None)
    return {
        "n": len(margins),
        **_mean("accuracy", "stderr", right, prompts),
        "loss": _log_loss(margins),
        "margin": float(margins.mean()),
        **_mean("longer_wins", "longer_wins_stderr", _half_right(longer), prompts),
        "prefers_longer": _share(_half_right(margins * longer)[unequal]),
        "calibration_error": error,
        "reliability": table,
        "by_length": [
            {
                "from": edges[group],
                "to": edges[group + 1],
                "n": int(inside.sum()),
                **_mean("accuracy", "stderr", right[inside], prompts[inside]),
            }
            for group in range(len(_RATIOS) + 1)
            if (inside := groups == group).any()
        ],
    }


def of_labels(
    scores_N: np.ndarray, safe_N: np.ndarray, lengths_N: np.ndarray, prompts: Sequence[Hashable]
) -> dict[str, Any]:
    """The row of an evaluation on labelled responses, whose scores are logits of "safe".

    Returns:
        accuracy: share of responses on the right side of 0, which counts half.
        safe_share: of the responses; the accuracy of always predicting "safe".
        auroc: see `auroc`; `length_auroc`: that of the length alone, above 0.5 where the longer ones are the safe ones.
        margin: mean score of the safe ones less that of the unsafe ones; None where one of the two is missing.
        calibration_error, reliability: see `calibration`; the prediction is the chance that a response is safe.
        by_length: accuracy of the four quarters by length, in characters.
    """
    scores, safe, prompts = _float64(scores_N), np.asarray(safe_N, bool), np.asarray(prompts)
    margins = np.where(safe, scores, -scores)
    right = _half_right(margins)
    error, table = calibration(_sigmoid(scores), safe.astype(np.float64), 0.0)
    area, area_error = auroc(scores, safe)
    quarters = np.array_split(np.argsort(lengths_N, kind="stable"), 4)
    return {
        "n": len(scores),
        **_mean("accuracy", "stderr", right, prompts),
        "safe_share": float(safe.mean()),
        "loss": _log_loss(margins),
        "auroc": area,
        "auroc_stderr": area_error,
        "length_auroc": auroc(_float64(lengths_N), safe)[0],
        "margin": None if area is None else float(scores[safe].mean() - scores[~safe].mean()),
        "calibration_error": error,
        "reliability": table,
        "by_length": [
            {
                "from": int(lengths_N[quarter[0]]),
                "to": int(lengths_N[quarter[-1]]),
                "n": len(quarter),
                **_mean("accuracy", "stderr", right[quarter], prompts[quarter]),
                "safe_share": _share(safe[quarter]),
            }
            for quarter in quarters
            if len(quarter)
        ],
    }


def calibration(predicted: np.ndarray, observed: np.ndarray, low: float) -> tuple[float, list[dict[str, float]]]:
    """The expected calibration error (Guo et al., arXiv 1706.04599, eq. 3) and the table of predicted against observed.

    Args:
        predicted: chances between `low` and 1, put into ten bins of the same width.
        observed: what came of them, 0 to 1.

    Returns:
        the mean distance between a bin's mean chance and what was observed, weighted by its size; and a row for each
        bin that is not empty.
    """
    edges = np.linspace(low, 1.0, BINS + 1)
    bins = np.clip(np.digitize(predicted, edges) - 1, 0, BINS - 1)
    table = [
        {
            "from": round(float(edges[each]), 4),
            "to": round(float(edges[each + 1]), 4),
            "n": int(inside.sum()),
            "predicted": float(predicted[inside].mean()),
            "observed": float(observed[inside].mean()),
        }
        for each in range(BINS)
        if (inside := bins == each).any()
    ]
    distance = sum(row["n"] * abs(row["predicted"] - row["observed"]) for row in table)
    return distance / len(predicted), table


def auroc(scores: np.ndarray, positive: np.ndarray) -> tuple[float | None, float | None]:
    """The chance that a positive scores above a negative, equal scores half, and its standard error.

    The error is DeLong's (Biometrics 44:837, 1988), for independent examples; 0 where a side has only one. Without a
    positive, or without a negative, there is neither.
    """
    above, below = scores[positive], scores[~positive]
    if not len(above) or not len(below):
        return None, None
    ranks = _ranks(np.concatenate([above, below]))
    beaten = (ranks[: len(above)] - _ranks(above)) / len(below)  # by each positive, the share of negatives
    lost = 1 - (ranks[len(above) :] - _ranks(below)) / len(above)  # to each negative, the share of positives
    parts = [np.var(side, ddof=1) / len(side) for side in (beaten, lost) if len(side) > 1]
    return float(beaten.mean()), float(np.sqrt(sum(parts)))


def clustered_error(values: np.ndarray, clusters: Sequence[Hashable]) -> float:
    """The standard error of a mean whose values are independent between clusters only (arXiv 2411.00640, section 2.2).

    With a cluster for each value it is the usual one. 0.0 for fewer than two clusters.
    """
    _, of = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(of, weights=np.asarray(values, np.float64) - np.mean(values))
    n = len(sums)
    return float(np.sqrt((sums**2).sum() * n / (n - 1)) / len(values)) if n > 1 else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, the mean rank for equal values; all NaN where one is. (scipy.stats takes a second to load.)"""
    _, of, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return np.where(np.isnan(values).any(), np.nan, (np.cumsum(sizes) - (sizes - 1) / 2)[of])


def _mean(name: str, error: str, values: np.ndarray, prompts: np.ndarray) -> dict[str, float]:
    return {name: float(values.mean()), error: clustered_error(values, prompts)}


def _share(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _half_right(margins: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.sign(margins))


def _float64(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float64)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


def _log_loss(margins: np.ndarray) -> float:
    """Mean of -log sigmoid(margin), in nats."""
    return float(np.logaddexp(0.0, -margins).mean())
