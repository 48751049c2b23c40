"""Requests without a right answer: greetings, writing, advice. No rule grades them; reward models and judges may."""

from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig


def check(row: Mapping[str, Any]) -> None:
    """Takes any row."""


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """No score: such a response has no part `accuracy`, and the other parts make its reward."""
    return Grade(None, "open")
