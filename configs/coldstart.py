"""Cold start: readable long chains of thought, collected into one file for fine-tuning (arXiv 2501.12948, 2.3.1).

    python -m r1jax.train --config=configs/coldstart.py:mini --workdir=runs/r1/seed0/coldstart

mini: a stage of `experiments/r1.sh`: the shipped base of the mini world asked with examples and directly, and what
R1-Zero answered while it was trained (runs/r1/seed0/zero), rewritten by rule; questions of runs/r1/seed0/world. 25
seconds on 2 CPU cores. Kept of what was prompted by examples 29 to 32 of 800 (most of the rest is not in the form),
directly 92 to 98 of 800 (not in the form, wrong), of R1-Zero's answers 98 to 104 of 960 (mixed languages, wrong); three
seeds, experiments/r1_mini.md.

    python -m r1jax.train --config=configs/coldstart.py:longcot --workdir=runs/longcot --config.data=/path/to/data

longcot: chains of thought that are there, in four files below --config.data; others by --config.files="('a.jsonl',)".
No model is needed, and no accelerator. On 2 such cores 51 seconds, 1,961 of 2,260 kept: 10 of longcot_rasbt's 10, 162
of longcot_huatuo's 198, 99 of longcot_marco_o1's 123, 1,690 of math3k_cot's 1,929. Dropped: 219 ask a held-out
question, 41 are under 100 characters, 18 wrong, 8 all formulas, 6 in another language, 5 with broken characters, 2
repeat themselves.

    python -m r1jax.train --config=configs/coldstart.py:endpoint --workdir=runs/coldstart \\
        --config.questions.path=questions.jsonl --config.endpoint.base_url=https://api.deepseek.com/v1 \\
        --config.endpoint.model=deepseek-chat

endpoint: a teacher behind a server that speaks OpenAI's protocol (its key is in the environment: OPENAI_API_KEY, or
--config.endpoint.api_key_env=NAME, "" for none), asked with an example and directly, two samples a question each. With
--config.endpoint.price_per_million_input=... and ..._output=... the run tells what it cost, in usage.json too; tokens
are counted in any case. --config.endpoint.requests_per_minute=60 keeps to a server's limit. What was drawn is not asked
for again when the command is.

    python -m r1jax.train --config=configs/coldstart.py:rewrite --workdir=runs/rewrite --config.zero.record=runs/zero \\
        --config.endpoint.base_url=... --config.endpoint.model=...

rewrite: what R1-Zero answered in the run at runs/zero, rewritten by such a teacher.

Any page: --config.model=/path/to/model in the endpoint's place asks a checkpoint, and --config.chat=false a base model.

Human review: each run leaves review_out.jsonl. Copy it, fill in `verdict` (accept, edit or reject), `editor` and, if
you like, `note` in each line, change `thought` and `summary` where the verdict is edit, and run the same command again
with --config.review=reviewed.jsonl. Lines without a verdict stay as they are.

The samples, WORKDIR/samples.jsonl, are what `configs/sft.py` trains on: --config.data.path=WORKDIR/samples.jsonl
"""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from r1jax.text.chat import R1_ZERO_TEMPLATE

EXAMPLES = pathlib.Path(__file__).with_name("coldstart_mini.jsonl")


def mini() -> dict[str, Any]:
    return {
        "stage": "coldstart",
        "seed": 0,
        "questions": {"path": "runs/r1/seed0/world/reasoning.jsonl", "held_out_share": 0.1},
        "count": 200,
        "model": "configs/base.py:world",
        "chat": False,
        "few_shot": {"samples": 4, "shots": 2, "examples": str(EXAMPLES)},
        "direct": {"samples": 4, "instruction": R1_ZERO_TEMPLATE + " <think>"},  # the base knows no other
        "zero": {"record": "runs/r1/seed0/zero", "from_step": 20, "rewrite": "rule"},
        "review": "",
        "marker": "==",  # tokens that the base knows
        "boxed": False,
        "held_out_share": 0.1,
        # This world's thoughts are short.
        "readable": {"language": 0.9, "repetition": 0.1, "min_chars": 8, "max_chars": 400, "per_question": 2},
        "graders": {"timeout_s": 60.0},  # a busy machine is no wrong answer
        "sampling": {
            "max_new_tokens": 112,
            "slots": 64,
            "window": 8,
            "prefill_rows": 8,
            "bucket": 272,
            "truncation": {"temperature": 1.0, "top_p": 0.95},
        },
    }


def longcot() -> dict[str, Any]:
    return {
        "stage": "coldstart",
        "data": "",  # --config.data=...
        "files": tuple(
            f"{name}/train.jsonl" for name in ("longcot_rasbt", "longcot_huatuo", "longcot_marco_o1", "math3k_cot")
        ),
        "review": "",
        "marker": "|special_token|",
        "held_out_share": 0.1,
        "readable": {"language": 0.9, "repetition": 0.1, "min_chars": 100, "max_chars": 100_000},
    }


def _teacher() -> dict[str, Any]:
    return {
        "stage": "coldstart",
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
        "review": "",
        "marker": "|special_token|",
        "held_out_share": 0.1,
        "readable": {"language": 0.9, "repetition": 0.1, "min_chars": 400, "max_chars": 100_000},
        "sampling": {"max_new_tokens": 32_768, "truncation": {"temperature": 0.6, "top_p": 0.95}},
    }


def endpoint() -> dict[str, Any]:
    return _teacher() | {
        "questions": {"path": "questions.jsonl", "held_out_share": 0.1},
        "count": 0,  # all of them
        "few_shot": {"samples": 2, "shots": 1, "examples": ""},  # ours
        "direct": {"samples": 2, "instruction": ""},  # ours, in the question's language
    }


def rewrite() -> dict[str, Any]:
    return _teacher() | {"zero": {"record": "runs/zero", "from_step": 0, "rewrite": "teacher"}}


def get_config(arg: str = "mini") -> ConfigDict:
    sizes = {"mini": mini, "longcot": longcot, "endpoint": endpoint, "rewrite": rewrite}
    if arg not in sizes:
        raise ValueError(f"no size named {arg!r}; there are: {', '.join(sizes)}")
    return ConfigDict(sizes[arg]())
