"""Tree search: against answers chosen from as many sampled tokens, and as the loop that trains policy and value.

    python experiments/paper/tree_search.py

For each seed, with the process reward model of experiments/paper/process_reward.py for values: held-out questions are
searched with several budgets of tokens, beside majority and reranking over as many answers as the same tokens give.
Then rounds: training questions are searched, the policy is fine-tuned on the right answers, the next model of steps is
trained on the shares of right answers in the trees, and both are evaluated on held-out questions.
"""

import pathlib
from typing import Any

import graded_answers
import numpy as np
import process_reward
import puzzle_runs
import study
from matplotlib.figure import Figure
from process_reward import QUESTIONS, SAMPLES, answers, policy_of, questions_of, value_model

from r1jax.io import jsonl
from r1jax.io.files import read_json
from r1jax.io.tables import markdown_table

NAME = "tree_search"
BUDGETS = (400, 800, 1600)  # sampled tokens a question
ROUNDS, TRAINING_QUESTIONS, ROUND_BUDGET = 3, 120, 800


def searched(workdir: pathlib.Path, policy: pathlib.Path, value: pathlib.Path, **fields: Any) -> dict[str, Any]:
    """The figures of a search."""
    settings = {"model": policy, "value": value / "model", **fields}
    return read_json(study.train("process_reward:puzzles_search", workdir, **settings) / "result.json")


def by_budget(runs: pathlib.Path, model: pathlib.Path, seed: int) -> list[dict[str, float]]:
    """For each budget what a search reaches, and what the same tokens reach as answers that are chosen among."""
    folder, policy, puzzles = runs / f"seed{seed}", policy_of(runs, seed), questions_of(runs)
    groups = answers(policy, puzzles, folder / "answers", SAMPLES, seed, model)
    ways = graded_answers.ways_to_choose() | graded_answers.ways_among_finished()
    tokens = graded_answers.mean_tokens(groups)
    rows = []
    for budget in BUDGETS:
        fields = {"search.tokens": budget, "num_prompts": QUESTIONS, "data.path": puzzles, "seed": seed}
        result = searched(folder / f"search_{budget}", policy, model, **fields)
        n = min(max(round(result["tokens"] / tokens), 1), SAMPLES)
        row = {name: graded_answers.accuracy(groups, n, ways[name]) for name in ways}
        row |= {f"search, {name}": 100 * result[name] for name in ("chosen", "vote", "any")}
        means = ("tokens", "nodes", "depth", "branching", "answers")
        rows.append(row | {"n": n, "sampled": n * tokens} | {name: result[name] for name in means})
    return rows


def rounds(runs: pathlib.Path, model: pathlib.Path, seed: int) -> list[dict[str, float]]:
    """The loop: before it and after each round, the policy alone, the search with both, and the value model.

    The value model learns from the labels of its round and from those that the first one was trained on: nearly all
    answers of a search are right, and of the ends that a policy does not find nothing is labelled there. Its head is
    new in each round.
    """
    policy, puzzles, rows = policy_of(runs, seed), questions_of(runs), []
    first_labels, right = study.rows(model.parent / "labels" / "labels.jsonl"), None
    ways = graded_answers.ways_to_choose()
    for number in range(ROUNDS + 1):
        at = runs / f"seed{seed}" / f"round_{number}"
        groups = answers(policy, puzzles, at / "answers", 4, seed, model)
        fields = {"search.tokens": ROUND_BUDGET, "num_prompts": QUESTIONS, "data.path": puzzles, "seed": seed}
        held_out = searched(at / "held_out", policy, model, **fields)
        rows.append(
            {
                "one answer": graded_answers.accuracy(groups, 1, ways["one answer"]),
                "any of four": graded_answers.accuracy(groups, 4, ways["any (bound)"]),
                "search": 100 * held_out["chosen"],
                "any in the tree": 100 * held_out["any"],
                "branching": held_out["branching"],
                "answers": held_out["answers"],
                "value, right answers ranked first": ranked(at / "held_out"),
                "value, AUROC of the first labels": 100 * study.rows(model / "evals.jsonl")[-1]["auroc"],
                "labels of the round, right": right,
            }
        )
        if number < ROUNDS:
            # Other questions each round, and other noise: the seed decides both.
            fields |= {"num_prompts": TRAINING_QUESTIONS, "held_out": False, "seed": 1000 * (number + 1) + seed}
            searched(at / "training", policy, model, **fields)
            labels = study.rows(at / "training" / "labels.jsonl")
            right = 100 * float(np.mean([label for row in labels for label in row["labels"]]))
            jsonl.write(at / "labels.jsonl", [*first_labels, *labels])
            policy, model = trained_on_search(at, policy, model, seed)
    return rows


def trained_on_search(
    at: pathlib.Path, policy: pathlib.Path, model: pathlib.Path, seed: int
) -> tuple[pathlib.Path, pathlib.Path]:
    """The next policy's folder and the next value model's workdir, trained on what a round's search has found."""
    training = at / "training"
    tuning = {
        "data.path": training / "samples.jsonl",
        "num_steps": 15,
        "batch_size": 16,
        "seq_len": 512,
        "optimizer.learning_rate": 3e-4,
    }
    valuing = {"data.path": at / "labels.jsonl", "data.target": "soft", "num_steps": 40}
    tuned = study.train("sft:mini", at / "policy", base=policy, seed=seed, **tuning)
    valued = study.train("process_reward:puzzles", at / "value", base=model / "model", seed=seed, **valuing)
    return tuned / "model", valued


def ranked(workdir: pathlib.Path) -> float | None:
    """Of trees with right and wrong answers that ended, the percentage of pairs whose right one has the higher value.

    Each tree counts as much as any other; None where there is none.
    """
    shares = []
    for row in study.rows(workdir / "searches.jsonl"):
        ended = [each for each in row["answers"] if each["finish"] == "stop"]
        right = [each["value"] for each in ended if each["score"] == 1.0]
        wrong = [each["value"] for each in ended if each["score"] == 0.0]
        if right and wrong:
            shares.append(np.mean([0.5 * (1 + np.sign(a - b)) for a in right for b in wrong]))
    return 100 * float(np.mean(shares)) if shares else None


def of_seed(runs: pathlib.Path, seed: int) -> dict[str, Any]:
    """Everything that is measured of one seed; the value model is that of the other experiment, beside these runs."""
    model = value_model(runs.parent / process_reward.NAME, seed)
    return {"budgets": by_budget(runs, model, seed), "rounds": rounds(runs, model, seed)}


def tables(results: list[dict[str, Any]]) -> str:
    """The measured part of the page."""
    columns = [
        *("one answer", "one that ended", "one that ended, reranked", "majority", "weighted majority", "any (bound)"),
        *("search, chosen", "search, vote", "search, any"),
    ]
    equal = []
    for i in range(len(BUDGETS)):
        of = [result["budgets"][i] for result in results]
        sizes = [study.spread([row[name] for row in of], 0) for name in ("tokens", "sampled", "n")]
        equal.append([*sizes, *(study.spread([row[name] for row in of]) for name in columns)])
    shape, trees = ("nodes", "depth", "branching", "answers"), []
    for i, budget in enumerate(BUDGETS):
        of = [result["budgets"][i] for result in results]
        trees.append([str(budget), *(study.spread([row[name] for row in of]) for name in shape)])
    names, loop = tuple(results[0]["rounds"][0]), []
    for i in range(ROUNDS + 1):
        of = [result["rounds"][i] for result in results]
        loop.append([str(i), *(study.spread([row[name] for row in of]) for name in names)])
    lines = [
        "At equal numbers of sampled tokens, % right:",
        *("", *markdown_table(("tokens of the search", "of n answers", "n", *columns), equal)),
        *("", "Trees, means:", "", *markdown_table(("tokens", *shape), trees)),
        *("", f"The loop, {ROUND_BUDGET} tokens a search:", "", *markdown_table(("round", *names), loop)),
    ]
    return "\n".join(lines)


def picture(results: list[dict[str, Any]]) -> Figure:
    """Accuracy by tokens, of the search and of chosen answers; and the loop's rounds."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    tokens, loop = figure.subplots(1, 2)
    for name in ("majority", "one that ended, reranked", "weighted majority", "search, chosen", "search, vote"):
        at = "tokens" if name.startswith("search") else "sampled"
        x = [np.mean([result["budgets"][i][at] for result in results]) for i in range(len(BUDGETS))]
        y = [np.mean([result["budgets"][i][name] for result in results]) for i in range(len(BUDGETS))]
        tokens.plot(x, y, marker="o", label=name)
    tokens.set(xscale="log", xlabel="sampled tokens a question", ylabel="% right, held out", title="one answer from")
    tokens.set_xticks(BUDGETS, [str(budget) for budget in BUDGETS])
    tokens.minorticks_off()
    tokens.legend(fontsize=6)
    for name in ("one answer", "any of four", "search", "any in the tree"):
        means = [np.mean([result["rounds"][i][name] for result in results]) for i in range(ROUNDS + 1)]
        loop.plot(range(ROUNDS + 1), means, marker="o", label=name)
    loop.set(xlabel="round", ylabel="% right, held out", title="policy and value trained in turn")
    loop.set_xticks(range(ROUNDS + 1))
    loop.legend(fontsize=6)
    return figure


def main() -> None:
    options = study.options(NAME, __doc__, minutes=22)
    puzzle_runs.finished(options, puzzle_runs.runs_beside(options.runs))  # trains the policies that are missing
    results = study.finished_results(options, of_seed)
    study.write_page(NAME, tables(results), picture(results))


if __name__ == "__main__":
    main()
