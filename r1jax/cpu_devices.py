"""Number of CPU devices, set before JAX is loaded: one for each core, at most eight.

One device a core, a power of two so that batches divide, at most 8: element-wise work runs on one core a device, and
two devices on two cores measured a third faster than one. launch_local.sh chooses the same for any other command.
"""

import importlib.metadata
import importlib.util
import os
from collections.abc import MutableMapping

FLAG = "--xla_force_host_platform_device_count"
MOST = 8


def choose(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets XLA_FLAGS where JAX will run on the CPU and the environment does not choose; before JAX is loaded."""
    flags = environment.get("XLA_FLAGS", "")
    if FLAG in flags or "JAX_NUM_CPU_DEVICES" in environment or not _on_cpu(environment.get("JAX_PLATFORMS", "")):
        return
    environment["XLA_FLAGS"] = f"{flags} {FLAG}={count(cores())}".strip()


def count(cores: int) -> int:
    """The largest power of two that is no more than the cores, and at most `MOST`."""
    return min(1 << (max(cores, 1).bit_length() - 1), MOST)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _on_cpu(platforms: str) -> bool:
    """Whether JAX will run on the CPU: by its settings, or for lack of a plugin for another device."""
    if platforms:
        return platforms == "cpu"
    has_plugin = importlib.util.find_spec("jax_plugins") or importlib.metadata.entry_points(group="jax_plugins")
    return not has_plugin and importlib.util.find_spec("libtpu") is None
