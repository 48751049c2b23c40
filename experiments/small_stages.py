"""Stages in small, a minute or less each on 2 cores, and what their runs leave behind, to compare runs with.

Experiments on what must not change a result use them: the number of processes (hosts.py), kills (kills.py).
"""

import pathlib
from collections.abc import Mapping

import jax
import numpy as np

from r1jax.core.config import MeshConfig
from r1jax.core.sharding import make_mesh
from r1jax.inference import reward_scoring
from r1jax.io import jsonl
from r1jax.models.io import SHIPPED, load_model
from r1jax.tools import write_miniworld

SAMPLING = {"max_new_tokens": 24, "slots": 16, "prefill_rows": 8}
# Stage -> its config file, and values of its fields.
STAGES = {
    "R1-Zero": (
        "zero:mini",
        {
            **{f"sampling.{name}": value for name, value in SAMPLING.items()},
            "num_steps": 3,
            "grpo.prompts_per_step": 8,
            "grpo.minibatches": 2,
            "grpo.dynamic_sampling_rounds": 1,
            "rewards.random": 1.0,
            "microbatches": 2,
            "evaluation.questions": 16,
            "evaluation.samples": 2,
            "evaluation.samples_during": 1,
        },
    ),
    "SFT": (
        "sft:mini",
        {"num_steps": 4, "data.path": "{world}/sft_general.jsonl", "log_every": 1, "base": "base:world"},
    ),
    "reward model": (
        "preference:mini_helpfulness",
        {"num_steps": 4, "data.path": "{world}/helpfulness.jsonl", "evaluation.every": 2, "evaluation.examples": 64},
    ),
    "rejection sampling": (
        "rejection:mini",
        {
            **{f"sampling.{name}": value for name, value in SAMPLING.items()},
            "num_prompts": 16,
            "samples": 2,
            "model": "base:world",
            "data.path": "{world}/reasoning.jsonl",
        },
    ),
    "cold start": (
        "coldstart:mini",
        {
            **{f"sampling.{name}": value for name, value in SAMPLING.items()},
            "count": 16,
            "few_shot.samples": 2,
            "direct.samples": 2,
            "zero.record": "",
            "zero.model": SHIPPED / "mini-r1-zero",
            "zero.from_step": 0,
            "questions.path": "{world}/reasoning.jsonl",
        },
    ),
    "evaluation": (
        "evaluate:mini",
        {**{f"sampling.{name}": value for name, value in SAMPLING.items()}, "task_questions": 16, "samples": 2},
    ),
}
LOGS = ("metrics.jsonl", "evals.jsonl")  # of numbers
SAMPLES = ("rollouts/*.jsonl", "evals/*.jsonl", "samples.jsonl", "**/samples.jsonl", "**/grades.jsonl", "dropped.jsonl")


def write_world(folder: pathlib.Path) -> None:
    """Writes the questions and pairs that the stages read, `folder/world`, unless they are there."""
    if not (folder / "world").exists():
        write_miniworld.write(folder / "world", 0, "")


def train_arguments(
    stage: str, folder: pathlib.Path, workdir: pathlib.Path, more: Mapping[str, object] = {}
) -> list[str]:
    """The words after `r1jax` that run a stage.

    Args:
        stage: of `STAGES`.
        folder: that has the world.
        more: values of further fields.
    """
    config, fields = STAGES[stage]
    fields = {name: str(value).format(world=folder / "world") for name, value in fields.items()} | more
    settings = [f"--config.{name}={value}" for name, value in fields.items()]
    return ["train", f"--config={config}", f"--workdir={workdir}", *settings]


def numbers(workdir: pathlib.Path) -> list[dict[str, float]]:
    """The rows of its logs, without what depends on the clock."""
    logs = [path for name in LOGS if (path := workdir / name).exists()]
    return [
        {name: value for name, value in row.items() if not name.startswith("time/") and name != "tokens_per_s"}
        for log in logs
        for row in jsonl.read_log(log)[0]
    ]


def difference(one: object, other: object) -> float:
    """The largest relative difference of the numbers in two rows; of small ones the absolute one, in thousandths."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), one.keys() ^ other.keys()
        return max((difference(one[name], other[name]) for name in one), default=0.0)
    if isinstance(one, list):
        assert len(one) == len(other)
        return max((difference(*pair) for pair in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, (int, float)):
        return abs(one - other) / max(abs(one), 1e-3)
    assert one == other, (one, other)
    return 0.0


def samples(workdir: pathlib.Path) -> dict[str, list[dict]]:
    """The lines of its files of samples, by file, in the order of questions."""
    paths = sorted({path for pattern in SAMPLES for path in workdir.glob(pattern)})

    def key(row: dict) -> tuple[str, int]:
        return str(row.get("id")), row.get("sample", 0)

    return {str(path.relative_to(workdir)): sorted(jsonl.read_log(path)[0], key=key) for path in paths}


def weights(workdir: pathlib.Path) -> list[np.ndarray]:
    """Its model's; none of a stage that trains none."""
    if not (workdir / "model").exists():
        return []
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    has_head = (workdir / "model" / reward_scoring.READING).exists()
    params = (reward_scoring.load if has_head else load_model)(workdir / "model", mesh)[0]
    return jax.tree.leaves(jax.device_get(params))
