"""Orbax, imported on first use and kept out of event loops, with a barrier that waits for this run's processes."""

import asyncio
import functools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, TypeVar

from r1jax.core import processes

T = TypeVar("T")
_TIMEOUT_S = 24 * 3600  # of a process for the slowest one's disk


def load() -> ModuleType:
    """The module `orbax.checkpoint`, whose import (0.25 s) an error in a config should not wait for."""
    import orbax.checkpoint

    _write_arrays_whole(orbax.checkpoint)
    return orbax.checkpoint


@functools.cache
def _write_arrays_whole(module: ModuleType) -> None:
    """Has one process write an array that all of its devices hold from one of them.

    Orbax would have each device write a slice, which helps where they belong to several hosts. Within one, every save
    cuts each array, by a program that the first save compiles for each shape.
    """
    if not processes.is_multiprocess():
        import jax

        module.type_handlers.get_type_handler(jax.Array)._use_replica_parallel = False


def outside_event_loop(call: Callable[[], T]) -> T:
    """The result of a call of Orbax, which runs event loops of its own: in another thread where this one runs a loop.

    A notebook's kernel runs one.
    """
    if asyncio._get_running_loop() is None:  # the public function raises, and `barrier` would take that for a failure
        return call()
    with ThreadPoolExecutor(1, thread_name_prefix="orbax") as thread:
        return thread.submit(call).result()


def async_options() -> Any:
    """Orbax's `AsyncOptions` with `barrier` for its waits."""
    return load().AsyncOptions(timeout_secs=_TIMEOUT_S, barrier_sync_fn=barrier)


def barrier(*, key: str, timeout_ms: int) -> None:
    """Waits for all processes; raises instead the error of a failed save, for which the other processes never wait."""
    if error := sys.exc_info()[1]:
        raise error
    processes.barrier(key)
