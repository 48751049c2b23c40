"""A stand-in for the server behind the demonstration page: scripted models, slow tokens, errors."""

import asyncio
import contextlib
import dataclasses
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from r1jax.serve import demo
from r1jax.serve.cards import ModelCard
from r1jax.serve.config import ServeConfig
from r1jax.serve.demo_examples import Example
from r1jax.serve.errors import ApiError


@dataclasses.dataclass
class Script:
    """A model: the same responses again and again, the i-th sample the i-th of them.

    Attributes:
        responses: (thought, answer) each.
        delay_s: before each piece of six characters.
        busy: requests that are refused first, with 429.
        cut_at: pieces after which the stream breaks off; 0: never.
    """

    responses: Sequence[tuple[str, str]]
    delay_s: float = 0.0
    busy: int = 0
    cut_at: int = 0


@dataclasses.dataclass
class DemoServer:
    """A running one.

    Attributes:
        url: of the page.
        asked: the bodies of all chat requests.
        given_up: how many of them a client left before the end.
        key: the API key; "": none is asked for.
    """

    scripts: dict[str, Script]
    key: str = ""
    url: str = ""
    asked: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    given_up: int = 0

    async def stream(self, script: Script, body: dict[str, Any]) -> AsyncIterator[str]:
        def event(**fields: Any) -> str:
            return f"data: {json.dumps({'id': '1', 'object': 'chat.completion.chunk', **fields})}\n\n"

        samples = [script.responses[i % len(script.responses)] for i in range(body.get("n") or 1)]
        queues = [
            [(name, text[i : i + 6]) for name, text in zip(("reasoning_content", "content"), each, strict=True)
             for i in range(0, len(text), 6)]
            for each in samples
        ]  # fmt: skip
        count, tokens, thought_tokens = 0, 0, 0
        try:
            while any(queues):
                for index, queue in enumerate(queues):
                    if not queue:
                        continue
                    await asyncio.sleep(script.delay_s / len(queues))
                    name, piece = queue.pop(0)
                    tokens, thought_tokens = tokens + 1, thought_tokens + (name == "reasoning_content")
                    count += 1
                    if script.cut_at and count > script.cut_at:
                        return
                    finish = None if queue else "stop"
                    yield event(choices=[{"index": index, "delta": {name: piece}, "finish_reason": finish}])
            details = {"reasoning_tokens": thought_tokens}
            usage = {"prompt_tokens": 9, "completion_tokens": tokens, "completion_tokens_details": details}
            yield event(choices=[], usage=usage)
            yield "data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.given_up += 1
            raise

    def app(self, cards: Sequence[ModelCard], examples: Sequence[Example]) -> FastAPI:
        app = FastAPI()
        app.include_router(demo.router(cards, examples, ServeConfig()))

        @app.exception_handler(ApiError)
        async def refuse(_: Request, error: ApiError) -> JSONResponse:
            return JSONResponse(error.body, error.status)

        @app.middleware("http")
        async def check_key(request: Request, call_next: Any) -> Response:
            is_open = request.url.path == "/" or request.url.path.startswith("/page/")
            if self.key and not is_open and request.headers.get("authorization") != f"Bearer {self.key}":
                return JSONResponse({"error": {"message": "no such key"}}, 401)
            return await call_next(request)

        @app.get("/v1/models")
        def models() -> dict[str, Any]:
            data = [{"id": id_, "object": "model", "created": 0, "owned_by": "r1jax"} for id_ in self.scripts]
            return {"object": "list", "data": data}

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Response:
            body = await request.json()
            self.asked.append(body)
            script = self.scripts[body["model"]]
            if script.busy:
                script.busy -= 1
                return JSONResponse({"error": {"message": "too many requests"}}, 429, {"Retry-After": "1"})
            return StreamingResponse(self.stream(script, body), media_type="text/event-stream")

        return app


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serves an application on 127.0.0.1, on a port of its own, and yields its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            thread.join(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join(10)


@contextlib.contextmanager
def serve(
    scripts: dict[str, Script], cards: Sequence[ModelCard], examples: Sequence[Example], key: str = ""
) -> Iterator[DemoServer]:
    server = DemoServer(scripts, key)
    with running(server.app(cards, examples)) as server.url:
        yield server
