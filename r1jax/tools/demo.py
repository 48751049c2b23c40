"""Demonstration page: the shipped base, R1-Zero and R1 minis side by side, in the browser, without a download.

    r1jax demo [--port 8000] [--no-browser]

It is `r1jax serve` with the shipped models.
"""

import argparse
from collections.abc import Sequence

from r1jax.config import exit_status
from r1jax.tools import serve


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax demo`."""
    parser = argparse.ArgumentParser(
        prog="r1jax demo",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_options(parser)
    parser.add_argument("--no-browser", action="store_true", help="do not open the page, only serve it")
    return parser


def run(args: argparse.Namespace) -> None:
    """Serves the shipped models; raises as `serve.run` does."""
    from r1jax.serve.cards import read_cards

    serve.run(list(read_cards()), args, browser=not args.no_browser)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "serving the shipped models")
