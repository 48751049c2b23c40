"""Functions that make once what they are asked for again: what runs of the same config compile, they share."""

import dataclasses
from collections.abc import Callable
from typing import Any

from r1jax.training.config import CheckpointConfig


def made_once(make: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called once for the same arguments by their `repr`; two configs may differ in their checkpoints."""
    made: dict[str, Any] = {}

    def get(*args: Any) -> Any:
        alike = [
            dataclasses.replace(arg, checkpoint=CheckpointConfig()) if hasattr(arg, "checkpoint") else arg
            for arg in args
        ]
        if (key := repr(alike)) not in made:
            made[key] = make(*args)
        return made[key]

    return get
