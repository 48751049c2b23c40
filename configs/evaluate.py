"""Evaluation in the paper's protocol: temperature 0.6, top-p 0.95, at most 32,768 tokens, zero-shot.

    python -m r1jax.train --config=configs/evaluate.py:gsm8k,math500 --workdir=results/my-model \\
        --config.model=/path/to/model --config.data=/path/to/data

The names after the colon are benchmarks (files of `r1jax/benchmarks`), or groups of them: maths, code, knowledge,
chinese, judged, and `paper`: the rows of the paper's table. A benchmark's file lies in the data folder where its
adapter says; another place is given as `name=path`: `gsm8k=~/gsm8k/main/test-00000-of-00001.parquet`.

A model that we have trained is asked as it was trained, which its folder says (prompt_form.json); any other through its
chat template if it has one, else in plain text. --config.chat, --config.template (plain, dialogue, r1_zero) and
--config.marker say otherwise.

A model behind a server that speaks OpenAI's protocol:

    ... --config.endpoint.base_url=http://localhost:8000/v1 --config.endpoint.model=NAME --config.endpoint.api_key_env=

The judged benchmarks need a judge: --config.judge.base_url=..., --config.judge.model=... A quick look at a small model:
--config.questions=100 --config.samples=4 --config.sampling.max_new_tokens=512.

    python -m r1jax.train --config=configs/evaluate.py:mini --workdir=results/mini

mini: the shipped base on the three kinds of question that `configs/zero.py:mini` trains on, 100 of each, 64 samples: no
data needed. Under 2 minutes on 2 CPU cores; pass@1, pass@64 and cons@64: sums 7.4 ± 0.5, 94.0 ± 2.4 and 28.0 ± 4.5%,
divisors 6.2 ± 0.4, 90.0 ± 3.0 and 10.0 ± 3.0%, relatives 9.7 ± 0.5, 99.0 ± 1.0 and 22.0 ± 4.2%.

world: a model of `experiments/r1.sh` on the mini world's held-out problems and requests (config.data=.../world).

Then `python -m r1jax.report results/*` makes the tables and plots of all models together.
"""

import pathlib

from ml_collections import ConfigDict

GROUPS = {
    "maths": ("aime2024", "math500", "cnmo2024", "amc23", "gsm8k", "asdiv", "mawps", "aime_1983_2023", "cmath",
              "mgsm_zh", "cn_middle_school"),
    "code": ("humaneval", "mbpp", "leetcode", "livecodebench", "code_contests", "codeforces", "aider_polyglot"),
    "knowledge": ("mmlu", "mmlu_redux", "mmlu_pro", "gpqa_diamond", "drop", "simpleqa", "frames", "ifeval"),
    "chinese": ("ceval", "cluewsc", "c_simpleqa"),
    "judged": ("alpaca_eval", "arena_hard"),
    "paper": ("mmlu", "mmlu_redux", "mmlu_pro", "drop", "ifeval", "gpqa_diamond", "simpleqa", "frames", "alpaca_eval",
              "arena_hard", "livecodebench", "codeforces", "aider_polyglot", "aime2024", "math500", "cnmo2024",
              "cluewsc", "ceval", "c_simpleqa"),
}  # fmt: skip


def get_config(arg: str = "mini") -> ConfigDict:
    config = {
        "stage": "evaluate",
        "seed": 0,
        "model": "",
        "data": "",
        "questions": 0,
        "samples": 0,
        "sampling": {
            "max_new_tokens": 32768,
            "slots": 64,
            "bucket": 256,
            "truncation": {"temperature": 0.6, "top_p": 0.95},
        },
    }
    if arg == "mini":
        config["model"] = "configs/base.py:mini"
        config["chat"], config["template"], config["marker"] = False, "r1_zero", ""
        config["sampling"].update(max_new_tokens=112, bucket=272)
        config["tasks"] = (
            {"name": "chain_sum",
             "options": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2}},
            {"name": "gcd", "options": {"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 40}},
            {"name": "aiw", "options": {"task_type_weights": [0.5, 0.5, 0.0]}},
        )  # fmt: skip
        return ConfigDict(config)
    if arg == "world":
        config["chat"], config["template"], config["marker"], config["samples"] = False, "dialogue", "==", 8
        config["sampling"].update(max_new_tokens=112, bucket=256)
        config["graders"] = {"timeout_s": 60.0}  # a busy machine is no wrong answer
        config["benchmarks"] = tuple({"name": name, "questions": 100} for name in ("world_reasoning", "world_general"))
        return ConfigDict(config)
    benchmarks = []
    for part in arg.split(","):
        name, _, path = part.partition("=")
        names = GROUPS.get(name, (name,))
        benchmarks += [{"name": each, "path": str(pathlib.Path(path).expanduser()) if path else ""} for each in names]
    config["benchmarks"] = tuple(benchmarks)
    return ConfigDict(config)
