"""Reasoning RL: R1-Zero's algorithm from the cold-start model, with the language-consistency reward (2.3.2).

    r1jax train --config=reasoning:mini --workdir=runs/r1/seed0/reasoning

mini: a stage of `experiments/r1.sh`, which makes its inputs: the mini world's questions in English and Chinese, and the
model fine-tuned on the cold start. Time and results, with and without the language reward: experiments/r1_mini.md.

    r1jax train --config=reasoning:hf --workdir=runs/reasoning \\
        --config.base=runs/coldstart_sft/model --config.data.path=questions.jsonl

hf: sizes for a model of 7B parameters on eight accelerators of 80 GB, as in `configs/zero.py:hf`. Not run.
paper: the paper's hyper-parameters (learning rate 3e-6, KL 0.001, clip 10, temperature 1, 32 questions x 16, 32,768
tokens). Not run.
deepseek_v3: the same on one mesh of 2,048 chips of v5p, by `r1jax plan`: experiments/plans/README.md. Not run.
smollm2: a few steps on GSM8K from SmolLM2-135M after its cold start; experiments/r1_smollm2.md has all stages so.

Accuracy, format and language are summed. `data.marker` must be the cold start's, which the model was trained with.
Without the language reward: --config.rewards.language=0.
"""

from typing import Any

from ml_collections import ConfigDict

from r1jax.configs.shared import CHAT_PROMPTS, FLOAT32, R1, RL_7B, RL_PAPER, WORLD_RL, merge, pick


def mini() -> dict[str, Any]:
    return merge(
        WORLD_RL,
        {
            "base": f"{R1}/coldstart_sft/model",
            "num_steps": 24,
            "data": {"path": f"{R1}/world/reasoning.jsonl"},
        },
    )


def hf() -> dict[str, Any]:
    data = {"path": "questions.jsonl", **CHAT_PROMPTS}
    return merge(mini(), RL_7B, {"data": data, "sampling": {"max_new_tokens": 4096}})


def paper() -> dict[str, Any]:
    return merge(hf(), RL_PAPER)


def deepseek_v3() -> dict[str, Any]:
    return merge(paper(), {"mesh": {"fsdp": 8}})


def smollm2() -> dict[str, Any]:
    return merge(
        mini(),
        FLOAT32,
        {
            "base": "",  # --config.base=...
            "num_steps": 4,
            "data": {"path": "questions.jsonl", **CHAT_PROMPTS},
            "sampling": {"max_new_tokens": 128, "slots": 16, "window": 16, "bucket": 256},
            "grpo": {"prompts_per_step": 4, "group_size": 4},
            "batch_bucket": 256,
            "microbatches": 4,
            "optimizer": {"learning_rate": 1e-5, "warmup_steps": 1},
            "evaluation": {"questions": 8, "samples": 1, "samples_during": 1, "every": 0},
        },
    )


SIZES = {"mini": mini, "hf": hf, "paper": paper, "deepseek_v3": deepseek_v3, "smollm2": smollm2}


def get_config(arg: str = "mini") -> ConfigDict:
    return pick(arg, SIZES)
