"""Measured ceilings of a machine's devices, and the clock and memory readings of benchmarks.

A ceiling is what the devices reach on the plainest work there is: a square matrix product, and a copy.
"""

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def timed(run: Callable[[], Any]) -> float:
    """Seconds of a call, until what it returns is computed."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def median_seconds(run: Callable[[], Any], times: int = 5) -> float:
    """The median of some calls' seconds, after one that compiles."""
    timed(run)
    return statistics.median(timed(run) for _ in range(times))


def measure_ceilings(dtype: str, devices: Sequence[jax.Device]) -> dict[str, float]:
    """What the devices do at most, all at once: FLOP/s of a square matrix product each, bytes/s (read and written).

    All at once, for CPU devices share the cores: alone, each would reach nearly what all of them reach together.
    """
    accelerator = devices[0].platform != "cpu"
    size, words, times = (8192, 2**28, 20) if accelerator else (2048, 2**26, 1)
    by_device = NamedSharding(Mesh(np.array(devices), ("device",)), PartitionSpec("device"))
    D = len(devices)
    a, b = (
        jax.jit(lambda i: jax.random.normal(jax.random.key(i), (D, size, size), dtype), out_shardings=by_device)(i)
        for i in range(2)
    )
    x = jax.jit(lambda: jnp.ones((D, words // D), jnp.float32), out_shardings=by_device)()

    def seconds_of(step, x, *others):
        step = jax.jit(jax.shard_map(step, mesh=by_device.mesh, in_specs=by_device.spec, out_specs=by_device.spec))

        def repeat():
            y = x
            for _ in range(times):  # each from the last one's result, dispatched ahead of the device
                y = step(y, *others)
            return y

        return median_seconds(repeat) / times

    product = seconds_of(lambda a, b: ((a[0] @ b[0]) * 0.01)[None], a, b)
    copy = seconds_of(lambda x: x + 1.0, x)
    return {"flop/s": 2 * D * size**3 / product, "byte/s": 2 * x.nbytes / copy}


def peak_bytes() -> int:
    """The most memory that was in use: of the first device where it reports that, else of the process."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
