"""What the sandbox counts as a program's memory: what all its processes use together, and not what they reserve."""

import dataclasses

import pytest
from programs import needs_sandbox

from r1jax.rewards import sandbox
from r1jax.rewards.config import CodeConfig

CFG = CodeConfig(time_s=30.0, memory_mb=256, output_mb=1, disk_mb=16)
UNSAFE = dataclasses.replace(CFG, run_untrusted_code_without_a_sandbox=True)
both = pytest.mark.parametrize(
    "cfg", [pytest.param(CFG, id="sandbox", marks=needs_sandbox), pytest.param(UNSAFE, id="without")]
)


def python(source: str, cfg: CodeConfig = CFG) -> sandbox.Outcome:
    return sandbox.run([sandbox.PYTHON, "-I", "-S", "-c", source], cfg)


@both
@pytest.mark.parametrize("source", ["x = bytearray(2**31)", "x = [bytes(2**20) + b'x' for _ in range(2**11)]"])
def test_memory_is_bounded(cfg, source):
    assert python(source, cfg).status == "memory"


@both
def test_memory_of_all_processes_counts_together(cfg):
    source = "import os, time; [os.fork() for _ in range(2)]; x = b'x' * (100 << 20); time.sleep(20)"
    assert python(source, cfg).status == "memory"


RESERVE = """
import ctypes
mmap = ctypes.CDLL(None, use_errno=True).mmap
mmap.restype, mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
"""


@both
@pytest.mark.parametrize("source", [
    "import threading\nthreading.stack_size(1 << 28)\nfor _ in range(8):\n    t = threading.Thread(target=print)\n"
    "    t.start()\nt.join()",
    RESERVE + "assert mmap(None, 2**40, 0, 0x22, -1, 0) != 2**64 - 1",  # PROT_NONE
    RESERVE + "assert mmap(None, 2**40, 3, 0x4022, -1, 0) != 2**64 - 1",  # MAP_NORESERVE, to read and to write
    "import mmap\nx = mmap.mmap(-1, 2**30)\nx[5] = 1",
    "x = bytes(2**30)",  # calloc leaves zeros to the kernel
], ids=["stacks", "none", "noreserve", "shared", "zeros"])  # fmt: skip
def test_memory_that_is_reserved_and_not_used_does_not_count(cfg, source):
    outcome = python(source, cfg)
    assert (outcome.status, outcome.stderr) == ("ok", b"")


@both
@pytest.mark.parametrize("source", [
    "import threading\nthreading.stack_size(1 << 30)\nimport sys\nsys.setrecursionlimit(10**9)\n"
    "def deep(n): x = [n] * 1000; return deep(n + 1)\nthreading.Thread(target=deep, args=(0,)).start()",
    RESERVE + "start = mmap(None, 2**40, 3, 0x4022, -1, 0)\nctypes.memset(start, 1, 2**32)",
], ids=["stacks", "noreserve"])  # fmt: skip
def test_memory_that_is_used_counts_however_it_was_reserved(cfg, source):
    assert python(source, cfg).status == "memory"


@needs_sandbox
def test_memory_that_processes_share_counts_once():
    source = "import os, time; x = b'x' * (100 << 20); [os.fork() for _ in range(3)]; time.sleep(0.5)"
    assert python(source).status == "ok"
