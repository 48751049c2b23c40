"""R1-Zero: pure RL from a base model, accuracy and format rewards summed, no supervised data, no reward model.

    python -m r1jax.train --config=configs/zero.py:mini --workdir=runs/zero-mini

mini: 5 minutes on 2 CPU cores. Held-out pass@1 goes from 8.0 ± 1.0% to 96.7 ± 0.8% (mean ± sd of three seeds,
experiments/zero_mini.md); of that, what is not form: right by the last number, 60% to 97%.

Your own questions: --config.data.path=questions.jsonl, a line each of {"prompt": ..., "answer": ...}.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "mini") -> ConfigDict:
    if arg != "mini":
        raise ValueError(f"no size named {arg!r}; there is: mini")
    return ConfigDict(
        {
            "stage": "rl",
            "base": "configs/base.py:mini",
            "seed": 0,
            "num_steps": 60,
            "data": {
                "tasks": (
                    {"name": "chain_sum", "weight": 2.0,
                     "options": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2}},
                    {"name": "gcd", "weight": 1.0,
                     "options": {"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 40}},
                    {"name": "aiw", "weight": 1.0,
                     "options": {"task_type_weights": [0.5, 0.5, 0.0]}},
                ),
                "path": "",
                "template": "r1_zero",
                "held_out_share": 0.1,
                "skip_bad_lines": False,
            },
            "sampling": {
                "max_new_tokens": 112,
                "slots": 64,
                "window": 8,
                "prefill_rows": 8,
                "bucket": 272,  # the longest prompt and completion: one compiled shape
                "truncation": {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
            },
            "grpo": {
                "prompts_per_step": 16,
                "group_size": 8,
                "minibatches": 1,
                "inner_epochs": 1,
                "clip_low": 10.0,
                "clip_high": 10.0,
                "beta": 0.001,
                "reference_every": 400,
                "aggregation": "sequence",
                "normalize_std": True,
            },
            "batch_bucket": 96,
            "rewards": {"accuracy": 1.0, "format": 1.0, "random": 0.0},
            "optimizer": {"learning_rate": 1e-4, "warmup_steps": 5, "b2": 0.95, "weight_decay": 0.0},
            "evaluation": {"questions": 128, "samples": 16, "samples_during": 4, "every": 10},
            "checkpoint": {"every": 20, "keep": 2},
        }
    )  # fmt: skip
