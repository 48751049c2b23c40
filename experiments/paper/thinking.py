"""Thinking longer: accuracy by the tokens allowed and used, and votes and reranking at equal tokens.

    python experiments/paper/thinking.py [--seeds 1 2 3]      writes thinking.md and thinking.png beside this file

The policies are the base of the puzzles and what RL made of it, the run named RL of experiments/paper/aha.py in the
folder beside this experiment's own, which is made where it is missing. The reward model is trained here, on samples
that RL drew and graded.
"""

import math
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

import graded_answers
import jax
import puzzle_runs
import study
import thinking_measures as measures
from matplotlib.figure import Figure
from puzzle_runs import LEVELS
from thinking_measures import BINS, COUNTS, LIMITS, SHORT, WAYS

from r1jax.core.config import MeshConfig
from r1jax.core.sharding import make_mesh
from r1jax.io import jsonl
from r1jax.io.files import read_json
from r1jax.io.tables import markdown_table
from r1jax.stages.bases import find_base

NAME = "thinking"
MINUTES = 8  # of a seed whose run of RL is there
QUESTIONS, SAMPLES = 128, 16
POLICIES = ("base", "RL")
EARLY = 20  # steps whose samples are still much like the base's: half of the reward model's examples
SAMPLING = {
    "sampling.max_new_tokens": LIMITS[-1],
    "sampling.bucket": 512,
    "sampling.truncation.temperature": 0.6,
    "sampling.truncation.top_p": 0.95,
}
REWARD_MODEL = {
    "reading.template": "r1_zero",
    "reading.max_tokens": 512,
    "num_steps": 120,
    "unit_examples": 0,  # its score is the log-odds of a right response
    # Of the share that this number holds out, half is held out from RL too, and in no file of its training samples.
    "data.held_out_share": 0.2,
}


def write_labels(path: pathlib.Path, run: pathlib.Path) -> None:
    """Training samples of a run of RL, each labelled by whether it ended and its last expression is right.

    All of the first steps, and as many of the others, equally spaced.
    """
    steps = read_json(run / "config.json")["num_steps"]
    early, late = (puzzle_runs.rollouts(run, range(*ends)) for ends in ((0, EARLY), (EARLY, steps)))
    rows = early + late[:: max(len(late) // len(early), 1)][: len(early)]
    jsonl.write(
        path,
        (
            {
                "id": f"{place}",
                "prompt": row["question"],
                "response": row["text"],
                "safe": row["finish"] == "stop" and puzzle_runs.last_expression_is_right(row),
            }
            for place, row in enumerate(rows)
        ),
    )


def of_seed(options: study.Options, seed: int, run: pathlib.Path) -> dict[str, Any]:
    """Everything that is measured of one seed, of a finished run of RL."""
    here = options.runs / f"seed{seed}"
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    base = find_base(read_json(run / "config.json")["base"], run.parent, mesh)
    if not (here / "labels.jsonl").exists():
        write_labels(here / "labels.jsonl", run)
    fields = {"base": base, "seed": seed, "data.path": here / "labels.jsonl", **REWARD_MODEL}
    model = study.train("preference:mini_harmlessness", here / "reward_model", **fields)
    result: dict[str, Any] = {"reward model": study.rows(model / "evals.jsonl")[-1]}
    questions = puzzle_runs.questions(puzzle_runs.runs_beside(options.runs))
    for name, policy in zip(POLICIES, (base, run / "model"), strict=True):
        drawn = graded_answers.answers_of(
            str(policy),
            "process_reward:puzzles_labels",
            here / f"answers_{name}",
            QUESTIONS,
            SAMPLES,
            seed,
            str(model / "model"),
            **{"data.path": questions, **SAMPLING},
        )
        groups = [[measures.read(answer) for answer in group] for group in drawn]
        result[name] = {
            "by limit": measures.by_limit(groups),
            "by tokens": measures.by_tokens(groups),
            "longer": measures.longer_minus_shorter(groups),
            "by count": measures.by_count(groups),
            "short": measures.votes_of_short(groups),
            "ranked": measures.ranked(groups),
        }
    return result


def cell(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation over those seeds that have a value; says how many where not all do."""
    present = [value for value in values if math.isfinite(value)]
    if not present:
        return "–"
    of = "" if len(present) == len(values) else f" ({len(present)} of {len(values)} seeds)"
    return study.spread(present, digits) + of


def allowed(results: Sequence[dict[str, Any]]) -> str:
    """Accuracy by the tokens allowed."""
    table = []
    for name in POLICIES:
        for i, limit in enumerate(LIMITS):
            rows = [result[name]["by limit"][i] for result in results]
            keys = ("tokens", "ended", "with tags", "right", *map(str, LEVELS))
            table.append([name, str(limit), *(cell([row[key] for row in rows]) for key in keys)])
    header = ("policy", "tokens allowed", "used", "ended, %", "right with tags, %", "right, %")
    return "\n".join(markdown_table([*header, *(f"{level} numbers" for level in LEVELS)], table))


def used(results: Sequence[dict[str, Any]]) -> str:
    """Accuracy of the trained policy by the tokens used, and that of longer responses to the same question."""
    table = []
    for i, (low, high) in enumerate(BINS):
        rows = [result["RL"]["by tokens"][i] for result in results]
        keys = ("share", "right", *map(str, LEVELS))
        table.append([f"{low} to {high}", *(cell([row[key] for row in rows]) for key in keys)])
    differences = [cell([result["RL"]["longer"][str(level)] for result in results]) for level in LEVELS]
    table.append(["a question's longer half less its shorter half, points", "", "", *differences])
    header = ("tokens used", "responses, %", "right, %", *(f"{level} numbers" for level in LEVELS))
    return "\n".join(markdown_table(header, table))


def chosen(results: Sequence[dict[str, Any]]) -> str:
    """One of n answers, by each way to choose."""
    table = []
    for name in POLICIES:
        for i, n in enumerate(COUNTS):
            rows = [result[name]["by count"][i] for result in results]
            tokens = cell([row["tokens"] for row in rows], 0)
            table.append([name, str(n), tokens, *(cell([row[way] for row in rows]) for way in WAYS)])
    return "\n".join(markdown_table(("policy", "answers", "tokens of a question", *WAYS), table))


def at_equal_tokens(results: Sequence[dict[str, Any]]) -> str:
    """One response of the trained policy beside answers of the base of as many tokens, and how many would equal it."""
    one = [result["RL"]["by count"][0] for result in results]
    tokens, right = [row["tokens"] for row in one], [row["one answer"] for row in one]
    table = [["RL, one response", cell(right), cell(tokens, 0)]]
    for way in WAYS:
        curves = [result["base"]["by count"] for result in results]
        equal = [measures.at_tokens(curve, way, limit) for curve, limit in zip(curves, tokens, strict=True)]
        enough = [measures.tokens_to_reach(curve, way, level) for curve, level in zip(curves, right, strict=True)]
        table.append([f"base, {way}", cell(equal), cell(enough, 0)])
    return "\n".join(markdown_table(("", "right with as many tokens, %", "tokens to be right as often"), table))


def short_votes(results: Sequence[dict[str, Any]]) -> str:
    """Votes of the trained policy among responses of different limits."""
    table = []
    for i, limit in enumerate(SHORT):
        rows = [result["RL"]["short"][i] for result in results]
        tokens = [f"{statistics.fmean(row['tokens'][j] for row in rows):.0f} tokens" for j in range(len(COUNTS))]
        cells = [f"{cell([row['right'][j] for row in rows])}, {tokens[j]}" for j in range(len(COUNTS))]
        table.append([str(limit), *cells])
    return "\n".join(markdown_table(("tokens allowed", *(f"of {n}" for n in COUNTS)), table))


def about_reward_model(results: Sequence[dict[str, Any]]) -> str:
    """How good the reward model is."""
    rows = [result["reward model"] for result in results]
    table = [
        [
            "samples of RL's training questions, held out from it: accuracy, %",
            cell([100 * row["accuracy"] for row in rows]),
        ],
        ["the same, AUROC", cell([row["auroc"] for row in rows], 3)],
    ]
    for name in POLICIES:
        pairs = [result[name]["ranked"] for result in results]
        table.append(
            [f"{name}, held-out questions: right answer above a wrong one to the same question, %", cell(pairs)]
        )
    return "\n".join(markdown_table(("", "reward model"), table))


def picture(results: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy by tokens allowed, by ways to choose at equal tokens, and by votes among shorter responses."""

    def mean(values: Sequence[float]) -> float:
        return statistics.fmean(values)

    figure = Figure(figsize=(14, 4.2), layout="constrained")
    limits, ways, short = figure.subplots(1, 3)
    for name, style in zip(POLICIES, ("--", "-"), strict=True):
        for color, level in enumerate(LEVELS):
            right = [mean([r[name]["by limit"][i][str(level)] for r in results]) for i in range(len(LIMITS))]
            limits.plot(LIMITS, right, style, color=f"C{color}", marker=".", label=f"{name}, {level} numbers")
        for color, way in enumerate(WAYS):
            rows = [[r[name]["by count"][i] for r in results] for i in range(len(COUNTS))]
            x = [mean([row["tokens"] for row in each]) for each in rows]
            y = [mean([row[way] for row in each]) for each in rows]
            ways.plot(x, y, style, color=f"C{color}", marker=".", label=f"{name}, {way}")
    for i, limit in enumerate(SHORT):
        rows = [r["RL"]["short"][i] for r in results]
        x, y = ([mean([row[key][j] for row in rows]) for j in range(len(COUNTS))] for key in ("tokens", "right"))
        short.plot(x, y, marker=".", label=f"{limit} tokens allowed")
    limits.set(title="one response", xlabel="tokens allowed")
    ways.set(title="one of 1, 2, 4, 8, 16 answers", xlabel="tokens of a question", xscale="log")
    short.set(title="RL: majority of 1, 2, 4, 8, 16", xlabel="tokens of a question", xscale="log")
    for axes in (limits, ways, short):
        axes.set(ylabel="right, %", ylim=(0, 100))
        axes.grid(alpha=0.3)
    ways.set_xlim(left=6)  # room for the legend
    limits.legend(fontsize=6)
    ways.legend(fontsize=6, loc="center left")
    short.legend(fontsize=6)
    return figure


def main() -> None:
    options = study.options(NAME, __doc__, MINUTES)
    runs = puzzle_runs.finished(options, puzzle_runs.runs_beside(options.runs))
    results = study.finished_results(options, lambda _, seed: of_seed(options, seed, runs[seed]))
    measured = f"""{QUESTIONS} held-out puzzles, {SAMPLES} responses each, temperature 0.6 and top-p 0.95; mean ±
standard deviation over {len(results)} seeds. `right`: the last expression of a response that ended, tags or not.

By the tokens allowed:

{allowed(results)}

By the tokens used, after RL:

{used(results)}

One of n answers:

{chosen(results)}

At equal tokens, the base's answers in place of one response after RL:

{at_equal_tokens(results)}

After RL, a majority among responses that were allowed fewer tokens:

{short_votes(results)}

The reward model:

{about_reward_model(results)}
"""
    study.write_page(NAME, measured, picture(results))


if __name__ == "__main__":
    main()
