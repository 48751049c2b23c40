"""Resource usage of a program's processes: CPU time that no parent inherits, memory that only the kernel holds."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import needs_sandbox

from r1jax.sandbox import resource_usage, runner
from r1jax.sandbox.config import CodeConfig
from r1jax.sandbox.resource_usage import CpuTime

CFG = CodeConfig(time_s=30.0, memory_mb=256, output_mb=1, disk_mb=16)
UNSAFE = dataclasses.replace(CFG, run_untrusted_code_without_a_sandbox=True)
both = pytest.mark.parametrize(
    "cfg", [pytest.param(CFG, id="sandbox", marks=needs_sandbox), pytest.param(UNSAFE, id="without")]
)


def python(source: str, cfg: CodeConfig = CFG) -> runner.Outcome:
    return runner.run([runner.PYTHON, "-I", "-S", "-c", source], cfg)


# CPU time, by hand: 100 ticks are a second.


def process(own: int, of_children: int = 0, state: bytes = b"S", start: int = 0, threads: int = 1) -> list[bytes]:
    """The fields of a process's stat: half of its ticks in user mode."""
    fields = [b"0"] * 20
    fields[0], fields[17], fields[19] = state, b"%d" % threads, b"%d" % start
    for place, ticks in ((11, own), (13, of_children)):
        fields[place], fields[place + 1] = b"%d" % (ticks // 2), b"%d" % (ticks - ticks // 2)
    return fields


def cpu_seconds_after(*samples: dict[str, list[bytes]], share: float = 1.0) -> float:
    """The CPU seconds after updates that are a second apart."""
    cpu_time, cpu_s = CpuTime(0.0), 0.0
    for now, stats in enumerate(samples, 1):
        cpu_s = cpu_time.update(stats, float(now), lambda pid: share)
    return cpu_s


def test_time_of_a_child_counts_once_whoever_has_waited_for_it():
    assert cpu_seconds_after({"1": process(10)}, {"1": process(20), "2": process(100)}, {"1": process(30, 120)}) == 1.5
    # A grandchild's time passes through the child.
    samples = [{"1": process(0), "2": process(10), "3": process(50)}, {"1": process(0), "2": process(10, 60)}]
    assert cpu_seconds_after(*samples, {"1": process(0, 80)}) == 0.8


def test_trap64_time_of_a_child_that_nobody_waited_for_is_kept():
    assert cpu_seconds_after({"1": process(0), "2": process(300)}, {"1": process(0)}, {"1": process(5)}) == 3.05
    # Another process under the same number is another process.
    assert cpu_seconds_after({"1": process(0), "2": process(300)}, {"1": process(0), "2": process(10, start=7)}) == 3.1


def test_trap64_short_lived_children_that_nobody_waited_for_are_estimated_by_those_that_are_seen(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    samples = [{"1": process(0), str(n): process(0, state=b"R"), f"{n}0": process(0, threads=2)} for n in range(2, 12)]
    assert cpu_seconds_after(*samples) == 20.0
    assert cpu_seconds_after(*({"1": process(0), str(n): []} for n in range(2, 12))) == 10.0  # gone before it was read
    # Ready to run and waiting for a core is not running; but one of them ran.
    samples = [{str(n): process(0, state=b"R") for n in range(at, at + 4)} for at in range(2, 42, 4)]
    assert cpu_seconds_after(*samples) == 40.0
    assert cpu_seconds_after(*samples, share=0.5) == 20.0
    assert cpu_seconds_after(*samples, share=0.0) == 10.0


def test_an_estimate_does_not_come_on_top_of_what_is_known():
    samples = [{"1": process(0, 100 * n), str(n + 1): process(0, state=b"R")} for n in range(1, 11)]
    assert cpu_seconds_after(*samples) == 10.0


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 50)), max_size=30))
def test_time_of_processes_that_go_on_is_exact(steps):
    """Busy or not: nothing is estimated of a process that was there at the update before."""
    own = dict.fromkeys("12345", 0)
    samples = [{pid: process(0) for pid in own}]
    for pid, ticks in steps:
        own[str(pid)] += ticks
        samples.append({pid: process(ticks, state=b"R") for pid, ticks in own.items()})
    assert cpu_seconds_after(*samples) == sum(own.values()) / 100


# Programs: each prints how much CPU time its children took by their own clocks.

REPORT = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
log = os.open("log", os.O_CREAT | os.O_RDWR | os.O_APPEND)
def work(seconds):
    while time.process_time() < seconds:
        pass
    os.write(log, b"%f " % time.process_time())
    os._exit(0)
def times():
    return list(map(float, open("log").read().split()))
"""
LONG = """
for _ in range(4):
    os.fork() or work(0.5)
while len(times()) < 4:
    time.sleep(0.01)
print(sum(times()))
"""
SHORT = """
while sum(times()) < 1.0:
    if os.fork() == 0:
        work(0.004)
    try:
        os.wait()
    except ChildProcessError:
        pass
print(sum(times()))
"""
TWICE = """
while sum(times()) < 1.0:
    if os.fork() == 0:
        os.fork() or work(0.02)
        os._exit(0)
    time.sleep(0.03)
print(sum(times()))
"""


@both
@pytest.mark.parametrize("source", [LONG, SHORT, TWICE], ids=["long", "short", "forked_twice"])
def test_trap64_children_that_reap_themselves_are_counted(cfg, source, monkeypatch):
    updates = []

    class RecordingCpuTime(CpuTime):
        def update(self, *args: object) -> float:
            updates.append(super().update(*args))
            return updates[-1]

    monkeypatch.setattr(resource_usage, "CpuTime", RecordingCpuTime)
    outcome = python(REPORT + source, cfg)
    assert outcome.status == "ok", outcome.stderr
    assert updates[-1] > 0.6 * float(outcome.stdout)


# Memory that is the kernel's.

LISTEN = """
import socket
server = socket.socket(socket.AF_UNIX)
server.bind("x")
server.listen(4096)
for _ in range(1000):  # each leaves what it sent in the queue, and no descriptor
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("x")
        client.send(b"x" * 10000)
"""
PAIRS = """
import os, socket
for _ in range(12):
    if os.fork() == 0:
        break
pairs = [socket.socketpair() for _ in range(28)]
"""
MAPPINGS = """
import ctypes, os
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
start = libc.mmap(None, ctypes.c_size_t(2**29), 0, 0x22, -1, 0)
for at in range(start, start + 30000 * 8192, 8192):  # every other page may be read: a mapping each
    libc.mprotect(at, 4096, 1)
for _ in range(6):
    if os.fork() == 0:
        break
"""
LOCKS = """
import fcntl, os
for child in range(8):
    if os.fork() == 0:
        break
files = [open(f"{child}_{os.getpid()}_{i}", "w") for i in range(55)]
for file in files:
    for at in range(300):
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * at)
"""


@needs_sandbox
@pytest.mark.parametrize(
    "source", [LISTEN, PAIRS, MAPPINGS, LOCKS], ids=["queued_sockets", "sockets", "mappings", "locks"]
)
def test_trap65_memory_that_only_the_kernel_holds_counts(source):
    assert python(source + "import time\ntime.sleep(20)").status == "memory"


@needs_sandbox
def test_a_few_sockets_mappings_and_locks_do_not_count_for_much():
    source = """
import fcntl, mmap, socket, sqlite3, time
pairs = [socket.socketpair() for _ in range(20)]
maps = [mmap.mmap(-1, 4096, mmap.MAP_PRIVATE) for _ in range(1000)]
with open("x", "w") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    with sqlite3.connect("y") as database:
        database.execute("create table t (x)")
        database.execute("insert into t values (7)")
    time.sleep(0.2)
    print(database.execute("select x from t").fetchone())
"""
    outcome = python(source, dataclasses.replace(CFG, memory_mb=64))
    assert (outcome.status, outcome.stdout) == ("ok", b"(7,)\n")
