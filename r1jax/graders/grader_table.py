"""Who grades what: from a dataset's row, or a prompt's source, to the module that grades its responses."""

import functools
import hashlib
import importlib.metadata
import pathlib
import platform
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import r1jax
from r1jax.config import nearest
from r1jax.data.types import Grade, Rollout
from r1jax.graders import choice, countdown, drop, exact, ifeval, open_ended, patch, reasoning_gym
from r1jax.graders.code import code_grader, unittests
from r1jax.graders.config import GraderConfig
from r1jax.graders.math import math_grader

# Each has `grade(rollout, cfg) -> Grade`, which may never return: call it in a process that can be killed
# (`r1jax.rewards.pool`); and `check(row)`, which raises ValueError for a row that it could not grade against.
GRADERS = {
    "maths": math_grader, "choice": choice, "exact": exact, "drop": drop, "ifeval": ifeval, "countdown": countdown,
    "code": code_grader, "unittests": unittests, "patch": patch, "reasoning_gym": reasoning_gym, "open": open_ended,
}  # fmt: skip
# Graders whose scores nothing may learn from, and why; RL and rejection sampling refuse their rows. Others may reward.
EVALUATION_ONLY = {
    "unittests": "program and tests share one process, in which a program can make its tests pass without solving "
    "anything: give it `test`, `test_list` or `tests`, which the grader code reads",
    "drop": "its F1 pays in part for an answer that lists several candidates: name the grader exact or maths, and one "
    "`answer`",
    "patch": "it gives no score, for a harness elsewhere runs the tests: leave it to an evaluation",
}
PROGRAMS = frozenset({"code", "unittests"})  # those that run programs: in a sandbox, within its limits
_LIBRARIES = {"maths": ("mpmath",), "reasoning_gym": ("reasoning-gym", "sympy"),
              "ifeval": ("py3langid",)}  # fmt: skip


def examine(row: Mapping[str, Any]) -> str:
    """The name of the grader for a dataset's row: its own `grader`, or what its other fields call for.

    Raises:
        ValueError: no grader of that name, or the row lacks what it needs; a reference answer that cannot be read.
    """
    fitting = "code" if code_grader.is_code(row) else "countdown" if countdown.is_countdown(row) else "maths"
    name = row.get("grader", fitting)
    grader(name).check(row)
    return name


def examine_for_reward(row: Mapping[str, Any]) -> str:
    """`examine`, for rows whose scores something learns from.

    Raises:
        ValueError: see `examine`; or the grader is one of `EVALUATION_ONLY`.
    """
    name = examine(row)
    if name in EVALUATION_ONLY:
        raise ValueError(f"the grader {name} is for evaluations, and must not reward: {EVALUATION_ONLY[name]}")
    return name


def grader(name: str) -> ModuleType:
    """The grader of a name.

    Raises:
        ValueError: there is none; names the nearest.
    """
    if name not in GRADERS:
        raise ValueError(f"no grader named {name!r}; nearest: {nearest(str(name), GRADERS)}")
    return GRADERS[name]


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """The grade of a response by its prompt's own grader."""
    return GRADERS[rollout.prompt.grader].grade(rollout, cfg)


@functools.cache
def version(name: str) -> str:
    """What an answer was graded by: figures of two versions are not to be compared without a look at what changed.

    Returns:
        r1jax's version, 8 digits that change with any line of the graders, of the sandbox or of how responses are
        taken apart, and the versions of the libraries that the grader leans on, which for programs is Python itself.
    """
    root = pathlib.Path(__file__).parent.parent
    digest = hashlib.sha256()
    packages = [path for name in ("graders", "sandbox") for path in sorted((root / name).rglob("*.py"))]
    for path in [*packages, root / "text" / "chat.py"]:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    libraries = [f"{library} {importlib.metadata.version(library)}" for library in _LIBRARIES.get(name, ())]
    libraries += [f"python {platform.python_version()}"] if name in PROGRAMS else []
    return " ".join([f"r1jax {r1jax.__version__}+{digest.hexdigest()[:8]}", *libraries])
