"""Length-controlled win rate of AlpacaEval 2.0: the win rate if both answers had one length (arXiv 2404.04475).

The preference for the model over the baseline on question x is modelled as a logistic function of three terms:

    theta + phi * tanh((length - reference length) / sd) + psi * difficulty(x)

sd being the standard deviation of the length differences; theta is the model's quality. The length-controlled win rate
is the mean over questions of that function without its middle term. The leaderboard's difficulties are fitted over all
its models and judgements; where rows bring none (`difficulty`) that term is left out here, which is a departure.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from r1jax.benchmarks.benchmark import Figure, Outcome, Row
from r1jax.benchmarks.estimators import by_question, figure

_RIDGE = 1e-6  # keeps coefficients finite where every preference is the same; 1e-3 would bias by 1.5 points
_RESAMPLES = 200


def figures(rows: Mapping[str, Row], outcomes: Sequence[Outcome]) -> dict[str, Figure]:
    """The length-controlled and the plain win rate; errors by resampling questions, each fit anew (200)."""
    groups = by_question(outcome for outcome in outcomes if outcome.score is not None)
    if not groups:
        return {}
    preferences = np.array([np.mean([o.score for o in group]) for group in groups.values()])
    longer = np.array(
        [np.mean([o.detail["length"] - o.detail["reference_length"] for o in group]) for group in groups.values()]
    )
    difficulty = np.array([float(rows[id_].get("difficulty") or 0.0) for id_ in groups])
    value = win_rate(preferences, longer, difficulty)
    rng, n = np.random.default_rng(0), len(preferences)
    again = [win_rate(preferences[i], longer[i], difficulty[i]) for i in rng.integers(n, size=(_RESAMPLES, n))]
    low, high = np.percentile(again, [2.5, 97.5])
    return {
        "lc_win_rate": Figure(value, float(np.std(again, ddof=1)), float(low), float(high)),
        "win_rate": figure(preferences),
    }


def win_rate(preferences: np.ndarray, longer: np.ndarray, difficulty: np.ndarray) -> float:
    """The length-controlled win rate, 0 to 1.

    Args:
        preferences: `[Q]` for the model, 0 to 1.
        longer: `[Q]` by how many characters its answer is the longer one.
        difficulty: `[Q]` of the questions; zeros: not known.
    """
    import scipy.optimize  # half a second, which no other benchmark needs
    from scipy.special import expit

    spread = longer.std()
    features = np.stack([np.ones_like(longer), np.tanh(longer / spread) if spread else 0 * longer, difficulty], axis=1)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = features @ weights
        losses = np.logaddexp(0, logits) - preferences * logits
        slopes = (expit(logits) - preferences) @ features / len(logits)
        return float(losses.mean() + _RIDGE / 2 * weights @ weights), slopes + _RIDGE * weights

    weights = scipy.optimize.minimize(loss, np.zeros(3), jac=True, method="L-BFGS-B").x
    return float(expit(features[:, [0, 2]] @ weights[[0, 2]]).mean())
