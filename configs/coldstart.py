"""Cold start: readable long chains of thought, collected into one file for fine-tuning (section 2.3.1).

    r1jax train --config=coldstart:mini --workdir=runs/r1/seed0/coldstart

mini: a stage of `experiments/r1.sh`: the mini world's shipped base, prompted with examples and directly, and R1-Zero's
responses from its training (runs/r1/seed0/zero), rewritten by rule; questions of runs/r1/seed0/world. What was kept and
dropped: experiments/r1_mini.md; all seeds' counts: experiments/config_runs.md.

    r1jax train --config=coldstart:longcot --workdir=runs/longcot --config.data=/path/to/data

longcot: existing chains of thought, in four files below --config.data; others by --config.files="('a.jsonl',)". Needs
no model and no accelerator. What was kept and dropped: experiments/config_runs.md.

    r1jax train --config=coldstart:endpoint --workdir=runs/coldstart \\
        --config.questions.path=questions.jsonl --config.endpoint.base_url=https://api.deepseek.com/v1 \\
        --config.endpoint.model=deepseek-chat

endpoint: a teacher behind a server that speaks OpenAI's protocol, prompted with an example and directly, two samples a
question each. Its key is in the environment variable OPENAI_API_KEY, or --config.endpoint.api_key_env=NAME, "" for
none. With --config.endpoint.price_per_million_input=... and ..._output=... the run reports its cost, in usage.json too;
tokens are counted in any case. --config.endpoint.requests_per_minute=60 keeps to a server's limit. The same command,
started again, requests only the samples that are missing.

    r1jax train --config=coldstart:rewrite --workdir=runs/rewrite --config.zero.record=runs/zero \\
        --config.endpoint.base_url=... --config.endpoint.model=...

rewrite: R1-Zero's responses of the run at runs/zero, rewritten by such a teacher.

Any size: --config.model=/path/to/model in the endpoint's place samples from a model folder, and --config.chat=false
from a base model.

Human review: each run writes review_out.jsonl. Copy it, fill in `verdict` (accept, edit or reject), `editor` and
optionally `note` in each line, change `thought` and `summary` where the verdict is edit, and run the same command again
with --config.review=reviewed.jsonl. Lines without a verdict are kept unchanged.

The samples, WORKDIR/samples.jsonl, are what `configs/sft.py` trains on: --config.data.path=WORKDIR/samples.jsonl
"""

from typing import Any

from ml_collections import ConfigDict

from r1jax.configs.shared import (
    FOLDER,
    MINI_SAMPLING,
    PAPER_MARKER,
    PAPER_TRUNCATION,
    R1,
    WORLD_PROMPTS,
    merge,
    pick,
)
from r1jax.text.chat import R1_ZERO_TEMPLATE

READABLE = {"language": 0.9, "repetition": 0.1, "max_chars": 100_000}
COLLECTED = {"stage": "coldstart", "review": "", "marker": PAPER_MARKER, "held_out_share": 0.1}


def mini() -> dict[str, Any]:
    return {
        "stage": "coldstart",
        "seed": 0,
        "questions": {"path": f"{R1}/world/reasoning.jsonl", "held_out_share": 0.1},
        "count": 200,
        "model": "configs/base.py:world",
        "chat": False,
        "few_shot": {"samples": 4, "shots": 2, "examples": str(FOLDER / "coldstart_mini.jsonl")},
        "direct": {"samples": 4, "instruction": R1_ZERO_TEMPLATE + " <think>"},  # the base knows no other
        "zero": {"record": f"{R1}/zero", "from_step": 20, "rewrite": "rule"},
        "review": "",
        "marker": WORLD_PROMPTS["marker"],
        "boxed": False,
        "held_out_share": 0.1,
        # This world's thoughts are short.
        "readable": READABLE | {"min_chars": 8, "max_chars": 400, "per_question": 2},
        "sampling": merge(MINI_SAMPLING, {"bucket": 272, "truncation": {"top_p": 0.95}}),
    }


def longcot() -> dict[str, Any]:
    names = ("longcot_rasbt", "longcot_huatuo", "longcot_marco_o1", "math3k_cot")
    return COLLECTED | {
        "data": "",  # --config.data=...
        "files": tuple(f"{name}/train.jsonl" for name in names),
        "readable": READABLE | {"min_chars": 100},
    }


def _teacher() -> dict[str, Any]:
    return COLLECTED | {
        "seed": 0,
        "model": "",
        "endpoint": {
            "base_url": "",  # --config.endpoint.base_url=...
            "model": "",
            "api_key_env": "OPENAI_API_KEY",
            "in_flight": 16,
            "requests_per_minute": 0.0,  # no limit
            "price_per_million_input": 0.0,
            "price_per_million_output": 0.0,
        },
        "chat": True,
        "readable": READABLE | {"min_chars": 400},
        "sampling": {"max_new_tokens": 32_768, "truncation": PAPER_TRUNCATION},
    }


def endpoint() -> dict[str, Any]:
    return _teacher() | {
        "questions": {"path": "questions.jsonl", "held_out_share": 0.1},
        "count": 0,  # all of them
        "few_shot": {"samples": 2, "shots": 1, "examples": ""},  # the built-in example
        "direct": {"samples": 2, "instruction": ""},  # the built-in instruction, in the question's language
    }


def rewrite() -> dict[str, Any]:
    return _teacher() | {"zero": {"record": "runs/zero", "from_step": 0, "rewrite": "teacher"}}


SIZES = {"mini": mini, "longcot": longcot, "endpoint": endpoint, "rewrite": rewrite}


def get_config(arg: str = "mini") -> ConfigDict:
    return pick(arg, SIZES)
