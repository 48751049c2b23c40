"""The result of a benchmark from its graded samples: figures, their errors, rates and lengths."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from r1jax.benchmarks import estimators
from r1jax.benchmarks.benchmark import Figure, Outcome
from r1jax.evaluation.benchmark_questions import QuestionSet
from r1jax.evaluation.record import Record


def summarize(questions: QuestionSet, record: Record, k: int, label: str) -> dict[str, Any]:
    """The result of k samples for each question, as far as they are there; the stamp is the caller's.

    A sample that cannot be graded leaves its question's mean, and a question without any leaves the set's. pass@k takes
    questions with k graded samples. Scores between 0 and 1 (F1, preferences) are called "score" and have no pass@k.
    """
    benchmark, outcomes = questions.benchmark, record.outcomes(questions.prompts, k)
    groups = estimators.by_question(outcomes)
    means = estimators.question_means(groups)
    binary = all(outcome.score in (0.0, 1.0, None) for outcome in outcomes)
    figures = {"pass@1" if binary else "score": estimators.figure(list(means.values()))}
    if binary and k > 1:
        figures[f"pass@{k}"] = estimators.figure(estimators.pass_by_question(groups, k))
    graded = {id_: groups[id_] for id_ in means}
    if benchmark.votes and k > 1:
        figures[f"cons@{k}"] = estimators.figure([estimators.consensus(group) for group in graded.values()])
    if benchmark.summarize and outcomes:
        figures |= benchmark.summarize({id_: questions.rows[id_] for id_ in groups}, outcomes)
    return {
        "benchmark": questions.name,
        "title": benchmark.title,
        "group": benchmark.group,
        "model": label,
        "metric": benchmark.metric if benchmark.metric in figures else next(iter(figures)),
        "n": len(means),
        "k": k,
        "questions_in_file": questions.in_file,
        "samples": len(outcomes),
        "figures": {name: _plain(figure) for name, figure in figures.items()},
        "by_k": _by_k(graded, k, benchmark.votes) if binary else [],
        "rates": {
            **_rates(outcomes),
            "well_formed": record.well_formed(questions.prompts, k),
            "mixed_language": record.mixed_language(questions.prompts, k),
        },
        "length": _lengths(outcomes),
        "by_subject": _by_subject(questions, means),
    }


def line(row: dict[str, Any]) -> str:
    """A result in one line, for the console."""
    figures = [f"{name} {text(figure)}" for name, figure in row["figures"].items()]
    rates = [f"{name.replace('_', ' ')} {share:.1%}" for name, share in row["rates"].items()]
    return (
        f"{row['title']}: {', '.join(figures)} (n = {row['n']} of {row['questions_in_file']}, k = {row['k']}; "
        f"{', '.join(rates)}; {row['length']['mean']:.0f} tokens)"
    )


def text(figure: dict[str, Any]) -> str:
    """`31.2% ± 2.0`, or a plain number."""
    value, error = figure["value"], figure["stderr"]
    if value is None:
        return "none"
    scale, unit = (100, "%") if figure["unit"] == "%" else (1, "")
    return f"{scale * value:.1f}{unit}" + ("" if error is None else f" ± {scale * error:.1f}")


def _plain(figure: Figure) -> dict[str, Any]:
    """For JSON, which has no nan."""
    return {
        name: None if isinstance(value, float) and np.isnan(value) else value
        for name, value in figure._asdict().items()
    }


def _by_k(groups: dict[str, list[Outcome]], most: int, votes: bool) -> list[dict[str, Any]]:
    rows = []
    for k in estimators.ks(most):
        passes = estimators.pass_by_question(groups, k)
        cons = [estimators.consensus_at(group, k) for group in groups.values() if len(group) >= k] if votes else []
        rows.append(
            {"k": k, "pass": float(np.mean(passes)) if passes else None, "cons": float(np.mean(cons)) if cons else None}
        )
    return rows


def _rates(outcomes: Sequence[Outcome]) -> dict[str, float]:
    n = max(len(outcomes), 1)
    return {
        "truncated": sum(o.finish == "length" for o in outcomes) / n,
        "no_answer": sum(o.verdict == "no_answer" for o in outcomes) / n,
        "ungradable": sum(o.score is None for o in outcomes) / n,
    }


def _lengths(outcomes: Sequence[Outcome]) -> dict[str, float]:
    tokens = np.array([o.tokens for o in outcomes] or [0])
    return {"mean": float(tokens.mean()), "median": float(np.median(tokens)), "p95": float(np.percentile(tokens, 95))}


def _by_subject(questions: QuestionSet, means: dict[str, float]) -> dict[str, dict[str, float]]:
    subjects: dict[str, list[float]] = {}
    for id_, mean in means.items():
        if subject := questions.rows[id_].get("subject"):
            subjects.setdefault(str(subject), []).append(mean)
    return {
        subject: {"n": len(each), "value": float(np.mean(each)), "stderr": estimators.standard_error(each)}
        for subject, each in sorted(subjects.items())
    }
