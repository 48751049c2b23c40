"""Patches to a repository, for a harness elsewhere: found in a response, and not graded here."""

import re
from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig

_FENCED = re.compile(r"^```(?:diff|patch)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEAD = re.compile(r"^(?:diff --git |--- )", re.MULTILINE)
_MAX_CHARS = 2**20


def check(row: Mapping[str, Any]) -> None:
    """Raises ValueError for a row that no prediction could be told of."""
    if not isinstance(row.get("instance_id"), str):
        raise ValueError("no instance_id, by which the harness tells tasks apart")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """Ungradable here: repositories and containers are the harness's. The detail has the patch, "" for none."""
    found = extract(rollout.response.final)
    return Grade(None, "ungradable" if found else "no_answer", "", {"patch": found})


def extract(text: str) -> str:
    """The last fenced block that is tagged as a diff, else all from where a diff begins; "" for none."""
    text = text[:_MAX_CHARS]
    blocks = _FENCED.findall(text)
    head = _HEAD.search(text)
    patch = blocks[-1] if blocks else text[head.start() :] if head else ""
    return patch.rstrip() + "\n" if patch.strip() else ""
