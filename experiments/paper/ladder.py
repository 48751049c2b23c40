"""The ladder of stages, from the base to R1, in the harder form of the mini world; ladder.md.

    python experiments/paper/ladder.py [--seeds 1 2 3] [--runs runs/paper/ladder]

Runs the stages of `experiments/r1.sh harder` that lead to R1, and evaluates the model of each on held-out problems by
level and requests by kind.
"""

import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import study
from ladder_figures import EXACT_KINDS, LEVELS, SCORES, changes, figures_of, scoring_model, signal
from matplotlib.figure import Figure

from r1jax.configs.all_scenario import SIZES
from r1jax.io.tables import markdown_table

NAME, MINUTES = "ladder", 22
SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "r1.sh"
# Models by their stages, with the paper's names.
MODELS = {
    "base": "base",
    "zero": "R1-Zero",
    "coldstart_sft": "Dev1: cold start",
    "reasoning": "Dev2: reasoning RL",
    "sft": "Dev3: SFT",
    "r1": "R1: RL for all scenarios",
}
# What each model is compared with: the stage before. Cold start and SFT were trained from the base.
COMPARED = {"zero": "base", "coldstart_sft": "zero", "reasoning": "coldstart_sft", "sft": "reasoning", "r1": "sft"}
STAGES = ("world", "zero", "coldstart", "coldstart_sft", "reasoning", "rejection", "sft", *SCORES, "r1")
# Table 2 of the paper (Nature 645, 633-638): R1-Zero, Dev1, Dev2, Dev3, R1, and what stands for it here.
PAPER = {
    "AIME 2024": ((77.9, 59.0, 74.0, 78.1, 79.8), "problems"),
    "MATH-500": ((95.9, 94.2, 95.9, 95.4, 97.3), "problems of the lower levels"),
    "IF-Eval, prompt strict": ((46.6, 71.7, 72.0, 78.1, 83.3), "instructions"),
    "SimpleQA": ((30.3, 17.8, 28.2, 24.9, 30.1), "facts"),
    "AlpacaEval 2.0": ((24.7, 50.1, 55.8, 62.1, 87.6), "open requests: helpfulness, best replies"),
    "Arena-Hard": ((53.6, 77.0, 73.2, 75.6, 92.3), "the same"),
}
LAST = SIZES["mini_harder"]()  # RL for all scenarios
STEPS, PREFERENCES_FROM = LAST["num_steps"], LAST["rewards"]["models"][0]["from_step"]

Seed = dict[str, Any]  # what is measured of a seed: "figures" by model, "signal" by phase and kind


def measure(runs: pathlib.Path, seed: int) -> Seed:
    """Runs the stages and evaluations of a seed that are not done yet, and reads their figures."""
    names = [*STAGES, *(f"eval-{model}" for model in MODELS)]
    chosen = {"STAGES": " ".join(names), "SEEDS": str(seed)}
    subprocess.run([str(SCRIPT), "harder", str(runs.resolve())], check=True, env=os.environ | chosen)
    folder = runs / f"seed{seed}"
    kinds = {row["prompt"]: row["kind"] for row in study.rows(folder / "world" / "mixed.jsonl")}
    phases = range(PREFERENCES_FROM), range(PREFERENCES_FROM, STEPS)
    return {
        "figures": {model: figures_of(folder, model) for model in MODELS},
        "signal": [signal(folder / "r1", steps, kinds) for steps in phases],
        "minutes": sum(float((folder / "done" / name).read_text()) for name in names) / 60,
    }


def seed_values(seeds: Sequence[Seed], name: str, model: str) -> list[float | None]:
    """A figure of a model in each seed. Scores are less the base's: their zero is each reward model's own."""
    measured = [seed["figures"][model][name] for seed in seeds]
    scorer = scoring_model(name)
    if not scorer or None in measured:
        return measured
    return [value - seed["figures"]["base"][scorer] for value, seed in zip(measured, seeds, strict=True)]


def stages_table(seeds: Sequence[Seed]) -> list[str]:
    """The measured figures, a column each model, as the paper's table has them."""
    rows = []
    for name in seeds[0]["figures"]["r1"]:
        is_score = bool(scoring_model(name))
        cells = [study.spread(seed_values(seeds, name, model), 2 if is_score else 1) for model in MODELS]
        rows.append([f"{name}, less the base's" if is_score else name, *cells])
    return markdown_table(["figure", *MODELS.values()], rows)


def paper_table() -> list[str]:
    """What the paper's table has of the same kind; of the base the paper has AIME alone, in its text."""
    rows = [
        [name, "15.6" if name == "AIME 2024" else "–", *map(str, values), here]
        for name, (values, here) in PAPER.items()
    ]
    return markdown_table(["the paper", *MODELS.values(), "here"], rows)


def changes_table(seeds: Sequence[Seed]) -> list[str]:
    """What each stage gains and loses beside the model that it is compared with."""
    rows = []
    for model, other in COMPARED.items():
        before, after = ([seed["figures"][name] for seed in seeds] for name in (other, model))
        gains, losses = changes(before, after)
        rows.append([MODELS[model], MODELS[other], ", ".join(gains) or "–", ", ".join(losses) or "–"])
    return markdown_table(["stage", "beside", "gains", "loses"], rows)


def signal_table(seeds: Sequence[Seed]) -> list[str]:
    """The share of the groups with a signal in RL for all scenarios, by kind, before and after preferences count."""
    counts = [phase for seed in seeds for phase in seed["signal"]]
    kinds = [*sorted(set.intersection(*map(set, counts)) - {"all"}), "all"]
    rows = []
    for kind in kinds:
        shares = [
            [100 * seed["signal"][phase][kind][0] / seed["signal"][phase][kind][1] for seed in seeds]
            for phase in (0, 1)
        ]
        rows.append([kind, *(study.spread(each, 0) for each in shares)])
    titles = f"steps 1 to {PREFERENCES_FROM}, by rules alone", f"steps {PREFERENCES_FROM + 1} to {STEPS}"
    return markdown_table(["kind of question", *titles], rows)


def draw(seeds: Sequence[Seed]) -> Figure:
    """Problems by level, requests by kind, open replies, and how thoughts are written, by stage; means over seeds."""
    panels = {
        "problems right, %": [f"problems, level {level}" for level in LEVELS],
        "requests right, %": [*EXACT_KINDS, "instructions"],
        "open replies, %": ["best replies", "good replies", "secrets told"],
        "scores, less the base's": [name for name in seeds[0]["figures"]["r1"] if scoring_model(name)],
        "thoughts, %": ["well formed", "mixed languages"],
    }
    picture = Figure(figsize=(17, 4), layout="constrained")
    for axes, (title, names) in zip(picture.subplots(1, len(panels)), panels.items(), strict=True):
        for name in names:
            of_models = [seed_values(seeds, name, model) for model in MODELS]
            points = [(place, statistics.mean(each)) for place, each in enumerate(of_models) if None not in each]
            axes.plot(*zip(*points, strict=True), marker=".", label=name)
        axes.set_xticks(range(len(MODELS)), [name.partition(":")[0] for name in MODELS.values()], rotation=40)
        axes.set(title=title)
        axes.legend(fontsize="x-small", framealpha=0.5)
        axes.grid(alpha=0.3)
    return picture


def main() -> int:
    options = study.options(NAME, __doc__, MINUTES)
    seeds = study.finished_results(options, measure)
    minutes = study.spread([seed["minutes"] for seed in seeds])
    figures = seeds[0]["figures"]["r1"]
    measured = [
        f"{len(seeds)} of the seeds {', '.join(map(str, options.seeds))}, {minutes} minutes each; mean ± standard "
        "deviation. Held-out questions at temperature 0.6, top-p 0.95, 4 samples each; percent, but for tokens and "
        "scores (of standard deviation 1 on the pairs and labels).",
        *("", *stages_table(seeds)),
        *("", "Table 2 of the paper, for comparison:", "", *paper_table()),
        "",
        f"What each stage changes, by a t-test of the seeds' differences at 5%. A stage has {len(figures)} figures, of "
        "which about one would pass by chance:",
        *("", *changes_table(seeds)),
        *("", "Groups with a signal in RL for all scenarios, percent:", "", *signal_table(seeds)),
    ]
    study.write_page(NAME, "\n".join(measured), draw(seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
