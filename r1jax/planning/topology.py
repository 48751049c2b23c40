"""Topologies to plan for: TPU slices that need not be here, by libtpu, and fake CPU devices.

`v5p:2x2x2` is a slice of eight chips, `cpu:8` eight devices of this machine's CPU.
"""

import contextlib
import dataclasses
import importlib.util
import os
import re
from collections.abc import Iterator

import jax

from r1jax.config import ConfigError
from r1jax.core.device_ceilings import measure_ceilings
from r1jax.performance.hlo import CHIPS, Chip

INSTALL = "pip install libtpu, or pip install -e '.[tpu]' in r1jax's folder, which brings the version that fits"
# By libtpu's names, what a chip's topology looks like; of v7x a device is half a chip.
NAMES = {"v5e": "v5e", "v5p": "v5p", "v6e": "v6e", "v7x": "tpu7x"}
EXAMPLES = {"v5e": "v5e:2x4", "v5p": "v5p:2x2x2", "v6e": "v6e:2x4", "v7x": "v7x:2x2x1", "cpu": "cpu:8"}
CHIPS_A_HOST = 4


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices to compile for.

    Attributes:
        name: as it was asked for.
        kind: the chip's, a key of `EXAMPLES`.
        devices: JAX's; no program runs on those of a TPU.
        chip: peaks and memory of a device.
        chips: how many the slice has, which is what is paid for.
        hosts: of the slice.
    """

    name: str
    kind: str
    devices: tuple[jax.Device, ...]
    chip: Chip
    chips: int
    hosts: int


def open_topology(name: str) -> Topology:
    """The topology of a name.

    Raises:
        ConfigError: an unknown name, a shape that the chip does not come in, or libtpu is not installed.
    """
    kind, _, shape = name.partition(":")
    if kind not in EXAMPLES or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
        raise ConfigError(f"--topology={name} is none; name one like {', '.join(EXAMPLES.values())}")
    return _cpu(name, shape) if kind == "cpu" else _tpu(name, kind, shape)


def _cpu(name: str, shape: str) -> Topology:
    count = int(shape) if shape.isdigit() else 0
    if not count:
        raise ConfigError(f"--topology={name} should be cpu:N, with N devices")
    with contextlib.suppress(RuntimeError):  # JAX has started: it has the devices that it has
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise ConfigError(
            f"--topology={name}: JAX has started with {len(devices)} CPU devices; plan for cpu:{len(devices)}"
        )
    devices = devices[:count]
    ceilings = measure_ceilings("float32", devices)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # What one device moves to another is a copy in the same memory.
    chip = Chip(
        *(rate / count for rate in (ceilings["flop/s"], ceilings["byte/s"], ceilings["byte/s"])), memory // count
    )
    return Topology(name, "cpu", tuple(devices), chip, 1, 1)


def _tpu(name: str, kind: str, shape: str) -> Topology:
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError(f"--topology={name} is compiled for by libtpu, which is not installed: {INSTALL}")
    from jax.experimental import topologies

    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # or it asks a cloud that is not there
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")  # or it prints that it knows neither; any will do
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # or one plan at a time: it takes a lock as for a TPU
    try:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=f"{NAMES[kind]}:{shape}").devices
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).partition("\n")[0].removeprefix("INVALID_ARGUMENT: ")
        raise ConfigError(f"--topology={name} is no slice of {kind}, say {EXAMPLES[kind]}: {reason}") from error
    hosts = 1 + max(device.process_index for device in devices)
    chip = CHIPS[kind]
    return Topology(name, kind, tuple(devices), chip, round(len(devices) / chip.devices), hosts)


@contextlib.contextmanager
def compiling(topology: Topology) -> Iterator[None]:
    """Within, programs for a TPU are compiled past the cache of compiled programs.

    That cache asks an executable for devices, which a slice that is not here does not have.
    """
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", before and topology.kind == "cpu")
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
