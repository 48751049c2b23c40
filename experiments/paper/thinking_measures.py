"""Measures of graded answers to puzzles by the tokens allowed, the tokens used, and the number to choose among.

For the experiment thinking.py.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import graded_answers
import puzzle_runs
from graded_answers import Answers
from puzzle_runs import LEVELS

COUNTS = (1, 2, 4, 8, 16)  # answers to choose among
LIMITS = (32, 64, 96, 144, 216, 352)  # tokens allowed; the last one is that of sampling
SHORT = (64, 96, 144, 352)  # the limits with which votes are taken
BINS = ((1, 48), (49, 96), (97, 144), (145, 216), (217, 352))  # tokens used
_NAMES = {"reranked, last": "best by reward model"}  # what a way is called where a response has one chance
WAYS: dict[str, Callable[[Answers], float]] = {
    _NAMES.get(name, name): way
    for name, way in graded_answers.ways_to_choose().items()
    if name not in ("reranked, minimum", "reranked, mean")
}


def read(answer: dict[str, Any]) -> dict[str, Any]:
    """A graded answer, read without regard to its form: the last expression counts, if the response ended."""
    ended = answer["finish"] == "stop"
    return {
        "level": len(puzzle_runs.level_numbers(answer)),
        "tokens": answer["tokens"],
        "ended": ended,
        "answer": puzzle_runs.last_expression(answer) if ended else "",
        "score": float(ended and puzzle_runs.last_expression_is_right(answer)),
        "with tags": answer["score"] if ended else 0.0,
        "chances": answer["chances"] if ended else [0.0],
    }


def cut(answer: dict[str, Any], limit: int) -> dict[str, Any]:
    """The answer as it would be with fewer tokens allowed: its beginning, which gives no answer unless it had ended."""
    if answer["tokens"] <= limit:
        return answer
    return answer | {
        "tokens": limit,
        "ended": False,
        "answer": "",
        "score": 0.0,
        "with tags": 0.0,
        "chances": [0.0],
    }


def percent(answers: Sequence[dict[str, Any]], key: str = "score") -> float:
    """The mean of a key in percent; nan where there are none."""
    return 100 * statistics.fmean(answer[key] for answer in answers) if answers else float("nan")


def by_limit(groups: Sequence[Answers]) -> list[dict[str, float]]:
    """For each limit the tokens used and what is right, in all and by level."""
    table = []
    for limit in LIMITS:
        answers = [cut(answer, limit) for group in groups for answer in group]
        row = {"tokens": statistics.fmean(answer["tokens"] for answer in answers)}
        row |= {
            "ended": percent(answers, "ended"),
            "with tags": percent(answers, "with tags"),
            "right": percent(answers),
        }
        row |= {str(level): percent([each for each in answers if each["level"] == level]) for level in LEVELS}
        table.append(row)
    return table


def by_tokens(groups: Sequence[Answers]) -> list[dict[str, float]]:
    """For each range of tokens used the share of the responses, and what is right of them, in all and by level."""
    answers, table = [answer for group in groups for answer in group], []
    for low, high in BINS:
        some = [answer for answer in answers if low <= answer["tokens"] <= high]
        levels = {str(level): percent([each for each in some if each["level"] == level]) for level in LEVELS}
        table.append({"share": 100 * len(some) / len(answers), "right": percent(some), **levels})
    return table


def longer_minus_shorter(groups: Sequence[Answers]) -> dict[str, float]:
    """Of a question's responses the longer half's accuracy less that of the shorter half, means by level, in points.

    The question is the same on both sides, so that its difficulty does not count.
    """
    differences: dict[str, list[float]] = {str(level): [] for level in LEVELS}
    for group in groups:
        ordered, half = sorted(group, key=lambda answer: answer["tokens"]), len(group) // 2
        difference = percent(ordered[len(ordered) - half :]) - percent(ordered[:half])
        differences[str(group[0]["level"])].append(difference)
    return {level: statistics.fmean(each) if each else float("nan") for level, each in differences.items()}


def by_count(groups: Sequence[Answers]) -> list[dict[str, float]]:
    """For each number of answers the tokens of a question, and what is right by each way to choose one."""
    tokens = graded_answers.mean_tokens(groups)
    return [
        {"n": n, "tokens": n * tokens} | {name: graded_answers.accuracy(groups, n, way) for name, way in WAYS.items()}
        for n in COUNTS
    ]


def votes_of_short(groups: Sequence[Answers]) -> list[dict[str, Any]]:
    """For some limits what a majority among answers of that limit reaches, with the tokens of a question."""
    table = []
    for limit in SHORT:
        short = [[cut(answer, limit) for answer in group] for group in groups]
        tokens = graded_answers.mean_tokens(short)
        right = [graded_answers.accuracy(short, n, WAYS["majority"]) for n in COUNTS]
        table.append({"limit": limit, "tokens": [n * tokens for n in COUNTS], "right": right})
    return table


def at_tokens(curve: Sequence[dict[str, float]], way: str, tokens: float) -> float:
    """What a way to choose reaches with so many tokens: between numbers of answers a line over the tokens' logarithm.

    Outside of the numbers of answers that were drawn, the nearest one's.
    """
    if tokens <= curve[0]["tokens"]:
        return curve[0][way]
    for before, after in itertools.pairwise(curve):
        if tokens <= after["tokens"]:
            part = math.log(tokens / before["tokens"]) / math.log(after["tokens"] / before["tokens"])
            return before[way] + part * (after[way] - before[way])
    return curve[-1][way]


def tokens_to_reach(curve: Sequence[dict[str, float]], way: str, right: float) -> float:
    """The least tokens of a question with which a way to choose reaches an accuracy; infinity if none of the curve."""
    return next((row["tokens"] for row in curve if row[way] >= right), float("inf"))


def ranked(groups: Sequence[Answers]) -> float:
    """The percentage of pairs of a right and a wrong answer to one question in which the right one's chance is higher.

    Equal chances count half.
    """
    wins = []
    for group in groups:
        right = [answer["chances"][0] for answer in group if answer["score"]]
        wrong = [answer["chances"][0] for answer in group if not answer["score"]]
        wins += [0.5 * ((a > b) + (a >= b)) for a in right for b in wrong]
    return 100 * statistics.fmean(wins) if wins else 50.0
