"""Reflection and length in RL on puzzles where checking pays, the paper's aha moment, with two controls.

    python experiments/paper/aha.py [--seeds 1 2 3]          writes aha.md and aha.png beside this file

The runs of a seed: `zero:puzzles` with its rewards for right answers and format; the same with a coin for a reward; and
the same from `base:puzzles_unchecked`, whose documents hold no second attempt. The bases are the same for all seeds.
"""

import re
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure
from puzzle_runs import (
    LEVELS,
    RUNS,
    Sample,
    evaluations,
    finished,
    last_expression_is_right,
    level_numbers,
    of_level,
    step_of_half,
    target,
)
from study import options, spread, write_page

from r1jax.io.tables import markdown_table

NAME, MINUTES = "aha", 30
# The paper's ten words of reflection (arXiv 2501.12948v2, supplement).
WORDS = re.compile(r"\b(wait|mistake|however|but|retry|error|verify|wrong|evaluate|check)\b", re.IGNORECASE)
CHAIN = re.compile(r"\d+(?:[-+]\d+=-?\d+)+")


def attempts(sample: Sample) -> list[int]:
    """The results that the thought gives its attempts: chains that use each of the puzzle's numbers once."""
    numbers = sorted(level_numbers(sample))
    totals = []
    for chain in CHAIN.findall(sample["thought"] or sample["text"]):
        used = [re.match(r"\d+", chain)[0], *re.findall(r"[-+](\d+)=", chain)]
        if sorted(map(int, used)) == numbers:
            totals.append(int(chain.rpartition("=")[2]))
    return totals


def retries(sample: Sample) -> int:
    """Attempts that missed the target, by the thought's own result, and were followed by another."""
    goal = target(sample)
    return sum(result != goal for result in attempts(sample)[:-1])


def words(sample: Sample) -> int:
    """Occurrences of the paper's ten words."""
    return len(WORDS.findall(sample["text"]))


MEASURES: dict[str, Callable[[Sample], float]] = {
    "right, %": lambda s: 100 * (s["correct"] or 0),
    "last expression right, %": lambda s: 100 * last_expression_is_right(s),
    "well formed, %": lambda s: 100 * s["well_formed"],
    "tokens": lambda s: s["num_tokens"],
    "the ten words, a response": words,
    "retries, a response": retries,
    "responses with a retry, %": lambda s: 100 * (retries(s) > 0),
    "cut off, %": lambda s: 100 * (s["finish"] == "length"),
}


RISING = ("right, %", "tokens", "the ten words, a response", "retries, a response")


def means(samples: Sequence[Sample], chosen: Callable[[Sample], bool] = lambda s: True) -> dict[str, float]:
    """The means of `MEASURES` over the chosen samples; nan where there are none."""
    group = [sample for sample in samples if chosen(sample)]
    return {name: statistics.mean(map(f, group)) if group else float("nan") for name, f in MEASURES.items()}


def before_and_after(runs: dict[str, list[dict[int, list[Sample]]]]) -> str:
    """The main table: each run's measures at the first and the last evaluation, over seeds."""
    table = []
    for label, seeds in runs.items():
        for when, pick in (("before", min), ("after", max)):
            figures = [means(evals[pick(evals)]) for evals in seeds]
            table.append([label, when, *(spread([f[name] for f in figures]) for name in MEASURES)])
    return "\n".join(markdown_table(("run", "", *MEASURES), table))


def ratios(seeds: list[dict[int, list[Sample]]]) -> str:
    """How many times as much, and at which step half of the rise had been made."""
    table = []
    for name in RISING:
        curves = [[means(evals[step])[name] for step in sorted(evals)] for evals in seeds]
        halves = [step_of_half(sorted(evals), curve) for evals, curve in zip(seeds, curves, strict=True)]
        times = [curve[-1] / curve[0] if curve[0] else float("inf") for curve in curves]
        table.append([name, spread(times), spread(halves, 0)])
    return "\n".join(markdown_table(("", "after / before", "half of the rise by step"), table))


def by_level(seeds: list[dict[int, list[Sample]]]) -> str:
    """Accuracy and tokens of three, four and five numbers."""
    table = []
    for level in LEVELS:
        cells = [f"{level} numbers"]
        for name in ("right, %", "tokens"):
            for pick in (min, max):
                cells.append(spread([means(e[pick(e)], of_level(level))[name] for e in seeds]))
        table.append(cells)
    header = ("", "right before, %", "after", "tokens before", "after")
    return "\n".join(markdown_table(header, table))


def by_attempts(seeds: list[dict[int, list[Sample]]]) -> str:
    """Of the trained policy's responses: how many make how many attempts, and are right."""
    table = []
    for low, high in ((0, 0), (1, 1), (2, 3), (4, 7), (8, 99)):
        shares, right = [], []
        for evals in seeds:
            samples = evals[max(evals)]
            group = [sample for sample in samples if low <= len(attempts(sample)) <= high]
            shares.append(100 * len(group) / len(samples))
            if group:
                right.append(means(group)["right, %"])
        label = str(low) if low == high else f"{low} to {high}" if high < 99 else f"{low} and more"
        table.append([label, spread(shares), spread(right) if right else "–"])
    return "\n".join(markdown_table(("attempts", "responses, %", "of these right, %"), table))


def the_same_question(evals: dict[int, list[Sample]]) -> str:
    """Three responses to one question: early, in the middle and late."""
    steps = sorted(evals)
    picked = [steps[0], steps[len(steps) // 2], steps[-1]]
    last = {s["question"]: s for s in evals[steps[-1]] if s["sample"] == 0 and s["correct"] and retries(s) >= 2}
    if not last:
        return "No question of the last evaluation has a right first sample with two retries."
    question = min(last, key=lambda q: last[q]["num_tokens"])
    parts = [f"**{question}**"]
    for step in picked:
        sample = next(s for s in evals[step] if s["question"] == question and s["sample"] == 0)
        verdict = "right" if sample["correct"] else "wrong"
        parts.append(f"After {step} steps ({verdict}):\n\n```text\n{sample['text'].strip()}\n```")
    return "\n\n".join(parts)


def picture(runs: dict[str, list[dict[int, list[Sample]]]]) -> Figure:
    figure = Figure(figsize=(13, 7), layout="constrained")
    axes = figure.subplots(2, 3)
    styles = dict(zip(RUNS, ("C0", "0.5", "C1"), strict=True))
    for axis, name in zip(axes.flat[:4], RISING, strict=True):
        for label, seeds in runs.items():
            for i, evals in enumerate(seeds):
                steps = sorted(evals)
                axis.plot(
                    steps, [means(evals[s])[name] for s in steps], color=styles[label], label=label if not i else None
                )
        axis.set(title=name, xlabel="step")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0, 0].legend(loc="upper left", fontsize="small")
    axes[0, 0].set_ylim(top=100)
    for level in LEVELS:
        for i, evals in enumerate(runs["RL"]):
            steps = sorted(evals)
            share = [means(evals[s], of_level(level))["right, %"] for s in steps]
            axes[1, 1].plot(steps, share, color=f"C{level}", label=f"{level} numbers" if not i else None)
    axes[1, 1].set(title="right, %, by how many numbers", xlabel="step")
    axes[1, 1].set_ylim(bottom=0)
    axes[1, 1].legend()
    axes[1, 1].grid(alpha=0.3)
    for level in LEVELS:
        lengths = [s["num_tokens"] for evals in runs["RL"] for s in evals[max(evals)] if len(level_numbers(s)) == level]
        axes[1, 2].hist(lengths, np.arange(0, 361, 8), density=True, histtype="step", color=f"C{level}")
    axes[1, 2].set(title="tokens after RL, share by how many numbers", xlabel="tokens; the last column was cut off")
    return figure


def main() -> None:
    opts = options(NAME, __doc__, MINUTES)
    runs: dict[str, list[dict[int, list[Sample]]]] = {}
    for label in RUNS:
        if done := [evaluations(folder) for folder in finished(opts, opts.runs, label).values()]:
            runs[label] = done
    first, last = min(runs["RL"][0]), max(runs["RL"][0])
    counts = ", ".join(f"{label} {len(seeds)}" for label, seeds in runs.items())
    measured = f"""Held-out puzzles, temperature 0.6 and top-p 0.95. Mean ± standard deviation over seeds: {counts}.
Before: step {first}; after: step {last}.

{before_and_after(runs)}

{ratios(runs["RL"])}

By difficulty:

{by_level(runs["RL"])}

By attempts, after RL:

{by_attempts(runs["RL"])}

### One question, early, in the middle and late

{the_same_question(runs["RL"][0])}
"""
    write_page(NAME, measured, picture(runs))


if __name__ == "__main__":
    main()
