"""RL for all scenarios: reasoning by rules, general requests by reward models, temperature 0.7 (section 2.3.4).

    python -m r1jax.train --config=configs/all_scenario.py:mini --workdir=runs/r1/seed0/r1

mini: the last RL stage of `experiments/r1.sh`, which makes what it needs: the fine-tuned model, both reward models, the
mini world's problems and requests in one file. 1.6 minutes on 2 CPU cores; no change that three seeds show: held-out
problems 84.0 ± 4.1% to 84.5 ± 3.2%, requests 43.0 ± 5.6% to 39.9 ± 5.4% (experiments/r1_mini.md). Three in four of its
groups have no signal, for the fine-tuned model is sure of itself; at R1-Zero's rate of 1e-4 Adam's steps, whose size
does not fall with the gradient, took requests from 49.0% to 31.6% in one seed, at 3e-5 to 46.1%.

    python -m r1jax.train --config=configs/all_scenario.py:paper --workdir=runs/r1 --config.base=runs/sft/model \\
        --config.data.path=mixed.jsonl

paper: the paper's hyper-parameters (lr 3e-6, 1,700 updates in 107 rollouts of 16, preference rewards in the last 400
updates, 25 rollouts). Not run. Reward models: runs/helpfulness/model and runs/harmlessness/model, or
--config.rewards.models=...

`data.path` holds problems, graded by their own rules, and requests with `"grader": "open"`, which the reward models
score: helpfulness reads the summary, harmlessness the whole response (each model's folder says which). Both count from
`from_step` on only. Format and language are rewarded throughout; rows with `"thought": "optional"` may be answered
without a thought. To mix in other shares, repeat lines.
"""

from typing import Any

from ml_collections import ConfigDict

STEPS, PREFERENCES = 24, 8  # rollouts, and how many of them, at the end, preferences count in


def reward_models(folder: str, from_step: int, weight: float) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"name": name, "path": f"{folder}/{name}/model", "weight": weight, "prompts": "open", "from_step": from_step}
        for name in ("helpfulness", "harmlessness")
    )


def mini() -> dict[str, Any]:
    return {
        "stage": "rl",
        "base": "runs/r1/seed0/sft/model",
        "seed": 0,
        "num_steps": STEPS,
        "data": {
            "path": "runs/r1/seed0/world/mixed.jsonl",
            "template": "dialogue",
            "chat": False,
            "marker": "==",
            "held_out_share": 0.1,
            "grader": "",
            "skip_bad_lines": False,
        },
        "sampling": {
            "max_new_tokens": 112,
            "slots": 64,
            "window": 8,
            "prefill_rows": 8,
            "bucket": 224,
            "truncation": {"temperature": 0.7, "top_k": 0, "top_p": 1.0},
        },
        "grpo": {
            "prompts_per_step": 12,
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
        "rewards": {
            "accuracy": 1.0,
            "format": 1.0,
            "language": 1.0,
            "target_language": "",  # the question's
            "models": reward_models("runs/r1/seed0", STEPS - PREFERENCES, 0.5),
            "custom": (),
            "combination": "sum",
            "graders": {"workers": 2, "timeout_s": 60.0},  # a busy machine is no wrong answer
        },
        "optimizer": {"learning_rate": 3e-5, "warmup_steps": 5, "b2": 0.95, "weight_decay": 0.0},
        "evaluation": {"questions": 96, "samples": 8, "samples_during": 2, "every": 8},
        "keep_rollouts": 1,
        "checkpoint": {"every": 8, "keep": 2},
    }  # fmt: skip


def paper() -> dict[str, Any]:
    config = mini()
    return config | {
        "base": "",  # --config.base=...
        "compute": {"dtype": "bfloat16", "remat": True},
        "mesh": {"data": 1, "fsdp": -1},
        "num_steps": 107,
        "data": config["data"]
        | {"path": "mixed.jsonl", "template": "plain", "chat": True, "marker": "|special_token|"},
        "sampling": config["sampling"]
        | {"max_new_tokens": 32_768, "slots": 2048, "window": 64, "prefill_rows": 512, "bucket": 2048},
        "grpo": config["grpo"] | {"prompts_per_step": 512, "group_size": 16, "minibatches": 16},
        "rewards": config["rewards"] | {"models": reward_models("runs", 107 - 25, 1.0)},
        "batch_bucket": 2048,
        "logprob_chunk": 256,
        "optimizer": {"learning_rate": 3e-6, "warmup_steps": 0, "b2": 0.95, "weight_decay": 0.0},
        "evaluation": {"questions": 128, "samples": 8, "samples_during": 4, "every": 20},
    }


def get_config(arg: str = "mini") -> ConfigDict:
    sizes = {"mini": mini, "paper": paper}
    if arg not in sizes:
        raise ValueError(f"no size named {arg!r}; there are: {', '.join(sizes)}")
    return ConfigDict(sizes[arg]())
