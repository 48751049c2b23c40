"""Measured ceilings of one device, and the clock and memory readings of benchmarks.

A ceiling is what the device reaches on the plainest work there is: a square matrix product, and a copy.
"""

import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def timed(run: Callable[[], Any]) -> float:
    """Seconds of a call, until what it returns is computed."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def median_seconds(run: Callable[[], Any], times: int = 5) -> float:
    """The median of some calls' seconds, after one that compiles."""
    timed(run)
    return statistics.median(timed(run) for _ in range(times))


def measure_ceilings(dtype: str) -> dict[str, float]:
    """What one device does at most: FLOP/s of a square matrix product, bytes/s (read and written) of a copy."""
    accelerator = jax.default_backend() != "cpu"
    size, words, times = (8192, 2**28, 20) if accelerator else (2048, 2**26, 3)
    a, b = (jax.random.normal(jax.random.key(i), (size, size), dtype) for i in range(2))
    x = jax.random.normal(jax.random.key(2), (words,), jnp.float32)

    def seconds_of(step, x):
        step = jax.jit(step)

        def repeat():
            y = x
            for _ in range(times):  # each from the last one's result, dispatched ahead of the device
                y = step(y)
            return y

        return median_seconds(repeat) / times

    product, copy = seconds_of(lambda y: (y @ b) * 0.01, a), seconds_of(lambda y: y + 1.0, x)
    return {"flop/s": 2 * size**3 / product, "byte/s": 2 * x.nbytes / copy}


def peak_bytes() -> int:
    """The most memory that was in use: of the first device where it reports that, else of the process."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
