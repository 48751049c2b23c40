"""Distillation: smaller students, fine-tuned on the teacher's samples without RL (section 2.4).

    r1jax train --config=distill:mini_qwen2 --workdir=runs/distill-qwen2
    r1jax train --config=distill:mini_llama --workdir=runs/distill-llama

mini_qwen2, mini_llama: the students of configs/base.py on the files of configs/sft.py:recipe, six epochs: the mini
world has a two-hundredth of the paper's samples. Time and results, beside the same students by RL alone:
experiments/r1_mini.md.

    r1jax train --config=distill:qwen2_5_7b --workdir=runs/distill-7b \\
        --config.base=/path/to/Qwen2.5-Math-7B --config.data.path=samples.jsonl

qwen2_5_1_5b, qwen2_5_7b, qwen2_5_14b, qwen2_5_32b, llama3_1_8b, llama3_3_70b: the paper's six, with its learning rates,
which fall to a tenth by a cosine, 64 rows of 32,768 tokens an update, two epochs. The students were Qwen2.5-Math-1.5B
and -7B, Qwen2.5-14B and -32B, Llama-3.1-8B and Llama-3.3-70B-Instruct. The paper does not say how samples fill a row;
here they are packed, as DeepSeek-V3's were (arXiv 2412.19437, section 5.1), and attend only to themselves. Estimated
accelerators of 80 GB (16 bytes a parameter sharded over all of them, and a row's activations whole on each): 8 up to
14B, 16 for 32B, 64 for 70B; other numbers need another config.microbatches. Not run.

    r1jax train --config=distill:mini_teach --workdir=runs/teach --config.base=runs/TEACHER/model
    r1jax train --config=distill:mini_qwen2 --workdir=runs/distill-logits \\
        --config.soft_targets=runs/teach

mini_teach: an addition to the paper. The teacher reads the same files and stores its 32 most likely tokens for each
target; the student then learns that distribution beside the text, half and half unless --config.distillation.weight
says otherwise, by the forward KL unless --config.distillation.kl=reverse. Both must share a vocabulary, as the mini
models do.

    r1jax train --config=distill:mini_on_policy --workdir=runs/on-policy --config.base=runs/STUDENT/model \
        --config.teacher=runs/TEACHER/model

mini_on_policy: on-policy distillation (GKD, arXiv 2306.13649), another addition. A run of stage rl: the student
samples, the teacher reads the samples, and the student is drawn to the teacher's distribution at each token that it
sampled itself, by the reverse KL. Rewards are measured and do not count, unless --config.distillation.weight is below
1. The learning rate is RL's: at that of the fine-tuning, ten times as high, the divergence does not fall. All ways
beside each other: experiments/paper/distillation.md.
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from r1jax.configs.shared import HELD_OUT, R1, SFT, SFT_PAPER, WORLD_PROMPTS, merge, pick
from r1jax.configs.zero import world

# Learning rate, and in how many pieces an update is computed.
PAPER = {
    "qwen2_5_1_5b": (1e-4, 8),
    "qwen2_5_7b": (8e-5, 8),
    "qwen2_5_14b": (7e-5, 8),
    "qwen2_5_32b": (6e-5, 4),
    "llama3_1_8b": (5e-5, 8),
    "llama3_3_70b": (2e-5, 1),
}
RECIPE = {
    "path": "",
    "paths": (f"{R1}/rejection/samples.jsonl", f"{R1}/world/sft_general.jsonl"),
    **WORLD_PROMPTS,
    **HELD_OUT,
}
SOFT_TARGETS = {"soft_targets": "", "distillation": {"weight": 0.5, "kl": "forward"}}


def mini(student: str) -> dict[str, Any]:
    return SFT | SOFT_TARGETS | {"base": f"configs/base.py:{student}", "data": RECIPE, "epochs": 6.0}


def mini_teach() -> dict[str, Any]:
    return {
        "stage": "teach",
        "base": "",  # --config.base=...
        "data": RECIPE,
        "batch_size": 16,
        "seq_len": 256,
        "top_k": 32,
        "temperature": 1.0,
    }


def mini_on_policy() -> dict[str, Any]:
    return merge(
        world(),
        {
            "base": "configs/base.py:student_qwen2",
            "teacher": f"{R1}/zero/model",
            "distillation": {"weight": 1.0, "kl": "reverse"},
            "teacher_top_k": 32,
            "num_steps": 20,
            "grpo": {"minibatches": 4, "beta": 0.0, "aggregation": "token"},
            "microbatches": 4,  # of 6 rows
        },
    )


def paper(student: str) -> dict[str, Any]:
    learning_rate, microbatches = PAPER[student]
    return merge(
        SFT_PAPER,
        SOFT_TARGETS,
        {
            "data": {"held_out_share": 0.0},
            "batch_size": 64,
            "microbatches": microbatches,
            "optimizer": {"learning_rate": learning_rate},
        },
    )


SIZES = {
    "mini_qwen2": functools.partial(mini, "student_qwen2"),
    "mini_llama": functools.partial(mini, "student_llama"),
    "mini_teach": mini_teach,
    "mini_on_policy": mini_on_policy,
    **{student: functools.partial(paper, student) for student in PAPER},
}


def get_config(arg: str = "mini_qwen2") -> ConfigDict:
    return pick(arg, SIZES)
