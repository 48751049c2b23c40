"""Servers whose replies are not the protocol's, or never end: missed and counted by all clients, and nothing breaks."""

import gzip
import io
import itertools
import json
import logging
import pathlib
import re
import time
import tracemalloc
import urllib.parse

import pytest
from chat_server import Raw, content, serve
from jobs import GENEROUS_S, Clock
from malformed_replies import CHAT, TEXTS, Reply, whole

from r1jax.data.types import Prompt
from r1jax.evaluation.record import Record
from r1jax.graders.config import JudgeConfig
from r1jax.graders.judge_client import Judge
from r1jax.inference.served_model import Endpoint, EndpointConfig
from r1jax.inference.usage_log import Usage
from r1jax.io import http_request
from r1jax.io import openai_client as text_endpoint
from r1jax.io.openai_client import MissedReply, Server
from r1jax.models.logits import Truncation

GOOD = "this one is good"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays before retries, which take no time."""
    slept = []

    class Time:
        monotonic = staticmethod(time.monotonic)
        sleep = staticmethod(slept.append)

    monkeypatch.setattr(text_endpoint, "time", Time)
    return slept


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt(f"p{i}", text, "", "open:x", text) for i, text in enumerate(texts)]


def endpoint(url: str, chat: bool = True, usage: pathlib.Path | None = None, **settings) -> Endpoint:
    cfg = EndpointConfig(url, "m", api_key_env="", **{"timeout_s": GENEROUS_S, "retries": 0, **settings})
    return Endpoint(cfg, 16, Truncation(), chat, usage)


def judge(url: str, **settings) -> Judge:
    return Judge(JudgeConfig(1.0, url, "m", "", **{"timeout_s": GENEROUS_S, "retries": 0, **settings}))


def server_of(url: str, **settings) -> Server:
    return Server("the endpoint", url, "m", "", **{"timeout_s": GENEROUS_S, "retries": 0, **settings})


def raw(case: Reply, text: str) -> Raw:
    return Raw([case.body.replace(b"TEXT", text.encode())], case.status, case.headers)


# What is not the protocol


@pytest.mark.parametrize("chat, name", [*((True, name) for name in CHAT), *((False, name) for name in TEXTS)])
def test_trap71_no_reply_ends_a_run_or_spoils_its_record(tmp_path, chat: bool, name: str) -> None:
    case = (CHAT if chat else TEXTS)[name]

    def draw(skip=()) -> Record:
        record = Record(tmp_path, {}, "grader")
        asked = endpoint(server.url, chat, tmp_path / "usage.jsonl")
        asked.generate(prompts("odd", GOOD), 1, (0,), record.keep_sample, skip)
        return record

    with serve(lambda body: raw(case, "yes") if content(body) == "odd" else GOOD) as server:
        record = draw()
        texts = {id_: row["text"] for (id_, _), row in record.samples.items()}
        assert texts == {"p1": GOOD} | ({"p0": "yes"} if case.usable else {})
        # What was paid is known, and what cannot be true is not counted.
        told = case.told or (0, 0)
        usage = Usage(tmp_path / "usage.jsonl")
        assert (usage.prompt_tokens, usage.completion_tokens) == (100 + told[0], 7 + told[1])
        # Started again with a server that is well, the run asks for what is missing, and all of it can be read.
        server.answer, server.asked[:] = lambda body: "well again", []
        record = draw(frozenset(record.samples))
        assert [content(body) for body in server.asked] == ([] if case.usable else ["odd"])
        again = Record(tmp_path, {}, "grader")
        assert again.corrupted == 0 and len(again.samples) == 2
        assert all(again.rollout(prompt, 0).response is not None for prompt in prompts("odd", GOOD))


@pytest.mark.parametrize("name", CHAT)
def test_trap71_no_reply_of_a_judge_ends_a_run(name: str) -> None:
    case = CHAT[name]

    def answer(body) -> Raw:
        nonce = re.match(r"<<(\w+) QUESTION>>", body["messages"][1]["content"])[1]
        return raw(case, f"VERDICT {nonce}: A")

    with serve(answer) as server, judge(server.url) as asked:
        assert asked.compare("Why?", "good", "bad") == (0.5 if case.usable else None)
        requests, (prompt, reply) = len(server.asked), case.told or (0, 0)
        assert (asked.prompt_tokens, asked.completion_tokens) == (requests * prompt, requests * reply)
        assert sum(asked.missed.values()) == (0 if case.usable else 1)


@pytest.mark.parametrize(
    "body, kind",
    [
        (b"<html>", "malformed"),
        (b'{"error": {"message": "overloaded"}}', "malformed"),
        (b'{"choices": []}', "malformed"),
    ],
)
def test_what_is_not_the_protocol_is_asked_again_and_counted(no_delays, body: bytes, kind: str) -> None:
    with serve(lambda asked: Raw([body]) if len(server.asked) < 3 else GOOD) as server:
        asked = server_of(server.url, retries=2)
        assert asked.ask({"messages": [{"role": "user", "content": "?"}]}).text == GOOD
        assert asked.missed == {kind: 2} and asked.misses().endswith(f"without a usable reply: {kind} 2")
    assert len(no_delays) == 2 and no_delays[0] < no_delays[1] <= 1.0  # growing


@pytest.mark.parametrize(
    "headers, delay",
    [
        ({"retry-after-ms": "40"}, 0.04),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "119.5"}, 119.5),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"retry-after-ms": "nan", "Retry-After": "3"}, 3),
    ],
)
def test_a_server_is_asked_again_when_it_wants_to_be(no_delays, headers, delay) -> None:
    with serve(lambda body: Raw([b"{}"], 429, headers) if len(server.asked) == 1 else GOOD) as server:
        server_of(server.url, retries=1).ask({"prompt": "?"})
    assert no_delays == [pytest.approx(delay)] if delay else 0.3 < no_delays[0] <= 0.5


def test_a_server_that_wants_to_be_left_alone_for_hours_is(no_delays) -> None:
    with serve(lambda body: Raw([b"{}"], 429, {"Retry-After": "7200"})) as server:
        with pytest.raises(MissedReply, match="HTTP 429"):
            server_of(server.url, retries=5).ask({"prompt": "?"})
        assert len(server.asked) == 1 and no_delays == []


def test_no_memory_is_taken_for_tokens_that_a_server_claims() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 9_999_999}
    with serve(lambda body: Raw([json.dumps(whole(True, usage=usage)).encode()])) as server:
        [rollout] = endpoint(server.url).generate(prompts("?"), 1, (0,))
    assert rollout.ids.shape == (9_999_999,) and rollout.ids.strides == (0,) and set(rollout.ids[:9]) == {-1}


def test_a_thought_that_the_server_keeps_apart_is_put_back() -> None:
    body = whole(True, choice={"message": {"content": None, "reasoning_content": "so"}, "finish_reason": "length"})
    with serve(lambda asked: Raw([json.dumps(body).encode()])) as server:
        [rollout] = endpoint(server.url).generate(prompts("?"), 1, (0,))
    assert (rollout.text, rollout.finish) == ("<think>so</think>", "length")


def test_one_refused_prompt_is_missing_and_all_of_them_are_the_configs_fault() -> None:
    with serve(lambda body: 400 if content(body) == "odd" else GOOD) as server:
        drawn = endpoint(server.url, in_flight=2).generate(prompts("odd", GOOD, GOOD), 1, (0,))
        assert [rollout.prompt.id for rollout in drawn] == ["p1", "p2"]
        # The rest of a run, in which all else is answered.
        assert endpoint(server.url).generate(prompts("odd"), 1, (0,), skip={("p1", 0)}) == []
        server.asked.clear()
        with pytest.raises(ValueError, match=r"'m' at http.*HTTP 400"):
            endpoint(server.url, in_flight=2).generate(prompts(*["odd"] * 50), 1, (0,))
        assert len(server.asked) < 50


# Without end


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    ahead = Clock()
    monkeypatch.setattr(http_request, "time", ahead)
    return ahead


def dripping(clock: Clock, start: bytes = b"{"):
    """A piece now and then; after some the clock is put forward, and many more would follow."""
    yield start
    for count in range(3000):
        if count == 20:
            clock.ahead += 1.5 * GENEROUS_S
        time.sleep(0.002)
        yield b" "


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "1000000"}, {"Content-Encoding": "gzip"}])
def test_trap72_a_server_that_drips_does_not_hold_a_request_beyond_its_time(clock, headers) -> None:
    with serve(lambda body: Raw(dripping(clock), headers=headers)) as server:
        with pytest.raises(MissedReply) as missed:
            server_of(server.url).ask({"prompt": "?"})
        assert missed.value.kind == "time-out" and server.hung_up.wait(GENEROUS_S), "not read to its end"
        clock.ahead = 0.0
        with judge(server.url) as asked:
            assert asked.compare("Why?", "good", "bad") is None and asked.missed == {"time-out": 1}


def test_trap72_headers_that_drip_do_not_hold_a_request_either(clock) -> None:
    """As bytes of a connection, below what the stand-in server can send."""

    class Sock:
        def makefile(self, mode: str, buffering: int) -> io.BytesIO:
            return Drip()

        def settimeout(self, seconds: float) -> None:
            assert seconds > 0

    class Drip(io.BytesIO):
        read_so_far = 0

        def readinto(self, buffer) -> int:
            self.read_so_far += 1
            assert self.read_so_far < 100, "read beyond its time"
            clock.ahead += GENEROUS_S / 20
            buffer[0] = b"HTTP/1.1 200 OK\r\nX: "[self.read_so_far - 1] if self.read_so_far < 21 else ord("x")
            return 1

    connection = http_request._HTTP("localhost", 1)
    connection.deadline = clock.monotonic() + 2 * GENEROUS_S
    with pytest.raises(TimeoutError):
        connection.response_class(Sock()).begin()


@pytest.mark.parametrize("length", [{}, {"Content-Length": str(10**13)}])
def test_trap72_an_endless_body_is_given_up_at_a_limit(monkeypatch, length) -> None:
    monkeypatch.setattr(http_request, "MOST_BYTES", 300_000)
    with serve(lambda body: Raw(itertools.repeat(b"x" * 10_000), headers=length)) as server:
        with pytest.raises(MissedReply) as missed:
            server_of(server.url).ask({"prompt": "?"})
        assert missed.value.kind == "too long" and "300,000 bytes" in str(missed.value)
        assert server.hung_up.wait(GENEROUS_S)


def test_trap72_a_compressed_body_is_opened_up_to_the_limit(monkeypatch) -> None:
    good, bomb = (gzip.compress(json.dumps(whole(False)).encode() + blanks) for blanks in (b" " * 99, bytes(10**8)))
    monkeypatch.setattr(http_request, "MOST_BYTES", 2_000_000)
    packed, headers = iter((good, bomb)), {"Content-Encoding": "gzip"}
    with serve(lambda body: Raw([next(packed)], headers=headers)) as server:
        asked = server_of(server.url)
        assert asked.ask({"prompt": "?"}).text == "TEXT" and len(bomb) < 200_000
        tracemalloc.start()
        try:
            with pytest.raises(MissedReply, match="2,000,000 bytes"):
                asked.ask({"prompt": "?"})
            assert tracemalloc.get_traced_memory()[1] < 20_000_000  # bytes
        finally:
            tracemalloc.stop()


def test_a_long_text_is_taken_whole() -> None:
    text = "长\n" * 400_000
    with serve(lambda body: text) as server:
        assert server_of(server.url).ask({"prompt": "?"}).text == text
        assert {headers["accept-encoding"] for headers in server.headers} == {"identity"}


def test_a_verdict_after_a_long_line_of_blanks_is_read_in_one_go() -> None:
    def answer(body) -> str:
        nonce = re.match(r"<<(\w+)", body["messages"][1]["content"])[1]
        return f"VERDICT {nonce}:{' ' * 3_000_000}?"

    with serve(answer) as server, judge(server.url) as asked:
        assert asked.compare("Why?", "good", "bad") is None  # a regular expression took hours


# Elsewhere


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_trap73_no_redirect_takes_prompts_or_the_key_to_another_origin(monkeypatch, status: int) -> None:
    monkeypatch.setenv("SECRET", "secret")
    with serve(lambda body: GOOD) as other:
        with serve(lambda body: Raw([b""], status, {"Location": f"{other.url}/completions"})) as server:
            asked = Server("the endpoint", server.url, "m", "SECRET", GENEROUS_S, 0)
            if status in (301, 308):  # lasting: the config has the wrong address
                with pytest.raises(ValueError, match=rf"redirects to '{other.url}.*make it base_url"):
                    asked.ask({"prompt": "private"})
            else:
                with pytest.raises(MissedReply):
                    asked.ask({"prompt": "private"})
        assert other.asked == []


@pytest.mark.parametrize("place", ["/v1/elsewhere", "{url}/elsewhere", "elsewhere"])
def test_a_redirect_within_the_origin_is_followed(place: str) -> None:
    def answer(body):
        return GOOD if len(server.asked) == 2 else Raw([b""], 307, {"Location": place.replace("{url}", server.url)})

    with serve(answer) as server:
        assert server_of(server.url).ask({"prompt": "?"}).text == GOOD
    assert [headers["path"] for headers in server.headers] == ["/v1/completions", "/v1/elsewhere"]
    assert server.asked[0] == server.asked[1]


def test_redirects_without_end_are_missed() -> None:
    with serve(lambda body: Raw([b""], 307, {"Location": "/v1/on"})) as server:
        with pytest.raises(MissedReply, match="more than 3 redirects"):
            server_of(server.url).ask({"prompt": "?"})
        assert len(server.asked) == 4


def test_the_environments_proxy_is_used(monkeypatch) -> None:
    with serve(lambda body: GOOD) as server:
        place = urllib.parse.urlsplit(server.url).netloc
        monkeypatch.setenv("http_proxy", f"http://me:pass%20word@{place}")
        monkeypatch.setenv("no_proxy", "")
        assert server_of("http://models.invalid/v1").ask({"prompt": "?"}).text == GOOD
    [headers] = server.headers
    assert headers["path"] == "http://models.invalid/v1/completions" and headers["host"] == "models.invalid"
    assert headers["proxy-authorization"] == "Basic bWU6cGFzcyB3b3Jk"
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(ValueError, match="proxy"):
        server_of("http://models.invalid/v1")


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "ftp://x/v1",
        "http://",
        "http://x:y/v1",
        "http://a b/v1",
        "http://me:word@x/v1",
        "http://x/\x1b[31m",
    ],
)
def test_what_is_no_address_is_told_at_the_start(url: str) -> None:
    with pytest.raises(ValueError):
        server_of(url)


def test_a_key_of_characters_that_no_key_has_is_told_without_showing_it(monkeypatch) -> None:
    monkeypatch.setenv("KEY", "sec\nret")
    with pytest.raises(ValueError, match="variable KEY holds characters") as told:
        Server("the endpoint", "http://x/v1", "m", "KEY", 1.0, 0)
    assert "sec" not in str(told.value)


# The console


def test_trap74_what_a_server_says_reaches_no_terminal_raw(caplog) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe \r\n \x9b31m"
    body = json.dumps({"error": {"message": evil}}).encode()
    for status in (200, 400, 500):
        with caplog.at_level(logging.WARNING), serve(lambda asked, status=status: Raw([body], status)) as server:
            endpoint(server.url).generate(prompts("?"), 1, (0,), skip={("x", 0)})
            with judge(server.url) as asked:
                asked.compare("Why?", "good", "bad")
            with pytest.raises((ValueError, MissedReply)) as told:
                endpoint(server.url).generate(prompts("?"), 1, (0,))
                server_of(server.url).ask({"prompt": "?"})
            assert status != 400 or str(told.value).isprintable()
    assert len(caplog.messages) >= 6 and all(message.isprintable() for message in caplog.messages)
