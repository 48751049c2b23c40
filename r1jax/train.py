"""Runs a stage.

    python -m r1jax.train --config=configs/zero.py:mini --workdir=runs/zero-mini [--config.grpo.beta=0.01 ...]

The config's `stage` picks the loop. A workdir that holds a run resumes it, by other means if need be
(`core.run_record`); one whose run means something else is refused.
Errors are one line; with R1JAX_DEBUG=1 in the environment they keep their trace.
"""

import argparse
import os
import pathlib

from r1jax import config as configs
from r1jax.config import ConfigError
from r1jax.core import processes
from r1jax.overrides import overrides_from
from r1jax.read_config import read_config


def run(args: argparse.Namespace, overrides: list[str]) -> None:
    if not args.workdir.strip():
        raise ConfigError("--workdir is empty; give the folder that the run is to live in")
    if "://" in args.workdir or ":/" in args.workdir:
        raise ConfigError(f"--workdir={args.workdir} is an address; give a folder, on several hosts one that all share")
    given = (args.coordinator, args.num_processes, args.process_id)
    if any(value is not None for value in given) or os.environ.get("R1JAX_DISTRIBUTED"):
        # First, so that what one process finds wrong ends the others too.
        processes.join(*given)
    cfg = read_config(args.config, overrides)
    from r1jax import running  # and with it JAX and all else: an error in the config has not waited for them

    running.run(cfg, pathlib.Path(args.workdir))


def main(argv: list[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    parser = argparse.ArgumentParser(prog="r1jax.train", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--config", required=True, help="path/file.py:arg; --config.section.field=value sets a field")
    parser.add_argument("--workdir", required=True, help="where the run lives, and is resumed from")
    parser.add_argument("--coordinator", help="host:port of process 0; found by itself on TPU")
    parser.add_argument("--num-processes", type=int, help="joins that many processes; found by itself on TPU")
    parser.add_argument("--process-id", type=int, help="which of them this is; found by itself on TPU")
    args, rest = parser.parse_known_args(argv)

    def stoppable() -> None:
        try:
            run(args, overrides_from(rest))
        except KeyboardInterrupt as stop:
            raise type(stop)(str(stop) or "stopped; the same command goes on from what is saved") from stop

    def together() -> None:
        try:
            stoppable()
        except BaseException as error:
            processes.announce(error)
            raise

    return configs.exit_status(together)


if __name__ == "__main__":
    processes.run_to_exit(main)
