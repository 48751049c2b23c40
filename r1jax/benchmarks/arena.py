"""Arena-Hard's win rate and interval (arXiv 2406.11939), and the answers that models are compared with."""

import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from r1jax.benchmarks.benchmark import Figure, Outcome, Row
from r1jax.config import missing_file
from r1jax.io import jsonl
from r1jax.text.chat import split_response, whole_response

_RESAMPLES = 500
# Games that a verdict counts for, and what the response gets of each: a strong one counts three times.
_GAMES = {"A>>B": (3, 1.0), "A>B": (1, 1.0), "A=B": (1, 0.5), "B>A": (1, 0.0), "B>>A": (3, 0.0)}


def figures(rows: Mapping[str, Row], outcomes: Sequence[Outcome]) -> dict[str, Figure]:
    """The win rate against the baseline by Bradley-Terry, and the plain mean score.

    With one opponent the model's likelihood is highest where the chance to win equals the share of games won, each
    verdict taken as often as it counts: that share is the Bradley-Terry estimate, without any iteration (the original
    fits the same model by logistic regression with next to no regularisation). The interval is of 500 resamples of
    questions, with both their games.
    """
    by_question: dict[str, list[tuple[int, float]]] = {}
    for outcome in outcomes:
        for game in outcome.detail.get("games", ()):
            weight, point = _GAMES[game]
            by_question.setdefault(outcome.id, []).append((weight, weight * point))
    if not by_question:
        return {}
    totals = np.array([np.sum(games, axis=0) for games in by_question.values()])  # [Q, (games, won)]
    rng = np.random.default_rng(0)
    drawn = totals[rng.integers(len(totals), size=(_RESAMPLES, len(totals)))].sum(axis=1)
    rates = drawn[:, 1] / drawn[:, 0]
    low, high = np.percentile(rates, [2.5, 97.5])
    value = totals[:, 1].sum() / totals[:, 0].sum()
    return {"win_rate": Figure(float(value), float(rates.std(ddof=1)), float(low), float(high))}


def strength(win_rate: float) -> float:
    """How much stronger than its opponent a player is, in Elo points, by the same model."""
    return 400 * math.log10(win_rate / (1 - win_rate))


def read_baseline(path: pathlib.Path) -> dict[str, str]:
    """Question id -> answer: an r1jax samples.jsonl (sample 0, the summary), or arena-hard-auto's model_answer files.

    The questions.jsonl beside a samples.jsonl has the prompts, which may have opened the thought.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is none of these.
    """
    if not path.is_file():
        raise FileNotFoundError(missing_file(path))
    prompts, questions_path = {}, path.with_name("questions.jsonl")
    if questions_path.is_file():
        questions, _ = jsonl.read_objects(questions_path, lambda row, line: row, remedy="it is no record of samples")
        prompts = {row.get("id"): str(row.get("text", "")) for row in questions}
    answers = {}
    with path.open("rb") as lines:
        for number, row in jsonl.objects(lines, path):
            try:
                answer = _answer(row, prompts)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise ValueError(f"{path}:{number}: no answer of a kind that is known here: {error!r}") from error
            if answer:
                answers.setdefault(*answer)
    return answers


def _answer(row: Row, prompts: Mapping[str, str]) -> tuple[str, str] | None:
    if "sample" in row:
        text = whole_response(prompts.get(row["id"], ""), row["text"])
        return (row["id"], split_response(text).final) if row["sample"] == 0 else None
    if "messages" in row:
        content = row["messages"][-1]["content"]
        return row["uid"], content["answer"] if isinstance(content, dict) else content
    return row["question_id"], row["choices"][0]["turns"][0]["content"]
