"""Results of each stage as one process of eight devices beside two processes of four and four of two.

    ./launch_local.sh python experiments/hosts.py [FOLDER]        writes hosts.md beside this file

FOLDER, by default runs/hosts, gets the runs; those that are there are left. Half an hour on 2 cores. The devices are
simulated ones of this machine's CPU, and the processes talk over gloo, as those of several hosts do.
"""

import os
import pathlib
import random
import subprocess
import sys

import numpy as np
from small_stages import STAGES, difference, numbers, samples, train_arguments, weights, write_world

from r1jax.io.files import write_text
from r1jax.io.tables import markdown_table

HERE = pathlib.Path(__file__).parent
DEVICES, COUNTS = 8, (1, 2, 4)
PORTS = 20_000, 30_000  # below those that connections take
MESH = {"data": 4, "fsdp": 1, "tensor": 2}


def run(stage: str, count: int, folder: pathlib.Path) -> pathlib.Path:
    """Runs a stage in so many processes, unless it is there; returns its workdir."""
    workdir = folder / stage.replace(" ", "_") / str(count)
    done = workdir / "done"
    if done.exists():
        return workdir
    mesh = {f"mesh.{axis}": size for axis, size in MESH.items()}
    command = [sys.executable, "-m", "r1jax", *train_arguments(stage, folder, workdir, mesh)]
    flags = f"--xla_force_host_platform_device_count={DEVICES // count}"
    address = [f"--coordinator=localhost:{random.randint(*PORTS)}", f"--num-processes={count}"] if count > 1 else []
    processes = [
        subprocess.Popen(
            [*command, *address, *([f"--process-id={index}"] if count > 1 else [])],
            env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        )
        for index in range(count)
    ]
    if statuses := [status for process in processes if (status := process.wait())]:
        raise SystemExit(f"{stage} in {count} processes ended with status {statuses[0]}")
    write_text(done, "")
    return workdir


def compare(stage: str, count: int, folder: pathlib.Path) -> list[str]:
    """A row of the table: a run beside that of one process."""
    one, many = (run(stage, processes, folder) for processes in (1, count))
    a, b = samples(one), samples(many)
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    lines = [(x, y) for name in a for x, y in zip(a[name], b[name], strict=True)]
    same = sum(x == y for x, y in lines)
    others = max((difference(x, y) for x, y in lines if x != y), default=0.0)
    logs = numbers(one), numbers(many)
    assert len(logs[0]) == len(logs[1])
    moved = [float(np.abs(x - y).max()) for x, y in zip(weights(one), weights(many), strict=True)]
    return [
        stage,
        str(count),
        f"{same} of {len(lines)}" if lines else "–",
        f"{others:.0e}" if others else "–",
        str(len(logs[0])) if logs[0] else "–",
        f"{max(map(difference, *logs)):.0e}" if logs[0] else "–",
        f"{max(moved):.0e}" if moved else "–",
    ]


def main() -> None:
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "runs/hosts")
    write_world(folder)
    table = [compare(stage, count, folder) for stage in STAGES for count in COUNTS[1:]]
    header = (
        "stage",
        "processes",
        "lines of samples equal",
        "others differ by",
        "rows of metrics",
        "which differ by",
        "a weight by",
    )
    mesh = ", ".join(f"{axis} {size}" for axis, size in MESH.items() if size > 1)
    page = f"""# One process, two and four

Each stage as one process of {DEVICES} simulated devices, as two processes of {DEVICES // 2} and as four of
{DEVICES // 4}, on the same mesh ({mesh}); made by `./launch_local.sh python experiments/hosts.py`.

Compared with one process: samples with their texts and grades, and a reward model's scores, line by line; every number
of metrics.jsonl and evals.jsonl that does not depend on the clock. The largest difference of a number counts,
relatively (for numbers below 0.001: in thousandths); of a weight absolutely.

{chr(10).join(markdown_table(header, table))}
"""
    write_text(HERE / "hosts.md", page)
    print(page)


if __name__ == "__main__":
    main()
