"""Command `python -m r1jax.sandbox`: whether this machine can run untrusted programs in the sandbox."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from r1jax.sandbox.config import CodeConfig
from r1jax.sandbox.runner import SandboxError, check_available


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a small program in the sandbox and prints the result.

    Args:
        argv: arguments without the command's name; None: those of this process.

    Returns:
        the exit status: 0 where the sandbox works; 1 where it does not, with what to install or change on stderr.
    """
    parser = argparse.ArgumentParser(prog="r1jax sandbox", description="Check that programs run in the sandbox here.")
    parser.parse_args(argv)
    try:
        check_available(CodeConfig())
    except SandboxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    limits = dataclasses.asdict(CodeConfig())
    del limits["run_untrusted_code_without_a_sandbox"]
    print("the sandbox works; default limits: " + ", ".join(f"{name}={value}" for name, value in limits.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
