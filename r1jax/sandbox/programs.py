"""Runs programs that nobody has read: no network, nothing of the user's to see, and limits on all that they take.

`r1jax.sandbox.bubblewrap` says what the walls are, `r1jax.sandbox.supervision` watches over what goes on between them.
docs/sandbox.md tells what is held by what, and what is not.
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
from concurrent.futures import Future
from contextlib import AbstractContextManager
from subprocess import PIPE, Popen
from types import MappingProxyType
from typing import Any

from r1jax.sandbox import bubblewrap, seccomp
from r1jax.sandbox.bubblewrap import PYTHON, SandboxError
from r1jax.sandbox.config import CodeConfig
from r1jax.sandbox.supervision import Outcome, Sandbox, Session, watch

__all__ = ["PYTHON", "Outcome", "Program", "SandboxError", "check_available", "run", "start"]

_START_S = 60.0  # for the walls to stand, on a machine that is very busy
_NO_FILES: Mapping[str, bytes] = MappingProxyType({})
_log = logging.getLogger(__name__)

# A process that was started, and what waits for the program to begin and says who its processes are.
_Launch = AbstractContextManager[tuple[Popen[bytes], Callable[[], Sandbox | Session]]]


class Program:
    """A program that runs. `start` makes it."""

    def __init__(self, launch: _Launch, cfg: CodeConfig) -> None:
        self._spawned: Future[None] = Future()
        self._tenants: Future[Sandbox | Session] = Future()
        self._outcome: Future[Outcome] = Future()
        # The kernel ties a sandbox's life to the thread that started it, so that thread is the one that stays with it.
        threading.Thread(target=self._supervise, args=(launch, cfg), name="sandbox", daemon=True).start()
        self._spawned.result()

    def wait(self) -> Outcome:
        """Its end: when this returns, none of its processes is left.

        Raises:
            SandboxError: it could not be started.
        """
        return self._outcome.result()

    def kill(self) -> None:
        """Ends it, with every process that it started. Its outcome is then a crash, unless it had ended before."""
        if self._tenants.exception() is None:
            self._tenants.result().kill()

    def _supervise(self, launch: _Launch, cfg: CodeConfig) -> None:
        try:
            with launch as (process, move_in):
                self._spawned.set_result(None)
                with move_in() as tenants:
                    self._tenants.set_result(tenants)
                    outcome = watch(process, tenants, cfg)
            self._outcome.set_result(outcome)
        except BaseException as error:
            for future in (self._spawned, self._tenants, self._outcome):
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
    """Starts a program, in a sandbox unless `cfg` loudly says otherwise.

    It begins in a writable directory of its own, in memory, which ends with it.

    Args:
        command: its arguments. The first is `PYTHON`, a name that is looked up in `bubblewrap.PATH`, or "./name" of a
            file below.
        cfg: its limits.
        files: name -> bytes, put into the directory where it begins: to read and to execute, not to write.
        stdin: what it can read.
        pass_fds: descriptors that it gets under the same numbers. The caller may close its own afterwards.

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
    """`start`, then wait for its end."""
    return start(command, cfg, files=files, stdin=stdin, pass_fds=pass_fds).wait()


def check_available(cfg: CodeConfig) -> None:
    """Runs a small program, once a process: what will need programs should fail at its start, not in its first step.

    Raises:
        SandboxError: it does not run; the message ends with what to install or to change.
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
) -> Iterator[tuple[Popen[bytes], Callable[[], Sandbox]]]:
    with contextlib.ExitStack() as ours:
        with contextlib.ExitStack() as theirs:  # descriptors that only the other side needs
            gate_end, gate = os.pipe()
            theirs.callback(os.close, gate_end)
            ours.callback(os.close, gate)
            status = _memory_file(b"", ours)  # no pipe: if nobody read it bwrap would die, and its child wait for ever
            refusals = seccomp.program(platform.machine())
            refusals_fd = None if refusals is None else _memory_file(refusals, theirs)
            stdin_fd = _memory_file(stdin, theirs)
            file_fds = {name: _memory_file(content, theirs) for name, content in files.items()}
            line = bubblewrap.command_line(
                command,
                cfg,
                files=file_fds,
                stdin=stdin_fd,
                status=status,
                seccomp=refusals_fd,
                uid=threading.get_native_id(),
            )
            given = [status, stdin_fd, *file_fds.values(), *pass_fds]
            given += [] if refusals_fd is None else [refusals_fd]
            process = ours.enter_context(_spawn(line, gate_end, given))
        yield process, functools.partial(_move_in, process, status, gate)


def _move_in(process: Popen[bytes], status: int, gate: int) -> Sandbox:
    """Opens the gate, once the walls stand."""
    assert process.stdout and process.stderr
    for stream in (process.stdout, process.stderr):  # or "/dev/stdout" would be closed to another user
        os.fchmod(stream.fileno(), 0o666)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(_START_S) or os.read(process.stdout.fileno(), 1) != bubblewrap.READY:
            process.kill()
            os.set_blocking(process.stderr.fileno(), False)
            raise SandboxError(bubblewrap.advice((process.stderr.read() or b"").decode(errors="replace")))
    try:
        sandbox = Sandbox(json.loads(os.pread(status, 65536, 0).splitlines()[0])["child-pid"])
    except OSError as error:
        raise SandboxError(bubblewrap.advice(str(error))) from None
    os.write(gate, b"\n")
    return sandbox


@contextlib.contextmanager
def _without_sandbox(
    command: Sequence[str], cfg: CodeConfig, files: Mapping[str, bytes], stdin: bytes, pass_fds: Sequence[int]
) -> Iterator[tuple[Popen[bytes], Callable[[], Session]]]:
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
        yield process, functools.partial(Session, process.pid)


@contextlib.contextmanager
def _spawn(line: Sequence[str], stdin: int, pass_fds: Sequence[int], **options: Any) -> Iterator[Popen[bytes]]:
    """The process, which does not outlive the context."""
    with Popen(
        line, stdin=stdin, stdout=PIPE, stderr=PIPE, pass_fds=pass_fds, start_new_session=True, **options
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _memory_file(content: bytes, stack: contextlib.ExitStack) -> int:
    """A descriptor from which bytes can be read, at no disk's cost."""
    descriptor = os.memfd_create("r1jax")
    stack.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
        file.seek(0)
    return descriptor
