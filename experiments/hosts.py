"""Each stage as one process of eight devices, as two of four and as four of two: are the results the same?

    ./launch_local.sh python experiments/hosts.py [FOLDER]        writes hosts.md beside this file

FOLDER, by default runs/hosts, gets the runs; those that are there are left. Half an hour on 2 cores. The devices are
simulated ones of this machine's CPU, and the processes talk over gloo, as those of several hosts do.
"""

import os
import pathlib
import random
import subprocess
import sys

import jax
import numpy as np

from r1jax.core.config import MeshConfig
from r1jax.core.sharding import make_mesh
from r1jax.inference import reward_scoring
from r1jax.io import jsonl
from r1jax.io.files import write_text
from r1jax.io.tables import markdown_table
from r1jax.models.io import load_model
from r1jax.tools import write_miniworld

HERE = pathlib.Path(__file__).parent
DEVICES, COUNTS = 8, (1, 2, 4)
PORTS = 20_000, 30_000  # below those that connections take
MESH = {"data": 4, "fsdp": 1, "tensor": 2}
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
    "evaluation": (
        "evaluate:mini",
        {**{f"sampling.{name}": value for name, value in SAMPLING.items()}, "questions": 16, "samples": 2},
    ),
}
LOGS = ("metrics.jsonl", "evals.jsonl")  # of numbers
SAMPLES = ("rollouts/*.jsonl", "evals/*.jsonl", "samples.jsonl", "**/samples.jsonl", "**/grades.jsonl", "dropped.jsonl")


def run(stage: str, count: int, folder: pathlib.Path) -> pathlib.Path:
    """Runs a stage in so many processes, unless it is there; returns its workdir."""
    config, fields = STAGES[stage]
    workdir = folder / stage.replace(" ", "_") / str(count)
    done = workdir / "done"
    if done.exists():
        return workdir
    fields = {name: str(value).format(world=folder / "world") for name, value in fields.items()}
    fields |= {f"mesh.{axis}": size for axis, size in MESH.items()}
    command = [sys.executable, "-m", "r1jax", "train", f"--config={config}", f"--workdir={workdir}"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES // count}",
    }
    address = [f"--coordinator=localhost:{random.randint(*PORTS)}", f"--num-processes={count}"] if count > 1 else []
    processes = [
        subprocess.Popen([*command, *address, *([f"--process-id={index}"] if count > 1 else [])], env=environment)
        for index in range(count)
    ]
    if statuses := [status for process in processes if (status := process.wait())]:
        raise SystemExit(f"{stage} in {count} processes ended with status {statuses[0]}")
    write_text(done, "")
    return workdir


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


def compare(stage: str, count: int, folder: pathlib.Path) -> list[str]:
    """A row of the table: a run beside that of one process."""
    one, many = (run(stage, processes, folder) for processes in (1, count))
    a, b = samples(one), samples(many)
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    lines = [(x, y) for name in a for x, y in zip(a[name], b[name], strict=True)]
    same = sum(x == y for x, y in lines)
    logs = numbers(one), numbers(many)
    assert len(logs[0]) == len(logs[1])
    moved = [float(np.abs(x - y).max()) for x, y in zip(weights(one), weights(many), strict=True)]
    return [
        stage,
        str(count),
        f"{same} of {len(lines)}" if lines else "–",
        str(len(logs[0])) if logs[0] else "–",
        f"{max(map(difference, *logs)):.0e}" if logs[0] else "–",
        f"{max(moved):.0e}" if moved else "–",
    ]


def main() -> None:
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "runs/hosts")
    if not (folder / "world").exists():
        write_miniworld.write(folder / "world", 0, "")
    table = [compare(stage, count, folder) for stage in STAGES for count in COUNTS[1:]]
    header = ("stage", "processes", "lines of samples equal", "rows of metrics", "largest difference", "of a weight")
    mesh = ", ".join(f"{axis} {size}" for axis, size in MESH.items() if size > 1)
    page = f"""# One process, two and four

Each stage as one process of {DEVICES} simulated devices, as two processes of {DEVICES // 2} and as four of
{DEVICES // 4}, on the same mesh ({mesh}); made by `./launch_local.sh python experiments/hosts.py`. Compared with one
process: samples with their texts and grades, line by line; every number of metrics.jsonl and evals.jsonl that does not
depend on the clock, relatively (for numbers below 0.001: in thousandths); the weights of the model, absolutely.

{chr(10).join(markdown_table(header, table))}
"""
    write_text(HERE / "hosts.md", page)
    print(page)


if __name__ == "__main__":
    main()
