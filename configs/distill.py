"""Distillation: smaller students are fine-tuned on the teacher's samples, no RL (arXiv 2501.12948, section 2.4).

    python -m r1jax.train --config=configs/distill.py:mini_qwen2 --workdir=runs/distill-qwen2
    python -m r1jax.train --config=configs/distill.py:mini_llama --workdir=runs/distill-llama

mini_qwen2, mini_llama: the students of configs/base.py, of 0.3M parameters in two architectures, on the files that
configs/sft.py:recipe takes, six epochs: the mini world has a two-hundredth of the paper's samples. 1.4 and 1.2 minutes
on 2 CPU cores; held-out pass@1 goes from 7% to 17.5 ± 2.0% and 20.5 ± 4.0%, by RL alone to 12.7 ± 3.2% and 9.4 ± 3.6%
(three seeds, experiments/r1_mini.md).

    python -m r1jax.train --config=configs/distill.py:qwen2_5_7b --workdir=runs/distill-7b \\
        --config.base=/path/to/Qwen2.5-Math-7B --config.data.path=samples.jsonl

qwen2_5_1_5b, qwen2_5_7b, qwen2_5_14b, qwen2_5_32b, llama3_1_8b, llama3_3_70b: the paper's six, with its learning rates,
which fall to a tenth by a cosine, 64 rows of 32,768 tokens an update, two epochs. The students were Qwen2.5-Math-1.5B
and -7B, Qwen2.5-14B and -32B, Llama-3.1-8B and Llama-3.3-70B-Instruct. The paper does not say how samples fill a row;
here they are packed, as DeepSeek-V3's were (arXiv 2412.19437, section 5.1), and see only themselves. Accelerators of
80 GB by reckoning (16 bytes a parameter cut over all of them, and a row's activations whole on each): 8 up to 14B, 16
for 32B, 64 for 70B; other numbers want other config.microbatches. Not run.

    python -m r1jax.train --config=configs/distill.py:mini_teach --workdir=runs/teach --config.base=runs/TEACHER/model
    python -m r1jax.train --config=configs/distill.py:mini_qwen2 --workdir=runs/distill-logits \\
        --config.soft_targets=runs/teach

mini_teach: beyond the paper. The teacher reads the same files and stores its 32 likeliest tokens of each target; then
the student learns that distribution beside the text, half and half unless --config.distillation.weight says otherwise,
by the forward KL unless --config.distillation.kl=reverse. Both must have one vocabulary, as the mini ones do.
"""

from typing import Any

from ml_collections import ConfigDict

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
    "paths": ("runs/r1/seed0/rejection/samples.jsonl", "runs/r1/seed0/world/sft_general.jsonl"),
    "template": "dialogue",
    "chat": False,
    "marker": "==",
    "held_out_share": 0.1,
    "skip_bad_lines": False,
}


def mini(student: str) -> dict[str, Any]:
    return {
        "stage": "supervised",
        "base": f"configs/base.py:{student}",
        "seed": 0,
        "data": RECIPE,
        "soft_targets": "",
        "distillation": {"weight": 0.5, "kl": "forward"},
        "epochs": 6.0,
        "batch_size": 16,
        "seq_len": 256,
        "documents_per_step": 0,  # as many as fit
        "log_every": 10,
        "optimizer": {"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 5, "final_share": 0.1},
        "checkpoint": {"every": 50, "keep": 2},
    }


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


def paper(student: str) -> dict[str, Any]:
    learning_rate, microbatches = PAPER[student]
    return mini(student) | {
        "base": "",  # --config.base=...
        "compute": {"dtype": "bfloat16", "remat": True},
        "mesh": {"data": 1, "fsdp": -1},
        "data": {"path": "samples.jsonl", "template": "plain", "chat": True, "marker": "|special_token|",
                 "held_out_share": 0.0, "skip_bad_lines": False},
        "epochs": 2.0,
        "batch_size": 64,
        "seq_len": 32_768,
        "microbatches": microbatches,
        "logprob_chunk": 256,
        "optimizer": {"learning_rate": learning_rate, "schedule": "cosine", "final_share": 0.1},
        "checkpoint": {"every": 100, "keep": 2},
    }  # fmt: skip


def get_config(arg: str = "mini_qwen2") -> ConfigDict:
    if arg in PAPER:
        return ConfigDict(paper(arg))
    minis = {"mini_qwen2": lambda: mini("student_qwen2"), "mini_llama": lambda: mini("student_llama"),
             "mini_teach": mini_teach}  # fmt: skip
    if arg not in minis:
        raise ValueError(f"no size named {arg!r}; there are: {', '.join([*minis, *PAPER])}")
    return ConfigDict(minis[arg]())
