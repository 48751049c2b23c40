"""The curves of a recipe's stages, and its models side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from r1jax.report.plots import COLOURS, STYLE, Plot, smooth
from r1jax.report.results_plots import save
from r1jax.report.run import read_jsonl

# Of RL's metrics: (key, title, whether it is a share).
PANELS = (
    ("reward/accuracy", "accuracy", True),
    ("language/mixed", "mixed thoughts", True),
    ("length/mean", "tokens", False),
)


def draw(folders: Sequence[Path], stages: Sequence[tuple[str, str]], out: Path) -> list[Plot]:
    """A picture for each stage that has curves, PNG files in `out` too; a line a seed."""
    with matplotlib.rc_context(STYLE):
        plots = []
        for name, title in stages:
            runs = [_metrics(folder / name) for folder in folders]
            runs = [rows for rows in runs if rows]
            if not runs:
                continue
            if any("reward/total" in row for row in runs[0]):
                keys = PANELS
            elif any("loss" in row for row in runs[0]):
                keys = (("loss", "loss", False),)
            else:
                continue
            plots.append(save(_curves(runs, keys), out / f"{name}.png", title, "Training metrics; a line a seed."))
        return [plot for plot in plots if plot]


def compare(models: Mapping[str, Sequence[Sequence[float | None]]], panels: Sequence[str], out: Path) -> Plot | None:
    """Models one under the other, each seed a point and their mean a bar; `models.png` in `out` too.

    Args:
        models: name -> for each panel the seeds' values, shares; None where a seed has none.
        panels: their titles.
    """
    if not models:
        return None
    with matplotlib.rc_context(STYLE):
        size = (2.6 * len(panels) + 1.8, 0.26 * len(models) + 0.9)
        figure = Figure(figsize=size, layout="constrained")
        axes: Sequence[Axes] = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
        for i, (axis, title) in enumerate(zip(axes, panels, strict=True)):
            for row, values in enumerate(models.values()):
                heights = [value for value in values[i] if value is not None]
                if heights:
                    axis.barh(row, np.mean(heights), height=0.66, color=COLOURS[i % len(COLOURS)], alpha=0.35)
                    axis.plot(
                        heights, [row] * len(heights), "o", ms=3.5, color=COLOURS[i % len(COLOURS)], clip_on=False
                    )
            axis.set(title=title, xlim=(0, 1))
            axis.xaxis.set_major_formatter(PercentFormatter(1.0))
            axis.grid(axis="y", visible=False)
        axes[0].set_yticks(range(len(models)), list(models))
        axes[0].invert_yaxis()
        caption = "Held-out problems and requests, temperature 0.6; a point a seed, a bar their mean."
        return save(figure, out / "models.png", "The models side by side", caption)


def _metrics(workdir: Path) -> list[dict]:
    path = workdir / "metrics.jsonl"
    return list(read_jsonl(path, "step", int)) if path.exists() else []


def _curves(runs: Sequence[Sequence[dict]], keys: Sequence[tuple[str, str, bool]]) -> Figure:
    figure = Figure(figsize=(3.6 * len(keys) + 0.4, 2.8), layout="constrained")
    axes: Sequence[Axes] = np.atleast_1d(figure.subplots(1, len(keys)))
    for axis, (key, title, is_share) in zip(axes, keys, strict=True):
        for i, rows in enumerate(runs):
            points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
            if not points:
                continue
            steps, values = np.array(points, np.float64).T
            axis.plot(steps, values, ".", ms=3, alpha=0.35, color=COLOURS[i % len(COLOURS)])
            axis.plot(steps, smooth(values), color=COLOURS[i % len(COLOURS)], label=f"seed {i}")
        axis.set(title=title, xlabel="step")
        axis.set_ylim(bottom=0)
        if is_share:
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    if len(runs) > 1:
        axes[0].legend(fontsize=8)
    return figure
