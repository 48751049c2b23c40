"""The flags that tests give to XLA: how many CPU devices there are, and programs that compile fast and run slowly."""

import functools
import mmap
import pathlib

import jaxlib

# Most of the tests' time goes into compiling what then runs for a moment: without optimisation, and without the code
# generator for fusions that is built on MLIR, it takes a quarter of the time; a program this small is not worth cutting
# into 32 pieces for as many threads either. What is asserted of the programs is the same.
_FAST = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)


def xla_flags(devices: int) -> str:
    """XLA_FLAGS for so many CPU devices."""
    return " ".join([f"--xla_force_host_platform_device_count={devices}", *filter(_is_known, _FAST)])


@functools.cache
def _is_known(flag: str) -> bool:
    """Whether this jaxlib has the flag: XLA aborts on any other, and its flags come and go.

    A flag's name is a whole string in the library; one that is gone may still be the name of a field.
    """
    name = b"\0" + flag.removeprefix("--").partition("=")[0].encode() + b"\0"
    for library in pathlib.Path(jaxlib.__path__[0]).glob("libjax_common*"):
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(name) >= 0
    return False
