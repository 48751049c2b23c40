"""The plots of a run's report: rows of metrics in, standalone SVG images out. Nothing global, no display needed."""

import base64
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

Row = Mapping[str, Any]

# Okabe and Ito's palette: told apart with every common kind of colour blindness. Yellow is left out: too pale on white.
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
class Panel:
    """One plot of training metrics over steps: `series` maps a metric's key to its name in the legend."""

    title: str
    caption: str
    ylabel: str
    series: Mapping[str, str]
    share: bool = False
    log: bool = False


@dataclasses.dataclass(frozen=True)
class Plot:
    """A drawn plot: `image` is a data URI, "" where the run recorded nothing to draw; `notes` says what is left out."""

    title: str
    caption: str
    image: str
    notes: tuple[str, ...] = ()


LENGTH = Panel(
    "Response length",
    "Tokens sampled a response: the batch's mean and its longest.",
    "tokens",
    {"length/mean": "mean", "length/max": "longest"},
)
TRUNCATED = Panel(
    "Truncated responses",
    "Share of responses that ran into the token limit before they ended.",
    "share of responses",
    {"length/truncated": "truncated"},
    share=True,
)
REFLECTING = Panel(
    "Responses that reflect",
    "Share of responses with at least one reflection word (wait, check, mistake ...).",
    "share of responses",
    {"reflection/share": "at least one word"},
    share=True,
)
REFLECTION_WORDS = Panel(
    "Rate of reflection words",
    "Reflection words counted in a response, on average.",
    "words per response",
    {"reflection/per_response": "words"},
)
LANGUAGE = Panel(
    "Language of the thoughts",
    "Share of thoughts that mix languages, and of those wholly in Chinese.",
    "share of thoughts",
    {"language/mixed": "mixed", "language/chinese": "wholly Chinese"},
    share=True,
)
KL = Panel(
    "KL to the reference model",
    "How far the policy has moved from the reference; it drops to zero where the reference is refreshed.",
    "nats per token",
    {"kl": "KL"},
)
ENTROPY = Panel(
    "Entropy of the policy",
    "Uncertainty about the next token; near zero, every sample of a group says the same.",
    "nats per token",
    {"entropy": "entropy"},
)
NO_SIGNAL = Panel(
    "Groups with no signal",
    "Share of groups whose samples all earned the same reward: they teach nothing at this step.",
    "share of groups",
    {"groups/no_signal": "no signal"},
    share=True,
)
CLIP = Panel(
    "Clip rate",
    "Share of tokens whose probability ratio was clipped; zero with one update for each batch of samples.",
    "share of tokens",
    {"clip/rate": "clipped"},
    share=True,
)
GRADIENT = Panel("Gradient norm", "Norm of the gradient at each step.", "norm", {"grad_norm": "gradient"})
SPEED = Panel(
    "Sampling speed",
    "Tokens sampled for each second of sampling; the first step also waits for compilation.",
    "tokens per second",
    {"tokens_per_s": "tokens"},
)
GAP = Panel(
    "Sampler against trainer",
    "Absolute gap between the log-prob a token was sampled with and the one the trainer computes for it.",
    "nats (log scale)",
    {"sampler_gap/mean": "mean", "sampler_gap/max": "largest"},
    log=True,
)


def draw_plots(metrics: Sequence[Row], evals: Sequence[Row]) -> list[Plot]:
    """Draws every plot of the report, in reading order; both sequences are ordered by their "step"."""
    keys = dict.fromkeys(key for row in metrics for key in row)
    names = [key for key in keys if key.startswith("reward/")]
    rewards = Panel(
        "Reward and its parts",
        "Mean over the batch of the total reward and of each part.",
        "reward",
        {key: key.removeprefix("reward/") for key in names or ["reward/total"]},
    )
    occurring = [key for key in keys if key.startswith("verdict/") and any(row.get(key) for row in metrics)]
    verdicts = Panel(
        "Verdicts",
        "What the graders said of the answers, as shares of the samples.",
        "share of samples",
        {key: key.removeprefix("verdict/").replace("_", " ") for key in occurring or ["verdict/right"]},
        share=True,
    )
    training = (rewards, verdicts, LENGTH, TRUNCATED, REFLECTING, REFLECTION_WORDS, LANGUAGE)
    with matplotlib.rc_context(STYLE):
        return [
            _accuracy(evals),
            *(_lines(metrics, panel) for panel in training),
            *(_lines(metrics, panel) for panel in (KL, ENTROPY, NO_SIGNAL, CLIP, GRADIENT, GAP, SPEED)),
            _phases(metrics),
        ]


def number(value: Any) -> float | None:
    """The value as a float, or None where it is missing, not a number, infinite or NaN."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving mean `[N]` over about a fifteenth of the values, the window cut short at both ends."""
    kernel = np.ones(len(values) // 15 | 1)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _points(rows: Sequence[Row], key: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(row["step"], value) for row in rows if (value := number(row.get(key))) is not None]
    steps, values = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return steps, values


def _accuracy(evals: Sequence[Row]) -> Plot:
    title = "Held-out accuracy"
    ks = sorted({f"{k:g} at step {row['step']}" for row in evals if (k := number(row.get("k"))) is not None},
                key=lambda text: int(text.rsplit(" ", 1)[1]))  # fmt: skip
    caption = (
        "pass@1 and the majority's answer (cons@k) on held-out questions; bars are one standard error each way. "
        f"Samples a question, k: {', '.join(ks) or 'not recorded'}."
    )
    figure, ax = _figure(width=11.4, height=3.6)
    drawn = False
    curves = (("pass@1", "stderr", "o-"), ("cons@k", "cons_stderr", "s--"))
    for (key, error_key, form), colour in zip(curves, COLOURS, strict=False):
        steps, values = _points(evals, key)
        if not len(steps):
            continue
        drawn = True
        errors = [number(row.get(error_key)) or 0.0 for row in evals if number(row.get(key)) is not None]
        ax.errorbar(
            steps, values, yerr=errors, fmt=form, color=colour, label=key, capsize=3, markersize=4.5, linewidth=1.6
        )
    if not drawn:
        return Plot(title, caption, "", ("No evaluation with a pass@1 was recorded.",))
    ax.set(xlabel="RL step (0 is the base model)", ylabel="held-out accuracy", ylim=(-0.03, 1.04))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    _legend(ax)
    return Plot(title, caption, _data_uri(figure))


def _lines(rows: Sequence[Row], panel: Panel) -> Plot:
    figure, ax = _figure()
    top, bottom, notes, absent = 0.0, math.inf, [], []
    for (key, label), colour in zip(panel.series.items(), COLOURS * len(panel.series), strict=False):
        steps, values = _points(rows, key)
        if not len(steps):
            absent.append(key)
            continue
        if len(steps) < len(rows):
            notes.append(f"{label}: {len(rows) - len(steps)} of {len(rows)} steps hold no finite value.")
        crowded = len(steps) > MAX_VECTOR_POINTS
        ax.plot(steps, values, ".", color=colour, markersize=4.5, alpha=0.4, markeredgewidth=0, rasterized=crowded)
        ax.plot(steps, smooth(values), color=colour, linewidth=1.7, label=label)
        top, bottom = max(top, values.max()), min(bottom, values.min())
    if absent:
        notes.append(f"Not recorded by this run: {', '.join(absent)}.")
    if len(absent) == len(panel.series):
        return Plot(panel.title, panel.caption, "", tuple(notes))
    ax.set(xlabel="RL step", ylabel=panel.ylabel)
    if panel.share:
        top = min(1.03, max(1.12 * top, 0.01))
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
    return Plot(panel.title, panel.caption, _data_uri(figure), tuple(notes))


def _phases(rows: Sequence[Row]) -> Plot:
    title = "Seconds by phase"
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key.startswith("time/")]
    if not keys:
        return Plot(title, "Wall-clock seconds of each step, by phase.", "", ("Not recorded by this run: time/*.",))
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
    ax.set(xlabel="RL step", ylabel="seconds per step", ylim=(0, 1.08 * base.max() or 1.0))
    ax.grid(visible=False, axis="x")
    _legend(ax)
    totals = zip(keys, seconds.sum(1), strict=True)
    total = ", ".join(f"{key.removeprefix('time/')} {value:,.1f} s" for key, value in totals)
    each = "one step" if len(bins) == len(rows) else f"the mean of about {len(rows) / len(bins):.2g} steps"
    caption = f"Wall-clock seconds of a step, by phase; each bar is {each}. In all: {total}."
    return Plot(title, caption, _data_uri(figure))


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
