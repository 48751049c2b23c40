"""Command line of r1jax: `r1jax COMMAND ...`, or `python -m r1jax COMMAND ...`.

A command is a module with `parser() -> ArgumentParser` and `main(argv) -> exit status`, and a line of `COMMANDS`. Only
the module of the command that runs is loaded, and none for `r1jax --help`.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from r1jax import __version__, cpu_devices
from r1jax.config import nearest
from r1jax.core import processes


class Command(NamedTuple):
    """A command: the module that runs it, and its line in `r1jax --help`."""

    module: str
    summary: str


COMMANDS = {
    "train": Command("r1jax.tools.train", "run a stage: RL, SFT, a reward model, sampling of data, an evaluation"),
    "plan": Command("r1jax.planning.command", "compile a stage for a TPU slice without one: does it fit"),
    "report": Command("r1jax.tools.report", "write tables and plots of a run, of evaluations or of the whole recipe"),
    "replay": Command(
        "r1jax.tools.replay", "compute an RL update again from saved rollouts, to debug a loss or reward"
    ),
    "watch": Command("r1jax.tools.watch", "show a run that is under way in the browser: curves and newest samples"),
    "grade": Command("r1jax.tools.grade", "grade the responses of a JSONL file"),
    "audit": Command("r1jax.tools.audit", "measure how far graders can be trusted on a dataset"),
    "decontaminate": Command("r1jax.tools.decontaminate", "drop rows that share text with evaluation questions"),
    "convert": Command("r1jax.tools.convert", "convert a model from or to a Hugging Face folder, or from GGUF"),
    "parity": Command("r1jax.tools.parity", "compare a model's numbers with those of transformers"),
    "serve": Command("r1jax.tools.serve", "serve models behind OpenAI's protocol, with a page to try them"),
    "chat": Command("r1jax.tools.chat", "chat with a model in the terminal"),
    "demo": Command("r1jax.tools.demo", "open a page on the shipped models: what RL did to the base"),
    "bench": Command("r1jax.tools.bench", "measure one GRPO step on fixed work, against what the machine can do"),
    "write-miniworld": Command("r1jax.tools.write_miniworld", "write the generated data that the mini recipe reads"),
    "sandbox": Command("r1jax.tools.sandbox", "check that this machine can run untrusted programs"),
    "completion": Command("r1jax.tools.completion", "print the shell code that completes commands, configs and fields"),
}


def parser() -> argparse.ArgumentParser:
    """The command line without the commands' own options."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="r1jax",
        usage="r1jax [-h] [--version] COMMAND ...",
        description="The DeepSeek-R1 recipe in JAX.",
        epilog=f"commands (`r1jax COMMAND --help` lists the options of each):\n{lines}\n\n"
        "JAX runs on the accelerator that it was installed for, else on the CPU; JAX_PLATFORMS=cpu in the environment\n"
        "chooses the CPU. There it gets a device for each core, at most eight, unless XLA_FLAGS says otherwise.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"r1jax {__version__}")
    command = parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of those below")
    command.choices = list(COMMANDS)  # for completion
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    Args:
        argv: the command and its arguments; None: those of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        return importlib.import_module(COMMANDS[arguments[0]].module).main(arguments[1:])
    top = parser()
    if arguments and not arguments[0].startswith("-"):
        top.error(f"no command {arguments[0]!r}; nearest: {nearest(arguments[0], COMMANDS)}")
    top.parse_args(arguments)
    top.print_help()
    return 0


def run() -> NoReturn:
    """Runs the command of this process and ends the process with its exit status."""
    if "_ARGCOMPLETE" in os.environ:
        from r1jax.tools import completion

        completion.complete(parser(), {name: command.module for name, command in COMMANDS.items()})
    cpu_devices.choose()
    processes.run_to_exit(main)
