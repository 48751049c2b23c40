"""Orbax, imported on first use, and a barrier for its saves that waits for this run's processes."""

import sys
from types import ModuleType
from typing import Any

from r1jax.core import processes

_TIMEOUT_S = 24 * 3600  # of a process for the slowest one's disk


def load() -> ModuleType:
    """The module `orbax.checkpoint`, whose import (0.25 s) an error in a config should not wait for."""
    import orbax.checkpoint

    return orbax.checkpoint


def async_options() -> Any:
    """Orbax's `AsyncOptions` with `barrier` for its waits."""
    return load().AsyncOptions(timeout_secs=_TIMEOUT_S, barrier_sync_fn=barrier)


def barrier(*, key: str, timeout_ms: int) -> None:
    """Waits for all processes; raises instead the error of a failed save, for which the other processes never wait."""
    if error := sys.exc_info()[1]:
        raise error
    processes.barrier(key)
