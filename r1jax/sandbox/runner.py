"""Runner of untrusted programs in a sandbox: no network, none of the user's files, and limits on resources.

`r1jax.sandbox.bubblewrap` builds the sandbox's command line, `r1jax.sandbox.supervisor` enforces the limits while the
program runs. docs/sandbox.md lists each limit with what enforces it, and what the sandbox does not prevent.
"""

import contextlib
import functools
import json
import logging
import os
import platform
import selectors
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future
from contextlib import AbstractContextManager
from subprocess import PIPE, Popen
from types import MappingProxyType
from typing import Any

from r1jax.sandbox import bubblewrap, seccomp
from r1jax.sandbox.bubblewrap import PYTHON, SandboxError
from r1jax.sandbox.config import CodeConfig
from r1jax.sandbox.supervisor import Outcome, SandboxProcesses, SessionProcesses, supervise

__all__ = ["PYTHON", "Outcome", "Program", "SandboxError", "check_available", "run", "start"]

_START_S = 60.0  # to set up the sandbox, on a machine that is very busy
_NO_FILES: Mapping[str, bytes] = MappingProxyType({})
_log = logging.getLogger(__name__)

# A process that was started, and a function that waits until its program begins and returns the processes to supervise.
_Launched = AbstractContextManager[tuple[Popen[bytes], Callable[[], SandboxProcesses | SessionProcesses]]]


class Program:
    """A running program, made by `start`."""

    def __init__(self, launched: _Launched, cfg: CodeConfig) -> None:
        self._spawned: Future[None] = Future()
        self._processes: Future[SandboxProcesses | SessionProcesses] = Future()
        self._outcome: Future[Outcome] = Future()
        # The kernel kills a sandbox with the thread that started it, so that thread supervises it to its end.
        threading.Thread(target=self._supervise, args=(launched, cfg), name="sandbox", daemon=True).start()
        self._spawned.result()

    def wait(self) -> Outcome:
        """Waits for the program's end, after which none of its processes is left.

        Raises:
            SandboxError: it could not be started.
        """
        return self._outcome.result()

    def await_end(self, seconds: float) -> None:
        """Waits for the program's end, but no longer than so many seconds."""
        futures.wait([self._outcome], seconds)

    def kill(self) -> None:
        """Kills it and every process that it started; its outcome is then "crash", unless it had ended before."""
        if self._processes.exception() is None:
            self._processes.result().kill()

    def _supervise(self, launched: _Launched, cfg: CodeConfig) -> None:
        try:
            with launched as (process, wait_until_ready):
                self._spawned.set_result(None)
                with wait_until_ready() as processes:
                    self._processes.set_result(processes)
                    outcome = supervise(process, processes, cfg)
            self._outcome.set_result(outcome)
        except BaseException as error:
            for future in (self._spawned, self._processes, self._outcome):
                if not future.done():
                    future.set_exception(error)


def start(
    command: Sequence[str],
    cfg: CodeConfig,
    *,
    files: Mapping[str, bytes] = _NO_FILES,
    stdin: bytes = b"",
    pass_fds: Sequence[int] = (),
) -> Program:
    """Starts a program, in a sandbox unless `cfg.run_untrusted_code_without_a_sandbox`.

    Its working directory is its own, writable, in memory, and is deleted when it ends.

    Args:
        command: program and arguments. The first is `PYTHON`, a name that is looked up in `bubblewrap.PATH`, or the
            "./name" of one of `files`.
        cfg: its limits.
        files: name -> content of files in its working directory, which it may read and execute, not write.
        stdin: its standard input.
        pass_fds: descriptors that it inherits under the same numbers. The caller may close its own afterwards.

    Raises:
        SandboxError: this is not Linux, or a tool is missing.
        ValueError: a file's name is a path.
    """
    for name in files:
        if name in ("", ".", "..") or "/" in name:
            raise ValueError(f"a file for a program needs a plain name, got {name!r}")
    launch = _without_sandbox if cfg.run_untrusted_code_without_a_sandbox else _in_sandbox
    return Program(launch(command, cfg, files, stdin, pass_fds), cfg)


def run(
    command: Sequence[str],
    cfg: CodeConfig,
    *,
    files: Mapping[str, bytes] = _NO_FILES,
    stdin: bytes = b"",
    pass_fds: Sequence[int] = (),
) -> Outcome:
    """Starts a program and waits for its end; arguments and errors as of `start` and `Program.wait`."""
    return start(command, cfg, files=files, stdin=stdin, pass_fds=pass_fds).wait()


def check_available(cfg: CodeConfig) -> None:
    """Runs a small program, once per process, so that a run without a working sandbox fails at its start.

    Raises:
        SandboxError: the program does not run; the message says what to install or to change.
    """
    _probe(cfg.run_untrusted_code_without_a_sandbox)


@functools.cache
def _probe(unsafe: bool) -> None:
    if unsafe:
        _log.warning("programs run WITHOUT A SANDBOX: as this user, with its files and its network")
    cfg = CodeConfig(run_untrusted_code_without_a_sandbox=unsafe)
    outcome = run([PYTHON, "-I", "-S", "-c", "import os; os.fork()"], cfg)
    if outcome.status != "ok":
        raise SandboxError(bubblewrap.advice(outcome.stderr.decode(errors="replace")))


@contextlib.contextmanager
def _in_sandbox(
    command: Sequence[str], cfg: CodeConfig, files: Mapping[str, bytes], stdin: bytes, pass_fds: Sequence[int]
) -> Iterator[tuple[Popen[bytes], Callable[[], SandboxProcesses]]]:
    with contextlib.ExitStack() as parent_fds:
        with contextlib.ExitStack() as child_fds:  # closed here once the child has inherited them
            gate_read, gate_write = os.pipe()
            child_fds.callback(os.close, gate_read)
            parent_fds.callback(os.close, gate_write)
            # No pipe: if nobody read it bwrap would die, and its child wait for ever.
            status = _memory_file(b"", parent_fds)
            filter_program = seccomp.program(platform.machine())
            filter_fd = None if filter_program is None else _memory_file(filter_program, child_fds)
            stdin_fd = _memory_file(stdin, child_fds)
            file_fds = {name: _memory_file(content, child_fds) for name, content in files.items()}
            line = bubblewrap.command_line(
                command,
                cfg,
                files=file_fds,
                stdin=stdin_fd,
                status=status,
                seccomp=filter_fd,
                uid=threading.get_native_id(),
            )
            inherited_fds = [status, stdin_fd, *file_fds.values(), *pass_fds]
            inherited_fds += [] if filter_fd is None else [filter_fd]
            process = parent_fds.enter_context(_spawn(line, gate_read, inherited_fds))
        yield process, functools.partial(_open_gate, process, status, gate_write)


def _open_gate(process: Popen[bytes], status: int, gate_write: int) -> SandboxProcesses:
    """Waits until the sandbox is set up, then lets its first process start the program.

    Raises:
        SandboxError: bwrap ended, or was not ready within `_START_S`.
    """
    assert process.stdout and process.stderr
    for stream in (process.stdout, process.stderr):  # else "/dev/stdout" could not be opened by another user
        os.fchmod(stream.fileno(), 0o666)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(_START_S) or os.read(process.stdout.fileno(), 1) != bubblewrap.READY:
            process.kill()
            os.set_blocking(process.stderr.fileno(), False)
            raise SandboxError(bubblewrap.advice((process.stderr.read() or b"").decode(errors="replace")))
    try:
        sandbox = SandboxProcesses(json.loads(os.pread(status, 65536, 0).splitlines()[0])["child-pid"])
    except OSError as error:
        raise SandboxError(bubblewrap.advice(str(error))) from None
    os.write(gate_write, b"\n")
    return sandbox


@contextlib.contextmanager
def _without_sandbox(
    command: Sequence[str], cfg: CodeConfig, files: Mapping[str, bytes], stdin: bytes, pass_fds: Sequence[int]
) -> Iterator[tuple[Popen[bytes], Callable[[], SessionProcesses]]]:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        for name, content in files.items():
            with open(os.path.join(directory, name), "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o555)
        line = [*bubblewrap.without_sandbox(cfg), *command]
        environment = {**bubblewrap.ENVIRONMENT, "HOME": directory}
        stdin_fd = _memory_file(stdin, stack)
        process = stack.enter_context(_spawn(line, stdin_fd, pass_fds, cwd=directory, env=environment))
        yield process, functools.partial(SessionProcesses, process.pid)


@contextlib.contextmanager
def _spawn(line: Sequence[str], stdin: int, pass_fds: Sequence[int], **options: Any) -> Iterator[Popen[bytes]]:
    """Starts a process, and kills it when the context ends."""
    with Popen(
        line, stdin=stdin, stdout=PIPE, stderr=PIPE, pass_fds=pass_fds, start_new_session=True, **options
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _memory_file(content: bytes, stack: contextlib.ExitStack) -> int:
    """A descriptor of an anonymous file in memory with this content, closed with the stack."""
    descriptor = os.memfd_create("r1jax")
    stack.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
        file.seek(0)
    return descriptor
