"""The server under many clients at once: every request is answered rightly or refused clearly, and nothing is kept."""

import asyncio
import collections
import pathlib
import runpy
import time
from collections.abc import Callable

import httpx
import psutil
import pytest
from engine_test import loud
from served_tiny import Running, serve, tiny_model

LOAD = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "experiments" / "serving_load.py"))


@pytest.fixture(scope="module")
def running(tiny, tiny_params, tokenizer, mesh1) -> Running:
    with serve([tiny_model(tiny, loud(tiny_params), tokenizer, mesh1, max_length=320)], mesh1) as running:
        yield running


def waited(holds: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether something comes to hold within some time."""
    until = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < until:
        time.sleep(0.01)
    return held


def test_many_clients_get_right_answers_or_clear_refusals_and_leave_nothing_behind(running):
    expected = LOAD["answers"](running.url, "tiny", 8)
    process = psutil.Process()
    asyncio.run(LOAD["Load"](running.url, "tiny", expected).run(20, 1.0))  # pools reach their size
    sampled = waited(lambda: running.server.thread.sequences("tiny") == (0, 0))
    files = process.num_fds()
    seen = asyncio.run(LOAD["Load"](running.url, "tiny", expected).run(20, 4.0))
    assert seen.wrong == []
    results = collections.Counter()
    for (_, result), count in seen.counts.items():
        results[result] += count
    assert min(results[result] for result in ("right", "left", "refused (400)", "refused (429)")) > 0
    assert sampled and waited(lambda: running.server.thread.sequences("tiny") == (0, 0))
    assert not running.server.thread._streams
    # The server closes a connection some time after its client has: on a busy machine, a while later.
    assert waited(lambda: process.num_fds() <= files + 2)
    assert httpx.get(running.url + "/models").status_code == 200
