"""Commands of r1jax in processes forked from one that has imported JAX and r1jax: a test pays for its run alone.

Such a process starts no JAX backend before its command does. It leads a session, writes to a log of its own, and takes
signals like any other. Run as a program, this file is the process that forks.
"""

import atexit
import contextlib
import functools
import json
import os
import pathlib
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any

from xla_flags import xla_flags

ROOT = pathlib.Path(__file__).resolve().parent.parent


def environment(devices: int) -> dict[str, str]:
    """The environment of a command on so many CPU devices."""
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags(devices)}


class Process:
    """A command under way, as `subprocess.Popen` has it.

    Attributes:
        pid: of the process, which leads a group of its own.
        returncode: exit status, minus the signal that ended it; None while it runs.
    """

    def __init__(self, pid: int, status: pathlib.Path) -> None:
        self.pid, self.returncode, self._status = pid, None, status

    def poll(self) -> int | None:
        if self.returncode is None and self._status.exists():
            self.returncode = int(self._status.read_text())
            shutil.rmtree(self._status.parent)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Raises TimeoutExpired where it runs for so many seconds more."""
        limit = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > limit:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def start(arguments: Sequence[str], devices: int, log: pathlib.Path) -> Process:
    """Starts `python -m r1jax ARGUMENTS` in the repository's root; what it prints is appended to the log."""
    server = _server()
    status = pathlib.Path(tempfile.mkdtemp(prefix="forked-")) / "status"
    request = {"arguments": list(arguments), "flags": xla_flags(devices), "log": str(log), "status": str(status)}
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return Process(int(server.stdout.readline()), status)


@functools.cache
def _server() -> subprocess.Popen:
    server = subprocess.Popen(
        [sys.executable, __file__],
        cwd=ROOT,
        env={**environment(1), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)  # it ends when its input does
    return server


def _serve() -> None:
    """Forks for each request, which is a line of JSON, and answers with the process's id."""
    import matplotlib.backends.backend_svg
    import matplotlib.pyplot  # noqa: F401
    import orbax.checkpoint  # noqa: F401
    import reasoning_gym  # noqa: F401

    import r1jax.report.run
    import r1jax.running
    import r1jax.stages.rl
    import r1jax.stages.supervised  # noqa: F401
    from r1jax.report import plots

    plots._data_uri = lambda figure: "data:image/svg+xml,"  # as in the fixture in_this_process
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")  # JAX has no threads before its backend
    signal.signal(signal.SIGCHLD, _reap)
    for line in sys.stdin:
        if not os.fork():
            return _wait_for_command(json.loads(line))


def _reap(*_: object) -> None:
    """Takes note of children that have ended; the seconds they used then count as this process's children's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _wait_for_command(request: dict[str, Any]) -> None:
    """Forks the command's process, waits for its end, and leaves its status in a file."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if not (pid := os.fork()):
        return _become_command(request)
    print(pid, flush=True)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    path = pathlib.Path(request["status"])
    path.with_suffix(".new").write_text(str(status))
    path.with_suffix(".new").rename(path)
    os._exit(0)


def _become_command(request: dict[str, Any]) -> None:
    os.setsid()
    os.environ["XLA_FLAGS"] = request["flags"]
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    sys.argv = ["", *request["arguments"]]
    sys.path.pop(0)  # this file's folder
    runpy.run_module("r1jax", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve()
