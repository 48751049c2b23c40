"""Responses that notice a client that goes away: server-sent events, and bodies that are computed for long."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from r1jax.serve.errors import ApiError
from r1jax.serve.protocol import json_text

_log = logging.getLogger(__name__)
T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection before its response was complete."""


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which is cancelled when the client goes away.

    Raises:
        ClientGone: it went away.
    """
    task, gone = asyncio.create_task(work), asyncio.create_task(_disconnected(request.receive))
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


class EventStream(Response):
    """Server-sent events, one for each text; it ends with OpenAI's [DONE], or with an event of the error.

    It ends too when the client goes away, or does not read for `stall_s` seconds; `close` is called in any case.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], stall_s: float, close: Callable[[], None]):
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events, self._stall_s, self._close = events, stall_s, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_events() -> None:
            async def body(text: str, more: bool = True) -> None:
                async with asyncio.timeout(self._stall_s):
                    await send({"type": "http.response.body", "body": text.encode(), "more_body": more})

            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with contextlib.aclosing(self._events) as events:
                try:
                    async for text in events:
                        await body(f"data: {text}\n\n")
                except ApiError as error:
                    await body(f"data: {json_text(error.body)}\n\n")
                await body("data: [DONE]\n\n", more=False)

        sending, gone = asyncio.create_task(send_events()), asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait([sending, gone], return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and isinstance(sending.exception(), TimeoutError):
                _log.warning("a client did not read for %g s, and was left", self._stall_s)
            elif sending.done():
                sending.result()
        finally:
            for each in (sending, gone):
                each.cancel()
            self._close()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await sending
