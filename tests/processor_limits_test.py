"""Limits of graders in processor seconds: a busy machine, which gives a job no processor, makes no wrong answer."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import jobs
import pytest
from jobs import GENEROUS_S, Clock, noted, until

from r1jax.core import process_tree
from r1jax.rewards import workers as workers_module
from r1jax.rewards.workers import Workers
from r1jax.sandbox import config as limits


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(1, memory_mb=512) as workers:
        workers.submit(int, timeout_s=GENEROUS_S).result()
        yield workers


def test_a_job_that_waits_without_computing_is_ended_by_the_clock_and_later(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LEAST_WAIT_S", 2.0)
    began = time.monotonic()
    assert isinstance(workers.submit(time.sleep, 1000.0, timeout_s=0.1).exception(GENEROUS_S), TimeoutError)
    assert time.monotonic() - began >= 2.0


def test_a_job_whose_process_is_stopped_for_longer_than_its_limit_is_no_failure(
    workers: Workers, tmp_path: Path
) -> None:
    """As on a machine that has no processor for it."""
    end, log = tmp_path / "end", tmp_path / "log"
    future = workers.submit(jobs.wait_for, log, "job", end, timeout_s=0.5)
    until(lambda: noted(log))
    [(_, pid)] = noted(log)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(1.5)
    assert not future.done()
    os.kill(pid, signal.SIGCONT)
    end.touch()
    assert future.result(GENEROUS_S) == "job" and len(noted(log)) == 1


def test_the_time_in_which_the_pool_itself_was_stopped_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(workers_module, "time", clock)
    monkeypatch.setattr(process_tree, "processor_seconds", lambda pid, with_descendants=True: 7.0)
    worker = workers_module._Worker(SimpleNamespace(pid=0), None, 0.0)
    worker.begin(workers_module._Job(0, b"", 10.0, float("inf"), None))
    clock.ahead += 10.0
    assert not worker.is_out_of_time(clock.monotonic())  # it waits
    clock.ahead += 3600.0
    assert not worker.is_out_of_time(clock.monotonic())
    for _ in range(9):  # 100 s in all
        clock.ahead += 10.0
        worker.is_out_of_time(clock.monotonic())
    clock.ahead += 10.0
    assert worker.is_out_of_time(clock.monotonic())
