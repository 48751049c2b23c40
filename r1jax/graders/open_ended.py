"""Grader of open requests (greetings, writing, advice): no score, which only reward models and judges can give."""

from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig


def check(row: Mapping[str, Any]) -> None:
    """Accepts any row."""


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """A grade without a score: the response has no part `accuracy`, and its reward consists of the other parts."""
    return Grade(None, "open")
