"""Chat with a model in the terminal.

    r1jax chat MODEL [NAME=VALUE ...] [--max-length N]

MODEL is an r1jax model folder or the workdir of a training, a Hugging Face folder, a .gguf file, or the name of a
shipped model (mini-base, mini-r1-zero, mini-r1). NAME=VALUE are settings, as the command /settings takes them:

    r1jax chat mini-base temperature=1.0 seed=1

The thought is dim, the answer is not. /help lists the commands; Ctrl-C stops an answer, Ctrl-D ends. The lines that
were typed are kept in ~/.cache/r1jax/chat_history.
Errors are one line; with R1JAX_DEBUG=1 in the environment they keep their traceback.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from r1jax.config import exit_status


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax chat`."""
    parser = argparse.ArgumentParser(
        prog="r1jax chat",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a folder, a file, or the name of a shipped model")
    parser.add_argument("settings", metavar="NAME=VALUE", nargs="*", help="a setting, say temperature=1.0")
    parser.add_argument(
        "--max-length",
        type=int,
        default=0,
        help="tokens of a conversation; by default the model's, up to 4096",
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Chats until it is ended.

    Raises:
        FileNotFoundError, ValueError: see `r1jax.serve.served.load`.
        ConfigError: settings that do not exist or cannot have their value.
    """
    from rich.console import Console  # and JAX, which `--help` does without

    from r1jax import running
    from r1jax.core.config import MeshConfig
    from r1jax.core.sharding import make_mesh
    from r1jax.serve import served, terminal_chat
    from r1jax.serve.config import ServeConfig

    settings = terminal_chat.Settings().with_values(args.settings)
    cache = pathlib.Path.home() / ".cache" / "r1jax"
    running.keep_compiled(cache / "xla")
    mesh = make_mesh(MeshConfig())
    [model] = served.load([args.model], ServeConfig(slots=1, max_length=args.max_length), mesh)

    def read_line(prompt: str) -> str:
        return input(prompt if sys.stdin.isatty() else "")

    with terminal_chat.line_editing(cache / "chat_history"):
        terminal_chat.run(model, mesh, settings, Console(), read_line)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "chatting")
