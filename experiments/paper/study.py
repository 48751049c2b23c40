"""Training runs over seeds, tables with spread and pages of results, for experiments on the paper's findings.

An experiment is a script and a page of one name. The script's runs lie in a folder of their own; those that are already
there are resumed, or left as they are. The page keeps its first sections, which people write; the script replaces what
follows the heading "Measured", and the picture NAME.png.
"""

import argparse
import dataclasses
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from matplotlib.figure import Figure

from r1jax.configs.shared import WORLD_PROMPTS
from r1jax.io import jsonl
from r1jax.io.files import read_json, write_json, write_text
from r1jax.tools import write_miniworld

HERE = pathlib.Path(__file__).parent
MEASURED = "## Measured\n\n"
MARKER = WORLD_PROMPTS["marker"]  # around thoughts after the cold start
R1JAX_TRAIN = (sys.executable, "-m", "r1jax", "train")


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line of an experiment.

    Attributes:
        runs: the folder of its runs.
        seeds: of its runs, in order. Seed 0 is the one on which choices were made; it is in no table.
        page_only: whether to start no run, and write the page of those that are finished.
    """

    runs: pathlib.Path
    seeds: tuple[int, ...]
    page_only: bool = False


def options(name: str, description: str | None, minutes: float) -> Options:
    """Reads the command line, and says how long the experiment will take; with --minutes it says nothing else.

    Args:
        name: of script and page, and of the default folder, runs/paper/NAME.
        description: the script's docstring.
        minutes: of a seed on 2 CPU cores.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/paper") / name)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--page", action="store_true", help="write the page of the runs that are finished, and start none"
    )
    parser.add_argument("--minutes", action="store_true", help="print how many minutes these seeds take, and stop")
    args = parser.parse_args()
    if args.minutes:
        print(round(minutes * len(args.seeds)))
        sys.exit()
    seeds = tuple(args.seeds)
    print(
        f"{name}: seeds {', '.join(map(str, seeds))}, about {minutes * len(seeds):.0f} minutes on 2 cores", flush=True
    )
    return Options(args.runs, seeds, args.page)


def train(
    config: str,
    workdir: pathlib.Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    program: Sequence[str] = R1JAX_TRAIN,
    **fields: object,
) -> pathlib.Path:
    """Runs `r1jax train` in a process of its own, goes on with the run that is in the folder, or leaves a finished one.

    Args:
        config: the config file, `zero:mini`.
        environment: variables of the process, beside this one's.
        program: another one with the command line of `r1jax train`.
        fields: values of the config's fields, `**{"grpo.beta": 0.0}`.

    Returns:
        workdir.

    Raises:
        subprocess.CalledProcessError: it failed; its own message has been printed.
    """
    if is_finished(workdir):
        return workdir
    settings = [f"--config.{field}={value}" for field, value in fields.items()]
    command = [*program, f"--config={config}", f"--workdir={workdir}", *settings]
    subprocess.run(command, check=True, env=os.environ | environment)
    return workdir


def is_finished(workdir: pathlib.Path) -> bool:
    """Whether a run has written its model folder whole, which is the last that it does but for its report."""
    return (workdir / "model" / "model.json").exists()


def finished_results(options: Options, of_one: Callable[[pathlib.Path, int], dict[str, Any]]) -> list[dict[str, Any]]:
    """What is measured of each seed, kept in its folder once it is whole; with --page of the seeds that are whole.

    Args:
        of_one: measures a seed, given `options.runs` and the seed; what it returns is kept as JSON.
    """
    results = []
    for seed in options.seeds:
        path = options.runs / f"seed{seed}" / "measured.json"
        if not path.exists() and not options.page_only:
            write_json(path, of_one(options.runs, seed))
        if path.exists():
            results.append(read_json(path))
    if not results:
        raise SystemExit(f"{options.runs} holds no seed that is finished")
    return results


def finished_seeds(
    options: Options, run_seed: Callable[[int], object], is_whole: Callable[[int], bool]
) -> tuple[int, ...]:
    """Runs the seeds that are not whole, but for --page, and returns those that are."""
    for seed in options.seeds:
        if not options.page_only and not is_whole(seed):
            run_seed(seed)
    seeds = tuple(seed for seed in options.seeds if is_whole(seed))
    if not seeds:
        raise SystemExit(f"{options.runs} holds no seed that is finished")
    return seeds


def write_world(folder: pathlib.Path, seed: int) -> pathlib.Path:
    """The files of the mini world, with the cold start's marker; written unless the last of them is there."""
    if not (folder / "harmlessness.jsonl").exists():
        write_miniworld.write(folder, seed, MARKER)
    return folder


def rows(path: pathlib.Path) -> list[dict]:
    """The lines of a log; of the line that a running process has half written, nothing."""
    return jsonl.read_log(path)[0]


def spread(values: Sequence[float | None], digits: int = 1) -> str:
    """Mean and sample standard deviation over seeds; of one value, the value; a dash where a seed has none."""
    if None in values:
        return "–"
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def write_page(name: str, measured: str, figure: Figure | None = None) -> None:
    """Replaces what the page NAME.md has measured, and NAME.png.

    Args:
        measured: in Markdown; without the heading and the picture.
    """
    page = HERE / f"{name}.md"
    head = page.read_text("utf-8").partition(MEASURED)[0] if page.exists() else f"# {name}\n\n"
    picture = ""
    if figure:
        figure.savefig(HERE / f"{name}.png", dpi=110)
        picture = f"\n\n![{name}]({name}.png)"
    write_text(page, f"{head}{MEASURED}{measured.strip()}{picture}\n")
    print(page.read_text("utf-8"))
