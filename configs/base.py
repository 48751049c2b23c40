"""Pretraining of the base models that R1-Zero starts from: next-token prediction on the mini world's documents.

    r1jax train --config=base:mini --workdir=runs/base

Times and results: experiments/config_runs.md.

mini_textbook: from random weights, on documents of careful and careless authors alike; here the arithmetic is learnt.

mini: goes on from there on the web, where most authors are careless. Seven of ten that solve a problem are terse,
sloppy or stop too soon; one in ten works step by step in English, one in seventeen checks.

Of the documents 7% are the whole R1-Zero prompt with some reply, of which 6% obey its tags; 4% are tags without that
prompt, half of them complete. The result ships with r1jax, so `configs/zero.py:mini` trains it only if this file or the
documents have changed, and with them its key. To ship another, copy runs/base-KEY/model, which a mini run makes, to
r1jax/shipped_models/base-KEY.

world: goes on from mini; the base of the whole recipe, whose questions `r1jax write-miniworld` writes.
Its documents (`r1jax.data.miniworld.authors`) are problems in English and in Chinese, and requests: greetings,
questions about itself, translations, facts, lines to write, advice, and secrets to be declined. The careful authors of
solutions are the most accurate, and two in three of them change language within a thought; a tenth of the whole R1-Zero
prompts are obeyed. It has hardly learnt requests: fine-tuning teaches them. It ships too.

puzzles: goes on from mini, on puzzles (`r1jax.data.miniworld.puzzles`); the base of `configs/zero.py:puzzles`, with
which RL comes to think longer. Of the authors nine in ten give a guess or one attempt, whatever comes out. One in ten
checks each attempt and tries again; a third of those check badly, and all give up soon. puzzles_unchecked: the same
without these, for comparison: it has never read of a second attempt. The first ships.

    r1jax train --config=base:student_qwen2 --workdir=runs/student-qwen2
    r1jax train --config=base:student_llama --workdir=runs/student-llama

student_qwen2, student_llama: the students of configs/distill.py, in Qwen2's architecture (biases on queries, keys and
values; tied embeddings, as in its small sizes) and in Llama's (no biases, untied embeddings), from random weights with
world's vocabulary. Both ship.

student_qwen2_longer, student_llama_longer: the same two, trained on: 1,600 smaller updates on problems alone, so that
RL and distillation find something to build on (experiments/paper/distillation.md). They do not ship.
"""

import dataclasses
import functools
from typing import Any

from ml_collections import ConfigDict

from r1jax.configs.shared import merge, pick
from r1jax.models.config import PRESETS, ModelConfig

STUDENTS = {
    "student_qwen2": ModelConfig(
        vocab_size=0,
        embed_dim=64,
        num_layers=5,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        mlp_dim=224,
        rope_theta=1e6,
        tie_embeddings=True,
        attention_bias=True,
        scan_unroll=5,
    ),
    "student_llama": ModelConfig(
        vocab_size=0,
        embed_dim=64,
        num_layers=4,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        mlp_dim=224,
        rope_theta=5e5,
        norm_eps=1e-5,
        tie_embeddings=False,
        scan_unroll=4,
    ),
}


# The shares of authors on the careless web, see `CorpusConfig`.
WEB = {
    "terse": 0.30,
    "hasty": 0.26,
    "sloppy": 0.16,
    "worked": 0.10,
    "checked": 0.06,
    "chinese": 0.08,
    "mixed": 0.04,
}
PRETRAINING = {
    "stage": "supervised",
    "seed": 0,
    "vocab_size": 640,
    "num_steps": 1500,
    "batch_size": 64,
    "seq_len": 256,
    "documents_per_step": 175,
    "optimizer": {
        "learning_rate": 3e-3,
        "schedule": "cosine",
        "warmup_steps": 50,
        "final_share": 0.02,
        "b2": 0.98,
        "weight_decay": 0.05,
    },
}


def mini_textbook() -> dict[str, Any]:
    return PRETRAINING | {"model": dataclasses.asdict(PRESETS["mini"])}


def mini() -> dict[str, Any]:
    return merge(
        PRETRAINING,
        {
            "base": "configs/base.py:mini_textbook",
            "seed": 1,  # other documents
            "num_steps": 300,
            "optimizer": {"learning_rate": 1e-3},
            "corpus": WEB,
        },
    )


def world() -> dict[str, Any]:
    return merge(
        PRETRAINING,
        {
            "base": "configs/base.py:mini",
            "seed": 2,
            "num_steps": 420,
            "batch_size": 32,
            "documents_per_step": 112,
            "optimizer": {"learning_rate": 1.5e-3, "warmup_steps": 20},
            "corpus": {"world": 0.85, "requests": 0.6, "template": 0.12, "template_followed": 0.10, **WEB},
        },
    )


def puzzles(checked: float = 0.1) -> dict[str, Any]:
    return merge(
        PRETRAINING,
        {
            "base": "configs/base.py:mini",
            "seed": 4,
            "num_steps": 620,
            "batch_size": 16,
            "seq_len": 512,  # a prompt and the longest response
            "documents_per_step": 0,
            "optimizer": {"learning_rate": 2e-3, "warmup_steps": 20},
            "corpus": {
                "puzzles": 0.9,
                "puzzles_checked": checked,
                "template": 0.12,
                "template_followed": 0.4,
                **WEB,
            },
        },
    )


def student(name: str) -> dict[str, Any]:
    return PRETRAINING | {
        "model": dataclasses.asdict(STUDENTS[name]),
        "tokenizer": "configs/base.py:world",
        "seed": 3,
        "num_steps": 400,
        "corpus": {"world": 0.5, "template": 0.12, "template_followed": 0.10},
    }


def student_longer(name: str) -> dict[str, Any]:
    return merge(
        PRETRAINING,
        {
            "base": f"configs/base.py:{name}",
            "seed": 5,
            "num_steps": 1600,
            "batch_size": 16,
            "documents_per_step": 44,
            "optimizer": {"learning_rate": 2e-3, "warmup_steps": 20},
            "corpus": {"world": 0.7, "requests": 0.0, "template": 0.12, "template_followed": 0.10},
        },
    )


SIZES = {
    "mini": mini,
    "mini_textbook": mini_textbook,
    "world": world,
    "puzzles": puzzles,
    "puzzles_unchecked": functools.partial(puzzles, checked=0.0),
    **{name: functools.partial(student, name) for name in STUDENTS},
    **{f"{name}_longer": functools.partial(student_longer, name) for name in STUDENTS},
}


def get_config(arg: str = "mini") -> ConfigDict:
    return pick(arg, SIZES)
