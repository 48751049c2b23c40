"""Reasoning RL: R1-Zero's algorithm from the cold-start model, with the language-consistency reward (section 2.3.2).

    python -m r1jax.train --config=configs/reasoning.py:mini --workdir=runs/r1/seed0/reasoning

mini: a stage of `experiments/r1.sh`, which makes what it starts from: questions of the mini world in English and
Chinese, the model that was fine-tuned on the cold start. 1.8 minutes on 2 CPU cores: held-out pass@1 goes from 73.6 ±
4.9% to 80.5 ± 1.9%, mixed thoughts from 4.5 ± 0.9% to 3.1 ± 1.7% (79.8 ± 3.6% and 4.5 ± 4.1% without the language
reward; three seeds, experiments/r1_mini.md).

    python -m r1jax.train --config=configs/reasoning.py:hf --workdir=runs/reasoning \\
        --config.base=runs/coldstart_sft/model --config.data.path=questions.jsonl

hf: sizes for a model of 7B parameters on eight accelerators of 80 GB, as in `configs/zero.py:hf`. Not run.
paper: the paper's hyper-parameters (lr 3e-6, KL 0.001, clip 10, temperature 1, 32 questions x 16, 32,768 tokens). Not
run.
smollm2: a few steps on GSM8K from SmolLM2-135M after its cold start; two of them, and all the other stages so, in
experiments/r1_smollm2.md.

Accuracy, format and language are summed. `data.marker` is the cold start's; it must be the one that the model was
taught. Without the language reward: --config.rewards.language=0.
"""

from typing import Any

from ml_collections import ConfigDict

PAPER_MARKER = "|special_token|"


def mini() -> dict[str, Any]:
    return {
        "stage": "rl",
        "base": "runs/r1/seed0/coldstart_sft/model",
        "seed": 0,
        "num_steps": 24,
        "data": {
            "path": "runs/r1/seed0/world/reasoning.jsonl",
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
            "truncation": {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
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
            "models": (),
            "custom": (),
            "combination": "sum",
            "graders": {"workers": 2, "timeout_s": 60.0},  # a busy machine is no wrong answer
        },
        "optimizer": {"learning_rate": 1e-4, "warmup_steps": 5, "b2": 0.95, "weight_decay": 0.0},
        "evaluation": {"questions": 96, "samples": 8, "samples_during": 2, "every": 8},
        "keep_rollouts": 1,
        "checkpoint": {"every": 8, "keep": 2},
    }  # fmt: skip


def hf() -> dict[str, Any]:
    config = mini()
    return config | {
        "base": "",  # --config.base=...
        "compute": {"dtype": "bfloat16", "remat": True},
        "mesh": {"data": 1, "fsdp": -1},
        "num_steps": 200,
        "data": config["data"]
        | {"path": "questions.jsonl", "template": "plain", "chat": True, "marker": PAPER_MARKER},
        "sampling": config["sampling"]
        | {"max_new_tokens": 4096, "slots": 256, "window": 32, "prefill_rows": 32, "bucket": 512},
        "grpo": config["grpo"] | {"prompts_per_step": 32, "group_size": 16},
        "batch_bucket": 512,
        "microbatches": 16,
        "logprob_chunk": 256,
        "optimizer": {"learning_rate": 1e-6, "warmup_steps": 10, "b2": 0.95, "weight_decay": 0.0},
        "evaluation": {"questions": 128, "samples": 8, "samples_during": 4, "every": 20},
    }


def paper() -> dict[str, Any]:
    config = hf()
    return config | {
        "num_steps": 650,  # rollouts of 512 questions x 16, 16 updates each
        "sampling": config["sampling"]
        | {"max_new_tokens": 32_768, "slots": 2048, "window": 64, "prefill_rows": 512, "bucket": 2048},
        "grpo": config["grpo"] | {"prompts_per_step": 512, "minibatches": 16},
        "batch_bucket": 2048,
        "microbatches": 1,
        "optimizer": {"learning_rate": 3e-6, "warmup_steps": 0, "b2": 0.95, "weight_decay": 0.0},
    }


def smollm2() -> dict[str, Any]:
    config = mini()
    return config | {
        "base": "",  # --config.base=...
        "compute": {"dtype": "float32", "remat": False},
        "num_steps": 4,
        "data": config["data"]
        | {"path": "questions.jsonl", "template": "plain", "chat": True, "marker": PAPER_MARKER},
        "sampling": config["sampling"] | {"max_new_tokens": 128, "slots": 16, "window": 16, "bucket": 256},
        "grpo": config["grpo"] | {"prompts_per_step": 4, "group_size": 4},
        "batch_bucket": 256,
        "microbatches": 4,
        "optimizer": {"learning_rate": 1e-5, "warmup_steps": 1, "b2": 0.95, "weight_decay": 0.0},
        "evaluation": {"questions": 8, "samples": 1, "samples_during": 1, "every": 0},
    }


def get_config(arg: str = "mini") -> ConfigDict:
    sizes = {"mini": mini, "hf": hf, "paper": paper, "smollm2": smollm2}
    if arg not in sizes:
        raise ValueError(f"no size named {arg!r}; there are: {', '.join(sizes)}")
    return ConfigDict(sizes[arg]())
