"""A stand-in for a server that speaks OpenAI's protocol: answers by a function, and keeps what it was asked."""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any


class ChatServer:
    """A running server.

    Attributes:
        url: for `base_url`.
        answer: from a request's body to the reply's text, or to an HTTP status.
        asked: the bodies of all requests, in the order in which they came.
        usage: what each reply says it used; None: nothing.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], str | int]):
        self.answer, self.asked = answer, []
        self.usage: dict[str, int] | None = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
        lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                with lock:
                    self.asked.append(body)
                    reply = self.answer(body)
                status = reply if isinstance(reply, int) else 200
                content = json.dumps(self._reply(body, reply) if status == 200 else {"error": {"message": "no"}})
                handler.send_response(status)
                handler.send_header("Content-Type", "application/json")
                handler.send_header("Content-Length", str(len(content.encode())))
                handler.end_headers()
                handler.wfile.write(content.encode())

            def log_message(handler, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def _reply(self, body: dict[str, Any], text: str) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        choice = {"index": 0, "finish_reason": "stop", **said}
        usage = {"usage": self.usage} if self.usage else {}
        return {"id": "1", "object": "x", "created": 1, "model": "m", "choices": [choice], **usage}


def content(body: dict[str, Any]) -> str:
    """What a request says."""
    return body["messages"][0]["content"] if "messages" in body else body["prompt"]


@contextlib.contextmanager
def serve(answer: Callable[[dict[str, Any]], str | int]) -> Iterator[ChatServer]:
    server = ChatServer(answer)
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
