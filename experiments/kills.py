"""Kills of runs by SIGKILL at random moments, and what the runs are when they were started again.

    ./launch_local.sh python experiments/kills.py [FOLDER] [KILLED RUNS A STAGE]       writes kills.md beside this file

FOLDER, by default runs/kills, gets the runs. Of each stage one run is left alone, and by default six are killed: each
once at a random moment, some while a state is being saved, some a second time soon after they were started again. The
moments are drawn from the run's number. Then each is started until it ends, and compared with the one left alone: all
numbers of its logs, its samples, its weights, bit for bit, and no line twice. Half an hour on 2 cores.
"""

import dataclasses
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
from small_stages import STAGES, numbers, samples, train_arguments, weights, write_world

from r1jax.io import jsonl
from r1jax.io.files import read_json, write_json, write_text
from r1jax.io.tables import markdown_table

HERE = pathlib.Path(__file__).parent
RUNS = 6
OFTEN = {"checkpoint.every": 1}  # of the stages that train
DURING_A_SAVE, TWICE = 0.3, 0.4  # of the runs


@dataclasses.dataclass
class Kills:
    """What came of a stage's killed runs.

    Attributes:
        kills: in all of them.
        in_saves: of these, while a state was being written.
        resumed: runs that ended after they were started again.
        equal: of these, equal to the run that was left alone.
    """

    kills: int = 0
    in_saves: int = 0
    resumed: int = 0
    equal: int = 0


def start(stage: str, folder: pathlib.Path, workdir: pathlib.Path) -> subprocess.Popen:
    """Starts a stage in a process that leads a group of its own; what it prints goes to a log beside the workdir."""
    more = OFTEN if "num_steps" in STAGES[stage][1] else {}
    workdir.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{workdir}.log", "a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "r1jax", *train_arguments(stage, folder, workdir, more)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def finish(stage: str, folder: pathlib.Path, workdir: pathlib.Path) -> bool:
    """Runs a stage to its end; whether it ended well."""
    return start(stage, folder, workdir).wait() == 0


def is_saving(workdir: pathlib.Path) -> bool:
    """Whether a state is being written: Orbax writes into a folder of another name, and renames it."""
    folder = workdir / "checkpoints"
    return folder.is_dir() and any("." in name for name in os.listdir(folder))


def kill_once(process: subprocess.Popen, workdir: pathlib.Path, after_s: float, in_save: bool) -> tuple[int, bool]:
    """Kills a run and its graders so many seconds after its start, or at the first save after that.

    Returns:
        how many kills that were, none where it ended before; and whether a state was being written.
    """
    began = time.monotonic()
    while process.poll() is None:
        if time.monotonic() - began >= after_s and (not in_save or is_saving(workdir)):
            saving = is_saving(workdir)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return 1, saving
        time.sleep(0.001)
    return 0, False


def equals(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether two runs have the same numbers, samples and weights, and no row twice."""
    steps = [row["step"] for row in jsonl.read_log(other / "metrics.jsonl")[0]] if numbers(one) else []
    same_weights = all(np.array_equal(*pair) for pair in zip(weights(one), weights(other), strict=True))
    keys = [[(row.get("id"), row.get("sample")) for row in rows] for rows in samples(other).values()]
    once = len(steps) == len(set(steps)) and all(len(each) == len(set(each)) for each in keys)
    return numbers(one) == numbers(other) and samples(one) == samples(other) and same_weights and once


def kill_runs(stage: str, folder: pathlib.Path, runs: int = RUNS) -> Kills:
    """Runs a stage alone, then `runs` times with one kill or more each."""
    alone = folder / stage.replace(" ", "_") / "alone"
    for workdir in (alone.with_name("first"), alone):  # the first compiles, which takes most of its time
        began = time.monotonic()
        if not finish(stage, folder, workdir):
            raise SystemExit(f"{stage} failed without a kill: {workdir}.log")
    seconds = time.monotonic() - began
    result = Kills()
    for number in range(runs):
        rng, workdir = random.Random(number), alone.with_name(str(number))
        in_save = rng.random() < DURING_A_SAVE and "num_steps" in STAGES[stage][1]
        moment, again = rng.uniform(0.1, 0.95), rng.uniform(0.1, 0.5) if rng.random() < TWICE else None
        kills = 0
        while not kills:  # a run that ended before its moment is done anew, with half of it
            shutil.rmtree(workdir, ignore_errors=True)
            kills, saving = kill_once(start(stage, folder, workdir), workdir, moment * seconds, in_save)
            moment /= 2
        result.kills, result.in_saves = result.kills + kills, result.in_saves + saving
        if again is not None:
            kills, saving = kill_once(start(stage, folder, workdir), workdir, again * seconds, in_save)
            result.kills, result.in_saves = result.kills + kills, result.in_saves + saving
        if finish(stage, folder, workdir):
            result.resumed += 1
            result.equal += equals(alone, workdir)
        print(f"{stage}, run {number}: {result}", flush=True)
    return result


def result_of(stage: str, folder: pathlib.Path, runs: int) -> Kills:
    """`kill_runs`, whose result is kept beside the runs, so that a second start goes on with the next stage."""
    path = folder / stage.replace(" ", "_") / f"result_of_{runs}.json"
    if not path.exists():
        write_json(path, dataclasses.asdict(kill_runs(stage, folder, runs)))
    return Kills(**read_json(path))


def main() -> None:
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "runs/kills")
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else RUNS
    write_world(folder)
    results = {stage: result_of(stage, folder, runs) for stage in STAGES}
    total = Kills(*(sum(values) for values in zip(*map(dataclasses.astuple, results.values()), strict=True)))
    table = [
        (name, str(each.kills), str(each.in_saves), str(each.resumed), str(each.equal), str(runs - each.equal))
        for name, each in results.items()
    ]
    lost = runs * len(STAGES) - total.equal
    table.append(("all", str(total.kills), str(total.in_saves), str(total.resumed), str(total.equal), str(lost)))
    header = ("stage", "kills", "while saving", "runs resumed to their end", "equal", "lost")
    page = f"""# Killed at random moments

Runs of each stage in small, killed by SIGKILL and started again, beside one that was left alone; made by
`./launch_local.sh python experiments/kills.py`. Equal: every number of the logs but those of the clock, every sample,
every weight, bit for bit, and no line twice or missing.

{chr(10).join(markdown_table(header, table))}
"""
    write_text(HERE / "kills.md", page)
    print(page)


if __name__ == "__main__":
    main()
