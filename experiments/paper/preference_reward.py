"""A preference reward given for long in the mini world, and remedies against its hacking; preference_reward.md.

    python experiments/paper/preference_reward.py [--seeds 1 2 3] [--runs runs/paper/preference_reward]

Every run starts from the shipped mini-r1, and a helpfulness model, trained here on the world's judged pairs, scores it.
The world knows the good replies to each request (`r1jax.data.miniworld.requests.Request`): they are its verdict.
"""

import collections
import functools
import pathlib
import statistics
import sys
from collections.abc import Sequence

import study
from matplotlib.figure import Figure
from world_verdicts import VERDICTS, Row, is_good, request_of, verdict

from r1jax.data.tasks import is_held_out
from r1jax.graders.exact_match import normalize
from r1jax.io import jsonl
from r1jax.io.tables import markdown_table

NAME, MINUTES = "preference_reward", 12
HERE = pathlib.Path(__file__).parent
POLICY = HERE.parent.parent / "r1jax" / "shipped_models" / "mini-r1"
STEPS, LATE, EVERY = 40, 10, 10
COPIES = 5  # of each pair of the hacked policy, beside some 2,700 of the world
HELD_OUT = 64  # problems, and as many requests
# The rows of the tables: what the run is called, and how it differs from the first.
ROWS = {
    "as is": "beta 0.001",
    "beta 0.01": "KL weight 10 times as large",
    "beta 0.1": "KL weight 100 times as large",
    "beta 1": "KL weight 1,000 times as large",
    "beside rules": "half of the questions are problems, rewarded by rules",
    "late": f"{STEPS - LATE} steps on problems by rules, then {LATE} with the preference reward",
    "retrained": "reward model trained again, on samples of the hacked policy too",
    "random reward": "the reward is a coin for each sample, and the score counts nothing",
}
SETTINGS = {
    "grpo.prompts_per_step": 8,
    "evaluation.questions": 2 * HELD_OUT,
    "evaluation.samples": 4,
    "evaluation.samples_during": 4,
    "evaluation.every": EVERY,
    "checkpoint.every": EVERY,
    "optimizer.learning_rate": 1e-4,
    "rewards.language": 0.0,
}
RETRAINED = "pairs_retrained.jsonl"  # the pairs of the reward model that is trained again


def write_data(folder: pathlib.Path, seed: int) -> None:
    """The world's files, and the questions of the runs: the held-out ones of each file are the same.

    requests.jsonl has requests to train on, rules.jsonl problems, and both.jsonl as many of each. Requests are all
    "open", so that no rule rewards them; the world's verdict is not seen in training.
    """
    study.write_world(folder, seed)
    requests, problems = study.rows(folder / "general.jsonl"), study.rows(folder / "reasoning.jsonl")
    requests = [{**row, "grader": "open"} for row in requests]

    def side(rows: Sequence[Row], held_out: bool) -> list[Row]:
        return [row for row in rows if is_held_out(row["prompt"], 0.1) == held_out]

    spaced = side(requests, True)[:: len(side(requests, True)) // HELD_OUT]
    held_out = side(problems, True)[:HELD_OUT] + spaced[:HELD_OUT]
    requests, problems = side(requests, False), side(problems, False)
    jsonl.write(folder / "rules.jsonl", problems + held_out)
    jsonl.write(folder / "both.jsonl", problems[: len(requests)] + requests + held_out)
    jsonl.write(folder / "requests.jsonl", requests + held_out)  # last: its presence marks all as written


def train_policy(
    folder: pathlib.Path,
    seed: int,
    data: pathlib.Path,
    base: pathlib.Path,
    model: pathlib.Path,
    weight: float = 1.0,
    **fields: object,
) -> pathlib.Path:
    """An RL run with the reward model on requests; problems, where the data have some, are rewarded by rules."""
    scored = {"name": "helpfulness", "path": str(model), "weight": weight, "prompts": "open", "from_step": 0}
    fields = {**SETTINGS, "num_steps": STEPS, "rewards.models": (scored,), **fields}
    return study.train("all_scenario:mini", folder, **{"seed": seed, "data.path": data, "base": base, **fields})


def train_reward_model(folder: pathlib.Path, seed: int, pairs: pathlib.Path) -> pathlib.Path:
    """The helpfulness model's folder, trained from the world's base."""
    return study.train("preference:mini_helpfulness", folder, **{"seed": seed, "data.path": pairs}) / "model"


def write_more_pairs(path: pathlib.Path, pairs: pathlib.Path, hacked: pathlib.Path) -> None:
    """The pairs of the world, and for each bad sample of the hacked policy's last steps one with the good reply.

    Samples of one request that read the same give one pair, which is there `COPIES` times.
    """
    rows = study.rows(pairs)
    bad: dict[tuple[str, str], Row] = {}
    for step in range(STEPS - EVERY, STEPS):
        for row in study.rows(hacked / "rollouts" / f"step_{step:06d}.jsonl"):
            if not is_good(row):
                bad[row["question"], row["text"]] = row
    for index, row in enumerate(bad.values()):
        chosen = request_of(row["question"]).polite
        pair = {"prompt": row["question"], "chosen": chosen, "rejected": row["text"]}
        rows += [{"id": f"hacked-{index}-{copy}", **pair} for copy in range(COPIES)]
    jsonl.write(path, rows)


def runs_of(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Where a seed's runs lie, by the names of `ROWS`."""
    return {name: folder / name.replace(" ", "_") for name in ROWS}


def train_seed(folder: pathlib.Path, seed: int) -> None:
    """All runs of a seed."""
    data = folder / "world"
    if not (data / "requests.jsonl").exists():
        write_data(data, seed)
    model = train_reward_model(folder / "helpfulness", seed, data / "helpfulness.jsonl")
    run = functools.partial(train_policy, seed=seed, data=data / "requests.jsonl", base=POLICY, model=model)
    runs = runs_of(folder)
    run(runs["as is"])
    rules = run(folder / "rules", data=data / "rules.jsonl", num_steps=STEPS - LATE)
    run(runs["late"], data=data / "both.jsonl", base=rules / "model", num_steps=LATE)
    run(runs["beside rules"], data=data / "both.jsonl")
    for beta in (0.1, 0.01, 1.0):
        run(runs[f"beta {beta:g}"], **{"grpo.beta": beta})
    pairs = folder / RETRAINED
    if not pairs.exists():
        write_more_pairs(pairs, data / "helpfulness.jsonl", runs["as is"])
    retrained = train_reward_model(folder / "helpfulness_retrained", seed, pairs)
    run(runs["retrained"], model=retrained)
    run(runs["random reward"], weight=0.0, **{"rewards.random": 1.0})


def evaluated(run: pathlib.Path, step: int) -> dict[str, float]:
    """The figures of an evaluation on held-out problems and requests: percent, tokens, and the reward model's score.

    The score is less that before the run's first step, since its zero is each reward model's own.
    """
    problems = [row for row in samples_at(run, step) if request_of(row["question"]) is None]
    requests = requests_at(run, step)
    firsts = [normalize(row["final"]) for row in requests if row["sample"] == 0]
    return {
        "score": mean_score(requests) - mean_score(requests_at(run, 0)),
        "good": 100 * statistics.mean(map(is_good, requests)),
        "right": 100 * statistics.mean(row["correct"] for row in problems),
        "tokens": statistics.mean(row["num_tokens"] for row in requests),
        "different": 100 * len(set(firsts)) / len(firsts),
    }


def mean_score(samples: Sequence[Row]) -> float:
    """What the reward model gives these samples."""
    return statistics.mean(row["parts"]["model/helpfulness"] for row in samples)


def length_of(name: str) -> int:
    """The steps of a run's part with the preference reward."""
    return LATE if name == "late" else STEPS


def ends(runs: Sequence[dict[str, pathlib.Path]]) -> list[str]:
    """The table of all runs: before and after training, and the first one after as many steps as the late one has."""
    header = (
        *("run", "differs by", "steps", "score, less its start", "good replies, %", "problems right, %"),
        *("tokens of a reply", "different replies, %"),
    )
    table = []
    wanted_rows = [("as is", 0), ("as is", LATE), *((name, length_of(name)) for name in ROWS), ("late", 0)]
    for name, step in wanted_rows:
        figures = [evaluated(of_seed[name], step) for of_seed in runs]
        cells = [study.spread([each[key] for each in figures], 2 if key == "score" else 1) for key in figures[0]]
        table.append([name, ROWS[name], str(step), *cells])
    return markdown_table(header, table)


def kinds(runs: Sequence[dict[str, pathlib.Path]]) -> list[str]:
    """The table of the replies' kinds in the first run, by step: percent of the held-out requests' samples."""
    table = []
    for step in range(0, STEPS + 1, EVERY):
        shares = {kind: [] for kind in VERDICTS}
        for of_seed in runs:
            counts = collections.Counter(map(verdict, requests_at(of_seed["as is"], step)))
            for kind in VERDICTS:
                shares[kind].append(100 * counts[kind] / counts.total())
        table.append([str(step), *map(study.spread, shares.values())])
    return markdown_table(("step", *VERDICTS), table)


@functools.cache
def samples_at(run: pathlib.Path, step: int) -> list[Row]:
    """All samples of an evaluation, read once: tables and picture ask for the same ones."""
    return study.rows(run / "evals" / f"step_{step:06d}.jsonl")


def requests_at(run: pathlib.Path, step: int) -> list[Row]:
    """The samples of held-out requests in an evaluation."""
    return [row for row in samples_at(run, step) if request_of(row["question"])]


def within_groups(runs: Sequence[dict[str, pathlib.Path]]) -> list[str]:
    """The table of what the reward model says of bad samples against good ones to the same request in the same step."""
    table = []
    for name in ROWS:
        differences = [score_differences(of_seed[name]) for of_seed in runs]
        shares = [100 * statistics.mean(each > 0 for each in of_seed) for of_seed in differences]
        numbers, means = map(len, differences), map(statistics.mean, differences)
        table.append([name, study.spread([*numbers], 0), study.spread([*means], 2), study.spread(shares)])
    return markdown_table(("run", "groups with both", "bad less good", "bad score higher, %"), table)


def score_differences(run: pathlib.Path) -> list[float]:
    """The mean score of bad samples less that of good ones, for each group of training that has both."""
    differences = []
    for path in sorted((run / "rollouts").glob("step_*.jsonl")):
        groups = collections.defaultdict(lambda: {True: [], False: []})
        for row in study.rows(path):
            if request_of(row["question"]):
                groups[row["question"]][is_good(row)].append(row)
        both = [group for group in groups.values() if group[True] and group[False]]
        differences += [mean_score(group[False]) - mean_score(group[True]) for group in both]
    return differences


def texts(run: pathlib.Path, count: int) -> list[str]:
    """The table of the samples of held-out requests that score highest and are not good, `count` of each step."""
    table = []
    for step in range(0, STEPS + 1, EVERY):
        by_score = sorted(requests_at(run, step), key=lambda row: row["parts"]["model/helpfulness"])
        best = {row["question"]: row for row in by_score if not is_good(row)}  # of each request the highest
        for row in sorted(best.values(), key=lambda row: -row["parts"]["model/helpfulness"])[:count]:
            score = f"{row['parts']['model/helpfulness']:.2f}"
            table.append([str(step), row["question"], row["text"], score, verdict(row)])
    return markdown_table(("step", "request", "reply", "score", "verdict"), table)


def draw(runs: Sequence[dict[str, pathlib.Path]]) -> Figure:
    """Score, good replies, problems and length by step: a colour a run, means over seeds; the late one at the end."""
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    panels = {
        "score": "score, less its start",
        "good": "good replies, %",
        "right": "problems right, %",
        "tokens": "tokens",
    }
    for axes, (key, title) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for name in ROWS:
            steps = range(0, length_of(name) + 1, EVERY)
            means = [statistics.mean(evaluated(of_seed[name], step)[key] for of_seed in runs) for step in steps]
            axes.plot([step + STEPS - length_of(name) for step in steps], means, label=name)
        axes.set(title=title, xlabel="step")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


def reward_models(folders: Sequence[pathlib.Path]) -> list[str]:
    """The table of both reward models' accuracy on held-out pairs."""
    table = []
    for name, pairs, title in (
        ("helpfulness", "world/helpfulness.jsonl", "of the world's pairs"),
        ("helpfulness_retrained", RETRAINED, "and of the hacked policy's"),
    ):
        last = [100 * study.rows(folder / name / "evals.jsonl")[-1]["accuracy"] for folder in folders]
        ids = [[row["id"] for row in study.rows(folder / pairs)] for folder in folders]
        hacked = [sum(each.startswith("hacked") for each in of_seed) / COPIES for of_seed in ids]
        table.append([title, study.spread([*map(len, ids)], 0), study.spread(hacked, 0), study.spread(last)])
    header = ("reward model", "pairs", f"of the hacked policy, each {COPIES} times", "right on held-out pairs, %")
    return markdown_table(header, table)


def main() -> int:
    options = study.options(NAME, __doc__, MINUTES)

    def folder(seed: int) -> pathlib.Path:
        return options.runs / f"seed{seed}"

    def is_whole(seed: int) -> bool:
        return all(map(study.is_finished, runs_of(folder(seed)).values()))

    seeds = study.finished_seeds(options, lambda seed: train_seed(folder(seed), seed), is_whole)
    folders = [*map(folder, seeds)]
    runs = [*map(runs_of, folders)]
    measured = [
        f"Held-out problems and requests ({HELD_OUT} each), 4 samples each at temperature 0.6; seeds "
        f"{', '.join(map(str, seeds))}.",
        *("", *ends(runs)),
        *("", "The replies of the run as it is:", "", *kinds(runs)),
        *("", "Scores in the groups of training that have good and bad samples:", "", *within_groups(runs)),
        *("", *reward_models(folders)),
        *(
            "",
            f"The bad samples that score highest, run as it is, seed {seeds[0]}:",
            "",
            *texts(runs[0]["as is"], 4),
        ),
    ]
    study.write_page(NAME, "\n".join(measured), draw(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
