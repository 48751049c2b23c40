"""Process rewards: how good a model of steps is, whether it chooses answers, and RL with it as the reward.

    python experiments/paper/process_reward.py

For each seed, with the policy that RL on puzzles has made (the run named RL of experiments/paper/aha.py): the steps of
its solutions are labelled by completions (Math-Shepherd), a process reward model is trained on them and evaluated on
the steps of held-out questions; it chooses one of n answers; and RL goes on from the policy with the rule's reward, or
with the model's score in its place, combined over steps in two ways.
"""

import pathlib
from typing import Any

import graded_answers
import numpy as np
import puzzle_runs
import study
from matplotlib.figure import Figure

from r1jax.configs.process_reward import SIZES
from r1jax.io.tables import markdown_table
from r1jax.text.steps import split_steps

NAME, LABELS = "process_reward", "process_reward:puzzles_labels"
SEPARATORS = SIZES["puzzles_labels"]()["separators"]  # of steps, which are attempts
QUESTIONS, SAMPLES = 64, 16
STEPS = 20  # of RL
LABELLED = {"num_prompts": 96, "held_out": 24}  # questions whose solutions get labels
OTHER_QUESTIONS = 500  # added to the seed of RL: not the questions that are labelled, nor those of the policy's own RL
# Arms of RL by name: the rule's weight, and how the model's chances are combined.
ARMS = {
    "rules": (1.0, ""),
    "model, minimum": (0.0, "minimum"),
    "model, sum": (0.0, "sum"),
}


def policy_of(runs: pathlib.Path, seed: int) -> pathlib.Path:
    """The model folder of a seed's policy; `runs` is the folder of an experiment beside that of the aha moment."""
    return puzzle_runs.folder(puzzle_runs.runs_beside(runs), "RL", seed) / "model"


def questions_of(runs: pathlib.Path) -> pathlib.Path:
    """The file of puzzles, of an experiment whose folder is `runs`."""
    return puzzle_runs.questions(puzzle_runs.runs_beside(runs))


def value_model(runs: pathlib.Path, seed: int) -> pathlib.Path:
    """The workdir of a seed's process reward model, which is trained where it is not there, labels and all."""
    here, policy = runs / f"seed{seed}", policy_of(runs, seed)
    labelled = {"data.path": questions_of(runs), **LABELLED}
    labels = study.train(LABELS, here / "labels", model=policy, seed=seed, **labelled)
    fields = {"base": policy, "seed": seed, "data.path": labels / "labels.jsonl", "num_steps": 80}
    return study.train("process_reward:puzzles", here / "model", **fields)


def answers(
    policy: pathlib.Path, puzzles: pathlib.Path, folder: pathlib.Path, samples: int, seed: int, model: pathlib.Path
) -> list[graded_answers.Answers]:
    """Answers of a policy to held-out questions of this file, with a process reward model's chances."""
    fields = {"data.path": puzzles}
    value = str(model / "model")
    return graded_answers.answers_of(str(policy), LABELS, folder, QUESTIONS, samples, seed, value, **fields)


def train_policy(runs: pathlib.Path, seed: int, arm: str, model: pathlib.Path) -> pathlib.Path:
    """RL from the policy by an arm's reward; the format reward counts in all of them."""
    weight, over_steps = ARMS[arm]
    models = [{"name": "steps", "path": str(model / "model"), "weight": 1.0, "over_steps": over_steps}]
    fields: dict[str, Any] = {
        "base": policy_of(runs, seed),
        "data.path": questions_of(runs),
        "num_steps": STEPS,
        "seed": OTHER_QUESTIONS + seed,
        "grpo.prompts_per_step": 8,
        "evaluation.questions": QUESTIONS,
        "evaluation.samples": 4,
        "evaluation.every": 0,
        "rewards.accuracy": weight,
    }
    if over_steps:
        fields["rewards.models"] = models
    return study.train("zero:puzzles", runs / f"seed{seed}" / arm.replace(", ", "_"), **fields)


def looks(rows: list[dict]) -> dict[str, float]:
    """What responses are made of: tokens, steps, the share of steps that repeat an earlier one, and without a digit."""
    steps = [split_steps(row["text"], SEPARATORS) for row in rows]
    flat = [[step.strip() for step in some] for some in steps]
    scores = [row["parts"]["model/steps"] for row in rows if row["parts"].get("model/steps") is not None]
    return {
        "accuracy": 100 * float(np.mean([row["correct"] or 0.0 for row in rows])),
        "tokens": float(np.mean([row["num_tokens"] for row in rows])),
        "steps": float(np.mean([len(some) for some in flat])),
        "repeated": 100 * float(np.mean([1 - len(set(some)) / len(some) for some in flat if some])),
        "empty": 100 * float(np.mean([not any(c.isdigit() for c in step) for some in flat for step in some])),
        "score": float(np.mean(scores)) if scores else None,
    }


def of_seed(runs: pathlib.Path, seed: int) -> dict[str, Any]:
    """Everything that is measured of one seed."""
    model = value_model(runs, seed)
    folder = runs / f"seed{seed}" / "answers"
    groups = answers(policy_of(runs, seed), questions_of(runs), folder, SAMPLES, seed, model)
    ways = graded_answers.ways_to_choose() | graded_answers.ways_among_finished()
    chosen = {name: [graded_answers.accuracy(groups, n, way) for n in (1, 4, 16)] for name, way in ways.items()}
    arms, examples = {}, {}
    for arm in ARMS:
        workdir = train_policy(runs, seed, arm, model)
        evals = study.rows(workdir / "evals.jsonl")
        last = study.rows(workdir / "rollouts" / f"step_{STEPS - 1:06d}.jsonl")
        first = study.rows(workdir / "rollouts" / "step_000000.jsonl")
        arms[arm] = {"held_out": [100 * row["pass@1"] for row in evals], "first": looks(first), "last": looks(last)}
        wrong = [row for row in last if not row["correct"]]
        examples[arm] = max(wrong, key=lambda row: row["reward"] or 0.0, default=None)
    return {"agreement": study.rows(model / "evals.jsonl"), "chosen": chosen, "arms": arms, "examples": examples}


def tables(results: list[dict[str, Any]]) -> str:
    """The measured part of the page."""
    last = [row | {"shorter_auroc": 1 - row["length_auroc"]} for row in (each["agreement"][-1] for each in results)]
    measures = {
        "steps of held-out questions": ("n", 1, 0),
        "right, %": ("right_share", 100, 1),
        "accuracy, %": ("accuracy", 100, 1),
        "AUROC": ("auroc", 1, 3),
        "AUROC of the shorter prefix": ("shorter_auroc", 1, 3),
        "calibration error, %": ("calibration_error", 100, 1),
        "first wrong step found, %": ("first_error", 100, 1),
        "no step doubted where none is wrong, %": ("without_error", 100, 1),
    }
    agreement = [
        [title, study.spread([factor * row[key] for row in last], digits)]
        for title, (key, factor, digits) in measures.items()
    ]
    chosen = [
        [way, *(study.spread([result["chosen"][way][i] for result in results]) for i in range(3))]
        for way in results[0]["chosen"]
    ]
    header = ("reward", "held out before", "after", "model's score", "tokens", "steps", "repeated, %")
    trained = []
    for arm in ARMS:
        of = [result["arms"][arm] for result in results]
        cells = [study.spread([each["held_out"][i] for each in of]) for i in (0, -1)]
        for key, digits in (("score", 2), ("tokens", 0), ("steps", 1), ("repeated", 1), ("empty", 1)):
            sides = [study.spread([each[side][key] for each in of], digits) for side in ("first", "last")]
            cells.append(" -> ".join(sides) if sides[0] != "–" else "–")
        trained.append([arm, *cells])
    lines = [
        *("The model on held-out steps:", "", *markdown_table(("", "mean"), agreement)),
        *("", "One of n answers, % right:", "", *markdown_table(("chosen by", "1", "4", "16"), chosen)),
        *("", f"RL from the policy, {STEPS} steps; the last columns are of the last step's samples, first -> last:"),
        *("", *markdown_table((*header, "without digits, %"), trained)),
    ]
    lines += ["", "The wrong sample of the last step with the highest reward, of the first seed:", ""]
    for arm, row in results[0]["examples"].items():
        if row:
            lines.append(f"- {arm}: {row['question']!r}, reward {row['reward']:.2f}: `{row['text']}`")
    return "\n".join(lines)


def picture(results: list[dict[str, Any]]) -> Figure:
    """Accuracy of one of n answers, the model's reliability, and held-out accuracy by the reward of RL."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    choice, reliability, rl = figure.subplots(1, 3)
    for way in results[0]["chosen"]:
        means = np.mean([result["chosen"][way] for result in results], axis=0)
        choice.plot((1, 4, 16), means, marker="o", label=way)
    choice.set(xscale="log", xlabel="answers", ylabel="% right", title="one of n answers")
    choice.legend(fontsize=6)
    for result in results:
        table = result["agreement"][-1]["reliability"]
        reliability.plot([row["predicted"] for row in table], [row["observed"] for row in table], marker=".")
    reliability.plot((0, 1), (0, 1), color="grey", linewidth=0.5)
    reliability.set(xlabel="chance that the model gives", ylabel="share labelled right", title="held-out steps")
    for arm in ARMS:
        means = np.mean([result["arms"][arm]["held_out"] for result in results], axis=0)
        rl.plot(np.linspace(0, STEPS, len(means)), means, marker="o", label=arm)
    rl.set(xlabel="RL steps", ylabel="% right, held out", title="as the reward of RL")
    rl.legend(fontsize=6)
    return figure


def main() -> None:
    options = study.options(NAME, __doc__, minutes=22)
    puzzle_runs.finished(options, puzzle_runs.runs_beside(options.runs))  # trains the policies that are missing
    results = study.finished_results(options, of_seed)
    study.write_page(NAME, tables(results), picture(results))


if __name__ == "__main__":
    main()
