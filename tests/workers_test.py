"""Worker processes: hanging jobs, crashes, memory limits, order of results, and imports."""

import concurrent.futures
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import jobs
import pytest
from jobs import GENEROUS_S, Clock, alive, noted, until

from r1jax.core import process_tree
from r1jax.rewards import workers as workers_module
from r1jax.rewards.config import RewardConfig
from r1jax.rewards.grader_pool import GraderPool
from r1jax.rewards.workers import JobError, WorkerDied, Workers, WorkersFailed

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(2, memory_mb=512) as workers:
        workers.submit(int, timeout_s=GENEROUS_S).result()  # the server imports the graders' libraries
        yield workers


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(workers_module, "time", clock)
    monkeypatch.setattr(process_tree, "processor_seconds", clock.processor_seconds)
    return clock


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The file in which jobs log their starts."""
    return tmp_path / "log"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that were started during the test."""
    pids, start = [], Workers._start

    def counted(self: Workers) -> object:
        worker = start(self)
        pids.append(worker.process.pid)
        return worker

    monkeypatch.setattr(Workers, "_start", counted)
    return pids


def wait_for_deadlines(workers: Workers) -> None:
    """Returns after the workers' deadlines have been handled, as they are between one result and the next."""
    for _ in range(2):
        workers.submit(int, timeout_s=GENEROUS_S).result()


def test_each_future_has_its_own_jobs_value_with_several_submitting_threads(workers: Workers) -> None:
    def submit_many(start: int) -> list[int]:
        futures = [workers.submit(abs, -i, timeout_s=GENEROUS_S) for i in range(start, start + 200)]
        return [future.result() for future in futures]

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        values = list(threads.map(submit_many, range(0, 800, 200)))
    assert values == [list(range(start, start + 200)) for start in range(0, 800, 200)]


def test_trap18_a_job_that_holds_the_interpreter_lock_is_killed_in_time(
    workers: Workers, clock: Clock, log: Path
) -> None:
    future = workers.submit(jobs.hang, log, "job", timeout_s=1000.0)
    until(lambda: noted(log))
    [(_, pid)] = noted(log)
    clock.ahead += 900.0
    wait_for_deadlines(workers)
    assert alive(pid) and not future.done(), "its time is not yet out"
    clock.ahead += 100.0
    wait_for_deadlines(workers)
    assert isinstance(future.exception(GENEROUS_S), TimeoutError)
    assert not alive(pid) and len(noted(log)) == 1, "killed, and not tried again"


def test_trap18_a_time_limit_needs_nobody_to_remind_of_it(workers: Workers, log: Path) -> None:
    future = workers.submit(jobs.hang, log, "job", timeout_s=0.5)
    assert isinstance(future.exception(GENEROUS_S), TimeoutError)
    assert not any(alive(pid) for _, pid in noted(log))


def test_trap18_many_jobs_that_hang_cost_the_others_little_and_each_other_nothing(
    workers: Workers, clock: Clock, log: Path, started: list[int]
) -> None:
    wait_for_deadlines(workers)
    present = len(workers.pids())
    started.clear()
    hanging = [workers.submit(jobs.hang, log, f"h{i}", timeout_s=1000.0, demote_after_s=0.05) for i in range(20)]
    fine = [workers.submit(jobs.value, log, i, timeout_s=1000.0) for i in range(200)]
    assert [future.result(GENEROUS_S) for future in fine] == list(range(200))
    assert not any(future.done() for future in hanging), "the others waited for a time limit"
    pids = {pid for name, pid in noted(log) if name[0] == "h"}
    assert len(pids) == 20 and all(map(alive, pids))
    clock.ahead += 1000.0
    wait_for_deadlines(workers)
    assert all(isinstance(future.exception(GENEROUS_S), TimeoutError) for future in hanging), "one limit for all"
    assert Counter(name for name, _ in noted(log)) == Counter([*(f"h{i}" for i in range(20)), *map(str, range(200))])
    assert present + len(started) <= 20 + 2, "one that hangs costs its own process"
    assert not any(map(alive, pids)) and len(workers.pids()) <= 2, "demoted workers are gone"


def test_a_demoted_job_that_ends_in_time_counts(workers: Workers, log: Path, tmp_path: Path) -> None:
    end = tmp_path / "end"
    future = workers.submit(jobs.wait_for, log, "job", end, timeout_s=GENEROUS_S, demote_after_s=0.05)
    until(lambda: noted(log))
    [(_, pid)] = noted(log)
    until(lambda: os.getpriority(os.PRIO_PROCESS, pid) == workers_module._DEMOTED_NICENESS)
    end.touch()
    assert future.result() == "job" and len(noted(log)) == 1
    until(lambda: pid not in workers.pids())  # another has its place


def test_trap35_a_worker_killed_at_work_costs_one_retry(workers: Workers, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    assert workers.submit(die_once, str(mark), timeout_s=GENEROUS_S).result() == "done"


def test_trap35_killed_on_every_attempt_the_death_is_the_result(workers: Workers) -> None:
    error = workers.submit(kill_self, timeout_s=GENEROUS_S).exception()
    assert isinstance(error, WorkerDied) and error.exitcode == -signal.SIGKILL
    error = workers.submit(os._exit, 3, timeout_s=GENEROUS_S).exception()
    assert isinstance(error, WorkerDied) and error.exitcode == 3


def test_trap35_workers_killed_while_idle_are_replaced(workers: Workers) -> None:
    workers.submit(int, timeout_s=GENEROUS_S).result()
    for pid in workers.pids():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not workers.pids())
    assert workers.submit(abs, -3, timeout_s=GENEROUS_S).result() == 3


def test_trap35_a_worker_killed_amid_a_queue_loses_nothing(workers: Workers) -> None:
    """One worker only: two deaths in the same moment could both hit one job, and would be its result."""
    workers.submit(int, timeout_s=GENEROUS_S).result()
    futures = [workers.submit(abs, -i, timeout_s=GENEROUS_S) for i in range(2000)]
    os.kill(workers.pids()[0], signal.SIGKILL)
    assert [future.result() for future in futures] == list(range(2000))


def test_a_job_that_takes_too_much_memory_has_a_memory_error(workers: Workers) -> None:
    assert isinstance(workers.submit(bytes, 2**31, timeout_s=GENEROUS_S).exception(), MemoryError)
    assert workers.submit(len, bytes(2**26), timeout_s=GENEROUS_S).result() == 2**26, "less than the limit is fine"


def test_an_exception_comes_back_as_text(workers: Workers) -> None:
    error = workers.submit(divmod, 1, 0, timeout_s=GENEROUS_S).exception()
    assert isinstance(error, JobError) and "ZeroDivisionError" in str(error)


def test_workers_ignore_interrupts_and_the_accelerator(workers: Workers) -> None:
    workers.submit(int, timeout_s=GENEROUS_S).result()
    for pid in workers.pids():
        os.kill(pid, signal.SIGINT)
    assert workers.submit(os.getenv, "JAX_PLATFORMS", timeout_s=GENEROUS_S).result() == "cpu"
    assert workers.submit(os.getpid, timeout_s=GENEROUS_S).result() in workers.pids()


def test_trap35_a_job_that_forks_and_returns_twice_shifts_nobodys_result(workers: Workers, tmp_path: Path) -> None:
    log = tmp_path / "log"
    futures = [workers.submit(fork_and_return, log, i, timeout_s=GENEROUS_S) for i in range(8)]
    futures += [workers.submit(abs, -i, timeout_s=GENEROUS_S) for i in range(8, 40)]
    assert [future.result(GENEROUS_S) for future in futures] == list(range(40))
    assert len(noted(log)) == 16, "both the job and its fork came to their end"
    assert workers.submit(os.getpid, timeout_s=GENEROUS_S).result() in workers.pids()


@pytest.mark.parametrize("message", [b"garbage", (8).to_bytes(4, "big") + b"12345678", b"\xff" * 40])
def test_trap35_what_a_job_writes_to_open_descriptors_costs_its_own_result_alone(
    workers: Workers, message: bytes
) -> None:
    first = workers.submit(write_to_descriptors, message, timeout_s=5.0)
    others = [workers.submit(abs, -i, timeout_s=GENEROUS_S) for i in range(100)]
    assert [future.result(GENEROUS_S) for future in others] == list(range(100))
    assert isinstance(first.exception(GENEROUS_S), WorkerDied | TimeoutError)


def test_trap35_what_cannot_be_sent_to_a_worker_or_back_leaves_the_other_jobs_alone(workers: Workers) -> None:
    before = workers.submit(abs, -1, timeout_s=GENEROUS_S)
    with pytest.raises((pickle.PickleError, AttributeError)):
        workers.submit(lambda: None, timeout_s=GENEROUS_S)
    error = workers.submit(eval, "lambda: None", timeout_s=GENEROUS_S).exception(GENEROUS_S)
    assert isinstance(error, JobError) and "pickle" in str(error)
    assert (before.result(GENEROUS_S), workers.submit(abs, -2, timeout_s=GENEROUS_S).result(GENEROUS_S)) == (1, 2)


def all_fail(workers: Workers, message: str) -> None:
    """Waits in all ways that futures offer, for jobs submitted before and after the workers have failed."""
    queued = [workers.submit(int, timeout_s=GENEROUS_S) for _ in range(4)]
    completed = list(concurrent.futures.as_completed(queued, timeout=GENEROUS_S))
    later = workers.submit(int, timeout_s=GENEROUS_S)
    concurrent.futures.wait([later], timeout=GENEROUS_S)
    for future in [*completed, later]:
        error = future.exception(timeout=0)
        assert isinstance(error, WorkersFailed) and message in str(error)
    assert len(completed) == 4


def test_workers_that_cannot_start_are_an_error_and_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "run_jobs", exit_at_once)
    with Workers(1, memory_mb=512) as workers:
        all_fail(workers, "5 in a row ended before they were ready, the last with exit code 1")


def test_trap35_a_fault_of_the_serving_thread_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    with Workers(1, memory_mb=512) as workers:
        running = workers.submit(eval, "9**9**9", timeout_s=GENEROUS_S)
        until(lambda: any(worker.job for worker in workers._workers))
        pids = workers.pids()
        monkeypatch.setattr(Workers, "_assign_jobs", planted_fault)
        all_fail(workers, "the workers are no longer served: ZeroDivisionError")
        assert isinstance(running.exception(GENEROUS_S), WorkersFailed)
    assert not any(map(alive, pids))


def test_trap35_a_worker_that_never_gets_ready_is_an_error(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(workers_module, "run_jobs", never_ready)
    with Workers(1, memory_mb=512) as workers:
        waiting = workers.submit(int, timeout_s=GENEROUS_S)
        until(lambda: len(workers.pids()) == 1)
        clock.ahead += 3600.0
        all_fail(workers, "one was not ready within 3600 s")
        assert isinstance(waiting.exception(GENEROUS_S), WorkersFailed)


BROKEN = """
import concurrent.futures, sys
from r1jax.rewards import workers as module
if __name__ == '__main__':
    module._PRELOAD = 'broken_preload'
    with module.Workers(1, 512) as workers:
        queued = [workers.submit(int, timeout_s=60) for _ in range(3)]
        done = list(concurrent.futures.as_completed(queued, timeout=100))
        for future in [*done, workers.submit(int, timeout_s=60)]:
            error = future.exception(timeout=100)
            print(type(error).__name__, error)
"""


def test_trap35_a_preload_that_raises_is_the_error_of_every_job_and_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(BROKEN)
    (tmp_path / "broken_preload.py").write_text("raise ValueError('no such thing as a language model')\n")
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    command = [sys.executable, str(tmp_path / "program.py")]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=2 * GENEROUS_S)
    message = "WorkersFailed no worker can be started: importing broken_preload ends in ValueError: no such thing"
    lines = run.stdout.splitlines()
    assert len(lines) == 4 and all(line.startswith(message) for line in lines), run.stderr[-2000:]


def test_trap35_what_the_fork_server_passes_over_is_the_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ignores an ImportError, so each worker imports the module again."""
    monkeypatch.setattr(workers_module, "_PRELOAD", "no_such_preload")
    with Workers(1, memory_mb=512) as workers:
        all_fail(workers, "no worker can be started: ModuleNotFoundError: No module named 'no_such_preload'")


def test_language_models_are_read_before_the_first_job_and_only_where_needed() -> None:
    with Workers(1, memory_mb=2048, languages=True) as workers:
        assert workers.submit(jobs.languages_read, timeout_s=GENEROUS_S).result() == 1
    command = [sys.executable, "-c", "import r1jax.rewards.worker_imports, sys; print('py3langid' in sys.modules)"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout == "False\n"
    cases = [(RewardConfig(), ("maths",)), (RewardConfig(language=1.0), ("maths",)), (RewardConfig(), ("ifeval",))]
    assert [GraderPool(cfg, 0, 16, names)._languages for cfg, names in cases] == [False, True, True]


def test_unfinished_jobs_are_cancelled_at_the_end_and_no_process_stays() -> None:
    with Workers(1, memory_mb=512) as workers:
        pid = workers.submit(os.getpid, timeout_s=GENEROUS_S).result()
        unfinished = [workers.submit(eval, "9**9**9", timeout_s=GENEROUS_S) for _ in range(2)]
        waiting = threading.Thread(target=concurrent.futures.wait, args=(unfinished,), daemon=True)
        waiting.start()
    assert all(future.cancelled() for future in unfinished)
    assert not alive(pid)
    waiting.join(GENEROUS_S)
    assert not waiting.is_alive(), "waiting threads are woken"
    assert workers.submit(int, timeout_s=GENEROUS_S).cancelled(), "later jobs too"


PROGRAM = """
import os, sys, time
import jax
from r1jax.rewards.workers import Workers
if __name__ == '__main__':
    with Workers(1, 512) as workers:
        loaded = workers.submit(eval, 'list(__import__("sys").modules)', timeout_s=60).result()
        print(workers.submit(os.getpid, timeout_s=60).result(), 'jax' in loaded, 'reasoning_gym' in loaded, flush=True)
        workers.submit(eval, f'open({sys.argv[1]!r}, "w") and 9**9**9', timeout_s=600)
        time.sleep(600)
"""


def test_workers_import_no_jax_even_when_the_program_does_and_die_with_it_even_when_they_hang(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    started_path = tmp_path / "begun"
    command = [sys.executable, str(program), str(started_path)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            pid, has_jax, has_reasoning_gym = process.stdout.readline().split()
            until(started_path.exists)  # the job that hangs
        finally:
            process.kill()
    assert (has_jax, has_reasoning_gym) == ("False", "True")
    until(lambda: not alive(int(pid)))


def die_once(mark: str) -> str:
    """Killed, as from outside, the first time."""
    if not os.path.exists(mark):
        with open(mark, "w"):
            kill_self()
    return "done"


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exit_at_once(*_: object) -> None:
    os._exit(1)


def never_ready(*_: object) -> None:
    time.sleep(10 * GENEROUS_S)


def planted_fault(*_: object) -> None:
    raise ZeroDivisionError("planted")


def fork_and_return(log: Path, value: int) -> int:
    """Returns in two processes: first in the fork, while the other waits for it."""
    child = os.fork()
    if child:
        until(lambda: len([name for name, _ in noted(log) if name == str(value)]) == 1)
    jobs.note(log, value)
    return value


def write_to_descriptors(message: bytes) -> float:
    for descriptor in range(3, 30):
        with contextlib.suppress(OSError):
            os.write(descriptor, message)
    return 1.0
