"""Accuracy by difficulty in the course of RL, on puzzles of three, four and five numbers.

    python experiments/paper/difficulty.py [--seeds 1 2 3]    writes difficulty.md and difficulty.png beside this file

It reads the runs named RL of experiments/paper/aha.py, in the folder beside its own, and makes those that are missing.
"""

import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import puzzle_runs
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from puzzle_runs import EVERY, LEVELS, Sample, step_of_half
from study import options, spread, write_page

from r1jax.io.tables import markdown_table

NAME = "difficulty"
MINUTES = 0.2  # of a seed whose run is there; a run takes a third of the minutes of aha.py
Measure = Callable[[Sample], float]
RIGHT, SOLVED = "right, %", "last expression right, %"
MEASURES: dict[str, Measure] = {
    RIGHT: lambda sample: 100 * (sample["correct"] or 0),
    SOLVED: lambda sample: 100 * puzzle_runs.last_expression_is_right(sample),
}


class Curve(NamedTuple):
    """Means by step of one level in one run."""

    steps: list[float]
    values: list[float]


class Run(NamedTuple):
    """A finished run: held-out samples by step, and training samples of each EVERY steps by the middle of these."""

    held_out: dict[int, list[Sample]]
    training: dict[float, list[Sample]]


def read(folder: pathlib.Path) -> Run:
    """The samples of a run."""
    held_out = puzzle_runs.evaluations(folder)
    starts = range(0, max(held_out) - EVERY + 1, EVERY)
    windows = {at + (EVERY - 1) / 2: puzzle_runs.rollouts(folder, range(at, at + EVERY)) for at in starts}
    return Run(held_out, {middle: samples for middle, samples in windows.items() if samples})


def question_means(samples: Sequence[Sample], level: int, measure: Measure) -> list[float]:
    """The mean over the samples of each question of a level, in the order of the questions."""
    by_question: dict[str, list[float]] = {}
    for sample in filter(puzzle_runs.of_level(level), samples):
        by_question.setdefault(sample["question"], []).append(measure(sample))
    return [statistics.mean(each) for each in by_question.values()]


def standard_error(means: Sequence[float]) -> float:
    """Of the mean over questions, with the questions drawn anew; nan of one question."""
    return statistics.stdev(means) / len(means) ** 0.5 if len(means) > 1 else float("nan")


def curve(by_step: dict[int, list[Sample]] | dict[float, list[Sample]], level: int, measure: Measure) -> Curve:
    """The means of a level by step; steps without a sample of it are left out."""
    means = {step: question_means(by_step[step], level, measure) for step in sorted(by_step)}
    means = {step: each for step, each in means.items() if each}
    return Curve([*means], [statistics.mean(each) for each in means.values()])


def by_level(runs: Sequence[Run]) -> str:
    """The main table: each level before and after, and when half of its rise had been made, on held-out puzzles."""
    table = []
    for level in LEVELS:
        questions = {s["question"] for run in runs for s in run.held_out[0] if puzzle_runs.of_level(level)(s)}
        cells = [f"{level} numbers", f"{100 * statistics.mean(map(puzzle_runs.chance, questions)):.1f}"]
        for measure in MEASURES.values():
            curves = [curve(run.held_out, level, measure) for run in runs]
            cells += [spread([each.values[0] for each in curves]), spread([each.values[-1] for each in curves])]
            cells.append(spread([step_of_half(*each) for each in curves], 0))
        table.append(cells)
    header = ["", "right by chance, %"]
    for name in MEASURES:
        header += [f"{name.removesuffix(', %')} before, %", "after", f"half of the rise of {name[:-3]}, by step"]
    return "\n".join(markdown_table(header, table))


def in_training(runs: Sequence[Run]) -> str:
    """Last expressions right on training questions in four windows, and when half of the rise had been made."""
    table, last = [], len(runs[0].training) - 1
    for level in LEVELS:
        curves = [curve(run.training, level, MEASURES[SOLVED]) for run in runs]
        marks = [spread([each.values[i] for each in curves]) for i in (0, last // 3, 2 * last // 3, last)]
        samples = statistics.mean(
            sum(map(puzzle_runs.of_level(level), window)) for run in runs for window in run.training.values()
        )
        table.append(
            [f"{level} numbers", f"{samples:.0f}", *marks, spread([step_of_half(*each) for each in curves], 0)]
        )
    middles = [*runs[0].training]
    header = ["", "samples a window"]
    header += [f"around step {middles[i] + 0.5:.0f}, %" for i in (0, last // 3, 2 * last // 3, last)]
    return "\n".join(markdown_table([*header, "half of the rise by step"], table))


def resolution(runs: Sequence[Run]) -> str:
    """How many questions and samples a point of the curves has of each level, and its standard error over questions."""
    table = []
    for level in LEVELS:
        cells = [f"{level} numbers"]
        for points in (
            [run.held_out[sorted(run.held_out)[1]] for run in runs],
            [run.held_out[max(run.held_out)] for run in runs],
            [run.training[max(run.training)] for run in runs],
        ):
            means = [question_means(samples, level, MEASURES[RIGHT]) for samples in points]
            questions = statistics.mean(map(len, means))
            samples = statistics.mean(sum(map(puzzle_runs.of_level(level), point)) for point in points)
            cells += [f"{questions:.0f}, {samples:.0f}", f"{statistics.mean(map(standard_error, means)):.1f}"]
        table.append(cells)
    points = ("evaluation in training", "evaluation at the end", f"{EVERY} steps of training")
    header = ["", *(part for point in points for part in (f"{point}: questions, samples", "standard error, points"))]
    return "\n".join(markdown_table(header, table))


def draw(axes: Axes, curves: dict[int, list[Curve]], title: str) -> None:
    """A line for each level and seed, and a thick one for each level's mean over seeds."""
    for i, (level, of_seeds) in enumerate(curves.items()):
        for each in of_seeds:
            axes.plot(*each, color=f"C{i}", alpha=0.3, linewidth=0.8)
        shared = sorted(set.intersection(*(set(each.steps) for each in of_seeds)))
        of_step = [dict(zip(*each, strict=True)) for each in of_seeds]
        means = [float(np.mean([values[step] for values in of_step])) for step in shared]
        axes.plot(shared, means, color=f"C{i}", linewidth=2, label=f"{level} numbers")
    axes.set(title=title, xlabel="step", ylim=(0, 100))
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)


def picture(runs: Sequence[Run]) -> Figure:
    """Held-out accuracy by level, with and without the form, and that without it on the training questions."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    right, solved, training = figure.subplots(1, 3)
    for axes, name in ((right, RIGHT), (solved, SOLVED)):
        curves = {level: [curve(run.held_out, level, MEASURES[name]) for run in runs] for level in LEVELS}
        draw(axes, curves, f"held out: {name}")
    curves = {level: [curve(run.training, level, MEASURES[SOLVED]) for run in runs] for level in LEVELS}
    draw(training, curves, f"in training: {SOLVED}")
    return figure


def main() -> None:
    opts = options(NAME, __doc__, MINUTES)
    folders = puzzle_runs.finished(opts, puzzle_runs.runs_beside(opts.runs))
    if not folders:
        raise SystemExit(
            f"{puzzle_runs.runs_beside(opts.runs)} holds no finished run of RL; leave out --page to make it"
        )
    runs = [read(folder) for folder in folders.values()]
    measured = f"""Mean ± standard deviation over seeds {", ".join(map(str, folders))}; {max(runs[0].held_out)} steps.

Held-out puzzles, temperature 0.6 and top-p 0.95:

{by_level(runs)}

Training puzzles, temperature 1, last expression right, in windows of {EVERY} steps:

{in_training(runs)}

How fine an evaluation is:

{resolution(runs)}
"""
    write_page(NAME, measured, picture(runs))


if __name__ == "__main__":
    main()
