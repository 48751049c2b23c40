"""Commands of r1jax in processes forked from one that has imported everything: a test pays for its run alone.

A forked process starts no JAX backend before its command does, has a session, an environment and a log of its own, and
takes signals like any other. Run as a program, this file is the process that forks.
"""

import atexit
import functools
import json
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent


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
            time.sleep(0.005)
        return self.returncode


def start(module: str, arguments: Sequence[str], environment: Mapping[str, str], log: pathlib.Path) -> Process:
    """Starts `python -m MODULE ARGUMENTS` in the repository's root; what it prints is appended to the log."""
    server = _server()
    status = pathlib.Path(tempfile.mkdtemp(prefix="forked")) / "status"
    request = {
        "module": module,
        "arguments": list(arguments),
        "environment": dict(environment),
        "log": str(log),
        "status": str(status),
    }
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return Process(int(server.stdout.readline()), status)


@functools.cache
def _server() -> subprocess.Popen:
    server = subprocess.Popen(
        [sys.executable, __file__],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)  # it ends when its input does
    return server


def _serve() -> None:
    """Forks for each request, which is a line of JSON, and answers with the process's id."""
    import matplotlib.figure  # noqa: F401
    import reasoning_gym  # noqa: F401

    import r1jax.report.run
    import r1jax.running  # noqa: F401

    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")  # JAX warns, whose threads none has started
    for line in sys.stdin:
        request = json.loads(line)
        if not os.fork():
            return _watch(request)
        while _ended():
            pass


def _ended() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _watch(request: dict[str, Any]) -> None:
    """Forks the command's process, waits for its end, and leaves its status in a file."""
    if not (pid := os.fork()):
        return _become(request)
    print(pid, flush=True)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    path = pathlib.Path(request["status"])
    path.with_suffix(".new").write_text(str(status))
    path.with_suffix(".new").rename(path)
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(request["environment"])
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    sys.argv = ["", *request["arguments"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve()
