"""Table and plot of the runs of an experiment, a folder each: writes NAME.md and NAME.png beside this file.

python experiments/seeds.py NAME RUNS          NAME.sh says what the runs are; NAME.md keeps its first paragraphs
"""

import math
import pathlib
import re
import statistics
import sys

from matplotlib.figure import Figure

from r1jax.io import jsonl
from r1jax.io.files import write_text
from r1jax.io.tables import markdown_table

HERE = pathlib.Path(__file__).parent
MEASURED = "## Measured\n\n"
NUMBER = re.compile(r"-?\d+")
COLUMNS = (
    "run",
    "pass@1 before",
    "pass@1 after",
    "gain, points",
    "cons@k after",
    "format before",
    "format after",
    "right if well formed, before",
    "after",
    "last number right, before",
    "after",
    "tokens before",
    "after",
    "reflecting before",
    "after",
    "mixed before",
    "after",
    "minutes",
)


def rows_of(path: pathlib.Path) -> list[dict]:
    return jsonl.read_log(path)[0]


def last_number_right(run: pathlib.Path, step: int) -> float:
    """Share of samples whose last number is the answer, tags or not: what the model can do, apart from the form."""
    samples = rows_of(run / "evals" / f"step_{step:06d}.jsonl")
    return statistics.mean((NUMBER.findall(row["text"]) or [""])[-1] == row["answer"] for row in samples)


def table_row(run: pathlib.Path) -> tuple[str, list[float]]:
    """Name and figures of a run, in the order of COLUMNS; shares in percent."""
    evals, steps = rows_of(run / "evals.jsonl"), rows_of(run / "metrics.jsonl")
    first, last = evals[0], evals[-1]
    seconds = sum(value for step in steps for name, value in step.items() if name.startswith("time/"))
    before, after = 100 * first["pass@1"], 100 * last["pass@1"]
    figures = [before, after, after - before, 100 * last["cons@k"]]
    first["last_number"] = last_number_right(run, first["step"])
    last["last_number"] = last_number_right(run, last["step"])
    for name in ("format", "pass@1_if_well_formed", "last_number", "length", "reflection", "mixed_language"):
        scale = 1 if name == "length" else 100
        figures += [math.nan if row[name] is None else scale * row[name] for row in (first, last)]
    return run.name, [*figures, seconds / 60]


def markdown(runs: list[pathlib.Path]) -> str:
    rows, seeds = [], []
    for run in runs:
        name, figures = table_row(run)
        if name.startswith("seed"):
            seeds.append(figures)
        cells = ["–" if math.isnan(value) else f"{value:.1f}" for value in figures]
        rows.append([name, *cells])
    if len(seeds) > 1:
        columns = list(zip(*seeds, strict=True))
        spread = [f"{statistics.mean(c):.1f} ± {statistics.stdev(c):.1f}" for c in columns]
        rows.append(["**seeds, mean ± sd**", *spread])
    return "\n".join(markdown_table(COLUMNS, rows))


def plot(runs: list[pathlib.Path], path: pathlib.Path) -> None:
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    for run in runs:
        evals, steps = rows_of(run / "evals.jsonl"), rows_of(run / "metrics.jsonl")
        style = {"color": "black", "linestyle": "--"} if run.name == "random" else {}
        axes[0].errorbar(
            [e["step"] for e in evals],
            [100 * e["pass@1"] for e in evals],
            [100 * e["stderr"] for e in evals],
            capsize=2,
            label=run.name,
            **style,
        )
        for axis, name, scale in ((axes[1], "length/mean", 1), (axes[2], "reflection/share", 100)):
            axis.plot([s["step"] for s in steps], [scale * s[name] for s in steps], label=run.name, **style)
    titles = ("held-out pass@1, %", "mean response, tokens", "responses that reflect, %")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xlabel="step")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    runs = sorted(path.parent for path in folder.glob("*/evals.jsonl"))
    last = rows_of(runs[0] / "evals.jsonl")[-1]
    page = HERE / f"{name}.md"
    head = page.read_text().partition(MEASURED)[0] if page.exists() else f"# {name}\n\n"
    write_text(
        page,
        f"{head}{MEASURED}Held-out questions: n = {last['n']} a run, other ones for each seed, k = {last['k']} samples "
        f"each at temperature {last['temperature']} and top-p {last['top_p']}. Shares in percent. `last number right` "
        "grades the last number of the response, tags or not. Minutes: the steps and the evaluations but the last, "
        f"compiling included.\n\n{markdown(runs)}\n\n![curves]({name}.png)\n",
    )
    plot(runs, HERE / f"{name}.png")
    print(page.read_text())


if __name__ == "__main__":
    main()
