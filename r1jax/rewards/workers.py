"""Processes that run functions which may hang, grow without bound or die: they are killed and replaced when they do.

A thread's time-out would not do: one long operation may hold the interpreter lock, and then no thread runs. Workers are
forked from a server that has imported the graders' libraries, so that a new one costs milliseconds and not seconds.
"""

import collections
import contextlib
import dataclasses
import importlib
import itertools
import multiprocessing.connection
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess, SpawnProcess
from typing import Any

from r1jax.sandbox import descendants

_PRELOAD, _PRELOAD_LANGUAGES = "r1jax.rewards.preload", "r1jax.rewards.preload_languages"
_ATTEMPTS = 2
_FAILED_STARTS = 5  # in a row: something is broken that another start will not mend
_START_S = 3600.0  # after which a worker that is not ready never will be; what it loads may take its time
_MOST_BYTES = 2**28  # of a worker's message; what claims to be longer is none
_ASIDE = 32  # workers that may hang at a time while others do the work
# A tenth of an ordinary process's share: most that are put aside hang, and one that does not must come to its end in
# time on a machine whose cores are all busy with sampling.
_NICE_ASIDE = 10
_main_module = threading.Lock()

_Call = tuple[Callable[..., Any], tuple[Any, ...]]


class WorkerDied(RuntimeError):
    """A worker died of a job, or was killed from outside, as often as a job may be tried.

    Attributes:
        exitcode: the last worker's: -N for the signal N.
    """

    def __init__(self, exitcode: int | None) -> None:
        super().__init__(f"worker died with exit code {exitcode}")
        self.exitcode = exitcode


class JobError(RuntimeError):
    """The function raised; the message is its own exception's."""


class WorkersFailed(RuntimeError):
    """No job will be run any more, say because no worker can be started; the message says what failed."""


@dataclasses.dataclass(eq=False)
class _Job:
    number: int
    call: bytes  # pickled (function, arguments)
    timeout_s: float
    patience_s: float
    future: "Future[Any]"
    attempts: int = 0


@dataclasses.dataclass(eq=False)
class _Worker:
    process: ForkServerProcess | SpawnProcess
    pipe: Connection
    started: float  # the process, and once it is ready its job
    ready: bool = False
    job: _Job | None = None
    aside: bool = False

    @property
    def next_event(self) -> float:
        """When it is to be looked at again: its patience or its time runs out."""
        if not self.ready:
            return self.started + _START_S
        if self.job is None:
            return float("inf")
        return self.started + (self.job.timeout_s if self.aside else min(self.job.patience_s, self.job.timeout_s))


class Workers:
    """A context manager that holds the processes. `submit` may be called from any thread.

    A job that takes longer than its patience is put aside: its process is made nice and goes on until the job's time is
    out, while another takes its place. So a few jobs that hang cost the others little, however long their limit.

    Args:
        count: processes that work at a time.
        memory_mb: what a process may allocate on top of what it starts with, in MiB; beyond it a job gets MemoryError.
        prepare: (function, arguments) that each process calls before its first job. Then it does not come from the
            server, but begins with no more than that function's imports: in tenths of a second, and light to fork.
        languages: jobs tell languages apart, for which processes begin with the models that do.
    """

    def __init__(self, count: int, memory_mb: int, prepare: _Call | None = None, languages: bool = False) -> None:
        self._count, self._memory_mb = count, memory_mb
        self._preload = _PRELOAD_LANGUAGES if languages else _PRELOAD
        forkserver.set_forkserver_preload([self._preload])
        self._process = _Spawned if prepare else _Forked
        # The server passes over what it cannot import, or was not yet asked for; each of its workers imports it then.
        self._prepare = prepare or (importlib.import_module, (self._preload,))
        self._queue: collections.deque[_Job] = collections.deque()
        self._workers: list[_Worker] = []
        self._numbers = itertools.count()
        self._failed_starts = 0
        self._stopping = False
        self._lock = threading.Lock()  # of the two that follow and of the queue's end
        self._ended = False
        self._failure = ""

    def __enter__(self) -> "Workers":
        self._woken, self._wake = multiprocessing.connection.Pipe(duplex=False)
        self._thread = threading.Thread(target=self._serve, name="graders", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._wake_up()
        self._thread.join()
        self._wake.close()

    def submit(
        self, function: Callable[..., Any], *args: Any, timeout_s: float, patience_s: float = float("inf")
    ) -> "Future[Any]":
        """Runs an importable function in a worker.

        Args:
            timeout_s: wall-clock seconds from its start after which it is killed.
            patience_s: seconds after which it is put aside.

        Returns:
            a future of its value, or of TimeoutError, MemoryError, JobError (it raised), WorkerDied or WorkersFailed;
            cancelled where the workers were stopped first.

        Raises:
            PickleError, AttributeError, TypeError: the function or an argument cannot be sent to another process.
        """
        job = _Job(next(self._numbers), pickle.dumps((function, args)), timeout_s, patience_s, Future())
        with self._lock:
            ended = self._ended
            if not ended:
                self._queue.append(job)
        if ended:
            self._abandon(job)
        else:
            self._wake_up()
        return job.future

    def pids(self) -> list[int]:
        """Process ids of the live workers."""
        return [worker.process.pid for worker in list(self._workers) if worker.process.pid]

    def _wake_up(self) -> None:
        with contextlib.suppress(OSError):  # nobody reads: the thread has ended, and has seen to what was in the queue
            self._wake.send_bytes(b"x")

    def _serve(self) -> None:
        failure = ""
        try:
            while not self._stopping:
                self._serve_events()
        except WorkersFailed as error:
            failure = str(error)
        except Exception as error:  # whatever it is, nobody may wait for results that never come
            failure = f"the workers are no longer served: {type(error).__name__}: {error}"
        finally:
            with self._lock:
                self._ended, self._failure = True, failure
            for job in [*(worker.job for worker in self._workers if worker.job), *self._queue]:
                self._abandon(job)
            self._woken.close()
            for worker in list(self._workers):
                self._remove(worker)

    def _serve_events(self) -> None:
        """Hands out jobs, then waits until a worker has something to say, or its time is out, or jobs come in."""
        self._hand_out()
        wait_s = min((worker.next_event for worker in self._workers), default=float("inf")) - time.monotonic()
        sources = [self._woken, *(worker.pipe for worker in self._workers)]
        timeout = None if wait_s == float("inf") else max(wait_s, 0.0)
        ready = set(multiprocessing.connection.wait(sources, timeout))
        if self._woken in ready:
            while self._woken.poll():
                self._woken.recv_bytes()
        for worker in list(self._workers):
            if worker.pipe in ready:
                self._hear(worker)
        now = time.monotonic()
        for worker in list(self._workers):
            if now >= worker.next_event and not worker.pipe.poll():  # else it has ended, and is heard next
                self._lose_patience(worker, now)

    def _abandon(self, job: _Job) -> None:
        """Ends the wait for a job that nobody will run."""
        if self._failure:
            _resolve(job, None, WorkersFailed(self._failure))
        else:
            job.future.cancel()
            job.future.set_running_or_notify_cancel()  # cancel() alone wakes no `as_completed`

    def _hand_out(self) -> None:
        """Gives waiting jobs to idle workers and starts workers as far as there is work for them."""
        active = [worker for worker in self._workers if not worker.aside]
        for worker in active:
            if self._queue and worker.ready and worker.job is None:
                worker.job, worker.started = self._queue.popleft(), time.monotonic()
                with contextlib.suppress(OSError):  # it died while idle: its pipe's end tells of it
                    worker.pipe.send((worker.job.number, worker.job.call))
        asides = len(self._workers) - len(active)
        if asides >= _ASIDE:
            return
        starting = sum(not worker.ready for worker in active)
        for _ in range(min(self._count - len(active), len(self._queue) - starting)):
            self._workers.append(self._start())

    def _start(self) -> _Worker:
        """A new process, not yet ready.

        Raises:
            WorkersFailed: it fails as often as it is tried, say because the fork server ends of what it imports.
        """
        for _ in range(_FAILED_STARTS):
            ours, theirs = multiprocessing.connection.Pipe()
            try:
                process = self._process(target=_work, args=(theirs, self._memory_mb, self._prepare), daemon=True)
                process.start()
                return _Worker(process, ours, time.monotonic())
            except (OSError, EOFError) as error:
                ours.close()
                failure = f"{type(error).__name__}: {error}"
            finally:
                theirs.close()
        if self._process is _Forked:
            failure = _preload_error(self._preload) or f"the fork server ended, {failure}"
        raise WorkersFailed(f"no worker can be started: {failure}")

    def _hear(self, worker: _Worker) -> None:
        """Takes a worker's message: it is ready or cannot be, its job is done, or (the pipe's end) it is dead."""
        job = worker.job
        try:
            number, value, error = pickle.loads(worker.pipe.recv_bytes(_MOST_BYTES))
            if number != (job.number if job else None):
                raise ValueError(f"a message about job {number}")
        except Exception:  # the pipe's end, or no message about its job: it is not to be trusted with another
            self._bury(worker)
            return
        if not worker.ready and error:
            raise WorkersFailed(f"no worker can be started: {error}")
        self._failed_starts = 0
        worker.job, worker.ready = None, True
        if job is not None:
            _resolve(job, value, error)
        if worker.aside:  # another has its place
            self._remove(worker)

    def _bury(self, worker: _Worker) -> None:
        """A worker is dead: its job gets another attempt, or the death is its result.

        Raises:
            WorkersFailed: workers die before they are ready, one after the other.
        """
        job = worker.job
        self._remove(worker)
        if job is None:
            self._failed_starts += not worker.ready
            if self._failed_starts >= _FAILED_STARTS:
                raise WorkersFailed(f"no worker can be started: {_FAILED_STARTS} in a row ended before they "
                                    f"were ready, the last with exit code {worker.process.exitcode}")  # fmt: skip
            return
        job.attempts += 1
        if job.attempts < _ATTEMPTS:
            self._queue.appendleft(job)
        else:
            _resolve(job, None, WorkerDied(worker.process.exitcode))

    def _lose_patience(self, worker: _Worker, now: float) -> None:
        job = worker.job
        if job is None:
            raise WorkersFailed(f"no worker can be started: one was not ready within {_START_S:.0f} s")
        if now >= worker.started + job.timeout_s:
            self._remove(worker)
            _resolve(job, None, TimeoutError(f"not done within {job.timeout_s} s"))
        else:
            worker.aside = True
            with contextlib.suppress(OSError):  # it may have died a moment ago
                for pid in (worker.process.pid, *descendants.descendants(worker.process.pid)):
                    os.setpriority(os.PRIO_PROCESS, pid, _NICE_ASIDE)

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        if worker.process.is_alive():
            descendants.kill(worker.process.pid)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def _resolve(job: _Job, value: Any, error: BaseException | None) -> None:
    if not job.future.set_running_or_notify_cancel():
        return
    if error is None:
        job.future.set_result(value)
    else:
        job.future.set_exception(error)


def _work(pipe: Connection, memory_mb: int, prepare: _Call) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    # Python's own handler would wait for the interpreter lock, which is just what a hanging grader holds.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The server ends with the program once nobody else holds this pipe, of which each worker has an end for starting
    # processes of its own. And a worker, though it hangs, ends with the server.
    if forkserver._forkserver._forkserver_alive_fd:
        os.close(forkserver._forkserver._forkserver_alive_fd)
    descendants.die_with_parent()
    # Should a library of the graders load jax after all, it must leave the accelerator alone.
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.pop("XLA_FLAGS", None)
    _limit_memory(memory_mb)
    try:
        function, args = prepare
        function(*args)
    except BaseException as error:
        pipe.send((None, None, f"{type(error).__name__}: {error}"))
        return
    pipe.send((None, None, None))
    process = os.getpid()
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
        except Exception as error:  # as text: its own class may not unpickle on the other side
            message = pickle.dumps((number, None, JobError(f"{type(error).__name__}: {error}")))
        if os.getpid() != process:  # a job that forked has returned twice
            os._exit(0)
        pipe.send_bytes(message)


def _preload_error(module: str) -> str:
    """How the fork server's imports end in a process of their own, where they fail; "": they do not."""
    command = [sys.executable, "-c", f"import {module}"]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_START_S)
    if not run.returncode:
        return ""
    last_line = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
    return f"importing {module} ends in {last_line}"


def _limit_memory(memory_mb: int) -> None:
    """Bounds the address space, softly: programs that a grader starts have limits of their own to set."""
    try:
        with open("/proc/self/statm") as statm:
            present = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:  # no /proc: not Linux, where this limit does not act anyway
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (present + memory_mb * 2**20, hard))


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Hides the program's own module, which a new process would import, and jax with it, before anything else."""
    with _main_module:
        main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class _Forked(ForkServerProcess):
    def start(self) -> None:
        with _without_main_module():
            super().start()


class _Spawned(SpawnProcess):
    def start(self) -> None:
        with _without_main_module():
            super().start()
