"""Pool of worker processes for functions that may hang, exhaust memory or crash; such workers are replaced.

A timeout by threads would not do: one long operation may hold the interpreter lock, and then no thread runs. Workers
are forked from a server that has imported the graders' libraries, so that a new one takes milliseconds, not seconds.
"""

import collections
import contextlib
import dataclasses
import importlib
import itertools
import multiprocessing.connection
import os
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

from r1jax.core import process_tree
from r1jax.rewards.worker_main import Call, ForkedProcess, JobError, SpawnedProcess, import_error, run_jobs
from r1jax.sandbox.config import wait_s

__all__ = ["JobError", "WorkerDied", "Workers", "WorkersFailed"]

_PRELOAD, _PRELOAD_LANGUAGES = "r1jax.rewards.worker_imports", "r1jax.rewards.worker_imports_languages"
_ATTEMPTS = 2
_FAILED_STARTS = 5  # in a row, after which another start is pointless
_START_S = 3600.0  # within which a worker must be ready; loading may take long
_LATE_S = 1.0  # of a deadline, beyond which this process was stopped itself
_LEAST_WAIT_S = 0.05  # between two measurements of a job's processor time
_MAX_MESSAGE_BYTES = 2**28  # of a worker; one that claims to be longer is corrupt
_MAX_DEMOTED = 32  # workers at a time
# A tenth of an ordinary process's share: most demoted jobs hang, but one that does not must end in time on a machine
# whose cores are all busy with sampling.
_DEMOTED_NICENESS = 10


class WorkerDied(RuntimeError):
    """A job's worker died, by itself or killed from outside, in each of the job's attempts.

    Attributes:
        exitcode: of the last worker: -N for the signal N.
    """

    def __init__(self, exitcode: int | None) -> None:
        super().__init__(f"worker died with exit code {exitcode}")
        self.exitcode = exitcode


class WorkersFailed(RuntimeError):
    """No more jobs can be run, for example because no worker can be started; the message names the cause."""


@dataclasses.dataclass(eq=False)
class _Job:
    number: int
    call: bytes  # pickled (function, arguments)
    timeout_s: float
    demote_after_s: float
    future: "Future[Any]"
    attempts: int = 0


@dataclasses.dataclass(eq=False)
class _Worker:
    process: ForkedProcess | SpawnedProcess
    pipe: Connection
    started: float  # when its job began, or the process where it is not ready; monotonic seconds
    ready: bool = False
    job: _Job | None = None
    demoted: bool = False
    processor_s: float = 0.0  # that it had used when its job began
    check_at: float = float("inf")  # when the processor time of its job is to be measured; monotonic seconds

    @property
    def next_deadline(self) -> float:
        """When it is to be demoted or killed, in monotonic seconds."""
        if not self.ready:
            return self.started + _START_S
        if self.job is None:
            return float("inf")
        return min(self.check_at, float("inf") if self.demoted else self.started + self.job.demote_after_s)

    def begin(self, job: _Job) -> None:
        """Takes a job, whose time begins."""
        self.job, self.started = job, time.monotonic()
        self.processor_s = process_tree.processor_seconds(self.process.pid, with_descendants=False) or 0.0
        self.check_at = self.started + job.timeout_s

    def is_out_of_time(self, now: float) -> bool:
        """Whether its job has had its processor time, or has waited for too long; else sets the next check.

        Where the processor time is not known, because this is not Linux, the time by the clock takes its place.
        """
        if now - self.check_at > _LATE_S:  # this process was stopped, and the worker perhaps with it
            self.started += now - self.check_at
        used_s = process_tree.processor_seconds(self.process.pid)
        used_s = now - self.started if used_s is None else used_s - self.processor_s
        limit = self.started + wait_s(self.job.timeout_s)
        self.check_at = min(limit, now + max(self.job.timeout_s - used_s, _LEAST_WAIT_S))
        return used_s >= self.job.timeout_s or now >= limit


class Workers:
    """A context manager that holds the processes; `submit` may be called from any thread.

    A job that runs longer than `demote_after_s` is demoted: its process gets a lower priority and goes on until the
    job's time is out, while another process takes its place. So a few jobs that hang cost the others little.

    Args:
        count: processes that work at a time, without demoted ones.
        memory_mb: what a process may allocate beyond what it starts with, in MiB; then its job gets MemoryError.
        prepare: (function, arguments) that each process calls before its first job. Such a process is not forked from
            the server: it has imported no more than that function needs, so it is light to fork, and starts in tenths
            of a second.
        languages: whether processes start with the models for language identification.
    """

    def __init__(self, count: int, memory_mb: int, prepare: Call | None = None, languages: bool = False) -> None:
        self._count, self._memory_mb = count, memory_mb
        self._preload = _PRELOAD_LANGUAGES if languages else _PRELOAD
        forkserver.set_forkserver_preload([self._preload])
        self._process = SpawnedProcess if prepare else ForkedProcess
        # The server skips modules that it cannot import or that were requested after its start: workers import them.
        self._prepare = prepare or (importlib.import_module, (self._preload,))
        self._queue: collections.deque[_Job] = collections.deque()
        self._workers: list[_Worker] = []
        self._numbers = itertools.count()
        self._failed_starts = 0
        self._stopping = False
        self._lock = threading.Lock()  # of the two that follow and of appending to the queue
        self._ended = False
        self._failure = ""

    def __enter__(self) -> "Workers":
        self._wake_receiver, self._wake_sender = multiprocessing.connection.Pipe(duplex=False)
        self._thread = threading.Thread(target=self._run, name="graders", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._wake_up()
        self._thread.join()
        self._wake_sender.close()

    def submit(
        self, function: Callable[..., Any], *args: Any, timeout_s: float, demote_after_s: float = float("inf")
    ) -> "Future[Any]":
        """Runs an importable function in a worker.

        Args:
            timeout_s: processor seconds, its children's included, after which it is killed; by the clock it may take
                `wait_s` of that.
            demote_after_s: wall-clock seconds from its start after which it is demoted.

        Returns:
            a future of its value, or of TimeoutError, MemoryError, JobError (it raised), WorkerDied or WorkersFailed;
            cancelled where the workers are stopped first.

        Raises:
            PickleError, AttributeError, TypeError: the function or an argument cannot be sent to another process.
        """
        job = _Job(next(self._numbers), pickle.dumps((function, args)), timeout_s, demote_after_s, Future())
        with self._lock:
            ended = self._ended
            if not ended:
                self._queue.append(job)
        if ended:
            self._end_unrun_job(job)
        else:
            self._wake_up()
        return job.future

    def pids(self) -> list[int]:
        """Process ids of the live workers."""
        return [worker.process.pid for worker in list(self._workers) if worker.process.pid]

    def _wake_up(self) -> None:
        with contextlib.suppress(OSError):  # the serving thread has ended, and has ended all queued jobs
            self._wake_sender.send_bytes(b"x")

    def _run(self) -> None:
        """The serving thread: handles events until the workers are stopped or fail, then ends all jobs."""
        failure = ""
        try:
            while not self._stopping:
                self._handle_events()
        except WorkersFailed as error:
            failure = str(error)
        except Exception as error:  # whatever it is, no caller may wait for results that never come
            failure = f"the workers are no longer served: {type(error).__name__}: {error}"
        finally:
            with self._lock:
                self._ended, self._failure = True, failure
            for job in [*(worker.job for worker in self._workers if worker.job), *self._queue]:
                self._end_unrun_job(job)
            self._wake_receiver.close()
            for worker in list(self._workers):
                self._remove(worker)

    def _handle_events(self) -> None:
        """Assigns jobs, then waits for a worker's message, a deadline or a new job, and handles it."""
        self._assign_jobs()
        wait_s = min((worker.next_deadline for worker in self._workers), default=float("inf")) - time.monotonic()
        sources = [self._wake_receiver, *(worker.pipe for worker in self._workers)]
        timeout = None if wait_s == float("inf") else max(wait_s, 0.0)
        ready = set(multiprocessing.connection.wait(sources, timeout))
        if self._wake_receiver in ready:
            while self._wake_receiver.poll():
                self._wake_receiver.recv_bytes()
        for worker in list(self._workers):
            if worker.pipe in ready:
                self._receive(worker)
        now = time.monotonic()
        for worker in list(self._workers):
            if now >= worker.next_deadline and not worker.pipe.poll():  # else its message is received next
                self._handle_deadline(worker, now)

    def _end_unrun_job(self, job: _Job) -> None:
        """Ends the future of a job that will not be run."""
        if self._failure:
            _resolve(job, None, WorkersFailed(self._failure))
        else:
            job.future.cancel()
            job.future.set_running_or_notify_cancel()  # cancel() alone wakes no `as_completed`

    def _assign_jobs(self) -> None:
        """Sends queued jobs to idle workers, and starts workers for the rest, up to `count`."""
        active = [worker for worker in self._workers if not worker.demoted]
        for worker in active:
            if self._queue and worker.ready and worker.job is None:
                worker.begin(self._queue.popleft())
                with contextlib.suppress(OSError):  # it died while idle: its pipe then reads as closed
                    worker.pipe.send((worker.job.number, worker.job.call))
        demoted_count = len(self._workers) - len(active)
        if demoted_count >= _MAX_DEMOTED:
            return
        starting = sum(not worker.ready for worker in active)
        for _ in range(min(self._count - len(active), len(self._queue) - starting)):
            self._workers.append(self._start())

    def _start(self) -> _Worker:
        """A new process, not yet ready.

        Raises:
            WorkersFailed: every attempt fails, for example because the fork server's imports fail.
        """
        for _ in range(_FAILED_STARTS):
            parent_end, child_end = multiprocessing.connection.Pipe()
            try:
                process = self._process(target=run_jobs, args=(child_end, self._memory_mb, self._prepare), daemon=True)
                process.start()
                return _Worker(process, parent_end, time.monotonic())
            except (OSError, EOFError) as error:
                parent_end.close()
                failure = f"{type(error).__name__}: {error}"
            finally:
                child_end.close()
        if self._process is ForkedProcess:
            failure = import_error(self._preload, _START_S) or f"the fork server ended, {failure}"
        raise WorkersFailed(f"no worker can be started: {failure}")

    def _receive(self, worker: _Worker) -> None:
        """Receives a worker's message: it is ready or cannot be, or its job has ended; a closed pipe: it is dead."""
        job = worker.job
        try:
            number, value, error = pickle.loads(worker.pipe.recv_bytes(_MAX_MESSAGE_BYTES))
            if number != (job.number if job else None):
                raise ValueError(f"a message about job {number}")
        except Exception:  # a closed pipe, or a message not about its job: the worker gets no other job
            self._handle_death(worker)
            return
        if not worker.ready and error:
            raise WorkersFailed(f"no worker can be started: {error}")
        self._failed_starts = 0
        worker.job, worker.ready = None, True
        if job is not None:
            _resolve(job, value, error)
        if worker.demoted:  # another has its place
            self._remove(worker)

    def _handle_death(self, worker: _Worker) -> None:
        """Removes a dead worker; its job gets another attempt, or WorkerDied as its result.

        Raises:
            WorkersFailed: workers die before they are ready, one after the other.
        """
        job = worker.job
        self._remove(worker)
        if job is None:
            self._failed_starts += not worker.ready
            if self._failed_starts >= _FAILED_STARTS:
                raise WorkersFailed(
                    f"no worker can be started: {_FAILED_STARTS} in a row ended before they "
                    f"were ready, the last with exit code {worker.process.exitcode}"
                )
            return
        job.attempts += 1
        if job.attempts < _ATTEMPTS:
            self._queue.appendleft(job)
        else:
            _resolve(job, None, WorkerDied(worker.process.exitcode))

    def _handle_deadline(self, worker: _Worker, now: float) -> None:
        """Demotes a worker whose job is slow, or kills one whose job's time is out.

        Raises:
            WorkersFailed: the worker was not ready in time.
        """
        job = worker.job
        if job is None:
            raise WorkersFailed(f"no worker can be started: one was not ready within {_START_S:.0f} s")
        if now >= worker.check_at and worker.is_out_of_time(now):
            self._remove(worker)
            _resolve(job, None, TimeoutError(f"not done within {job.timeout_s:g} processor seconds"))
        elif not worker.demoted and now >= worker.started + job.demote_after_s:
            worker.demoted = True
            with contextlib.suppress(OSError):  # it may have died a moment ago
                for pid in (worker.process.pid, *process_tree.descendants(worker.process.pid)):
                    os.setpriority(os.PRIO_PROCESS, pid, _DEMOTED_NICENESS)

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        if worker.process.is_alive():
            process_tree.kill_descendants(worker.process.pid)
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
