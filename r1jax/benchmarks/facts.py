"""Figures of questions of fact: correct, incorrect, not attempted (SimpleQA, arXiv 2411.04368, section 3)."""

from collections.abc import Mapping, Sequence

from r1jax.benchmarks.benchmark import Figure, Outcome, Row
from r1jax.benchmarks.estimators import by_question, figure


def figures(rows: Mapping[str, Row], outcomes: Sequence[Outcome]) -> dict[str, Figure]:
    """Shares of all questions; of those attempted, the correct ones; and the harmonic mean of both, F."""
    groups = by_question(o for o in outcomes if o.detail.get("grade"))
    if not groups:
        return {}
    shares = {
        name: figure([sum(o.detail["grade"] == name for o in group) / len(group) for group in groups.values()])
        for name in ("CORRECT", "INCORRECT", "NOT_ATTEMPTED")
    }
    correct, incorrect = shares["CORRECT"].value, shares["INCORRECT"].value
    attempted = correct + incorrect
    of_attempted = correct / attempted if attempted else 0.0
    both = 2 * correct * of_attempted / (correct + of_attempted) if correct else 0.0
    return {
        "correct": shares["CORRECT"],
        "incorrect": shares["INCORRECT"],
        "not_attempted": shares["NOT_ATTEMPTED"],
        "correct_given_attempted": Figure(of_attempted),
        "f": Figure(both),
    }
