"""The language reward from the start of R1-Zero, at three weights: mixed thoughts, accuracy and length.

    python experiments/paper/language_reward.py [--seeds 1 2 3] [--runs runs/paper/language_reward]

Each run is `configs/zero.py:world` with 60 steps of 8 questions in place of 30 steps of 12.
"""

import itertools
import pathlib
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import study
from matplotlib.figure import Figure

from r1jax.io.tables import markdown_table
from r1jax.rewards.language_consistency import language_of, share_in_language
from r1jax.text.reflection_and_scripts import count_text

NAME, MINUTES = "language_reward", 9
WEIGHTS = (0.0, 0.3, 1.0)
STEPS, EVERY, GROUP = 60, 10, 8
PARTS = ("format", "accuracy", "language")
SETTINGS = {
    "num_steps": STEPS,
    "keep_rollouts": 1,
    "grpo.prompts_per_step": 8,
    "evaluation.every": EVERY,
    "evaluation.samples_during": 8,  # as before and after
    "checkpoint.every": 20,
}
Row = dict[str, Any]
Runs = dict[tuple[float, int], pathlib.Path]


def folder(options: study.Options, weight: float, seed: int) -> pathlib.Path:
    """Where a run lies."""
    return options.runs / f"weight{weight}_seed{seed}"


def train_all(options: study.Options) -> Runs:
    """The workdirs of all weights at each seed that is whole; trains what is missing, but for --page."""

    def run_seed(seed: int) -> None:
        world = study.write_world(options.runs / f"world_seed{seed}", seed)
        fields = {"seed": seed, "data.path": world / "reasoning.jsonl", **SETTINGS}
        for weight in WEIGHTS:
            study.train("zero:world", folder(options, weight, seed), **{"rewards.language": weight, **fields})

    def is_whole(seed: int) -> bool:
        return all(study.is_finished(folder(options, weight, seed)) for weight in WEIGHTS)

    seeds = study.finished_seeds(options, run_seed, is_whole)
    return {(weight, seed): folder(options, weight, seed) for weight in WEIGHTS for seed in seeds}


def language_share(row: Row) -> float:
    """What the language reward gives a sample, 0 to 1, whether or not its run had that reward."""
    return share_in_language(row["question"], row["thought"], language_of(row["question"]))


def is_mixed(row: Row) -> bool:
    """Whether the words of a sample's thought are in more than one script."""
    return len(count_text(row["text"], row["thought"], row["question"])[1]) > 1


def evaluated(run: pathlib.Path, step: int) -> dict[str, float]:
    """The figures of an evaluation on the held-out problems: percent, and tokens."""
    row = next(row for row in study.rows(run / "evals.jsonl") if row["step"] == step)
    samples = study.rows(run / "evals" / f"step_{step:06d}.jsonl")
    return {
        "mixed": 100 * row["mixed_language"],
        "language": 100 * statistics.mean(map(language_share, samples)),
        "pass@1": 100 * row["pass@1"],
        "format": 100 * row["format"],
        "tokens": row["length"],
    }


def trained(run: pathlib.Path, first: int, last: int) -> list[Row]:
    """The training samples of steps first .. last - 1, group by group."""
    return [row for step in range(first, last) for row in study.rows(run / "rollouts" / f"step_{step:06d}.jsonl")]


def ends(runs: Runs, seeds: Sequence[int]) -> list[str]:
    """The table of all weights, at the step at which the recipe's run ends, and at the end."""
    header = ("weight", "steps", "mixed thoughts, %", "language reward, %", "pass@1, %", "well formed, %", "tokens")
    table = []
    for step, weight in itertools.product((STEPS // 2, STEPS), WEIGHTS):
        figures = [evaluated(runs[weight, seed], step) for seed in seeds]
        cells = [study.spread([each[key] for each in figures]) for key in figures[0]]
        right = [
            100 * statistics.mean(row["correct"] for row in trained(runs[weight, seed], step - EVERY, step))
            for seed in seeds
        ]
        table.append([f"{weight:g}", str(step), *cells, study.spread(right)])
    return markdown_table((*header, "right in the ten steps before, %"), table)


def costs(runs: Runs, seeds: Sequence[int]) -> list[str]:
    """The table of differences to the run without the reward, seed by seed."""
    table = []
    for weight, key in itertools.product(WEIGHTS[1:], ("mixed", "pass@1")):
        with_reward = [evaluated(runs[weight, seed], STEPS)[key] for seed in seeds]
        without = [evaluated(runs[WEIGHTS[0], seed], STEPS)[key] for seed in seeds]
        differences = [one - other for one, other in zip(with_reward, without, strict=True)]
        cells = [f"{each:+.1f}" for each in differences]
        table.append([f"{weight:g}", key, *cells, study.spread(differences)])
    return markdown_table(("weight", "what", *(f"seed {seed}" for seed in seeds), "all"), table)


def shares_of_variance(samples: Sequence[Row]) -> dict[str, float]:
    """Each part's share of the rewards' variance within groups: covariance with the sum over the sum's variance."""
    groups = [samples[start : start + GROUP] for start in range(0, len(samples), GROUP)]

    def deviations(values: Sequence[float]) -> list[float]:
        return [value - statistics.mean(values) for value in values]

    covariance = dict.fromkeys(PARTS, 0.0)
    for group in groups:
        total = deviations([row["reward"] for row in group])
        for part in PARTS:
            each = deviations([row["parts"][part] for row in group])
            covariance[part] += sum(a * b for a, b in zip(each, total, strict=True))
    return {part: value / sum(covariance.values()) for part, value in covariance.items()}


def reasons(runs: Runs, seeds: Sequence[int]) -> list[str]:
    """What the rewards of the run of weight 1 differ in, and who is right more often, by quarters of the run."""
    variance = ("of the variance: format, %", "accuracy, %", "language, %")
    table = []
    for first in range(0, STEPS, STEPS // 4):
        shares, right = {part: [] for part in PARTS}, {True: [], False: []}
        for seed in seeds:
            samples = trained(runs[1.0, seed], first, first + STEPS // 4)
            for part, share in shares_of_variance(samples).items():
                shares[part].append(100 * share)
            for mixed in right:
                correct = [row["correct"] for row in samples if row["well_formed"] and is_mixed(row) == mixed]
                right[mixed].append(100 * statistics.mean(correct) if correct else None)
        cells = map(study.spread, [*shares.values(), *right.values()])
        table.append([f"{first + 1} to {first + STEPS // 4}", *cells])
    return markdown_table(("steps", *variance, "right of the mixed, %", "of the others, %"), table)


def draw(runs: Runs, seeds: Sequence[int]) -> Figure:
    """Mixed thoughts, language reward, accuracy and format by step, a colour for each weight; a thin line a seed."""
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    panels = {"mixed": "mixed thoughts", "language": "language reward", "pass@1": "pass@1", "format": "form"}
    steps = range(0, STEPS + 1, EVERY)
    series = {key: [evaluated(run, step) for step in steps] for key, run in runs.items()}
    for axes, (key, title) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for colour, weight in enumerate(WEIGHTS):
            curves = [[row[key] for row in series[weight, seed]] for seed in seeds]
            for curve in curves:
                axes.plot(steps, curve, f"C{colour}", alpha=0.25, linewidth=0.8)
            axes.plot(
                steps, [statistics.mean(at) for at in zip(*curves, strict=True)], f"C{colour}", label=f"{weight:g}"
            )
        axes.set(title=f"{title}, %", xlabel="step", ylim=(0, 100))
    axes.legend(title="weight")
    return figure


def main() -> int:
    options = study.options(NAME, __doc__, MINUTES)
    runs = train_all(options)
    seeds = sorted({seed for _, seed in runs})
    measured = [
        f"Held-out problems (96, each 8 times) at temperature 0.6; seeds {', '.join(map(str, seeds))}.",
        *("", *ends(runs, seeds)),
        *("", f"Differences to weight 0 after {STEPS} steps, percentage points.", "", *costs(runs, seeds)),
        *("", "What rewards within a group differ in, weight 1, training samples.", "", *reasons(runs, seeds)),
    ]
    study.write_page(NAME, "\n".join(measured), draw(runs, seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
