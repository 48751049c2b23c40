"""Rejection sampling: several answers to each question, the right and readable ones kept as examples for SFT.

    python -m r1jax.train --config=configs/rejection.py:mini --workdir=runs/r1/seed0/rejection

mini: four samples of the mini recipe's reasoning policy to each of its training questions, at most two of them kept, in
the cold-start form. 42 seconds on 2 CPU cores for 4,800 samples, of which 1,728 to 1,807 are kept (three seeds,
experiments/r1_mini.md; of the first, 27% are wrong, 13% malformed, 11% copies, 8% over the quota, 4% mixed).

    python -m r1jax.train --config=configs/rejection.py:paper --workdir=runs/rejection \\
        --config.model=/path/to/reasoning-rl/model --config.data.path=questions.jsonl \\
        --config.decontaminate.data=/path/to/data

paper: sizes for the paper's ~600k reasoning samples: 16 answers of up to 32,768 tokens to each question, at most 4 of
them kept, so 150k questions that the policy can answer. Questions that share 13 words with one of the paper's maths and
code evaluations are not asked. The policy is asked as it was trained, which its folder says; for one whose folder does
not, --config.data.template, chat and marker do. How many samples the paper draws, and how, it does not say. Not run.

The workdir then holds samples.jsonl, which `configs/sft.py` trains on by --config.data.path; dropped.jsonl, with a
reason for each sample that is not in it; and table.json. Started again with other --config.filters it draws nothing.

Questions that no rule grades go to a judge, any server that speaks OpenAI's protocol: rows of the grader "open", and of
those in --config.judged='("maths",)', by their reference `answer` or against their `reference_output`:

    ... --config.judge.base_url=http://localhost:8000/v1 --config.judge.model=NAME --config.judge.api_key_env=

A policy behind a server, whose `<think>...</think>summary` is not the form of the tags:

    ... --config.endpoint.base_url=http://localhost:8000/v1 --config.endpoint.model=NAME --config.data.chat=true \\
        --config.data.template=plain --config.filters.form=parts
"""

from typing import Any

from ml_collections import ConfigDict


def mini() -> dict[str, Any]:
    return {
        "stage": "rejection",
        "model": "runs/r1/seed0/reasoning/model",
        "seed": 0,
        "data": {
            "path": "runs/r1/seed0/world/reasoning.jsonl", "template": "dialogue", "marker": "==", "held_out_share": 0.1
        },
        "num_prompts": 1200,
        "samples": 4,
        "sampling": {
            "max_new_tokens": 160,
            "slots": 64,
            "bucket": 256,
            "truncation": {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
        },
        "filters": {"keep_per_prompt": 2},
        "graders": {"timeout_s": 60.0},  # a busy machine is no wrong answer
    }


def paper() -> dict[str, Any]:
    config = mini()
    return config | {
        "model": "",  # --config.model=...
        "data": {"path": "questions.jsonl", "held_out_share": 0.1},  # asked as the policy was trained
        "samples": 16,
        "sampling": {
            "max_new_tokens": 32_768,
            "slots": 2048,
            "window": 64,
            "prefill_rows": 512,
            "bucket": 2048,
            "truncation": {"temperature": 0.6, "top_p": 0.95},
        },
        "filters": {"keep_per_prompt": 4},
        "decontaminate": {"against": ("aime2024", "math500", "cnmo2024", "livecodebench", "codeforces"), "data": ""},
        "graders": {"workers": 16},
    }


def get_config(arg: str = "mini") -> ConfigDict:
    sizes = {"mini": mini, "paper": paper}
    if arg not in sizes:
        raise ValueError(f"no size named {arg!r}; there are: {', '.join(sizes)}")
    return ConfigDict(sizes[arg]())
