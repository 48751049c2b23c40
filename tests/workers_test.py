"""Processes that can be killed: hangs, deaths, memory, order, and what they import."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from r1jax.rewards import workers as workers_module
from r1jax.rewards.workers import JobError, WorkerDied, Workers

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(2, memory_mb=512) as workers:
        workers.submit(int, timeout_s=60).result()  # the server imports the graders' libraries
        yield workers


def hang() -> None:
    """Holds the interpreter lock: no thread and no Python signal handler runs meanwhile."""
    9**9**9


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_each_future_has_its_own_jobs_value_whoever_hands_it_in(workers: Workers) -> None:
    def hand_in(start: int) -> list[int]:
        futures = [workers.submit(abs, -i, timeout_s=5) for i in range(start, start + 200)]
        return [future.result() for future in futures]

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = list(threads.map(hand_in, range(0, 800, 200)))
    assert found == [list(range(start, start + 200)) for start in range(0, 800, 200)]


def test_trap18_a_job_that_holds_the_interpreter_lock_is_killed_in_time(workers: Workers) -> None:
    begin = time.monotonic()
    error = workers.submit(hang, timeout_s=1.0).exception()
    assert isinstance(error, TimeoutError) and 1.0 <= time.monotonic() - begin < 2.0


def test_trap18_many_jobs_that_hang_cost_the_others_little_and_each_other_nothing(workers: Workers) -> None:
    begin = time.monotonic()
    hanging = [workers.submit(hang, timeout_s=2.0, patience_s=0.05) for _ in range(20)]
    fine = [workers.submit(abs, i, timeout_s=2.0) for i in range(200)]
    assert [future.result() for future in fine] == list(range(200))
    assert time.monotonic() - begin < 2.0, "the clean ones waited for a time limit"
    assert all(isinstance(future.exception(), TimeoutError) for future in hanging)
    assert time.monotonic() - begin < 5.0, "the time limits ran one after the other"
    assert len(workers.pids()) <= 2, "those put aside are gone"


def test_a_job_put_aside_that_ends_in_time_still_counts(workers: Workers) -> None:
    assert workers.submit(time.sleep, 0.3, timeout_s=5.0, patience_s=0.05).exception() is None


def test_trap35_a_worker_killed_at_work_costs_one_retry(workers: Workers, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    assert workers.submit(die_once, str(mark), timeout_s=5.0).result() == "done"


def test_trap35_killed_on_every_attempt_the_death_is_the_result(workers: Workers) -> None:
    error = workers.submit(kill_self, timeout_s=5.0).exception()
    assert isinstance(error, WorkerDied) and error.exitcode == -signal.SIGKILL
    error = workers.submit(os._exit, 3, timeout_s=5.0).exception()
    assert isinstance(error, WorkerDied) and error.exitcode == 3


def test_trap35_workers_killed_while_idle_are_replaced(workers: Workers) -> None:
    workers.submit(int, timeout_s=5.0).result()
    for pid in workers.pids():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert workers.submit(abs, -3, timeout_s=5.0).result() == 3


def test_trap35_a_worker_killed_amid_a_queue_loses_nothing(workers: Workers) -> None:
    """One: were the other killed in the same moment, a job could meet both deaths, and two are its result."""
    workers.submit(int, timeout_s=5.0).result()
    futures = [workers.submit(abs, -i, timeout_s=5.0) for i in range(2000)]
    os.kill(workers.pids()[0], signal.SIGKILL)
    assert [future.result() for future in futures] == list(range(2000))


def test_a_job_that_takes_too_much_memory_is_told_apart(workers: Workers) -> None:
    assert isinstance(workers.submit(bytes, 2**31, timeout_s=5.0).exception(), MemoryError)
    assert workers.submit(len, bytes(2**26), timeout_s=5.0).result() == 2**26, "less than the limit is fine"


def test_an_exception_comes_back_as_text(workers: Workers) -> None:
    error = workers.submit(divmod, 1, 0, timeout_s=5.0).exception()
    assert isinstance(error, JobError) and "ZeroDivisionError" in str(error)


def test_workers_ignore_interrupts_and_the_accelerator(workers: Workers) -> None:
    workers.submit(int, timeout_s=5.0).result()
    for pid in workers.pids():
        os.kill(pid, signal.SIGINT)
    assert workers.submit(os.getenv, "JAX_PLATFORMS", timeout_s=5.0).result() == "cpu"
    assert workers.submit(os.getpid, timeout_s=5.0).result() in workers.pids()


def test_workers_that_cannot_start_are_an_error_and_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "_work", leave)
    with Workers(1, memory_mb=512) as workers:
        assert isinstance(workers.submit(int, timeout_s=5.0).exception(timeout=60), WorkerDied)


def test_what_is_unfinished_at_the_end_is_cancelled_and_no_process_stays() -> None:
    with Workers(1, memory_mb=512) as workers:
        pid = workers.submit(os.getpid, timeout_s=60).result()
        unfinished = [workers.submit(hang, timeout_s=60) for _ in range(2)]
    assert all(future.cancelled() for future in unfinished)
    assert not alive(pid)


PROGRAM = """
import os, sys, time
import jax
from r1jax.rewards.workers import Workers
if __name__ == '__main__':
    with Workers(1, 512) as workers:
        loaded = workers.submit(eval, 'list(__import__("sys").modules)', timeout_s=60).result()
        print(workers.submit(os.getpid, timeout_s=5).result(), 'jax' in loaded, 'math_verify' in loaded, flush=True)
        workers.submit(eval, '9**9**9', timeout_s=600)
        time.sleep(600)
"""


def test_workers_import_no_jax_even_when_the_program_does_and_die_with_it_even_when_they_hang(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(program)], env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            pid, has_jax, has_math_verify = process.stdout.readline().split()
            time.sleep(0.5)  # the job that hangs has begun
        finally:
            process.kill()
    assert (has_jax, has_math_verify) == ("False", "True")
    deadline = time.monotonic() + 5
    while alive(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(int(pid))


def die_once(mark: str) -> str:
    """Killed, as from outside, the first time."""
    if not os.path.exists(mark):
        with open(mark, "w"):
            kill_self()
    return "done"


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(*_: object) -> None:
    os._exit(1)
