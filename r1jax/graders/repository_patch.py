"""Extraction of a repository patch from a response; grading it is left to the benchmark's own harness."""

import re
from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig

_FENCED = re.compile(r"^```(?:diff|patch)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_DIFF_START = re.compile(r"^(?:diff --git |--- )", re.MULTILINE)
_MAX_CHARS = 2**20


def check(row: Mapping[str, Any]) -> None:
    """Raises ValueError for a row without the id by which the harness knows the task."""
    if not isinstance(row.get("instance_id"), str):
        raise ValueError("no instance_id, by which the harness knows the task")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """A grade without a score, for the harness has the repositories; its detail has the patch, "" for none."""
    patch = extract(rollout.response.final)
    return Grade(None, "ungradable" if patch else "no_answer", "", {"patch": patch})


def extract(text: str) -> str:
    """The last fenced block that is tagged as a diff, else the text from the start of a diff; "" for none."""
    text = text[:_MAX_CHARS]
    blocks = _FENCED.findall(text)
    diff_start = _DIFF_START.search(text)
    patch = blocks[-1] if blocks else text[diff_start.start() :] if diff_start else ""
    return patch.rstrip() + "\n" if patch.strip() else ""
