"""Plots of evaluations: bars beside the published ones, accuracy against k and against length."""

import base64
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from r1jax.report.plots import COLOURS, STYLE, Plot
from r1jax.report.results import Model, published

# The paper's figure 1: (benchmark, figure, label).
BARS = (
    ("aime2024", "pass@1", "AIME 2024\n(pass@1)"),
    ("codeforces", "percentile", "Codeforces\n(percentile)"),
    ("gpqa_diamond", "pass@1", "GPQA Diamond\n(pass@1)"),
    ("math500", "pass@1", "MATH-500\n(pass@1)"),
    ("mmlu", "pass@1", "MMLU\n(pass@1)"),
    ("swe_bench", "resolved", "SWE-bench Verified\n(resolved)"),
)
COMPARED = ("DeepSeek-R1", "OpenAI-o1-1217", "OpenAI-o1-mini", "DeepSeek-V3")
_BINS = 8
_WIDE = 5.5  # inches beyond which a picture takes the page's whole width
_FEWEST = 5  # samples of a bin that is drawn


def draw(models: Sequence[Model], folder: Path) -> list[Plot]:
    """All plots that have data, as PNG files in `folder` too."""
    with matplotlib.rc_context(STYLE):
        plots = [
            save(
                _bars(models),
                folder / "bars.png",
                "Results beside the paper's",
                "Error bars: one standard error. Hatched: published (arXiv 2501.12948).",
            )
        ]
        for name in dict.fromkeys(name for model in models for name in model.results):
            have = [model for model in models if name in model.results]
            title = have[0].results[name]["title"]
            plots.append(
                save(
                    _against_k(have, name),
                    folder / f"{name}_k.png",
                    f"{title}: accuracy against k",
                    "pass@k (full), unbiased; cons@k (dashed), majority vote.",
                )
            )
            plots.append(
                save(
                    _against_length(have, name),
                    folder / f"{name}_length.png",
                    f"{title}: score against response length",
                    "Bins of equally many samples; error bars: one binomial standard error.",
                )
            )
    return [plot for plot in plots if plot]


def save(figure: Figure | None, path: Path, title: str, caption: str) -> Plot | None:
    """Writes a figure as PNG; returns it for the page, None where there is none."""
    if figure is None:
        return None
    figure.savefig(path, dpi=150, bbox_inches="tight", metadata={"Software": None})
    image = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    return Plot(title, caption, image, wide=figure.get_size_inches()[0] > _WIDE)


def _bars(models: Sequence[Model]) -> Figure | None:
    """The paper's six benchmarks where any model has one of them; else all that the models have."""
    six = [bar for bar in BARS if any(bar[0] in model.results for model in models)]
    every = {
        name: (name, result["metric"], f"{result['title']}\n({result['metric']})")
        for model in models
        for name, result in model.results.items()
    }
    bars = six or list(every.values())
    main = {row["model"]: row for row in published()["models"] if row["table"] == "main"}
    published_rows = [main[name] for name in COMPARED if any(bar[0] in main[name]["figures"] for bar in bars)]
    labels = [model.label for model in models] + [f"{row['model']} (published)" for row in published_rows]
    figure = Figure(figsize=(max(6.0, 1.7 * len(bars) + 0.12 * len(bars) * len(labels)), 4.2))
    axes = figure.subplots()
    width = 0.8 / len(labels)
    for i, label in enumerate(labels):
        x = np.arange(len(bars)) + (i - (len(labels) - 1) / 2) * width
        is_measured = i < len(models)
        values, errors = (
            _heights(models[i], bars) if is_measured else _published_heights(published_rows[i - len(models)], bars)
        )
        colour = COLOURS[i % len(COLOURS)]
        axes.bar(
            x,
            values,
            width,
            label=label,
            color=colour if is_measured else "white",
            edgecolor=colour,
            hatch=None if is_measured else "///",
            yerr=errors if is_measured else None,
            capsize=2,
        )
        tops = values if errors is None else values + errors
        for at, value, top in zip(x, values, tops, strict=True):
            if not np.isnan(value):
                axes.annotate(
                    f"{100 * value:.0f}",
                    (at, top),
                    ha="center",
                    va="bottom",
                    fontsize=7,
                    xytext=(0, 2),
                    textcoords="offset points",
                )
    axes.set_xticks(np.arange(len(bars)), [label for _, _, label in bars], fontsize=8)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(0, 1.08)
    axes.grid(axis="x", visible=False)
    axes.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def _heights(model: Model, bars: Sequence[tuple[str, str, str]]) -> tuple[np.ndarray, np.ndarray]:
    figures = [model.results.get(name, {}).get("figures", {}).get(figure) for name, figure, _ in bars]
    shares = [each if each and each["unit"] == "%" and each["value"] is not None else None for each in figures]
    values = np.array([each["value"] if each else np.nan for each in shares])
    return values, np.array([(each["stderr"] or 0.0) if each else 0.0 for each in shares])


def _published_heights(row, bars: Sequence[tuple[str, str, str]]) -> tuple[np.ndarray, None]:
    figures = [row["figures"].get(name, {}).get(figure) for name, figure, _ in bars]
    return np.array([np.nan if value is None else value / 100 for value in figures]), None


def _against_k(models: Sequence[Model], name: str) -> Figure | None:
    drawn = [(i, model) for i, model in enumerate(models) if len(model.results[name].get("by_k", ())) > 1]
    if not drawn:
        return None
    figure = Figure(figsize=(5.2, 3.4))
    axes = figure.subplots()
    for i, model in drawn:
        rows, colour = model.results[name]["by_k"], COLOURS[i % len(COLOURS)]
        for key, style, metric in (("pass", "-", "pass@k"), ("cons", "--", "cons@k")):
            points = [(row["k"], row[key]) for row in rows if row.get(key) is not None]
            if points:
                k, shares = zip(*points, strict=True)
                axes.plot(k, shares, style, marker="o", ms=3, color=colour, label=f"{model.label} {metric}")
    ticks = sorted({row["k"] for _, model in drawn for row in model.results[name]["by_k"]})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, map(str, ticks))
    axes.set_xlabel("samples a question, k")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(fontsize=8)
    return figure


def _against_length(models: Sequence[Model], name: str) -> Figure | None:
    figure = Figure(figsize=(5.2, 3.4))
    axes, any_drawn = figure.subplots(), False
    for i, model in enumerate(models):
        samples = sorted(model.samples(name), key=lambda pair: pair[1])
        if len(samples) < 2 * _FEWEST:
            continue
        any_drawn = True
        bins = np.array_split(np.array(samples), min(_BINS, len(samples) // _FEWEST))
        centres = [each[:, 1].mean() for each in bins]
        means = np.array([each[:, 0].mean() for each in bins])
        errors = [np.sqrt(mean * (1 - mean) / len(each)) for mean, each in zip(means, bins, strict=True)]
        axes.errorbar(
            centres, means, errors, marker="o", ms=3, capsize=2, color=COLOURS[i % len(COLOURS)], label=model.label
        )
    axes.set_xlabel("tokens of the response")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(bottom=0)
    if any_drawn:
        axes.legend(fontsize=8)
    return figure if any_drawn else None
