"""Rejection sampling: several responses a question, of which the right and readable are kept for SFT (2.3.3).

    r1jax train --config=rejection:mini --workdir=runs/r1/seed0/rejection

mini: four samples of the reasoning policy of `experiments/r1.sh` for each of its training questions, at most two kept,
in the cold-start format. Time and drops: experiments/r1_mini.md; all seeds' counts: experiments/config_runs.md.

    r1jax train --config=rejection:paper --workdir=runs/rejection \\
        --config.model=/path/to/reasoning-rl/model --config.data.path=questions.jsonl \\
        --config.decontaminate.data=/path/to/data

paper: sizes for the paper's ~600k reasoning samples: 16 responses of up to 32,768 tokens to each question, at most 4 of
them kept, so 150k questions that the policy can answer. Questions that share 13 words with one of the paper's maths and
code benchmarks are left out. The policy gets the prompt format that it was trained with, which its folder records, or
that of --config.data.template, chat and marker. The paper does not say how many samples it draws, nor how. Not run.

The workdir then holds samples.jsonl, which `configs/sft.py` trains on by --config.data.path; dropped.jsonl, with a
reason for each sample that was not kept; and table.json. Started again with other --config.filters it draws no samples.

Questions that no rule grades go to a judge, any server that speaks OpenAI's protocol: rows of the grader "open", and of
those in --config.judged='("maths",)', by their reference `answer` or against their `reference_output`:

    ... --config.judge.base_url=http://localhost:8000/v1 --config.judge.model=NAME --config.judge.api_key_env=

A policy behind a server, whose response format is `<think>...</think>summary`:

    ... --config.endpoint.base_url=http://localhost:8000/v1 --config.endpoint.model=NAME --config.data.chat=true \\
        --config.data.template=plain --config.filters.form=parts
"""

from typing import Any

from ml_collections import ConfigDict

from r1jax.configs.shared import (
    MINI_SAMPLING,
    PAPER_SAMPLING,
    PAPER_TRUNCATION,
    R1,
    WORLD_PROMPTS,
    pick,
)


def mini() -> dict[str, Any]:
    return {
        "stage": "rejection",
        "model": f"{R1}/reasoning/model",
        "seed": 0,
        "data": {
            "path": f"{R1}/world/reasoning.jsonl",
            "template": WORLD_PROMPTS["template"],
            "marker": WORLD_PROMPTS["marker"],
            "held_out_share": 0.1,
        },
        "num_prompts": 1200,
        "samples": 4,
        "sampling": MINI_SAMPLING | {"max_new_tokens": 160, "bucket": 256},
        "filters": {"keep_per_prompt": 2},
    }


def paper() -> dict[str, Any]:
    return mini() | {
        "model": "",  # --config.model=...
        "data": {"path": "questions.jsonl", "held_out_share": 0.1},  # asked as the policy was trained
        "samples": 16,
        "sampling": PAPER_SAMPLING | {"truncation": PAPER_TRUNCATION},
        "filters": {"keep_per_prompt": 4},
        "decontaminate": {"against": ("aime2024", "math500", "cnmo2024", "livecodebench", "codeforces"), "data": ""},
        "graders": {"workers": 16},
    }


SIZES = {"mini": mini, "paper": paper}


def get_config(arg: str = "mini") -> ConfigDict:
    return pick(arg, SIZES)
