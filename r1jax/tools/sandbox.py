"""Check that this machine can run untrusted programs, as the graders of code do, by running a small one.

    r1jax sandbox

The exit status is 0 where the sandbox works, and 1 where it does not, with what to install or change on stderr
(docs/sandbox.md).
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from r1jax.sandbox.config import CodeConfig
from r1jax.sandbox.runner import SandboxError, check_available


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax sandbox`."""
    return argparse.ArgumentParser(
        prog="r1jax sandbox",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see the module."""
    parser().parse_args(argv)
    try:
        check_available(CodeConfig())
    except SandboxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    limits = dataclasses.asdict(CodeConfig())
    del limits["run_untrusted_code_without_a_sandbox"]
    print("the sandbox works; default limits: " + ", ".join(f"{name}={value}" for name, value in limits.items()))
    return 0
