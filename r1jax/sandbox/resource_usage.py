"""Resource usage of a program's processes, read from /proc: memory, the kernel's for them too, and CPU time."""

import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Upper estimates of the kernel's memory: for a mapping with its entries in the trees of its ancestors and a name; for a
# lock of a part of a file; for the line of a lock in /proc, which is kept with the reader's descriptor.
_MAPPING_BYTES, _LOCK_BYTES, _LOCK_LINE_BYTES = 1024, 256, 64
# Growth of the kernel's memory below which its objects are not counted.
_UNEXPLAINED_BYTES = 2**24
_SEND_BUFFER = 212992  # Linux's default


class Usage(NamedTuple):
    """Usage of all processes together.

    Attributes:
        memory: bytes.
        disk: bytes of the fuller of the temporary file systems.
        cpu_s: CPU seconds.
    """

    memory: int = 0
    disk: int = 0
    cpu_s: float = 0.0


class UsageMeter:
    """Repeated measurements of a program's processes."""

    def __init__(self) -> None:
        self._cpu_time = CpuTime(time.monotonic())
        self._least_kernel_bytes = _kernel_bytes()

    def measure(self, proc: int, pids: Sequence[str], memory_limit: int, sandboxed: bool) -> Usage:
        """The usage of the processes up to now, without their disk space.

        Args:
            proc: descriptor of the directory /proc that lists them.
            pids: their names in it.
            memory_limit: in bytes; shared pages are counted once only where counting them for each exceeds it.
            sandboxed: whether they are the only processes of their network namespace.
        """
        stats = {pid: _stat(proc, pid) for pid in pids}
        cpu_s = self._cpu_time.update(stats, time.monotonic(), functools.partial(_running_share, proc))
        kernel = _sockets(proc) * _socket_bytes() if sandboxed else 0
        if sandboxed and self._has_kernel_memory_grown():
            kernel += _kernel_objects(proc, pids, memory_limit)
        memory = sum(_sum_kib(proc, f"{pid}/status", b"VmRSS:", b"VmPTE:", b"VmSwap:") for pid in pids)
        if memory * 1024 > memory_limit - kernel:  # pages shared after a fork were counted twice: a slower, exact sum
            memory = sum(_sum_kib(proc, f"{pid}/smaps_rollup", b"Pss:", b"SwapPss:") for pid in pids)
            memory += sum(_sum_kib(proc, f"{pid}/status", b"VmPTE:") for pid in pids)
        return Usage(memory * 1024 + kernel, 0, cpu_s)

    def _has_kernel_memory_grown(self) -> bool:
        """Whether the machine's kernel memory has grown by much; counting objects is slow and seldom needed."""
        used = _kernel_bytes()
        self._least_kernel_bytes = min(used, self._least_kernel_bytes)
        return not used or used - self._least_kernel_bytes > _UNEXPLAINED_BYTES


class CpuTime:
    """CPU time of all past and present processes, including those whose time no parent inherits.

    A process's time goes to the parent that waits for it. Where the parent ignores SIGCHLD it is lost, so the last
    value seen of each process is kept. A process that starts and ends between two updates is never seen. But an update
    that finds a new process running stands, on average, for one that ran since the update before: this estimate
    replaces the measured time of short-lived processes where it is larger. On a busy machine a process is ready to run
    for longer than it runs; several at a time are then weighted by the share of that time in which they ran.

    Args:
        now: seconds, when the first process began.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self._processes: dict[tuple[str, bytes], tuple[int, int]] = {}  # (id, start time) -> own ticks, inherited ticks
        self._long_lived_ticks = self._short_lived_ticks = 0  # between updates; before the first and after the last
        self._estimate_s = 0.0  # of short-lived processes

    def update(self, stats: Mapping[str, Sequence[bytes]], now: float, share: Callable[[str], float]) -> float:
        """The CPU seconds up to now.

        Args:
            stats: process id -> fields of its /proc/*/stat from the third; [] where it ended before it was read.
            now: seconds.
            share: process id -> share of the time in which it was ready to run that it ran, 0 to 1.
        """
        elapsed_s, self._now = now - self._now, now
        processes: dict[tuple[str, bytes], tuple[int, int]] = {}
        inherited_ticks, running = 0, []
        for pid, stat in stats.items():
            if not stat:
                running += [1.0] if all(pid != known_pid for known_pid, _ in self._processes) else []
                continue
            key, own_ticks, children_ticks = (
                (pid, stat[19]),
                int(stat[11]) + int(stat[12]),
                int(stat[13]) + int(stat[14]),
            )
            own_ticks_before, children_ticks_before = self._processes.get(key, (None, 0))
            if own_ticks_before is None:
                self._short_lived_ticks += own_ticks
                if int(stat[17]) > 1:  # of several threads, any may run
                    running.append(1.0)
                elif stat[0] == b"R":
                    running.append(share(pid))
            else:
                self._long_lived_ticks += own_ticks - own_ticks_before
            inherited_ticks += children_ticks - children_ticks_before
            processes[key] = own_ticks, children_ticks
        gone_ticks = sum(sum(ticks) for key, ticks in self._processes.items() if key not in processes)
        self._short_lived_ticks += max(0, inherited_ticks - gone_ticks)
        self._processes = processes
        if running:
            self._estimate_s += min(max(1.0, sum(running)), os.cpu_count() or 1) * elapsed_s
        return self._long_lived_ticks / _TICKS_PER_S + max(self._short_lived_ticks / _TICKS_PER_S, self._estimate_s)


def session_of(proc: int, pid: str) -> int | None:
    """The session id of a process; None where it has ended."""
    stat = _stat(proc, pid)
    return int(stat[3]) if stat else None


def open_directory(path: str, stack: contextlib.ExitStack, within: int | None = None) -> int:
    """A descriptor of a directory, closed with the stack."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=within)
    stack.callback(os.close, descriptor)
    return descriptor


def _running_share(proc: int, pid: str) -> float:
    """The share of the time in which a process was ready to run that it ran; 1.0 where that is not known."""
    running_ns, waiting_ns = ([int(part) for part in _read(proc, f"{pid}/schedstat").split()] + [0, 0])[:2]
    return running_ns / (running_ns + waiting_ns) if running_ns + waiting_ns else 1.0


def _kernel_bytes() -> int:
    """Bytes that the machine's kernel holds for itself and cannot free; 0 where it does not report them."""
    return 1024 * _sum_kib(None, "/proc/meminfo", b"SUnreclaim:", b"VmallocUsed:")


def _sockets(proc: int) -> int:
    """The number of sockets of the first process's network namespace, including those without a descriptor."""
    for line in _read(proc, "1/net/sockstat").splitlines():
        if line.startswith(b"sockets: used"):
            return int(line.split()[2])
    return 0


@functools.cache
def _socket_bytes() -> int:
    """The most bytes that a socket buffers: its send buffer and one message more, which is no larger than that."""
    try:
        return 2 * int(pathlib.Path("/proc/sys/net/core/wmem_default").read_text())
    except (OSError, ValueError):
        return 2 * _SEND_BUFFER


def _kernel_objects(proc: int, pids: Sequence[str], limit: int) -> int:
    """Bytes that mappings and file locks take; where they are more than the limit, some number above it."""
    total = locks = descriptors = 0
    for pid in pids:
        total += _MAPPING_BYTES * _count(proc, f"{pid}/maps", b"\n", limit // _MAPPING_BYTES)
        try:
            with contextlib.ExitStack() as stack:
                names = os.listdir(open_directory(f"{pid}/fdinfo", stack, proc))
        except OSError:
            continue
        descriptors += len(names)
        locks += sum(_count(proc, f"{pid}/fdinfo/{name}", b"lock:", limit // _LOCK_BYTES) for name in names)
        if total + locks * (_LOCK_BYTES + _LOCK_LINE_BYTES * descriptors) > limit:
            break
    return total + locks * (_LOCK_BYTES + _LOCK_LINE_BYTES * descriptors)


def _count(proc: int, path: str, part: bytes, limit: int) -> int:
    """How often a file of /proc contains `part`, up to a limit; 0 where its process has ended.

    The kernel returns whole lines, so `part` is never cut by the size of a read.
    """
    count = 0
    with contextlib.suppress(OSError), open(os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc), "rb", 0) as file:
        while count <= limit and (piece := file.read(65536)):
            count += piece.count(part)
    return count


def _sum_kib(proc: int | None, path: str, *fields: bytes) -> int:
    """The sum of the fields of a file of /proc whose lines begin with these names, in KiB."""
    return sum(int(line.split()[1]) for line in _read(proc, path).splitlines() if line.startswith(fields))


def _stat(proc: int, pid: str) -> list[bytes]:
    """The fields of /proc/<pid>/stat after the name: state, parent, group, session ...; [] where it has ended."""
    return _read(proc, f"{pid}/stat").rpartition(b")")[2].split()


def _read(proc: int | None, path: str) -> bytes:
    """The content of a file of /proc, which the kernel returns in one read; empty where its process has ended."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
