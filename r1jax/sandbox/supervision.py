"""Watching over a program that runs: what it prints, what all its processes use together, and their end."""

import contextlib
import dataclasses
import math
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

from r1jax.sandbox.accounting import Accounts, Usage, directory, session_of
from r1jax.sandbox.config import CodeConfig

Status = Literal["ok", "crash", "timeout", "memory", "output"]

_POLL_S = 0.025
_STDERR_KEPT = 4096
_INODE_BYTES = 1024  # about what the kernel takes for an empty file
_CPU_EXCEEDED = 128 + signal.SIGXCPU
# How languages say that they could get no more.
_OUT_OF_MEMORY = (b"MemoryError", b"std::bad_alloc", b"heap out of memory", b"Cannot allocate memory")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        status: "ok": it returned 0; "crash": another number; "timeout", "memory", "output": it went over that limit,
            or (memory) says that it could get no more. For the record only: a program can imitate any of them.
        returncode: as a shell tells it: 128 + N for the signal N.
        stdout: what it printed, up to the limit.
        stderr: the last few KiB of its complaints.
        seconds: wall-clock time from its start to its end.
    """

    status: Status
    returncode: int
    stdout: bytes
    stderr: bytes
    seconds: float


class Sandbox:
    """The processes of a sandbox, seen through its own /proc: none can hide, whatever its parent or its session.

    When the machine's memory runs out, they are ended before all others.

    Args:
        init: process id of the sandbox's first process, with which all others end.

    Raises:
        OSError: it has gone, or may not be looked at.
    """

    def __init__(self, init: int) -> None:
        self._lock, self._accounts = threading.Lock(), Accounts()
        with contextlib.ExitStack() as stack:
            self._proc = directory(f"/proc/{init}/root/proc", stack)
            self._disks = [directory(f"/proc/{init}/root/{path}", stack) for path in ("tmp", "dev/shm")]
            self._init: int | None = os.pidfd_open(init)
            stack.callback(os.close, self._init)
            # Written from outside: of a value that root set, what a program sets is never below it.
            pathlib.Path(f"/proc/{init}/oom_score_adj").write_text("1000", encoding="ascii")
            self._open = stack.pop_all()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what is left of it, and returns when it has ended."""
        self.kill()
        with selectors.DefaultSelector() as selector:
            selector.register(self._init, selectors.EVENT_READ)
            selector.select()
        with self._lock:
            self._init = None
            self._open.close()

    def kill(self) -> None:
        """Ends all of them at once. May be called from another thread, and at any time."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self._init is not None:
                signal.pidfd_send_signal(self._init, signal.SIGKILL)

    def usage(self, memory_limit: int) -> Usage:
        """What they use. Memory that several share is counted once where it decides about the limit."""
        pids = [name for name in os.listdir(self._proc) if name.isdigit()]
        disk = 0
        for descriptor in self._disks:
            space = os.fstatvfs(descriptor)
            files = (space.f_files - space.f_ffree) * _INODE_BYTES
            disk = max(disk, files, (space.f_blocks - space.f_bfree) * space.f_frsize)
        return self._accounts.look(self._proc, pids, memory_limit, sandboxed=True)._replace(disk=disk)


class Session:
    """A program's processes where there is no sandbox. One that leaves the session escapes.

    Args:
        leader: process id of the program, which is its session's too.
    """

    def __init__(self, leader: int) -> None:
        self._lock, self._accounts = threading.Lock(), Accounts()
        self._leader: int | None = leader

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        with self._lock:
            self._leader = None

    def kill(self) -> None:
        """Ends those that can be found. May be called from another thread, and at any time."""
        with self._lock, _proc() as proc:
            for pid in self._pids(proc):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def usage(self, memory_limit: int) -> Usage:
        """What they use; their files are not counted."""
        with _proc() as proc:
            return self._accounts.look(proc, self._pids(proc), memory_limit, sandboxed=False)

    def _pids(self, proc: int) -> list[str]:
        return [name for name in os.listdir(proc) if name.isdigit() and session_of(proc, name) == self._leader]


def watch(process: "subprocess.Popen[bytes]", tenants: Sandbox | Session, cfg: CodeConfig) -> Outcome:
    """Reads what a program prints and holds it to its limits, until it has ended."""
    assert process.stdout and process.stderr
    output = _Output(process.stdout.fileno(), process.stderr.fileno(), cfg.output_mb * 2**20)
    started = time.monotonic()
    reason, next_look, ended = None, started + _pause(), False
    with contextlib.ExitStack() as stack:
        end = os.pidfd_open(process.pid)
        stack.callback(os.close, end)
        selector = stack.enter_context(selectors.DefaultSelector())
        for descriptor in (end, *output.kept):
            selector.register(descriptor, selectors.EVENT_READ)
        while not ended:
            for key, _ in selector.select(_POLL_S if reason else max(0.0, next_look - time.monotonic())):
                if key.fd == end:
                    ended = True
                elif not output.take(key.fd):
                    selector.unregister(key.fd)
            now = time.monotonic()
            if not ended and not reason and now >= next_look:
                reason = _exceeded(tenants, now - started, cfg)
                next_look = now + _pause()
            if not reason and output.is_over:
                reason = "output"
            if reason:
                tenants.kill()
    seconds = time.monotonic() - started
    output.drain()
    returncode = process.wait()
    returncode = 128 - returncode if returncode < 0 else returncode
    stdout, stderr = map(bytes, output.kept.values())
    if not reason:
        reason = "output" if output.is_over else _status(returncode, stderr)
    return Outcome(reason, returncode, stdout, stderr, seconds)


def _pause() -> float:
    """Seconds from look to look, such that no program can know when it is looked at."""
    return _POLL_S * random.uniform(0.5, 1.5)


class _Output:
    """What comes out of a program's two pipes: all of the first up to a limit on both, the end of the second."""

    def __init__(self, stdout: int, stderr: int, limit: int) -> None:
        self.kept = {stdout: bytearray(), stderr: bytearray()}
        self._stderr, self._limit, self._count = stderr, limit, 0
        for descriptor in self.kept:
            os.set_blocking(descriptor, False)

    @property
    def is_over(self) -> bool:
        return self._count > self._limit

    def take(self, descriptor: int) -> bool:
        """Reads a piece; False where there is none, now or at the end."""
        try:
            piece = os.read(descriptor, 65536)
        except BlockingIOError:
            return False
        kept = self.kept[descriptor]
        kept += piece[: max(0, self._limit - self._count)]
        self._count += len(piece)
        if descriptor == self._stderr:
            del kept[:-_STDERR_KEPT]
        return bool(piece)

    def drain(self) -> None:
        """Reads what is still in the pipes after the program's end."""
        for descriptor in self.kept:
            while not self.is_over and self.take(descriptor):
                pass


def _exceeded(tenants: Sandbox | Session, seconds: float, cfg: CodeConfig) -> Status | None:
    """The limit that they are over, if any."""
    memory = cfg.memory_mb * 2**20
    usage = tenants.usage(memory)
    if seconds > cfg.time_s or usage.cpu_s > math.ceil(cfg.time_s):
        return "timeout"
    return "memory" if usage.memory > memory or usage.disk > cfg.disk_mb * 2**20 else None


def _status(returncode: int, stderr: bytes) -> Status:
    """How a program ended that nobody stopped."""
    if returncode == 0:
        return "ok"
    if returncode == _CPU_EXCEEDED:
        return "timeout"
    return "memory" if any(words in stderr for words in _OUT_OF_MEMORY) else "crash"


@contextlib.contextmanager
def _proc() -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        yield directory("/proc", stack)
