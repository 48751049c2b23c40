"""Bad graders, for tests. In a file of their own: workers import it, and should not wait for the tests' libraries."""

import os
import signal

from r1jax.data.types import Grade, Rollout
from r1jax.rewards import combine
from r1jax.rewards.config import GraderConfig


def lenient(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """Does not look at signs."""
    right = rf"\boxed{{{rollout.prompt.answer}}}".replace("-", "") in rollout.text.replace("-", "")
    return Grade(float(right), "right" if right else "wrong")


def hanging(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """Holds the interpreter lock over one answer."""
    if rollout.text == r"\boxed{7}":
        9**9**9
    return lenient(rollout, cfg)


def hang(*_: object) -> None:
    9**9**9


def grow(*_: object) -> None:
    bytes(2**31)


def crash(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def grade_or_hang(rollout: Rollout, *args: object) -> object:
    if "hang" in rollout.text:
        hang()
    return combine.grade(rollout, *args)
