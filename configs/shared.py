"""Config sections that several config files share, and how a file merges them and names its sizes.

A config file states what is its own: `merge(RL, {"num_steps": 60, "grpo": {"prompts_per_step": 16}})`.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

FOLDER = pathlib.Path(__file__).resolve().parent


def merge(*configs: Mapping[str, Any]) -> dict[str, Any]:
    """A new config in which later ones win, section by section: a section's fields that they leave out stay."""
    merged: dict[str, Any] = {}
    for config in configs:
        for key, value in config.items():
            is_section = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = merge(merged[key], value) if is_section else value
    return merged


def pick(size: str, sizes: Mapping[str, Callable[[], Mapping[str, Any]]]) -> ConfigDict:
    """The config of a size.

    Raises:
        ValueError: there is no such size; lists those there are.
    """
    if size not in sizes:
        raise ValueError(f"no size named {size!r}; there are: {', '.join(sizes)}")
    return ConfigDict(sizes[size]())


# --- Where experiments/r1.sh puts its first seed ---
R1 = "runs/r1/seed0"

# --- Compute ---
FLOAT32 = {"compute": {"dtype": "float32", "remat": False}}
SHARDED = {"compute": {"dtype": "bfloat16", "remat": True}, "mesh": {"data": 1, "fsdp": -1}}

# --- Data ---
PAPER_MARKER = "|special_token|"
WORLD_PROMPTS = {"template": "dialogue", "chat": False, "marker": "=="}  # tokens that the mini world's base knows
CHAT_PROMPTS = {"template": "plain", "chat": True, "marker": PAPER_MARKER}
HELD_OUT = {"held_out_share": 0.1, "skip_bad_lines": False}
CHAIN_SUM = {"name": "chain_sum", "options": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2}}
GCD = {"name": "gcd", "options": {"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 40}}
RELATIVES = {"name": "aiw", "options": {"task_type_weights": [0.5, 0.5, 0.0]}}

# --- Sampling and grading ---
MINI_SAMPLING = {
    "max_new_tokens": 112,
    "slots": 64,
    "window": 8,
    "prefill_rows": 8,
    "bucket": 224,
    "truncation": {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
}
PAPER_SAMPLING = {"max_new_tokens": 32_768, "slots": 2048, "window": 64, "prefill_rows": 512, "bucket": 2048}
PAPER_TRUNCATION = {"temperature": 0.6, "top_p": 0.95}  # of evaluations, and of what is collected for training

# --- RL: the paper's GRPO, at mini size ---
RL = {
    "stage": "rl",
    "seed": 0,
    "data": {
        **HELD_OUT,
        "grader": "",  # of a file's lines; "": as their fields say
    },
    "sampling": MINI_SAMPLING,
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
    "microbatches": 4,  # a quarter of the memory; those that packing leaves empty cost nothing
    "rewards": {
        "accuracy": 1.0,
        "format": 1.0,
        "target_language": "",  # the question's
        "models": (),  # reward models: ({"name": ..., "path": ..., "weight": 1.0},)
        "custom": (),  # your own: ({"function": "path/file.py:name", "weight": 1.0},)
        "combination": "sum",
    },
    "optimizer": {"learning_rate": 1e-4, "warmup_steps": 5, "b2": 0.95, "weight_decay": 0.0},
    "checkpoint": {"every": 20, "keep": 2},
}
# Short runs in the mini world, evaluated every 8 steps.
WORLD_INTERVALS = {
    "evaluation": {"questions": 96, "samples": 8, "samples_during": 2, "every": 8},
    "checkpoint": {"every": 8, "keep": 2},
}
# RL after the cold start, with the language reward.
WORLD_RL = merge(
    RL,
    WORLD_INTERVALS,
    {
        "data": WORLD_PROMPTS,
        "rewards": {"language": 1.0, "graders": {"workers": 2}},
        "keep_rollouts": 1,
    },
)
# Sizes for 7B parameters on a host of eight accelerators of 80 GB.
RL_7B = {
    **SHARDED,
    "base": "",  # --config.base=...
    "num_steps": 200,
    "sampling": {"slots": 256, "window": 32, "prefill_rows": 32, "bucket": 512},
    "grpo": {"prompts_per_step": 32, "group_size": 16},
    "batch_bucket": 512,
    "microbatches": 16,
    "logprob_chunk": 256,
    "optimizer": {"learning_rate": 1e-6, "warmup_steps": 10},
    "evaluation": {"questions": 128, "samples": 8, "samples_during": 4, "every": 20},
}
# The paper's: a rollout is 8,192 outputs, 16 to each of 512 questions, and serves 16 updates. The mesh is that of
# DeepSeek-V3 on 2,048 chips of v5p (experiments/plans/README.md): fsdp alone would leave decoding's copy whole on each.
RL_PAPER = merge(
    RL_7B,
    {
        "num_steps": 650,
        "sampling": PAPER_SAMPLING,
        "grpo": {"prompts_per_step": 512, "minibatches": 16},
        "batch_bucket": 4352,  # an eighth of the longest rollout with a prompt of 2,048 tokens
        "microbatches": 2,
        "mesh": {"data": 1, "fsdp": -1, "expert": 32, "context": 2, "tensor": 4},
        "rewards": {"graders": {"workers": 64}},
        "checkpoint": {"every": 1, "keep": 2},  # 16 updates
        "optimizer": {"learning_rate": 3e-6, "warmup_steps": 0},
    },
)

# --- Supervised training on prompts and responses ---
SFT = {
    "stage": "supervised",
    "seed": 0,
    "batch_size": 16,
    "seq_len": 256,
    "documents_per_step": 0,  # as many as fit
    "log_every": 10,
    "optimizer": {"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 5, "final_share": 0.1, "b2": 0.95},
    "checkpoint": {"every": 50, "keep": 2},
}
SFT_PAPER = merge(
    SFT,
    SHARDED,
    {
        "base": "",  # --config.base=...
        "data": {"path": "samples.jsonl", **CHAT_PROMPTS, **HELD_OUT},
        "epochs": 2.0,
        "seq_len": 32_768,
        "logprob_chunk": 256,
        "optimizer": {"warmup_steps": 0},
        "checkpoint": {"every": 100},
    },
)
