"""Evaluation in the paper's protocol: temperature 0.6, top-p 0.95, at most 32,768 tokens, zero-shot.

    r1jax train --config=evaluate:gsm8k,math500 --workdir=results/my-model --config.model=/path/to/model

The names after the colon are benchmarks (files of `r1jax/benchmarks/sets`), or groups of them: maths, code, knowledge,
chinese, judged, and `paper`: the rows of the paper's table. They are fetched from the Hugging Face hub, those that are
there; with --config.data=FOLDER each is a file at a fixed path in that folder. Another path, or split of the hub, is
given as `name=path`: `gsm8k=~/gsm8k/main/test-00000-of-00001.parquet`.

A model trained by r1jax gets the prompt format that it was trained with, which its folder records (prompt_form.json);
any other its chat template if it has one, else plain text. --config.chat, --config.template (plain, dialogue, r1_zero)
and --config.marker override both.

A model behind a server that speaks OpenAI's protocol:

    ... --config.endpoint.base_url=http://localhost:8000/v1 --config.endpoint.model=NAME --config.endpoint.api_key_env=

The judged benchmarks need a judge: --config.judge.base_url=..., --config.judge.model=... A quick look at a small model:
--config.questions=100 --config.samples=4 --config.sampling.max_new_tokens=512.

    r1jax train --config=evaluate:mini --workdir=results/mini

mini: the shipped base on the three tasks of `configs/zero.py:mini`, 100 questions of each, 64 samples; needs no data.
Time and results: experiments/config_runs.md.

world: a model of `experiments/r1.sh` on the mini world's held-out problems and requests (config.data=.../world);
world_harder: those of `experiments/r1.sh harder`, with instructions, and open requests, whose replies are not graded.

Then `r1jax report results/*` makes the tables and plots of all models together.
"""

import functools
import pathlib
from typing import Any

from ml_collections import ConfigDict

from r1jax.configs.shared import (
    CHAIN_SUM,
    GCD,
    PAPER_TRUNCATION,
    RELATIVES,
    WORLD_PROMPTS,
    merge,
    pick,
)

GROUPS = {
    "maths": (
        "aime2024",
        "math500",
        "cnmo2024",
        "amc23",
        "gsm8k",
        "asdiv",
        "mawps",
        "aime_1983_2023",
        "cmath",
        "mgsm_zh",
        "cn_middle_school",
    ),
    "code": ("humaneval", "mbpp", "leetcode", "livecodebench", "code_contests", "codeforces", "aider_polyglot"),
    "knowledge": ("mmlu", "mmlu_redux", "mmlu_pro", "gpqa_diamond", "drop", "simpleqa", "frames", "ifeval"),
    "chinese": ("ceval", "cluewsc", "c_simpleqa"),
    "judged": ("alpaca_eval", "arena_hard"),
    "paper": (
        "mmlu",
        "mmlu_redux",
        "mmlu_pro",
        "drop",
        "ifeval",
        "gpqa_diamond",
        "simpleqa",
        "frames",
        "alpaca_eval",
        "arena_hard",
        "livecodebench",
        "codeforces",
        "aider_polyglot",
        "aime2024",
        "math500",
        "cnmo2024",
        "cluewsc",
        "ceval",
        "c_simpleqa",
    ),
}


EVALUATE = {
    "stage": "evaluate",
    "seed": 0,
    "model": "",
    "data": "",
    "questions": 0,
    "samples": 0,
    "sampling": {"max_new_tokens": 32_768, "slots": 64, "bucket": 256, "truncation": PAPER_TRUNCATION},
}


def mini() -> dict[str, Any]:
    return merge(
        EVALUATE,
        {
            "model": "configs/base.py:mini",
            "chat": False,
            "template": "r1_zero",
            "marker": "",
            "sampling": {"max_new_tokens": 112, "bucket": 272},
            "tasks": (CHAIN_SUM, GCD, RELATIVES),
        },
    )


def world() -> dict[str, Any]:
    names = ("world_reasoning", "world_general")
    return merge(
        EVALUATE,
        WORLD_PROMPTS,
        {
            "samples": 8,
            "sampling": {"max_new_tokens": 112},
            "benchmarks": tuple({"name": name, "questions": 100} for name in names),
        },
    )


def world_harder() -> dict[str, Any]:
    names = ("world_reasoning", "world_general", "world_instructions", "world_open")
    benchmarks = tuple({"name": name, "questions": 200} for name in names)
    return merge(world(), {"samples": 4, "benchmarks": benchmarks})


def on_benchmarks(names: str) -> dict[str, Any]:
    """The config for benchmarks and groups of them, with commas between: `maths,ifeval,gsm8k=path/file.parquet`."""
    benchmarks = []
    for part in names.split(","):
        name, _, path = part.partition("=")
        path = str(pathlib.Path(path).expanduser()) if path else ""
        benchmarks += [{"name": each, "path": path} for each in GROUPS.get(name, (name,))]
    return EVALUATE | {"benchmarks": tuple(benchmarks)}


SIZES = {
    "mini": mini,
    "world": world,
    "world_harder": world_harder,
    **{group: functools.partial(on_benchmarks, group) for group in GROUPS},
}


def get_config(arg: str = "mini") -> ConfigDict:
    return pick(arg, SIZES) if arg in SIZES else ConfigDict(on_benchmarks(arg))
