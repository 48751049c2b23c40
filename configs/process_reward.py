"""Process rewards, an unsuccessful attempt of the paper: labels of steps by completions, and a model of them.

    r1jax train --config=process_reward:mini_labels --workdir=runs/process/labels
    r1jax train --config=process_reward:mini --workdir=runs/process/model

mini_labels: solutions of the shipped R1-Zero model to its own training questions, four each, cut into the steps of
their sums, and four completions from the end of each step; held-out questions too, to evaluate on. mini: the model,
from the base of the mini world, on runs/process/labels/labels.jsonl.

    r1jax train --config=process_reward:mini_search --workdir=runs/process/search

mini_search: tree searches of held-out questions with that model for values, 400 sampled tokens each; beside the
figures it leaves samples and labels to train policy and model on, for which --config.held_out=false.

puzzles, puzzles_labels, puzzles_search: the same on puzzles, whose steps are attempts, with the policy of
runs/zero-puzzles (`configs/zero.py:puzzles`) and the questions of `r1jax write-miniworld`. Not run.

The model is a reward model whose score is that of its steps:
--config.rewards.models='[{"name": "steps", "path": "runs/process/model/model"}]' in a config of RL, with `over_steps`
for how their chances become one number.

    r1jax train --config=process_reward:paper_labels --workdir=runs/labels \\
        --config.model=/path/to/policy --config.data.path=questions.jsonl
    r1jax train --config=process_reward:paper --workdir=runs/process-reward \\
        --config.base=/path/to/policy --config.data.path=runs/labels/labels.jsonl

    r1jax train --config=process_reward:paper_search --workdir=runs/search \
        --config.model=/path/to/policy --config.value=runs/process-reward/model --config.data.path=questions.jsonl

paper_labels, paper: sizes of Math-Shepherd (15 solutions, 8 completions) for a chat model whose steps are lines. Your
own labels, say PRM800K's: a line each of {"prompt": ..., "steps": [...], "labels": [...]}, with null for no label. Not
run.

A policy behind a server that continues texts:

    ... --config.model= --config.endpoint.base_url=http://localhost:8000/v1 --config.endpoint.model=NAME \\
        --config.data.chat=false --config.data.template=dialogue
"""

import functools
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from r1jax.configs.shared import CHAIN_SUM, HELD_OUT, MINI_SAMPLING, PAPER_SAMPLING, R1, merge, pick

SUMS = (", ", ". ", "，", "。")  # between the steps of the mini world's chains, in its two languages
ATTEMPTS = (". ", "; ", ", but ")  # between attempts at a puzzle, whatever stands there (`puzzles._REJECTIONS`)


def paper_labels() -> dict[str, Any]:
    return {
        "stage": "step_labels",
        "model": "",  # --config.model=...
        "seed": 0,
        "data": {"path": "questions.jsonl", "held_out_share": 0.1},
        "separators": ("\n",),
        "num_prompts": 0,
        "held_out": 200,
        "solutions": 15,
        "completions": 8,
        "block": 256,
        "sampling": PAPER_SAMPLING | {"truncation": {"temperature": 0.7, "top_p": 1.0}},
        "graders": {"workers": 16},
    }


def paper() -> dict[str, Any]:
    return {
        "stage": "process_reward",
        "base": "",  # --config.base=...
        "seed": 0,
        "data": {"path": "", "target": "hard", "marker": "", **HELD_OUT},
        "reading": {"sees": "response", "template": "plain", "chat": True, "max_tokens": 8192, "steps": ("\n",)},
        "batch_size": 256,
        "epochs": 1,
        "num_steps": 0,
        "microbatches": 1,
        "batch_bucket": 1024,
        "optimizer": {"learning_rate": 1e-6, "weight_decay": 0.0},
        "evaluation": {"every": 50, "examples": 2000},
        "checkpoint": {"every": 50, "keep": 2},
    }


def mini_labels() -> dict[str, Any]:
    return paper_labels() | {
        "model": "r1jax/shipped_models/mini-r1-zero",
        "data": {"tasks": (CHAIN_SUM,), "path": "", "held_out_share": 0.1},
        "separators": SUMS,
        "num_prompts": 240,
        "held_out": 60,
        "solutions": 4,
        "completions": 4,
        "sampling": MINI_SAMPLING | {"bucket": 272},
        "graders": {"workers": 2},
    }


def mini() -> dict[str, Any]:
    return merge(
        paper(),
        {
            "base": "configs/base.py:mini",
            "data": {"path": "runs/process/labels/labels.jsonl"},
            "reading": {"template": "r1_zero", "chat": False, "max_tokens": 384, "steps": SUMS},
            "batch_size": 32,
            "epochs": 0,
            "num_steps": 100,
            "batch_bucket": 64,
            "optimizer": {"learning_rate": 3e-4, "schedule": "cosine", "warmup_steps": 10, "b2": 0.95},
            "evaluation": {"every": 50, "examples": 500},
        },
    )


def paper_search() -> dict[str, Any]:
    labels = paper_labels()
    return {
        "stage": "search",
        "model": "",  # --config.model=...
        "value": "",  # --config.value=...
        "over_steps": "last",
        "seed": 0,
        "data": labels["data"],
        "search": {
            "separators": ("\n",),
            "tokens": 65_536,
            "branching": 4,
            "exploration": 1.0,
            "prior": "uniform",
            "max_steps": 256,
            "step_tokens": 512,
            "choose": "value",
        },
        "num_prompts": 0,
        "held_out": True,
        "block": 128,
        "sampling": PAPER_SAMPLING | {"window": 8, "truncation": {"temperature": 1.0}},
        "graders": labels["graders"],
    }


def mini_search() -> dict[str, Any]:
    labels = mini_labels()
    return merge(
        paper_search(),
        {
            "model": labels["model"],
            "value": "runs/process/model/model",
            "search": {"separators": SUMS, "tokens": 400, "branching": 3, "max_steps": 24, "step_tokens": 48},
            "num_prompts": 64,
            "block": 64,
            "sampling": labels["sampling"] | {"slots": 192, "window": 4},
        },
    ) | {"data": labels["data"], "graders": labels["graders"]}


def of_puzzles(mini_size: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A mini size in the world of puzzles, with the policy and the files of its own runs."""
    config, runs = mini_size(), "runs/process-puzzles"
    if config["stage"] == "process_reward":
        return merge(
            config,
            {
                "base": "configs/base.py:puzzles",
                "data": {"path": f"{runs}/labels/labels.jsonl"},
                "reading": {"max_tokens": 512, "steps": ATTEMPTS},
            },
        )
    data = {"path": f"{R1}/world/puzzles.jsonl", "held_out_share": 0.1}
    config |= {"model": "runs/zero-puzzles/model", "data": data}
    long = {"sampling": {"max_new_tokens": 352, "bucket": 512}}
    if config["stage"] == "step_labels":
        return merge(config, long, {"separators": ATTEMPTS})
    # The last step holds the answer in its tags too: half of those are longer than mini_search's 48 tokens.
    search = {"separators": ATTEMPTS, "tokens": 800, "max_steps": 32, "step_tokens": 96}
    return merge(config, long, {"value": f"{runs}/model/model", "search": search})


SIZES = {
    "mini": mini,
    "mini_labels": mini_labels,
    "mini_search": mini_search,
    "puzzles": functools.partial(of_puzzles, mini),
    "puzzles_labels": functools.partial(of_puzzles, mini_labels),
    "puzzles_search": functools.partial(of_puzzles, mini_search),
    "paper": paper,
    "paper_labels": paper_labels,
    "paper_search": paper_search,
}


def get_config(arg: str = "mini") -> ConfigDict:
    return pick(arg, SIZES)
