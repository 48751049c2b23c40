"""The server under many clients at once: every request is answered rightly or refused clearly, and nothing is kept."""

import asyncio
import collections
import pathlib
import runpy

import httpx
import psutil
import pytest
from engine_test import loud
from jobs import until
from served_tiny import Running, serve, tiny_model

LOAD = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "experiments" / "serving_load.py"))


@pytest.fixture(scope="module")
def running(tiny, tiny_params, tokenizer, mesh1) -> Running:
    with serve([tiny_model(tiny, loud(tiny_params), tokenizer, mesh1, max_length=320)], mesh1) as running:
        yield running


def test_many_clients_get_right_answers_or_clear_refusals_and_leave_nothing_behind(running):
    expected = LOAD["answers"](running.url, "tiny", 8)
    process = psutil.Process()
    asyncio.run(LOAD["Load"](running.url, "tiny", expected).run(20, 1.0))  # pools reach their size
    until(lambda: running.server.thread.sequences("tiny") == (0, 0), seconds=30)
    files = process.num_fds()
    seen = asyncio.run(LOAD["Load"](running.url, "tiny", expected).run(20, 4.0))
    assert seen.wrong == []
    results = collections.Counter()
    for (_, result), count in seen.counts.items():
        results[result] += count
    assert min(results[result] for result in ("right", "left", "refused (400)", "refused (429)")) > 0
    until(lambda: running.server.thread.sequences("tiny") == (0, 0), seconds=30)
    assert not running.server.thread._streams
    # The server closes a connection some time after its client has: on a busy machine, a while later.
    until(lambda: process.num_fds() <= files + 2, seconds=30)
    assert httpx.get(running.url + "/models").status_code == 200
