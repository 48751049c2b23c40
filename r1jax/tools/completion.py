"""Shell completion for `r1jax`: commands, options, config files with their sizes, and config fields.

    bash    eval "$(r1jax completion bash)"       in ~/.bashrc
    zsh     eval "$(r1jax completion zsh)"        in ~/.zshrc, after compinit
    fish    r1jax completion fish | source        in ~/.config/fish/config.fish

The shell asks r1jax itself at each completion (argcomplete), so that the fields are those of the --config before.
"""

import argparse
import importlib
import os
from collections.abc import Mapping, Sequence

SHELLS = ("bash", "zsh", "fish")


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax completion`."""
    parser = argparse.ArgumentParser(
        prog="r1jax completion",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell that will run the code")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the shell code; returns 0."""
    import argcomplete

    print(argcomplete.shellcode(["r1jax"], shell=parser().parse_args(argv).shell))
    return 0


def complete(command_line: argparse.ArgumentParser, modules: Mapping[str, str]) -> None:
    """Answers the shell that asks for completions by the environment, and ends the process.

    Args:
        command_line: the parser of `r1jax` itself.
        modules: command -> name of its module.
    """
    import argcomplete

    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    words = line.split()
    start = int(os.environ["_ARGCOMPLETE"])  # the place of `r1jax` in the line, from 1
    name = words[start] if len(words) > start else ""
    if name not in modules or line.endswith(name):
        argcomplete.autocomplete(command_line)
        return
    os.environ["_ARGCOMPLETE"] = str(start + 1)  # the command's own words begin there
    module = importlib.import_module(modules[name])
    make_parser = getattr(module, "completion_parser", None)
    argcomplete.autocomplete(make_parser(line) if make_parser else module.parser())
