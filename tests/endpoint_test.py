"""Models behind servers: asked at a pace, what they cost is counted, and no kill forgets it."""

import json
import pathlib
import threading

import pytest
from chat_server import content, serve
from tiny_run import rows

from r1jax.data.types import Prompt
from r1jax.inference.served_model import Endpoint, EndpointConfig
from r1jax.inference.usage_log import Usage
from r1jax.io import openai_client as text_endpoint
from r1jax.io.openai_client import Pace
from r1jax.models.logits import Truncation


def endpoint(url: str, usage: pathlib.Path | None = None, **settings) -> Endpoint:
    cfg = EndpointConfig(url, "m", api_key_env="", timeout_s=60.0, **{"retries": 0, **settings})
    return Endpoint(cfg, 16, Truncation(), True, usage)


def prompts(count: int) -> list[Prompt]:
    return [Prompt(f"p{i}", f"{i}?", "", "open:x", f"{i}?") for i in range(count)]


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_pace_spreads_turns_evenly_and_saves_up_none() -> None:
    clock = Clock()
    pace = Pace(30, lambda: clock.now, clock.sleep)
    turns = []
    for pause in (0.0, 0.0, 1.5, 60.0, 0.0):
        clock.now += pause
        pace.wait()
        turns.append(clock.now)
    # Two seconds apart; after a minute of nothing one goes at once, and the next one waits again.
    assert turns == [0.0, 2.0, 4.0, 64.0, 66.0] and clock.slept == [2.0, 0.5, 2.0]


def test_threads_take_turns() -> None:
    slept = []
    pace = Pace(60 / 0.03, lambda: 7.0, slept.append)  # at one moment, all of them
    threads = [threading.Thread(target=pace.wait) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slept) == pytest.approx([i * 0.03 for i in range(1, 6)])


def test_a_server_is_asked_no_faster_than_it_allows_retries_among_them(monkeypatch) -> None:
    turns, asked = [], []

    class Counted(Pace):
        def wait(self) -> None:
            super().wait()
            turns.append(self._interval)

    def answer(body) -> str | int:
        asked.append(len(turns))
        return 500 if len(asked) == 2 else "yes"

    monkeypatch.setattr(text_endpoint, "Pace", Counted)
    with serve(answer) as server:
        drawn = endpoint(server.url, requests_per_minute=600, retries=3).generate(prompts(4), 1, (0,))
    assert len(drawn) == 4 and len(asked) == len(turns) == 5
    assert all(before >= number for number, before in enumerate(asked, 1)), "each waits for a turn of its own"
    assert set(turns) == {0.1}  # seconds apart


def test_a_server_is_sent_what_its_chat_template_is_to_read() -> None:
    sent = []
    with serve(lambda body: sent.append(body) or "yes") as server:
        cfg = EndpointConfig(server.url, "m", api_key_env="", timeout_s=60.0, retries=0)
        for arguments in ({"enable_thinking": False}, {}):
            Endpoint(cfg, 16, Truncation(), True, None, arguments).generate(prompts(1), 1, (0,))
    assert [body.get("chat_template_kwargs") for body in sent] == [{"enable_thinking": False}, None]


@pytest.mark.parametrize("field", ["requests_per_minute", "price_per_million_input", "price_per_million_output"])
def test_paces_and_prices_below_nothing_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        EndpointConfig("http://x", "m", **{field: -1.0})


def test_what_a_server_cost_is_counted_and_kept_over_runs(tmp_path) -> None:
    path = tmp_path / "new" / "usage.jsonl"
    prices = {"price_per_million_input": 2.0, "price_per_million_output": 10.0}
    with serve(lambda body: "yes") as server:
        first = endpoint(server.url, path, **prices)
        first.generate(prompts(3), 2, (0,))
        assert (first.usage.replies, first.usage.prompt_tokens, first.usage.completion_tokens) == (6, 600, 42)
        assert first.usage.cost == pytest.approx((600 * 2 + 42 * 10) / 1e6)
        with path.open("ab") as file:
            file.write(b'{"id": "p9", "prompt_tok')  # killed in the middle of a line
        second = endpoint(server.url, path, **prices)
        assert second.usage.replies == 6
        second.generate(prompts(4), 1, (0,), skip={("p0", 0)})
    assert second.usage.row() == {
        "replies": 9,
        "prompt_tokens": 900,
        "completion_tokens": 63,
        "untold": 0,
        "cost": pytest.approx(0.00243),
    }
    assert "0.0024" in second.usage.line() and Usage(path).replies == 9
    assert {(row["id"], row["sample"]) for row in rows_that_hold(path)} >= {("p1", 0), ("p2", 1), ("p3", 0)}


def rows_that_hold(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def test_failed_requests_cost_nothing_and_replies_without_a_count_are_told(tmp_path) -> None:
    with serve(lambda body: 503 if content(body) == "1?" else "yes") as server:
        server.usage = None
        asked = endpoint(server.url, tmp_path / "usage.jsonl")
        assert [rollout.prompt.id for rollout in asked.generate(prompts(3), 1, (0,))] == ["p0", "p2"]
    assert asked.usage.row() == {"replies": 2, "prompt_tokens": 0, "completion_tokens": 0, "untold": 2}
    assert "2 replies did not say" in asked.usage.line() and "currency" not in asked.usage.line()
    assert len(rows(tmp_path / "usage.jsonl")) == 2
