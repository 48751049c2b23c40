"""What a program's processes use together, as /proc tells it: memory, the kernel's included, and processor time."""

import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# What the kernel takes, upper estimates: for a mapping with its places in the trees of its ancestors and a name; for a
# lock of a part of a file; for its line where it is read through /proc, which stays with the reader's descriptor.
_MAPPING_BYTES, _LOCK_BYTES, _LOCK_LINE_BYTES = 1024, 256, 64
# By less than this the kernel's own memory may grow without a look at what for.
_UNEXPLAINED_BYTES = 2**24
_SEND_BUFFER = 212992  # Linux's default


class Usage(NamedTuple):
    """Of all processes together: bytes of memory, of the fuller temporary space, CPU seconds."""

    memory: int = 0
    disk: int = 0
    cpu_s: float = 0.0


class Accounts:
    """Keeps count of a program's processes from look to look."""

    def __init__(self) -> None:
        self._time = ProcessorTime(time.monotonic())
        self._least_kernel_bytes = _kernel_bytes()

    def look(self, proc: int, pids: Sequence[str], memory_limit: int, sandboxed: bool) -> Usage:
        """What the processes use.

        Args:
            proc: descriptor of the directory /proc that lists them.
            pids: their names in it.
            memory_limit: memory that several share is counted once where it decides about this many bytes.
            sandboxed: they are all that there is in their network namespace.
        """
        stats = {pid: _stat(proc, pid) for pid in pids}
        cpu_s = self._time.look(stats, time.monotonic(), functools.partial(_share_of_time, proc))
        kernel = _sockets(proc) * _socket_bytes() if sandboxed else 0
        if sandboxed and self._has_kernel_memory_grown():
            kernel += _kernel_objects(proc, pids, memory_limit)
        memory = sum(_kib(proc, f"{pid}/status", b"VmRSS:", b"VmPTE:", b"VmSwap:") for pid in pids)
        if memory * 1024 > memory_limit - kernel:  # pages shared after a fork counted for each: a slower, exact sum
            memory = sum(_kib(proc, f"{pid}/smaps_rollup", b"Pss:", b"SwapPss:") for pid in pids)
            memory += sum(_kib(proc, f"{pid}/status", b"VmPTE:") for pid in pids)
        return Usage(memory * 1024 + kernel, 0, cpu_s)

    def _has_kernel_memory_grown(self) -> bool:
        """Whether that of the whole machine has, by much: to count objects takes long, and is seldom needed."""
        used = _kernel_bytes()
        self._least_kernel_bytes = min(used, self._least_kernel_bytes)
        return not used or used - self._least_kernel_bytes > _UNEXPLAINED_BYTES


class ProcessorTime:
    """Processor time of all processes that there have been, also of those whose time nobody inherited.

    A process's time goes to the parent that waits for it. Where the parent ignores SIGCHLD it goes to nobody, so what
    was last seen of each process is kept. A process that comes and goes between two looks leaves nothing to keep. But
    a look that finds a new process running stands, on average, for one that ran since the look before: that is an
    estimate, which replaces what is known of short-lived processes where it is more. On a busy machine a process is
    ready to run for longer than it runs; more than one at a time are then taken by the share of it that they got.

    Args:
        now: seconds, when the first process began.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self._processes: dict[tuple[str, bytes], tuple[int, int]] = {}  # by id and start: own ticks, inherited ticks
        self._lasting = self._brief = 0  # ticks of processes from look to look; at first sight and after the last
        self._estimate_s = 0.0  # of the latter

    def look(self, stats: Mapping[str, Sequence[bytes]], now: float, share: Callable[[str], float]) -> float:
        """The CPU seconds up to now.

        Args:
            stats: process id -> fields of its /proc/*/stat from the third, [] where it went before it was read.
            now: seconds.
            share: of the time in which a process was ready to run, how much it ran, by process id.
        """
        elapsed_s, self._now = now - self._now, now
        processes: dict[tuple[str, bytes], tuple[int, int]] = {}
        inherited, running = 0, []
        for pid, stat in stats.items():
            if not stat:
                running += [1.0] if all(pid != known for known, _ in self._processes) else []
                continue
            key, own, of_children = (pid, stat[19]), int(stat[11]) + int(stat[12]), int(stat[13]) + int(stat[14])
            own_before, of_children_before = self._processes.get(key, (None, 0))
            if own_before is None:
                self._brief += own
                if int(stat[17]) > 1:  # of several threads, any may run
                    running.append(1.0)
                elif stat[0] == b"R":
                    running.append(share(pid))
            else:
                self._lasting += own - own_before
            inherited += of_children - of_children_before
            processes[key] = own, of_children
        gone = sum(sum(ticks) for key, ticks in self._processes.items() if key not in processes)
        self._brief += max(0, inherited - gone)
        self._processes = processes
        if running:
            self._estimate_s += min(max(1.0, sum(running)), os.cpu_count() or 1) * elapsed_s
        return self._lasting / _TICKS_PER_S + max(self._brief / _TICKS_PER_S, self._estimate_s)


def session_of(proc: int, pid: str) -> int | None:
    """The session of a process; None where it has gone."""
    stat = _stat(proc, pid)
    return int(stat[3]) if stat else None


def directory(path: str, stack: contextlib.ExitStack, within: int | None = None) -> int:
    """A descriptor of a directory, closed with the stack."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=within)
    stack.callback(os.close, descriptor)
    return descriptor


def _share_of_time(proc: int, pid: str) -> float:
    """How much a process ran of the time in which it was ready to; 1.0 where that is not known."""
    ran, waited = ([int(part) for part in _read(proc, f"{pid}/schedstat").split()] + [0, 0])[:2]
    return ran / (ran + waited) if ran + waited else 1.0


def _kernel_bytes() -> int:
    """What the machine's kernel holds for itself and cannot give back; 0 where it does not tell."""
    return 1024 * _kib(None, "/proc/meminfo", b"SUnreclaim:", b"VmallocUsed:")


def _sockets(proc: int) -> int:
    """How many sockets the first process's network namespace has: those that no descriptor leads to any more too."""
    for line in _read(proc, "1/net/sockstat").splitlines():
        if line.startswith(b"sockets: used"):
            return int(line.split()[2])
    return 0


@functools.cache
def _socket_bytes() -> int:
    """The most that a socket holds of what was sent: a message more than its buffer, which is not larger than one."""
    try:
        return 2 * int(pathlib.Path("/proc/sys/net/core/wmem_default").read_text())
    except (OSError, ValueError):
        return 2 * _SEND_BUFFER


def _kernel_objects(proc: int, pids: Sequence[str], limit: int) -> int:
    """Bytes that mappings and locks of files take, or some number above the limit."""
    total = locks = descriptors = 0
    for pid in pids:
        total += _MAPPING_BYTES * _count(proc, f"{pid}/maps", b"\n", limit // _MAPPING_BYTES)
        try:
            with contextlib.ExitStack() as stack:
                names = os.listdir(directory(f"{pid}/fdinfo", stack, proc))
        except OSError:
            continue
        descriptors += len(names)
        locks += sum(_count(proc, f"{pid}/fdinfo/{name}", b"lock:", limit // _LOCK_BYTES) for name in names)
        if total + locks * (_LOCK_BYTES + _LOCK_LINE_BYTES * descriptors) > limit:
            break
    return total + locks * (_LOCK_BYTES + _LOCK_LINE_BYTES * descriptors)


def _count(proc: int, path: str, part: bytes, most: int) -> int:
    """How often a file of /proc has a part, of which it gives only whole ones at a time; none where it has gone."""
    count = 0
    with contextlib.suppress(OSError), open(os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc), "rb", 0) as file:
        while count <= most and (piece := file.read(65536)):
            count += piece.count(part)
    return count


def _kib(proc: int | None, path: str, *fields: bytes) -> int:
    return sum(int(line.split()[1]) for line in _read(proc, path).splitlines() if line.startswith(fields))


def _stat(proc: int, pid: str) -> list[bytes]:
    """The fields of a process's stat after its name, [] where it has gone: state, parent, group, session ..."""
    return _read(proc, f"{pid}/stat").rpartition(b")")[2].split()


def _read(proc: int | None, path: str) -> bytes:
    """A file of /proc, which the kernel gives in one piece; empty where its process has gone."""
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
