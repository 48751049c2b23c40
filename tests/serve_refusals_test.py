"""What a server refuses and survives: bad requests, full queues, wrong keys, clients that leave, malformed bytes."""

import asyncio
import dataclasses
import itertools
import json
import socket
import time
import urllib.error
import urllib.request
from typing import Any

import openai
import pytest
from engine_test import loud
from served_tiny import CONFIG, Running, serve, tiny_model

from r1jax.config import ConfigError
from r1jax.inference.session import Request
from r1jax.models.config import Truncation
from r1jax.serve.app import Server
from r1jax.serve.config import ServeConfig
from r1jax.serve.errors import ApiError
from r1jax.serve.responses import EventStream

QUESTION = [{"role": "user", "content": "What is 5 + 7?"}]
LONG = {"model": "tiny", "prompt": "5 +", "max_tokens": 240, "temperature": 2.0, "top_p": 1.0}


@pytest.fixture(scope="module")
def model(tiny, tiny_params, tokenizer, mesh1):
    return tiny_model(tiny, loud(tiny_params), tokenizer, mesh1)


@pytest.fixture(scope="module")
def running(model, mesh1) -> Running:
    with serve([model], mesh1, dataclasses.replace(CONFIG, stall_s=1.0, max_body_bytes=50_000)) as running:
        yield running


@pytest.fixture(scope="module")
def client(running) -> openai.OpenAI:
    with openai.OpenAI(base_url=running.url, api_key="any", max_retries=0) as client:
        yield client


def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """The status and the body of a response, whatever the status."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers or {}), timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_slots_that_are_rounded_up_to_the_devices_count_and_the_queue_begins_behind_them(model, mesh8):
    server = Server([model], dataclasses.replace(CONFIG, slots=5, queue=2), mesh8)
    request = Request((1,), (0,), 1, Truncation(), ())
    server.thread.sample("tiny", [request] * 7)
    assert server.thread.sequences("tiny") == (7, 0)
    server.thread.sample("tiny", [request] * 3)
    assert server.thread.sequences("tiny") == (8, 2)
    assert 'r1jax_slots_in_use{model="tiny"} 8.0' in server.metrics.text().decode()
    assert 'r1jax_queue{model="tiny"} 2.0' in server.metrics.text().decode()
    with pytest.raises(ApiError, match="queue is full"):
        server.thread.sample("tiny", [request])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"foo": 1}, "unrecognized request argument: foo"),
        ({"max_token": 5}, "unrecognized request argument: max_token; nearest: max_tokens"),
        ({"response_format": {"type": "json_object"}}, "response_format is not supported"),
        ({"tools": [{"type": "function"}]}, "tools is not supported: this server has no tool calls"),
        ({"logit_bias": {"5": 1}}, "logit_bias is not supported"),
        ({"frequency_penalty": 0.5}, "frequency_penalty is not supported"),
        ({"temperature": -1}, "temperature: Input should be greater than or equal to 0"),
        ({"top_p": 0}, "top_p: Input should be greater than 0"),
        ({"n": 0}, "n: Input should be greater than or equal to 1"),
        ({"n": 50}, "50 completions are more than this server samples for one request"),
        ({"max_tokens": -1}, "max_tokens"),
        (
            {"max_tokens": 1000},
            r"context is 256 tokens here: you asked for \d+ in the prompt and 1000 in the",
        ),
        (
            {"messages": [{"role": "user", "content": "7 " * 400}]},
            r"context is 256 tokens here: you asked for \d+ in",
        ),
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
        (
            {"messages": [{"role": "system", "content": "x"}, *QUESTION]},
            "answers single questions",
        ),
        ({"template": "nope"}, "no template named 'nope'; there are: dialogue, plain, r1_zero"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "no chat template that reads arguments"),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs=true"),
        ({"seed": 2**63}, "seed: Input should be less than"),
        ({"stop": ["x"] * 99}, "stop: .* at most 16 items"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_requests_that_cannot_be_met_are_refused_with_their_reason(client, changes, message):
    with pytest.raises(openai.BadRequestError, match=message) as refusal:
        client.chat.completions.create(model="tiny", messages=QUESTION, extra_body=changes)
    assert refusal.value.type == "invalid_request_error"


def test_fields_without_effect_are_ignored(client):
    fields = {"user": "me", "store": False, "frequency_penalty": 0, "response_format": {"type": "text"}, "tools": []}
    reply = client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=2, extra_body=fields)
    assert reply.choices[0].finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", None),
        ([], "prompt is empty"),
        ([[]], "prompt is empty"),
        ([5, 10**6], "the token id 1000000"),
        ([-1], "id -1"),
    ],
    ids=str,
)
def test_prompts_without_tokens_or_with_unknown_ones_are_refused(client, prompt, message):
    if message is None:  # an empty text is its beginning-of-sequence token
        assert client.completions.create(model="tiny", prompt=prompt, max_tokens=1).usage.prompt_tokens == 1
        return
    with pytest.raises(openai.BadRequestError, match=message):
        client.completions.create(model="tiny", prompt=prompt, max_tokens=1)


def test_a_model_that_is_not_served_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="'other' is not served") as refusal:
        client.chat.completions.create(model="other", messages=QUESTION)
    assert refusal.value.code == "model_not_found"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"model": 5}',
        b"\xff\xfe",
        b'{"model": "tiny"}',
        b"[" * 40_000,
        b'"' + b"x" * 40_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_bodies_that_are_no_request_are_refused_in_one_line(running, body):
    for path in ("/chat/completions", "/completions"):
        status, reply = post(running.url + path, body)
        message = reply["error"]["message"]
        assert status == 400 and len(message) < 300 and "\n" not in message
        assert "Traceback" not in message and ".py" not in message


def test_a_body_that_is_too_large_and_one_that_never_ends_are_left(running):
    assert post(running.url + "/completions", b"x" * 60_000)[0] == 413
    host, port = running.url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        connection.settimeout(30)
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_unknown_paths_and_methods_have_errors_of_the_same_form(running):
    assert post(running.url + "/nothing", b"{}") == (
        404,
        {"error": {"message": "Not Found", "type": "invalid_request_error", "param": None, "code": None}},
    )
    assert post(running.url + "/models", b"{}")[0] == 405


def test_a_wrong_key_is_refused_everywhere_but_on_the_page_and_for_health(model, mesh1):
    with serve([model], mesh1, dataclasses.replace(CONFIG, api_key="sécret")) as running:
        for key in ("wrong", "", "s\u00e9cre"):
            headers = {"Authorization": f"Bearer {key}".encode().decode("latin-1")} if key else {}
            assert post(running.url + "/completions", b"{}", headers)[0] == 401
        for path in ("/models", "/../metrics", "/nothing"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(running.url + path)
        headers = {"Authorization": "Bearer sécret".encode().decode("latin-1")}
        assert post(running.url + "/completions", b"{}", headers)[0] == 400
        with urllib.request.urlopen(running.url.removesuffix("/v1") + "/health") as reply:
            assert reply.status == 200


def test_other_machines_are_served_with_a_key_alone():
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(ConfigError, match="can be reached by other machines: give a key"):
            ServeConfig(host=host)
        ServeConfig(host=host, api_key="key")
    for host in ("127.0.0.1", "::1", "localhost", "127.3.4.5"):
        ServeConfig(host=host)


def test_a_full_queue_is_refused_and_told_when_to_come_again(running):
    """Four slots and a queue of eight: of twenty long requests at once some are refused, and the others answered."""

    async def ask_all() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=running.url, api_key="any", max_retries=0) as client:
            requests = [client.completions.create(**LONG, seed=seed) for seed in range(20)]
            return await asyncio.gather(*requests, return_exceptions=True)

    replies = asyncio.run(ask_all())
    refused = [reply for reply in replies if isinstance(reply, Exception)]
    assert 0 < len(refused) <= 8
    for error in refused:
        assert isinstance(error, openai.RateLimitError) and error.response.headers["Retry-After"] == "1"
    assert idle(running)


def idle(running: Running, seconds: float = 20.0) -> bool:
    """Whether all slots come free in that time."""
    until = time.monotonic() + seconds
    while running.server.thread.sequences("tiny") != (0, 0):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def begin(running: Running, **changes) -> socket.socket:
    """A connection on which a long completion was asked for; nothing of the reply is read."""
    host, port = running.url.removeprefix("http://").removesuffix("/v1").split(":")
    body = json.dumps(LONG | changes).encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    connection.connect((host, int(port)))
    connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return connection


def until_busy(running: Running) -> None:
    while running.server.thread.sequences("tiny") == (0, 0):
        time.sleep(0.001)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_slots(running, client, stream):
    for delay in (0.0, 0.01, 0.03, 0.1):  # before, during and after the first tokens
        with begin(running, n=4, stream=stream):
            until_busy(running)
            time.sleep(delay)
        assert idle(running, 2.0)
    assert client.completions.create(model="tiny", prompt="5 +", max_tokens=2).usage.completion_tokens == 2


@pytest.mark.parametrize("cause", ["does not read", "goes away", "error"])
def test_a_stream_ends_with_its_client(cause, caplog):
    """A stream of events without end, or with an error in it; its sampling is closed whatever ended it."""
    sent, closed = [], []

    async def events():
        for i in itertools.count():
            yield str(i)
            if cause == "error" and i == 3:
                raise ApiError(500, "failed")

    async def send(message) -> None:
        sent.append(message)
        await asyncio.sleep(60 if cause == "does not read" and len(sent) > 5 else 0)

    async def receive() -> dict[str, str]:
        await asyncio.sleep(0.01 if cause == "goes away" else 60)
        return {"type": "http.disconnect"}

    stream = EventStream(events(), 0.1, lambda: closed.append(True))
    asyncio.run(asyncio.wait_for(stream({"type": "http"}, receive, send), 10))
    assert closed == [True] and sent[0]["type"] == "http.response.start"
    assert ("did not read for 0.1 s" in caplog.text) == (cause == "does not read")
    if cause == "error":
        assert [message["body"] for message in sent[-2:]] == [
            b'data: {"error": {"message": "failed", "type": "server_error", "param": null, "code": null}}\n\n',
            b"data: [DONE]\n\n",
        ]


def test_a_failure_of_the_model_is_told_without_its_reason_and_the_server_goes_on(running, client, monkeypatch, caplog):
    session = running.server.thread._sessions["tiny"]

    def fail() -> None:
        raise RuntimeError("/secret/path: out of memory")

    monkeypatch.setattr(session, "advance", fail)
    with pytest.raises(openai.InternalServerError, match="the model failed on this request") as error:
        client.completions.create(model="tiny", prompt="5 +", max_tokens=2)
    assert "secret" not in str(error.value) and "secret" in caplog.text
    assert idle(running)
    assert client.completions.create(model="tiny", prompt="5 +", max_tokens=2).usage.completion_tokens == 2
