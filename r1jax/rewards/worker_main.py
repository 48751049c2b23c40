"""Worker process of `r1jax.rewards.workers`: how it is started, its memory limit, and the loop that runs jobs.

A new process imports this module before anything else, so it is kept light.
"""

import contextlib
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess, SpawnProcess
from typing import Any

from r1jax.core import process_tree

_main_module = threading.Lock()

Call = tuple[Callable[..., Any], tuple[Any, ...]]  # function, arguments


class JobError(RuntimeError):
    """A job's function raised; the message is its exception's type and text."""


def run_jobs(pipe: Connection, memory_mb: int, prepare: Call) -> None:
    """The main function of a worker: prepares, then runs jobs until its parent closes the pipe.

    Sends (None, None, None or the error as text) when it is ready, then for each received (job number, pickled call)
    one pickled (job number, value, error).

    Args:
        pipe: this process's end.
        memory_mb: MiB that it may allocate beyond what it starts with.
        prepare: called before the first job.
    """
    # Signals.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    # Python's own handler would wait for the interpreter lock, which a hanging grader holds.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Life cycle: the fork server ends with the program once no other process holds this pipe, of which each worker has
    # an end for starting processes of its own. And a worker, even a hanging one, ends with the server.
    if forkserver._forkserver._forkserver_alive_fd:
        os.close(forkserver._forkserver._forkserver_alive_fd)
    process_tree.die_with_parent()
    # Should a library of the graders load jax after all, it must not use the accelerator.
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.pop("XLA_FLAGS", None)
    _limit_memory(memory_mb)
    # Preparation.
    try:
        function, args = prepare
        function(*args)
    except BaseException as error:
        pipe.send((None, None, f"{type(error).__name__}: {error}"))
        return
    pipe.send((None, None, None))
    # Jobs.
    worker_pid = os.getpid()
    while True:
        try:
            number, call = pipe.recv()
        except EOFError:
            return
        try:
            function, args = pickle.loads(call)
            message = pickle.dumps((number, function(*args), None))
        except MemoryError:
            message = pickle.dumps((number, None, MemoryError(f"more than {memory_mb} MiB")))
        except Exception as error:  # as text: its class may not unpickle in the parent
            message = pickle.dumps((number, None, JobError(f"{type(error).__name__}: {error}")))
        if os.getpid() != worker_pid:  # a job forked, and both processes returned here
            os._exit(0)
        pipe.send_bytes(message)


def import_error(module: str, timeout_s: float) -> str:
    """The error with which importing a module fails in a process of its own; "" where it succeeds."""
    command = [sys.executable, "-c", f"import {module}"]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s)
    if not run.returncode:
        return ""
    last_line = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
    return f"importing {module} ends in {last_line}"


def _limit_memory(memory_mb: int) -> None:
    """Sets the soft limit of the address space: programs that a grader starts set limits of their own."""
    try:
        with open("/proc/self/statm") as statm:
            used_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:  # no /proc: not Linux, where this limit does not act anyway
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes + memory_mb * 2**20, hard))


@contextlib.contextmanager
def _hidden_main_module() -> Iterator[None]:
    """Hides the program's main module, which a new process would import first, and jax with it."""
    with _main_module:
        main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class ForkedProcess(ForkServerProcess):
    """A process forked from the fork server, with all that the server has imported."""

    def start(self) -> None:
        with _hidden_main_module():
            super().start()


class SpawnedProcess(SpawnProcess):
    """A new interpreter, which has imported nothing."""

    def start(self) -> None:
        with _hidden_main_module():
            super().start()
