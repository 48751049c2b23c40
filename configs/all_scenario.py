"""RL for all scenarios: reasoning by rules, open requests by reward models, temperature 0.7 (section 2.3.4).

    r1jax train --config=all_scenario:mini --workdir=runs/r1/seed0/r1

mini: the last RL stage of `experiments/r1.sh`, which makes its inputs: the fine-tuned model, both reward models, and
the mini world's problems and requests in one file. Time and results: experiments/r1_mini.md. Three in four groups have
no signal, because the fine-tuned model is confident. The learning rate is below R1-Zero's: Adam's steps do not shrink
with the gradient (experiments/config_runs.md has two rates).

mini_harder: the same stage of `experiments/r1.sh harder`, in the world of `r1jax write-miniworld --harder`. There more
groups have a signal, so the learning rate is R1-Zero's; half of the questions are open requests, and preferences count
in two thirds of the steps. Results: experiments/paper/ladder.md.

    r1jax train --config=all_scenario:paper --workdir=runs/r1 --config.base=runs/sft/model \\
        --config.data.path=mixed.jsonl

paper: the paper's hyper-parameters (learning rate 3e-6, 1,700 updates in 107 rollouts of 16, preference rewards in the
last 400 updates, 25 rollouts). Not run. Reward models: runs/helpfulness/model and runs/harmlessness/model, or
--config.rewards.models=...

`data.path` holds problems, graded by rules, and requests with `"grader": "open"`, which the reward models score:
helpfulness reads the summary, harmlessness the whole response (each model's folder says which). Both count from step
`from_step` on. Format and language are rewarded throughout; rows with `"thought": "optional"` may be answered without a
thought. To change the mixture, repeat lines.
"""

from typing import Any

from ml_collections import ConfigDict

from r1jax.configs.shared import CHAT_PROMPTS, R1, RL_PAPER, WORLD_RL, merge, pick

STEPS, PREFERENCES = 24, 8  # rollouts, and how many of them, at the end, preferences count in


def reward_models(folder: str, from_step: int, weight: float) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"name": name, "path": f"{folder}/{name}/model", "weight": weight, "prompts": "open", "from_step": from_step}
        for name in ("helpfulness", "harmlessness")
    )


def mini() -> dict[str, Any]:
    return merge(
        WORLD_RL,
        {
            "base": f"{R1}/sft/model",
            "num_steps": STEPS,
            "data": {"path": f"{R1}/world/mixed.jsonl"},
            "sampling": {"truncation": {"temperature": 0.7}},
            "rewards": {"models": reward_models(R1, STEPS - PREFERENCES, 0.5)},
            "optimizer": {"learning_rate": 3e-5},
        },
    )


def mini_harder() -> dict[str, Any]:
    return merge(
        mini(),
        {
            "num_steps": 36,
            "grpo": {"prompts_per_step": 16},
            "rewards": {"models": reward_models(R1, 12, 0.5)},
            "optimizer": {"learning_rate": 1e-4},
            "evaluation": {"questions": 160, "every": 12},
            "checkpoint": {"every": 12},
        },
    )


def paper() -> dict[str, Any]:
    return merge(
        mini(),
        RL_PAPER,
        {
            "num_steps": 107,
            "data": {"path": "mixed.jsonl", **CHAT_PROMPTS},
            "rewards": {"models": reward_models("runs", 107 - 25, 1.0)},
        },
    )


SIZES = {"mini": mini, "mini_harder": mini_harder, "paper": paper}


def get_config(arg: str = "mini") -> ConfigDict:
    return pick(arg, SIZES)
