"""One small RL task for runs that differ in the algorithm, and measures of such runs: accuracy, seconds, curves."""

import pathlib
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import study
from matplotlib.axes import Axes

from r1jax.io import jsonl
from r1jax.losses.grpo import group_advantages
from r1jax.tools import write_miniworld

LAST_STEPS = 5  # whose mean stands for the end of a run
# Columns of a table, each with the key of an evaluation's row, its factor, and the digits that are shown.
FINAL = {
    "accuracy": ("pass@1", 100, 1),
    "format": ("format", 100, 1),
    "tokens": ("length", 1, 1),
    "reflecting": ("reflection", 100, 1),
}
EARLY = (10, 20)  # steps after which accuracy is shown too: how fast a run learns, where its end says little
# The task: puzzles of three numbers. Their responses are short, and 40 steps leave room above their accuracy.
CONFIG, STEPS, LEVEL = "zero:puzzles", 40, 3
TASK = {
    "num_steps": STEPS,
    "sampling.max_new_tokens": 160,
    "sampling.bucket": 288,
    "evaluation.questions": 64,
    "evaluation.samples": 4,
    "evaluation.samples_during": 4,
    "evaluation.every": 10,
    "checkpoint.every": 10,
    "checkpoint.keep": 1,
}
PHASES = ("sample", "score", "value", "update", "critic")


def write_questions(folder: pathlib.Path) -> pathlib.Path:
    """The file of the task's questions, both sides of the split, in this folder; written where it is not there."""
    path = folder / "questions.jsonl"
    if not path.exists():
        rows = [*write_miniworld.puzzle_rows(0, 3000, False), *write_miniworld.puzzle_rows(0, 600, True)]
        jsonl.write(path, (row for row in rows if row["level"] == LEVEL))
    return path


def final(workdir: pathlib.Path, column: str) -> float:
    """A figure of the last evaluation, by its column in `FINAL`; shares in percent."""
    key, factor, _ = FINAL[column]
    return factor * study.rows(workdir / "evals.jsonl")[-1][key]


def at_end(workdir: pathlib.Path, metric: str, factor: float = 1.0) -> float | None:
    """The mean of a metric over the last steps, times a factor; None where the run does not have it."""
    values = [row.get(metric) for row in study.rows(workdir / "metrics.jsonl")[-LAST_STEPS:]]
    values = [value for value in values if value is not None]
    return factor * statistics.mean(values) if values else None


def seconds(workdir: pathlib.Path, phases: Sequence[str] = PHASES) -> float:
    """The median over steps of the seconds that these phases took together: other work on the machine hardly counts."""
    steps = study.rows(workdir / "metrics.jsonl")
    return statistics.median(sum(row.get(f"time/{phase}", 0.0) for phase in phases) for row in steps)


def has_signal(rewards: Sequence[float]) -> bool:
    """Whether a group's rewards differ, by the rule of the advantages that RL gives it."""
    return bool(np.any(group_advantages(np.array([rewards]), normalize_std=False)))


def accuracy_after(workdir: pathlib.Path, step: int) -> float:
    """The accuracy on held-out questions after this many steps, in percent."""
    return next(100 * row["pass@1"] for row in study.rows(workdir / "evals.jsonl") if row["step"] == step)


def evaluation_header() -> list[str]:
    """The names of the columns of `evaluation_cells`."""
    return [f"accuracy after {EARLY[0]}", *(f"after {step}" for step in (*EARLY[1:], STEPS)), *[*FINAL][1:]]


def evaluation_cells(runs: Sequence[pathlib.Path]) -> list[str]:
    """A table's cells of the evaluations of one row's runs over seeds."""
    early = [study.spread([accuracy_after(run, step) for run in runs]) for step in EARLY]
    return early + [
        study.spread([final(run, column) for run in runs], digits) for column, (*_, digits) in FINAL.items()
    ]


def curve(runs: Sequence[pathlib.Path]) -> tuple[list[int], list[float]]:
    """Steps, and the mean over seeds of the accuracy that each evaluation measured, in percent."""
    of_runs = [{row["step"]: 100 * row["pass@1"] for row in study.rows(run / "evals.jsonl")} for run in runs]
    steps = sorted(set.intersection(*(set(each) for each in of_runs)))
    return steps, [statistics.mean(each[step] for each in of_runs) for step in steps]


def draw_curves(axes: Axes, runs: Mapping[str, Sequence[pathlib.Path]], title: str) -> None:
    """Accuracy by step, a line for each row of a table."""
    for name, of_seeds in runs.items():
        axes.plot(*curve(of_seeds), marker=".", linewidth=1.2, label=name)
    axes.set(title=title, xlabel="step", ylabel="held-out accuracy, %")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)


def seeds_note(seeds: Sequence[int]) -> str:
    """Which seeds a table is of; says where there are fewer than three."""
    note = f"Seeds {', '.join(map(str, seeds))}; mean ± sample standard deviation over them."
    return note if len(seeds) >= 3 else f"**Of {len(seeds)} of the 3 seeds so far.** {note}"
