"""Kills of experiments/r1.sh by SIGKILL at random moments, and what the recipe is when it was started again.

    ./launch_local.sh python experiments/recipe_kills.py [FOLDER] [KILLS]      writes recipe_kills.md beside this file

FOLDER, by default runs/recipe_kills, gets the runs. Every stage of the recipe is in small (`small_stages.STAGES`), and
rejection sampling draws from the mini-r1 that ships; all else is the script as it is. It runs once alone. Then it is
killed, by default 30 times, graders and all, each time within a stage that is drawn, at a moment that is drawn, and
started again. When it has come to its end every workdir is compared with that of the run left alone. Half an hour on 2
cores.
"""

import dataclasses
import json
import math
import os
import pathlib
import random
import re
import shlex
import signal
import subprocess
import sys
import time

from kills import equals
from small_stages import STAGES

from r1jax.io.files import write_text
from r1jax.io.tables import markdown_table
from r1jax.models.io import SHIPPED

HERE = pathlib.Path(__file__).parent
KILLS = 30
# Stages in small, by the beginnings of the config files that the recipe names.
SMALL = {
    "zero:": "R1-Zero",
    "reasoning:": "R1-Zero",
    "all_scenario:": "R1-Zero",
    "coldstart:": "cold start",
    "sft:": "SFT",
    "distill:": "SFT",
    "rejection:": "rejection sampling",
    "preference:": "reward model",
    "evaluate:": "evaluation",
}
# What only the recipe's config files need: steps in place of epochs, and a model whose responses are well formed and
# end, for after so few steps no sample would be kept.
ALSO = {
    "sft:": {"epochs": 0},
    "distill:": {"epochs": 0},
    "rejection:": {"model": SHIPPED / "mini-r1", "sampling.max_new_tokens": 112},
}
OFTEN = "--config.checkpoint.every=1"
RECIPE_FIELDS = (
    "base",
    "model",
    "zero.record",
    "zero.model",
    "data.path",
    "questions.path",
)  # which the script sets itself


@dataclasses.dataclass
class Recipe:
    """The script with every stage in small.

    Attributes:
        root: of its runs; the script makes seed0 in it.
        cache: of compiled programs, shared by all.
    """

    root: pathlib.Path
    cache: pathlib.Path

    @property
    def seed(self) -> pathlib.Path:
        return self.root / "seed0"

    def start(self) -> subprocess.Popen:
        """Starts it, as the leader of a process group; what it prints goes to a log beside `root`."""
        programs = self.cache.parent / "bin"
        env = os.environ | {
            "PATH": f"{programs.resolve()}:{os.environ['PATH']}",
            "VIRTUAL_ENV": sys.prefix,
            "JAX_COMPILATION_CACHE_DIR": str(self.cache.resolve()),
        }
        command = [HERE / "r1.sh", "mini", self.root.resolve()]
        self.root.mkdir(parents=True, exist_ok=True)
        with open(f"{self.root}.log", "a") as log:
            return subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)

    def finish(self) -> bool:
        """Runs it to its end; whether it ended well."""
        return self.start().wait() == 0

    def workdirs(self) -> list[str]:
        """Of its runs, in order, as its manifest names them."""
        runs = json.loads((self.seed / "manifest.json").read_text("utf-8"))["runs"]
        return [run["folder"] for run in runs if run["folder"]]


def write_command(path: pathlib.Path) -> None:
    """Writes an `r1jax` that adds a stage's small sizes to the settings that it is given."""
    cases = []
    for config, stage in SMALL.items():
        fields = {name: value for name, value in STAGES[stage][1].items() if name not in RECIPE_FIELDS} | ALSO.get(
            config, {}
        )
        words = [f"--config.{name}={value}" for name, value in fields.items()]
        words += [OFTEN] if "num_steps" in fields else []
        cases.append(f'*--config={config}*) set -- "$@" {shlex.join(words)} ;;')
    lines = ["#!/bin/sh", 'case "$*" in', *cases, "esac", f'exec {shlex.quote(sys.executable)} -m r1jax "$@"']
    write_text(path, "\n".join(lines) + "\n")
    path.chmod(0o755)


def kill_in(recipe: Recipe, stage: str, after_s: float) -> None:
    """Starts the recipe and kills it so many seconds after a stage has begun, or at the end of that stage."""
    log = pathlib.Path(f"{recipe.root}.log")
    before = log.stat().st_size if log.exists() else 0
    process, begun_at = recipe.start(), math.inf
    while process.poll() is None:
        if begun_at == math.inf and f"== {stage} (" in log.read_bytes()[before:].decode(errors="replace"):
            begun_at = time.monotonic()
        if time.monotonic() - begun_at >= after_s or (recipe.seed / "done" / stage).exists():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
        time.sleep(0.01)
    raise SystemExit(f"the recipe ended before its stage {stage}: {log}")


def kill_recipe(folder: pathlib.Path, kills: int = KILLS) -> dict[str, bool]:
    """Runs the recipe alone, then with so many kills; whether each workdir is then as that of the run left alone.

    Raises:
        SystemExit: the script failed.
    """
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    write_command(folder / "bin" / "r1jax")
    cache = folder / "xla_cache"
    alone = Recipe(folder / "alone", cache)
    if not alone.finish():
        raise SystemExit(f"the recipe failed without a kill: {alone.root}.log")
    log = pathlib.Path(f"{alone.root}.log").read_text("utf-8")
    stages = list(dict.fromkeys(re.findall(r"^== (\S+) \(", log, re.MULTILINE)))  # in their order
    rng, killed = random.Random(0), Recipe(folder / "killed", cache)
    for place in sorted(rng.choices(range(len(stages)), k=kills)):
        seconds = int((alone.seed / "done" / stages[place]).read_text("utf-8"))
        kill_in(killed, stages[place], rng.random() * seconds)
    if not killed.finish():
        raise SystemExit(f"the recipe failed after its kills: {killed.root}.log")
    return {name: equals(alone.seed / name, killed.seed / name) for name in alone.workdirs()}


def main() -> None:
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "runs/recipe_kills")
    kills = int(sys.argv[2]) if len(sys.argv) > 2 else KILLS
    table = [(name, *(("1", "0") if equal else ("0", "1"))) for name, equal in kill_recipe(folder, kills).items()]
    page = f"""# The recipe, killed at random moments

`experiments/r1.sh mini` with every stage in small (rejection sampling from the `mini-r1` that ships), killed {kills}
times by SIGKILL at random moments and started again, beside one run that was left alone; made by
`./launch_local.sh python experiments/recipe_kills.py`. Equal: every number of the logs but those of the clock, every
sample, every weight, bit for bit, and no line twice or missing.

{chr(10).join(markdown_table(("workdir", "equal", "lost"), table))}
"""
    write_text(HERE / "recipe_kills.md", page)
    print(page)


if __name__ == "__main__":
    main()
