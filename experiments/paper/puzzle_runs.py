"""Puzzles of three, four and five numbers: the RL runs on them, and how hard and how right their samples are.

Several experiments read the same runs. They lie in the folder of one of them, runs/paper/aha; the first experiment that
is started makes them.
"""

import pathlib
import re
import statistics
from collections.abc import Callable, Iterable, Sequence

from study import Options, is_finished, rows, train

from r1jax.data.miniworld import puzzles
from r1jax.graders.countdown import grade_expression
from r1jax.tools import write_miniworld

OWNER = "aha"  # the experiment in whose folder the runs lie
EVERY = 10  # steps between evaluations
LEVELS = tuple(puzzles.LEVELS)  # how many numbers
WITHOUT_CHECKS = "RL, base without checks"
RUNS = {  # label -> fields of the config
    "RL": {},
    "random reward": {"rewards.accuracy": 0, "rewards.format": 0, "rewards.random": 1},
    WITHOUT_CHECKS: {},
}
EXPRESSION = re.compile(r"\d+(?:[-+]\d+)+(?![\d=])")
TARGET = re.compile(r"Make (\d+) from ([\d, ]+) with")
Sample = dict


def runs_beside(runs: pathlib.Path) -> pathlib.Path:
    """The folder of the shared runs, of an experiment whose own folder is `runs`."""
    return runs.parent / OWNER


def questions(runs: pathlib.Path) -> pathlib.Path:
    """The file of puzzles that the runs in this folder read."""
    return runs / "world" / "puzzles.jsonl"


def folder(runs: pathlib.Path, label: str, seed: int) -> pathlib.Path:
    """The workdir of a run."""
    return runs / f"seed{seed}" / label.replace(",", "").replace(" ", "_")


def finished(options: Options, runs: pathlib.Path, label: str = "RL") -> dict[int, pathlib.Path]:
    """The workdirs of the finished runs by seed; with `options.page_only` of those that are there, else of all.

    Args:
        runs: the folder of the shared runs; what is missing is trained there, questions and base too.
        label: of `RUNS`.
    """
    if not options.page_only and not questions(runs).exists():
        write_miniworld.write(runs / "world", 0, "")
    fields = {"data.path": questions(runs), "evaluation.every": EVERY, **RUNS[label]}
    if label == WITHOUT_CHECKS and not options.page_only:
        # One base for all seeds: named by its config it would be made beside each seed's runs.
        fields["base"] = train("base:puzzles_unchecked", runs / "base_without_checks") / "model"
    for seed in options.seeds:
        if not options.page_only:
            train("zero:puzzles", folder(runs, label, seed), seed=seed, **fields)
    workdirs = {seed: folder(runs, label, seed) for seed in options.seeds}
    return {seed: workdir for seed, workdir in workdirs.items() if is_finished(workdir)}


def evaluations(run: pathlib.Path) -> dict[int, list[Sample]]:
    """The held-out samples by step."""
    return {int(path.stem.split("_")[1]): rows(path) for path in sorted((run / "evals").glob("step_*.jsonl"))}


def rollouts(run: pathlib.Path, steps: Iterable[int]) -> list[Sample]:
    """The training samples of these steps, in order; those steps that the run has not made are left out."""
    paths = (run / "rollouts" / f"step_{step:06d}.jsonl" for step in steps)
    return [row for path in paths if path.exists() for row in rows(path)]


def level_numbers(sample: Sample) -> list[int]:
    """The numbers of a sample's puzzle."""
    return [int(number) for number in TARGET.match(sample["question"])[2].split(", ")]


def target(sample: Sample) -> int:
    """The number that a sample's puzzle asks for."""
    return int(TARGET.match(sample["question"])[1])


def of_level(level: int) -> Callable[[Sample], bool]:
    """Whether a sample's puzzle has this many numbers."""
    return lambda sample: len(level_numbers(sample)) == level


def last_expression(sample: Sample) -> str:
    """The last expression of the response, tags or not; "" where it has none."""
    return next(reversed(EXPRESSION.findall(sample["text"])), "")


def last_expression_is_right(sample: Sample) -> bool:
    """Whether the last expression of the response is right, tags or not: what the model can do, apart from the form."""
    expression = last_expression(sample)
    return bool(expression) and grade_expression(expression, level_numbers(sample), target(sample)).score == 1.0


def chance(question: str) -> float:
    """The chance that signs drawn at random solve a puzzle, among those whose results on the way are above 0."""
    sample = {"question": question}
    totals = [sum(attempt) for attempt in puzzles.attempts(tuple(level_numbers(sample)))]
    return statistics.mean(total == target(sample) for total in totals)


def step_of_half(steps: Sequence[float], values: Sequence[float]) -> float:
    """The step, between evaluations by a straight line, at which half of the whole rise has been made."""
    half = (values[0] + values[-1]) / 2
    for i in range(1, len(steps)):
        if (values[i] - half) * (values[-1] - values[0]) >= 0:
            before, after = values[i - 1], values[i]
            return steps[i - 1] + (steps[i] - steps[i - 1]) * (
                (half - before) / (after - before) if after != before else 1
            )
    return float(steps[-1])
