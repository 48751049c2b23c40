"""Run of one stage of the recipe, by its config file.

    r1jax train --config=zero:mini --workdir=runs/zero-mini
    r1jax train --config=zero:mini --workdir=runs/other --config.grpo.beta=0.01 --config.seed=1
    r1jax train --config=zero:mini --help          every field of that config, with its type, value and default

A config is one that ships, named `file:size`, or your own file, `path/file.py:size`. Its `stage` decides what runs: RL,
supervised training, a reward model, sampling of data, an evaluation. A workdir that holds a run of the same config
goes on where it stopped; with other settings only where they do not change what is computed (`r1jax.io.run_record`).

Errors are one line; with R1JAX_DEBUG=1 in the environment they keep their traceback.
"""

import argparse
import contextlib
import os
import re
from collections.abc import Sequence

from r1jax import config as configs
from r1jax import config_files
from r1jax.config import ConfigError
from r1jax.config_options import add_options, options
from r1jax.core import processes
from r1jax.io import buckets
from r1jax.overrides import overrides_from
from r1jax.stages.table import STAGES, read_config


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax train`, without the fields of a config."""
    parser = argparse.ArgumentParser(
        prog="r1jax train",
        usage="r1jax train --config=FILE:SIZE --workdir=FOLDER [--config.FIELD=VALUE ...] [-h] [options]",
        description=__doc__,
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-h", "--help", action="store_true", help="this help; after --config=... the config's fields")
    parser.add_argument("--config", metavar="FILE:SIZE", help="a config that ships, or path/file.py:size")
    parser.add_argument("--workdir", metavar="FOLDER", help="where the run is written, and resumed from; or gs://...")
    parser.add_argument("--coordinator", help="of several processes: host:port of process 0; found by itself on TPU")
    parser.add_argument("--num-processes", type=int, help="how many processes to wait for; found by itself on TPU")
    parser.add_argument("--process-id", type=int, help="which of them this is; found by itself on TPU")
    return parser


def help_text(spec: str, overrides: Sequence[str]) -> str:
    """The text of `--help`.

    Args:
        spec: the config whose fields it lists; "": none, and it lists the configs that ship.
        overrides: of that config; its `stage` decides which fields there are.

    Raises:
        ConfigError: there is no such config.
    """
    if spec:
        made = parser()
        _add_fields(made, spec, overrides)
        return made.format_help()
    sizes = {name: config_files.sizes(config_files.FOLDER / f"{name}.py") for name in config_files.shipped_names()}
    lines = "\n".join(f"  {name:13} {', '.join(sizes[name])}" for name in sizes)
    return f"{parser().format_help()}\nconfigs that ship, and their sizes:\n{lines}\n"


def _add_fields(made: argparse.ArgumentParser, spec: str, overrides: Sequence[str] = ()) -> None:
    tree = config_files.load(spec)
    stages = [each.removeprefix("stage=") for each in overrides if each.startswith("stage=")]
    stage = stages[-1] if stages else tree.get("stage")
    if stage not in STAGES:
        raise ConfigError(f"config.stage is {stage!r}, should be one of: {', '.join(STAGES)}")
    add_options(made, f"fields of {spec}", options(STAGES[stage].config, tree))


def completion_parser(line: str) -> argparse.ArgumentParser:
    """The command line for completion: with the names of configs, and the fields of the one that a line names."""
    made = parser()
    for action in made._actions:
        if action.dest == "config":
            action.completer = complete_config
    if spec := re.search(r"--config[= ](\S+) ", line):
        with contextlib.suppress(ConfigError, OSError):  # then there are no fields to complete
            _add_fields(made, spec[1])
    return made


def complete_config(prefix: str, **_) -> list[str]:
    """The configs that ship, with their sizes, that begin with a prefix; without one that is a path."""
    names = config_files.shipped_names()
    if (name := prefix.partition(":")[0]) in names and ":" in prefix:
        names = [f"{name}:{size}" for size in config_files.sizes(config_files.FOLDER / f"{name}.py")]
    else:
        names = [f"{name}:" for name in names]
    return [name for name in names if name.startswith(prefix)]


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Runs the config's stage in its workdir.

    Raises:
        FileNotFoundError, ValueError: see the stage; also a command line or a config that is wrong.
    """
    for name in ("config", "workdir"):
        if getattr(args, name) is None:
            raise ConfigError(f"--{name} is missing; `r1jax train --help` says what it is")
    if not args.workdir.strip():
        raise ConfigError("--workdir is empty; give the folder of the run")
    if ":/" in args.workdir and not buckets.is_address(args.workdir):
        raise ConfigError(
            f"--workdir={args.workdir} is an address and of no bucket; give a folder, on several hosts one that all "
            "share, or gs://BUCKET/FOLDER"
        )
    buckets.workdir_of(args.workdir, 0)
    joining = (args.coordinator, args.num_processes, args.process_id)
    if any(value is not None for value in joining) or os.environ.get("R1JAX_DISTRIBUTED"):
        # First, so that what one process finds wrong ends the others too.
        processes.join(*joining)
    cfg = read_config(args.config, overrides)
    from r1jax import running  # loads JAX, which an error in the config need not wait for

    running.run(cfg, buckets.workdir_of(args.workdir, processes.index()))


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args, rest = parser().parse_known_args(argv)

    def stoppable() -> None:
        try:
            overrides = overrides_from(rest)
            if args.help:
                print(help_text(args.config or "", overrides))
            else:
                run(args, overrides)
        except KeyboardInterrupt as stop:
            raise type(stop)(str(stop) or "stopped; the same command goes on from what is saved") from stop

    def together() -> None:
        try:
            stoppable()
        except BaseException as error:
            processes.report_error(error)
            raise

    return configs.exit_status(together)
