"""Supervisor of a running program: captured output, resource limits over all its processes, and how they end."""

import contextlib
import dataclasses
import os
import pathlib
import random
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Literal

from r1jax.core import process_tree
from r1jax.sandbox.config import CodeConfig, wait_s
from r1jax.sandbox.resource_usage import Usage, UsageMeter, open_directory, session_of

Status = Literal["ok", "crash", "timeout", "memory", "output"]

_POLL_S = 0.025
_STDERR_BYTES = 4096
_INODE_BYTES = 1024  # about what the kernel takes for an empty file
_LATE_S = 1.0  # of a check, beyond which this process was stopped itself
_CPU_EXCEEDED = (128 + signal.SIGXCPU, 128 + signal.SIGPROF)  # the latter: of the program server's timer
# Error messages of languages for a failed allocation.
_OUT_OF_MEMORY = (b"MemoryError", b"std::bad_alloc", b"heap out of memory", b"Cannot allocate memory")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        status: "ok": it returned 0; "crash": another number; "timeout", "memory", "output": it exceeded that limit, or
            (memory) reported a failed allocation. Informative only: a program can imitate any of them.
        returncode: as in a shell: 128 + N for the signal N.
        stdout: its output, up to the limit.
        stderr: the last 4 KiB of its error output.
        seconds: wall-clock time from its start to its end.
        processor_s: processor seconds that its processes used.
    """

    status: Status
    returncode: int
    stdout: bytes
    stderr: bytes
    seconds: float
    processor_s: float = 0.0


class SandboxProcesses:
    """All processes of a sandbox, listed by its own /proc whatever their parent or session.

    When the machine's memory runs out, the kernel kills them before all others.

    Args:
        init: process id of the sandbox's first process; the kernel kills the others when it ends.

    Raises:
        OSError: it has ended, or may not be inspected.
    """

    def __init__(self, init: int) -> None:
        self._lock, self._meter = threading.Lock(), UsageMeter()
        with contextlib.ExitStack() as stack:
            self._proc = open_directory(f"/proc/{init}/root/proc", stack)
            self._disks = [open_directory(f"/proc/{init}/root/{path}", stack) for path in ("tmp", "dev/shm")]
            self._init: int | None = os.pidfd_open(init)
            stack.callback(os.close, self._init)
            # Written from outside: a program cannot go below a value that root set.
            pathlib.Path(f"/proc/{init}/oom_score_adj").write_text("1000", encoding="ascii")
            self._open = stack.pop_all()

    def __enter__(self) -> "SandboxProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        """Kills the processes that are left, and returns when they have ended."""
        self.kill()
        with selectors.DefaultSelector() as selector:
            selector.register(self._init, selectors.EVENT_READ)
            selector.select()
        with self._lock:
            self._init = None
            self._open.close()

    def kill(self) -> None:
        """Kills all processes at once; may be called from any thread, at any time."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self._init is not None:
                signal.pidfd_send_signal(self._init, signal.SIGKILL)

    def usage(self, memory_limit: int) -> Usage:
        """Their usage; shared memory is counted once where that decides about the limit, in bytes."""
        pids = [name for name in os.listdir(self._proc) if name.isdigit()]
        disk = 0
        for descriptor in self._disks:
            space = os.fstatvfs(descriptor)
            files = (space.f_files - space.f_ffree) * _INODE_BYTES
            disk = max(disk, files, (space.f_blocks - space.f_bfree) * space.f_frsize)
        return self._meter.measure(self._proc, pids, memory_limit, sandboxed=True)._replace(disk=disk)


class SessionProcesses:
    """The processes of a program without a sandbox, by their session; one that leaves the session escapes.

    Args:
        leader: process id of the program, which is its session id too.
    """

    def __init__(self, leader: int) -> None:
        self._lock, self._meter = threading.Lock(), UsageMeter()
        self._leader: int | None = leader

    def __enter__(self) -> "SessionProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        with self._lock:
            self._leader = None

    def kill(self) -> None:
        """Kills the processes of the session; may be called from any thread, at any time."""
        with self._lock, _proc() as proc:
            for pid in self._pids(proc):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def usage(self, memory_limit: int) -> Usage:
        """Their usage, files not counted; the limit is in bytes."""
        with _proc() as proc:
            return self._meter.measure(proc, self._pids(proc), memory_limit, sandboxed=False)

    def _pids(self, proc: int) -> list[str]:
        return [name for name in os.listdir(proc) if name.isdigit() and session_of(proc, name) == self._leader]


def supervise(
    process: "subprocess.Popen[bytes]", processes: SandboxProcesses | SessionProcesses, cfg: CodeConfig
) -> Outcome:
    """Captures a program's output and enforces its limits until it has ended."""
    assert process.stdout and process.stderr
    output = _Output(process.stdout.fileno(), process.stderr.fileno(), cfg.output_mb * 2**20)
    started = time.monotonic()
    status, next_check, has_ended, processor_s = None, started + _poll_interval(), False, 0.0
    with contextlib.ExitStack() as stack:
        end = os.pidfd_open(process.pid)
        stack.callback(os.close, end)
        selector = stack.enter_context(selectors.DefaultSelector())
        for descriptor in (end, *output.captured):
            selector.register(descriptor, selectors.EVENT_READ)
        while not has_ended:
            for key, _ in selector.select(_POLL_S if status else max(0.0, next_check - time.monotonic())):
                if key.fd == end:
                    has_ended = True
                elif not output.read(key.fd):
                    selector.unregister(key.fd)
            now = time.monotonic()
            if not has_ended and not status and now >= next_check:
                usage = processes.usage(cfg.memory_mb * 2**20)
                processor_s = max(processor_s, usage.cpu_s)
                if now - next_check > _LATE_S:  # this process was stopped, and the program perhaps with it
                    started += now - next_check
                status = _exceeded_limit(usage, now - started, cfg)
                next_check = now + _poll_interval()
            if not status and output.exceeds_limit:
                status = "output"
            if status:
                processes.kill()
    elapsed_s = time.monotonic() - started
    output.drain()
    # Before it is waited for: what its processes used that lived from one check to the next has come down to it.
    processor_s = max(processor_s, process_tree.processor_seconds(process.pid, with_descendants=False) or 0.0)
    returncode = process.wait()
    returncode = 128 - returncode if returncode < 0 else returncode
    stdout, stderr = map(bytes, output.captured.values())
    if not status:
        status = "output" if output.exceeds_limit else _status(returncode, stderr)
    return Outcome(status, returncode, stdout, stderr, elapsed_s, processor_s)


def _poll_interval() -> float:
    """Seconds until the next check: random, so that no program can know when it is checked."""
    return _POLL_S * random.uniform(0.5, 1.5)


class _Output:
    """Captured output of a program: all of standard output, up to a limit on both streams, and the end of stderr."""

    def __init__(self, stdout: int, stderr: int, limit: int) -> None:
        self.captured = {stdout: bytearray(), stderr: bytearray()}
        self._stderr, self._max_bytes, self._bytes_read = stderr, limit, 0
        for descriptor in self.captured:
            os.set_blocking(descriptor, False)

    @property
    def exceeds_limit(self) -> bool:
        return self._bytes_read > self._max_bytes

    def read(self, descriptor: int) -> bool:
        """Reads a piece; False where there is none, for now or because the stream has ended."""
        try:
            piece = os.read(descriptor, 65536)
        except BlockingIOError:
            return False
        captured = self.captured[descriptor]
        captured += piece[: max(0, self._max_bytes - self._bytes_read)]
        self._bytes_read += len(piece)
        if descriptor == self._stderr:
            del captured[:-_STDERR_BYTES]
        return bool(piece)

    def drain(self) -> None:
        """Reads what is left in the pipes after the program's end."""
        for descriptor in self.captured:
            while not self.exceeds_limit and self.read(descriptor):
                pass


def _exceeded_limit(usage: Usage, elapsed_s: float, cfg: CodeConfig) -> Status | None:
    """The limit that the processes exceed, if any."""
    if usage.cpu_s > cfg.time_s or elapsed_s > wait_s(cfg.time_s):
        return "timeout"
    return "memory" if usage.memory > cfg.memory_mb * 2**20 or usage.disk > cfg.disk_mb * 2**20 else None


def _status(returncode: int, stderr: bytes) -> Status:
    """The status of a program that ended by itself."""
    if returncode == 0:
        return "ok"
    if returncode in _CPU_EXCEEDED:
        return "timeout"
    return "memory" if any(words in stderr for words in _OUT_OF_MEMORY) else "crash"


@contextlib.contextmanager
def _proc() -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        yield open_directory("/proc", stack)
