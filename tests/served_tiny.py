"""A server of a tiny untrained model in a thread of this process, for tests of its protocol."""

import asyncio
import contextlib
import dataclasses
import socket
import threading
from collections.abc import Iterator

import jax
import uvicorn

from r1jax.inference.config import SamplingConfig
from r1jax.inference.engine import Engine
from r1jax.serve.app import Server, make_app
from r1jax.serve.cards import ModelCard
from r1jax.serve.config import ServeConfig
from r1jax.serve.response_text import TokenTexts
from r1jax.serve.served import Served
from r1jax.text.prompt_format import R1_ZERO

CONFIG = ServeConfig(port=0, slots=4, queue=8, window=4, stall_s=20.0)
MAX_LENGTH = 256


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that runs.

    Attributes:
        url: of its API.
        server: what its routes share.
    """

    url: str
    server: Server

    @property
    def model(self) -> Served:
        """Its first model."""
        return next(iter(self.server.models.values()))


def tiny_model(model, params, tokenizer, mesh, name: str = "tiny", max_length: int = MAX_LENGTH) -> Served:
    """A served model with these weights."""
    sampling = SamplingConfig(slots=4, window=4, prefill_rows=2, bucket=max_length)
    engine = Engine(model, sampling, tokenizer, mesh)
    card = ModelCard(name, "A tiny model")
    return Served(card, tokenizer, R1_ZERO, max_length, TokenTexts(tokenizer), lambda: engine.open(params))


@contextlib.contextmanager
def serve(models: list[Served], mesh: jax.sharding.Mesh, cfg: ServeConfig = CONFIG) -> Iterator[Running]:
    """Runs a server until the block ends."""
    listener = socket.create_server((cfg.host, cfg.port))
    ready = threading.Event()
    app = make_app(models, cfg, mesh, ready.set)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    assert ready.wait(120), "the server did not start"
    try:
        yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", app.state.server)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), "the server did not stop"
