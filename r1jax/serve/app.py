"""The HTTP application: OpenAI's routes, health, counters and the demonstration page over the served models."""

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from jax.sharding import Mesh
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from r1jax import __version__
from r1jax.models.config import Truncation
from r1jax.serve import chat_completions, demo, text_completions
from r1jax.serve.completion import Completions, Job, warm_up_job
from r1jax.serve.config import ServeConfig
from r1jax.serve.demo_examples import held_out_examples
from r1jax.serve.errors import ApiError
from r1jax.serve.metrics import CONTENT_TYPE, Metrics
from r1jax.serve.protocol import ChatRequest, CompletionRequest, json_text, read_request
from r1jax.serve.responses import ClientGone, EventStream, while_connected
from r1jax.serve.sampling_thread import SamplingThread
from r1jax.serve.served import Served, slots_on

_log = logging.getLogger(__name__)
# Without a key: the page, which asks for it, and the state of the server for its supervisor.
_OPEN_PATHS = ("/", "/health", "/favicon.ico")
_OPEN_PREFIX = "/page/"


class Server:
    """The served models and what the routes share."""

    def __init__(self, models: Sequence[Served], cfg: ServeConfig, mesh: Mesh):
        self.cfg, self.models = cfg, {model.id: model for model in models}
        sessions = {model.id: model.open_session for model in models}
        self.thread = SamplingThread(sessions, mesh, slots_on(mesh, cfg), cfg.queue)
        self.metrics = Metrics(list(self.models), self.thread.sequences)
        self.created = int(time.time())

    def model(self, name: str) -> Served:
        """The model of a request; raises ApiError where it is not served."""
        if name not in self.models:
            raise ApiError(
                404,
                f"the model {name[:200]!r} is not served; /v1/models lists those that are",
                "model",
                "model_not_found",
            )
        return self.models[name]

    async def warm_up(self, model: Served) -> None:
        """Samples a few tokens, so that the first request need not wait for the compiler."""
        truncation = Truncation(self.cfg.temperature, 0, self.cfg.top_p)
        completions = self.completions(warm_up_job(model, truncation, self.cfg.window))
        async for _ in completions.steps():
            pass
        completions.close()

    def completions(self, job: Job) -> Completions:
        """Queues the sampling that a request asks for; raises ApiError where it cannot."""
        return Completions(job, self.thread, self.metrics)


def make_app(
    models: Sequence[Served], cfg: ServeConfig, mesh: Mesh, on_ready: Callable[[], None] = lambda: None
) -> FastAPI:
    """The application; it begins to sample when it is started.

    Args:
        on_ready: called when it can answer.
    """
    server = Server(models, cfg, mesh)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server.thread.start()
        for model in models:
            await server.warm_up(model)
        on_ready()
        yield
        await server.thread.stop()

    app = FastAPI(
        title="r1jax", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.server = server
    _add_routes(app, server)
    app.include_router(demo.router([model.card for model in models], held_out_examples(), cfg))
    _add_errors(app)
    app.add_middleware(_Checks, server=server)
    return app


def _add_routes(app: FastAPI, server: Server) -> None:
    cfg = server.cfg

    @app.get("/health")
    async def health() -> JSONResponse:
        if server.thread.failure:
            return JSONResponse({"status": "failed"}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(server.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [_listing(server, model) for model in server.models.values()]}

    @app.get("/v1/models/{name:path}")
    async def show_model(name: str) -> dict[str, Any]:
        return _listing(server, server.model(name))

    @app.post("/v1/chat/completions")
    async def chat(http: Request) -> Response:
        request = await _read(ChatRequest, http, cfg)
        model = server.model(request.model)
        completions = server.completions(chat_completions.job(request, model, cfg))
        if request.stream:
            return EventStream(chat_completions.events(request, model, completions), cfg.stall_s, completions.close)
        with contextlib.closing(completions):
            return JSONResponse(await while_connected(http, chat_completions.whole(request, model, completions)))

    @app.post("/v1/completions")
    async def complete(http: Request) -> Response:
        request = await _read(CompletionRequest, http, cfg)
        model = server.model(request.model)
        job = text_completions.job(request, model, cfg)
        completions = server.completions(job)
        pieces = text_completions.events(request, model, job, completions, server.thread)
        if request.stream:
            return EventStream(
                text_completions.lines(request, model, pieces, completions), cfg.stall_s, completions.close
            )
        body = text_completions.whole(pieces, job.n * len(job.prompts), model, completions)
        with contextlib.closing(completions):
            return JSONResponse(await while_connected(http, body))


async def _read(kind: type, http: Request, cfg: ServeConfig) -> Any:
    try:
        async with asyncio.timeout(cfg.stall_s):
            return await read_request(kind, http, cfg)
    except TimeoutError as error:
        raise ApiError(408, "the request did not arrive in time") from error


def _listing(server: Server, model: Served) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": server.created, "owned_by": "r1jax"}


class _Checks:
    """The middleware that checks the key and counts responses."""

    def __init__(self, app: ASGIApp, server: Server):
        self._app, self._server, self._key = app, server, server.cfg.api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "other")
                self._server.metrics.response(path, message["status"])
            await send(message)

        if self._allows(Request(scope)):
            await self._app(scope, receive, count)
        else:
            refusal = _error(ApiError(401, "the API key is missing or wrong", code="invalid_api_key"))
            await refusal(scope, receive, count)

    def _allows(self, request: Request) -> bool:
        if not self._key or request.url.path in _OPEN_PATHS or request.url.path.startswith(_OPEN_PREFIX):
            return True
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        # Headers are read as Latin-1: encoded so again they are the bytes that were sent.
        return scheme.lower() == "bearer" and hmac.compare_digest(key.strip().encode("latin-1"), self._key)


def _error(error: ApiError) -> Response:
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return Response(json_text(error.body), error.status, headers, "application/json")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def refuse(_: Request, error: ApiError) -> Response:
        return _error(error)

    @app.exception_handler(HTTPException)
    async def not_found(_: Request, error: HTTPException) -> Response:
        return _error(ApiError(error.status_code, str(error.detail)))

    @app.exception_handler(ClientGone)
    async def gone(_: Request, error: ClientGone) -> Response:
        return Response(status_code=499)  # nobody reads it; nginx's number for this, in the counters

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        _log.error("a request failed", exc_info=error)
        return _error(ApiError(500, "the server failed on this request; its log has the reason"))
