"""Orbax, imported on first use, with a barrier that waits for this run's processes."""

import sys
from types import ModuleType
from typing import Any

from r1jax.core import processes

_TIMEOUT_S = 24 * 3600  # of a process for the slowest one's disk


def load() -> ModuleType:
    """`orbax.checkpoint`. It takes a quarter of a second to import, and an error in a config should not wait for it."""
    import orbax.checkpoint

    return orbax.checkpoint


def async_options() -> Any:
    """`AsyncOptions` of a save, which wait for the other processes in `barrier`."""
    return load().AsyncOptions(timeout_secs=_TIMEOUT_S, barrier_sync_fn=barrier)


def barrier(*, key: str, timeout_ms: int) -> None:
    """Waits for all processes. Raises instead the error of a failed save: Orbax comes here first, the others do not."""
    if error := sys.exc_info()[1]:
        raise error
    processes.barrier(key)
