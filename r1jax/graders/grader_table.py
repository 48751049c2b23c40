"""Grader table: from a dataset's row, or a prompt's grader name, to the module that grades its responses."""

import functools
import pathlib
import platform
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from r1jax.config import nearest
from r1jax.data.types import Grade, Rollout
from r1jax.graders import (
    countdown,
    drop_f1,
    exact_match,
    ifeval,
    multiple_choice,
    open_ended,
    reasoning_gym,
    repository_patch,
)
from r1jax.graders.code import code_grader, unittest_grader
from r1jax.graders.config import GraderConfig
from r1jax.graders.math import math_grader
from r1jax.io import provenance

# Each module has `grade(rollout, cfg) -> Grade`, which may never return: call it in a process that can be killed
# (`r1jax.rewards.grader_pool`); and `check(row)`, which raises ValueError for a row against which it cannot grade.
GRADERS = {
    "maths": math_grader,
    "choice": multiple_choice,
    "exact": exact_match,
    "drop": drop_f1,
    "ifeval": ifeval,
    "countdown": countdown,
    "code": code_grader,
    "unittests": unittest_grader,
    "patch": repository_patch,
    "reasoning_gym": reasoning_gym,
    "open": open_ended,
}
# Graders whose scores must not be trained on -> the reason; RL and rejection sampling refuse their rows.
EVALUATION_ONLY = {
    "unittests": "program and tests share one process, in which a program can make its tests pass without solving "
    "anything: give it `test`, `test_list` or `tests`, which the grader code reads",
    "drop": "its F1 pays in part for an answer that lists several candidates: name the grader exact or maths, and one "
    "`answer`",
    "patch": "it gives no score, for a harness elsewhere runs the tests: leave it to an evaluation",
}
PROGRAMS = frozenset({"code", "unittests"})  # graders that run programs, in the sandbox
_LIBRARIES = {"maths": ("mpmath",), "reasoning_gym": ("reasoning-gym", "sympy"), "ifeval": ("py3langid",)}


def check_row(row: Mapping[str, Any]) -> str:
    """The name of a dataset row's grader: its field `grader`, or the one that its other fields call for.

    Raises:
        ValueError: there is no grader of that name, or it cannot grade against the row, for example because a field is
            missing or the reference answer cannot be parsed.
    """
    default = "code" if code_grader.is_code(row) else "countdown" if countdown.is_countdown(row) else "maths"
    name = row.get("grader", default)
    grader(name).check(row)
    return name


def check_row_for_reward(row: Mapping[str, Any]) -> str:
    """As `check_row`, for rows whose scores are trained on.

    Raises:
        ValueError: as of `check_row`; or the grader is in `EVALUATION_ONLY`.
    """
    name = check_row(row)
    if name in EVALUATION_ONLY:
        raise ValueError(f"the grader {name} is for evaluations, and must not reward: {EVALUATION_ONLY[name]}")
    return name


def grader(name: str) -> ModuleType:
    """The grader's module.

    Raises:
        ValueError: there is no grader of that name; names the nearest.
    """
    if name not in GRADERS:
        raise ValueError(f"no grader named {name!r}; nearest: {nearest(str(name), GRADERS)}")
    return GRADERS[name]


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """The grade of a response by its prompt's grader."""
    return GRADERS[rollout.prompt.grader].grade(rollout, cfg)


@functools.cache
def version(name: str) -> str:
    """A version of a grader, which is recorded with its grades: recorded grades of another version are graded anew.

    Returns:
        r1jax's version, 8 digits that change with any line (comments too) of the graders, of the sandbox or of the
        parsing of responses, and the versions of the libraries that the grader uses, for programs Python's.
    """
    root = pathlib.Path(__file__).parent.parent
    packages = [path for name in ("graders", "sandbox") for path in sorted((root / name).rglob("*.py"))]
    code = provenance.code_version(root, [*packages, root / "text" / "chat.py"])
    versions = provenance.library_versions(_LIBRARIES.get(name, ()))
    libraries = [f"{library} {version}" for library, version in versions.items()]
    libraries += [f"python {platform.python_version()}"] if name in PROGRAMS else []
    return " ".join([code, *libraries])
