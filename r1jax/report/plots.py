"""The plots of a run's report: rows of metrics in, standalone SVG images out. No global state, no display."""

import base64
import dataclasses
import io
import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from r1jax.report.panels import Panel, Row, number, panels

# Okabe and Ito's palette, distinguishable with common kinds of colour blindness; without yellow, too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MAX_BARS = 60
MAX_VECTOR_POINTS = 2000  # beyond this, raw points become a bitmap inside the SVG, which stays small

STYLE = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#3c4149",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ec",
    "xtick.color": "#5a606b",
    "ytick.color": "#5a606b",
    "legend.frameon": False,
    "svg.hashsalt": "r1jax",  # the same run gives the same bytes
}


@dataclasses.dataclass(frozen=True)
class Plot:
    """A drawn plot.

    Attributes:
        image: a data URI.
        notes: what a reader must know of its data.
        wide: it takes the page's whole width.
    """

    title: str
    caption: str
    image: str
    notes: tuple[str, ...] = ()
    wide: bool = False


def draw_plots(stage: str, metrics: Sequence[Row], evals: Sequence[Row]) -> list[Plot]:
    """Draws the plots of a stage's report, in reading order; both sequences are ordered by their "step"."""
    with matplotlib.rc_context(STYLE):
        plots = [_accuracy(evals)] if stage == "rl" else []
        plots += [_lines(evals if panel.evaluated else metrics, panel) for panel in panels(stage, metrics, evals)]
        return [plot for plot in (*plots, _phases(metrics)) if plot]


def draw_evaluations(rows: Sequence[Row], panels: Sequence[Panel]) -> list[Plot]:
    """Draws panels of evaluations, whose rows are ordered by their "step"."""
    with matplotlib.rc_context(STYLE):
        return [_lines(rows, panel) for panel in panels]


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving mean `[N]` over about a fifteenth of the values, the window cut short at both ends."""
    kernel = np.ones(len(values) // 15 | 1)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _accuracy(evals: Sequence[Row]) -> Plot | None:
    """RL's held-out accuracy; None where no evaluation has one."""
    ks = sorted(
        {f"{k:g} at step {row['step']}" for row in evals if (k := number(row.get("k"))) is not None},
        key=lambda text: int(text.rsplit(" ", 1)[1]),
    )
    panel = Panel(
        "Held-out accuracy",
        "pass@1 and the majority's answer (cons@k) on held-out questions; bars are one standard error each way. "
        f"Samples a question, k: {', '.join(ks) or 'not recorded'}. Step 0 is the base model.",
        "held-out accuracy",
        {key: key for key in ("pass@1", "cons@k") if any(number(row.get(key)) is not None for row in evals)},
        errors={"pass@1": "stderr", "cons@k": "cons_stderr"},
        share=True,
        evaluated=True,
    )
    return _lines(evals, panel, wide=True) if panel.series else None


def _lines(rows: Sequence[Row], panel: Panel, wide: bool = False) -> Plot:
    """A panel's series, each of which has a finite value: evaluations with their errors, training steps smoothed."""
    figure, ax = _figure(*((11.4, 3.6) if wide else ()))
    top, bottom, notes = 0.0, math.inf, []
    for (key, label), colour, form in zip(
        panel.series.items(), COLOURS * len(panel.series), ("o-", "s--") * len(panel.series), strict=False
    ):
        steps, values = _points(rows, key)
        if len(steps) < len(rows):
            noun = "evaluations" if panel.evaluated else "steps"
            notes.append(f"{label}: {len(rows) - len(steps)} of {len(rows)} {noun} hold no finite value.")
        errors = 0.0
        if panel.evaluated:
            errors = np.array(
                [number(row.get(panel.errors.get(key, ""))) or 0.0 for row in rows if number(row.get(key)) is not None]
            )
            ax.errorbar(
                steps,
                values,
                yerr=errors if errors.any() else None,
                fmt=form,
                color=colour,
                label=label,
                capsize=3,
                markersize=4.5,
                linewidth=1.6,
            )
        else:
            crowded = len(steps) > MAX_VECTOR_POINTS
            ax.plot(steps, values, ".", color=colour, markersize=4.5, alpha=0.4, markeredgewidth=0, rasterized=crowded)
            ax.plot(steps, smooth(values), color=colour, linewidth=1.7, label=label)
        top, bottom = max(top, (values + errors).max()), min(bottom, values.min())
    ax.set(xlabel="step", ylabel=panel.ylabel)
    if panel.share:
        top = 1.04 if panel.evaluated else min(1.03, max(1.12 * top, 0.01))
        ax.set_ylim(-0.03 * top, top)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    elif panel.log and top > 0:
        ax.set_yscale("log", nonpositive="mask")
        ax.grid(visible=False, which="minor")
    elif bottom >= 0:
        top = 1.08 * top or 1.0
        ax.set_ylim(-0.03 * top, top)
    if len(panel.series) > 1:
        _legend(ax)
    return Plot(panel.title, panel.caption, _data_uri(figure), tuple(notes), wide)


def _points(rows: Sequence[Row], key: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(row["step"], value) for row in rows if (value := number(row.get(key))) is not None]
    steps, values = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return steps, values


def _phases(rows: Sequence[Row]) -> Plot | None:
    """Where a step's time goes; None where no phase was recorded."""
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key.startswith("time/")]
    if not keys:
        return None
    seconds = np.array([[number(row.get(key)) or 0.0 for row in rows] for key in keys])  # [phases, steps]
    bins = np.array_split(np.arange(len(rows)), min(MAX_BARS, len(rows)))
    left = np.array([rows[chunk[0]]["step"] for chunk in bins])
    width = np.diff(left, append=rows[-1]["step"] + 1)
    figure, ax = _figure()
    base = np.zeros(len(bins))
    for key, row, colour in zip(keys, seconds, COLOURS * len(keys), strict=False):
        heights = np.array([row[chunk].mean() for chunk in bins])
        ax.bar(left, heights, width, base, align="edge", color=colour, linewidth=0, label=key.removeprefix("time/"))
        base += heights
    ax.set(xlabel="step", ylabel="seconds per step", ylim=(0, 1.08 * base.max() or 1.0))
    ax.grid(visible=False, axis="x")
    _legend(ax)
    totals = zip(keys, seconds.sum(1), strict=True)
    total = ", ".join(f"{key.removeprefix('time/')} {value:,.1f} s" for key, value in totals)
    each = "one step" if len(bins) == len(rows) else f"the mean of about {len(rows) / len(bins):.2g} steps"
    caption = f"Wall-clock seconds of a step, by phase; each bar is {each}. In all: {total}."
    return Plot("Seconds by phase", caption, _data_uri(figure))


def _figure(width: float = 5.6, height: float = 2.9) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=144)
    # Margins in inches, the same for all, so that the axes line up down the page.
    ax = figure.add_axes((0.82 / width, 0.5 / height, 1 - 0.95 / width, 1 - 0.78 / height))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    return figure, ax


def _legend(ax: Axes) -> None:
    # Above the axes, where it can never lie on the data.
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=7,
        borderaxespad=0.2,
        borderpad=0,
        handlelength=1.1,
        handletextpad=0.4,
        columnspacing=1.0,
        fontsize=8.5,
    )


def _data_uri(figure: Figure) -> str:
    # An image of its own, not inline markup: the ids of fifteen drawings in one page would clash.
    svg = io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(svg.getvalue()).decode()
