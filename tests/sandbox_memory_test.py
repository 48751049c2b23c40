"""Sandbox memory limit: it counts the memory that all processes use together, not the addresses that they reserve."""

import dataclasses

import pytest
from programs import needs_sandbox

from r1jax.sandbox import runner
from r1jax.sandbox.config import CodeConfig

CFG = CodeConfig(time_s=30.0, memory_mb=256, output_mb=1, disk_mb=16)
UNSAFE = dataclasses.replace(CFG, run_untrusted_code_without_a_sandbox=True)
both = pytest.mark.parametrize(
    "cfg", [pytest.param(CFG, id="sandbox", marks=needs_sandbox), pytest.param(UNSAFE, id="without")]
)


def python(source: str, cfg: CodeConfig = CFG) -> runner.Outcome:
    return runner.run([runner.PYTHON, "-I", "-S", "-c", source], cfg)


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
@pytest.mark.parametrize(
    "source",
    [
        "import threading\nthreading.stack_size(1 << 28)\nfor _ in range(8):\n    t = threading.Thread(target=print)\n"
        "    t.start()\nt.join()",
        RESERVE + "assert mmap(None, 2**40, 0, 0x22, -1, 0) != 2**64 - 1",  # PROT_NONE
        RESERVE + "assert mmap(None, 2**40, 3, 0x4022, -1, 0) != 2**64 - 1",  # MAP_NORESERVE, to read and to write
        "import mmap\nx = mmap.mmap(-1, 2**30, mmap.MAP_PRIVATE)\nx[5] = 1",
        "x = bytes(2**30)",  # calloc leaves zeros to the kernel
    ],
    ids=["stacks", "none", "noreserve", "private", "zeros"],
)
def test_memory_that_is_reserved_and_not_used_does_not_count(cfg, source):
    outcome = python(source, cfg)
    assert (outcome.status, outcome.stderr) == ("ok", b"")


@both
@pytest.mark.parametrize(
    "source",
    [
        "import threading\nthreading.stack_size(1 << 30)\nimport sys\nsys.setrecursionlimit(10**9)\n"
        "def deep(n): x = [n] * 1000; return deep(n + 1)\nthreading.Thread(target=deep, args=(0,)).start()",
        RESERVE + "start = mmap(None, 2**40, 3, 0x4022, -1, 0)\nctypes.memset(start, 1, 2**32)",
    ],
    ids=["stacks", "noreserve"],
)
def test_memory_that_is_used_counts_however_it_was_reserved(cfg, source):
    assert python(source, cfg).status == "memory"


@needs_sandbox
def test_memory_that_processes_share_counts_once():
    source = "import os, time; x = b'x' * (100 << 20); [os.fork() for _ in range(3)]; time.sleep(0.5)"
    assert python(source).status == "ok"


# Memory that no process's size includes: each program takes up to a gigabyte where it is allowed to.
MAP = """
import mmap
pages, piece = mmap.mmap({file}, 2**30), b"x" * 2**25
for at in range(0, 2**30, 2**25):
    pages[at : at + 2**25] = piece
    pages.madvise(mmap.MADV_DONTNEED, at, 2**25)  # leaves the process's size, not the machine's memory
"""
CALL = """
import ctypes, mmap, os
libc = ctypes.CDLL(None, use_errno=True)
def refused(result): assert result == -1, "let"; raise OSError(ctypes.get_errno(), "refused")
"""


@needs_sandbox
@pytest.mark.parametrize(
    "source",
    [
        MAP.format(file=-1),
        "import os" + MAP.format(file="os.open('/dev/zero', os.O_RDWR)"),
        "import os" + MAP.format(file="os.open('/proc/self/root/dev/zero', os.O_RDWR)"),
        MAP.format(file="-1").replace("2**30)", "2**30, 0x40022)"),  # MAP_PRIVATE | MAP_HUGETLB
        "import os\nos.memfd_create('x')",
        CALL + "refused(libc.shmget(0, 2**30, 0o1777))",
        CALL + "refused(libc.prctl(78, 1, 2**24, 0, 0))",  # a hash of futexes for the process
        CALL + "refused(libc.prctl(22, 2, 0, 0, 0))",  # a filter of system calls
        CALL + "refused(libc.inotify_init())",
        CALL
        + "refused(libc.syscall({'x86_64': 206}.get(os.uname().machine, 0), 2**16, ctypes.byref(ctypes.c_ulong())))",
        CALL + "refused(libc.vmsplice(os.pipe()[1], (ctypes.c_ulong * 2)(id(b'x'), 1), 1, 0))",
        "import os\nos.splice(os.open('x', os.O_CREAT | os.O_RDWR), os.pipe()[1], 1)",
        "import fcntl, os\nfcntl.fcntl(os.pipe()[0], fcntl.F_SETPIPE_SZ, 2**20)",
        "import socket\nsocket.socket(socket.AF_UNIX).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**22)",
        "import mmap\nmmap.mmap(-1, 2**22, mmap.MAP_PRIVATE).madvise(14)",  # MADV_HUGEPAGE
        "import os\nos.open('/dev/ptmx', os.O_RDWR)",
    ],
    ids=[
        "shared",
        "zero",
        "zero_by_proc",
        "huge_pool",
        "memfd",
        "system_v",
        "futexes",
        "filters",
        "inotify",
        "aio",
        "vmsplice",
        "splice",
        "pipe",
        "socket",
        "huge_pages",
        "terminal",
    ],
)
def test_trap62_memory_that_no_process_shows_is_refused(source):
    outcome = python(source)
    assert outcome.status in ("crash", "memory"), outcome
    assert b"let" not in outcome.stderr
    assert b"Error: [Errno" in outcome.stderr


@needs_sandbox
def test_trap63_a_program_stays_the_first_to_be_ended_when_the_machines_memory_runs_out():
    source = """
for pid in ("self", "1"):
    for value in ("0", "-1000"):
        try:
            open(f"/proc/{pid}/oom_score_adj", "w").write(value)
        except OSError:
            pass
    print(open(f"/proc/{pid}/oom_score_adj").read(), end="")
"""
    assert python(source).stdout == b"1000\n1000\n"


@needs_sandbox
def test_shared_memory_and_multiprocessing_of_honest_programs_work():
    source = """
import asyncio, concurrent.futures, mmap, multiprocessing, shutil, subprocess, tempfile
from multiprocessing import shared_memory
def double(x):
    with count.get_lock():
        count.value += 1
    return 2 * x
count, table = multiprocessing.Value("i"), multiprocessing.Array("d", 1000)
with multiprocessing.Pool(3) as pool:
    print(pool.map(double, range(4)), count.value, len(table))
with concurrent.futures.ProcessPoolExecutor(2) as pool:
    print(list(pool.map(abs, [-1, -2])))
block = shared_memory.SharedMemory(create=True, size=5000)
block.buf[0] = 7
block.unlink()
with tempfile.TemporaryFile() as file:
    file.truncate(10**6)
    mmap.mmap(file.fileno(), 0)[5] = 1
open("a", "w").write("a" * 10**5)
print(len(open(shutil.copy("a", "b")).read()), subprocess.check_output("cat a | tail -c 3", shell=True))
print(len(open("/dev/zero", "rb").read(10)), asyncio.run(asyncio.sleep(0, "slept")))
"""
    outcome = python(source)
    printed = b"[0, 2, 4, 6] 4 1000\n[1, 2]\n100000 b'aaa'\n10 slept\n"
    assert (outcome.status, outcome.stdout, outcome.stderr) == ("ok", printed, b"")
