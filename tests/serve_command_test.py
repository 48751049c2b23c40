"""The command r1jax serve: from a shipped model to answers in one line, a graceful stop, errors in one line."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest
from xla_flags import xla_flags

from r1jax.serve.cards import read_cards
from r1jax.tools import serve


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[subprocess.Popen, str]]:
    """A server of a shipped model, and its address."""
    command = [sys.executable, "-m", "r1jax", "serve", "mini-base", "--port=0", "--slots=4"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags(1)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    found = re.fullmatch(r"serving mini-base: page (http://127\.0\.0\.1:\d+)/, API \1/v1\n", line)
    assert found, line + process.stderr.read()
    yield process, found[1]
    process.kill()


def ask(url: str, **changes):
    """The reply to a request, which may be read while it comes."""
    body = {"model": "mini-base", "messages": [{"role": "user", "content": "What is 5 + 7?"}], "seed": 1} | changes
    return urllib.request.urlopen(f"{url}/v1/chat/completions", json.dumps(body).encode(), timeout=60)


def test_a_stop_waits_for_what_runs(server):
    process, url = server
    whole = json.load(ask(url, max_tokens=200, temperature=1.5, top_p=1))
    with ask(url, max_tokens=200, temperature=1.5, top_p=1, stream=True) as stream:
        first = stream.readline()
        process.send_signal(signal.SIGTERM)
        rest = stream.read().decode()
    assert first.startswith(b"data: ") and rest.endswith("data: [DONE]\n\n")
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in rest.splitlines() if line.startswith("data: {")]
    message = whole["choices"][0]["message"]
    assert "".join(delta.get("content", "") for delta in deltas) == message["content"]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == message.get("reasoning_content", "")
    assert process.wait(30) == 0
    assert process.stderr.read() == ""


def test_a_port_that_is_taken_is_named_before_a_model_is_read(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve.main(["no/such/model", f"--port={port}"]) == 2
    error = f"error: --host=127.0.0.1 --port={port} cannot be listened on: Address already in use\n"
    assert capsys.readouterr().err.endswith(error)


def test_a_model_that_is_not_there_is_named_with_those_that_ship(capsys):
    assert serve.main(["no/such/model", "--port=0"]) == 2
    assert "no model no/such/model: give a path, or the name of a shipped model: mini-base" in capsys.readouterr().err


def test_other_machines_need_a_key(capsys):
    assert serve.main(["mini-base", "--host=0.0.0.0"]) == 2
    assert "give a key that clients must send, by --api-key" in capsys.readouterr().err


def test_a_missing_package_is_said_with_the_command_that_installs_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert serve.main(["mini-base", "--port=0"]) == 2
    assert "pip install -e '.[serve]'" in capsys.readouterr().err


def test_shipped_models_are_there_and_say_how_they_were_made():
    for folder, card in read_cards().values():
        assert (folder / "model.json").exists()
        assert card.title and card.note and card.command.startswith(("r1jax ", "experiments/"))
