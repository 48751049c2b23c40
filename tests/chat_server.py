"""A stand-in for a server that speaks OpenAI's protocol: answers by a function, and keeps what it was asked."""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

MOST_PIECES = 10_000  # of a raw reply: nothing that a test sends is endless


class Raw(NamedTuple):
    """A reply as it goes over the wire, well formed or not.

    Attributes:
        pieces: of the body, each sent when it comes; more than one, and no length is told.
        status, headers: of HTTP.
    """

    pieces: Iterable[bytes]
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012  (never changed)


Answer = Callable[[dict[str, Any]], str | int | Raw]


class ChatServer:
    """A running server on 127.0.0.1.

    Attributes:
        url: for `base_url`.
        answer: from a request's body to the reply's text, to an HTTP status, or to a raw reply.
        asked: the bodies of all requests, in the order in which they came.
        headers: those of all requests, names in small letters.
        usage: what each reply says it used; None: nothing.
        hung_up: set when a client was gone before a raw reply was whole.
    """

    def __init__(self, answer: Answer):
        self.answer, self.asked, self.headers, self.hung_up = answer, [], [], threading.Event()
        self.usage: dict[str, int] | None = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
        lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                with lock:
                    self.asked.append(body)
                    self.headers.append({"path": handler.path, **{k.lower(): v for k, v in handler.headers.items()}})
                    reply = self.answer(body)
                if not isinstance(reply, Raw):
                    status = reply if isinstance(reply, int) else 200
                    content = self.reply(body, reply) if status == 200 else {"error": {"message": "no"}}
                    reply = Raw([json.dumps(content).encode()], status, {"Content-Type": "application/json"})
                handler.send_response(reply.status)
                for name, value in reply.headers.items():
                    handler.send_header(name, value)
                if isinstance(reply.pieces, list) and len(reply.pieces) == 1:
                    handler.send_header("Content-Length", str(len(reply.pieces[0])))
                handler.end_headers()
                try:
                    for _, piece in zip(range(MOST_PIECES), reply.pieces, strict=False):
                        handler.wfile.write(piece)
                        handler.wfile.flush()
                except OSError:
                    self.hung_up.set()

            def log_message(handler, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def reply(self, body: dict[str, Any], text: str) -> dict[str, Any]:
        """A good reply to a request."""
        said = {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        choice = {"index": 0, "finish_reason": "stop", **said}
        usage = {"usage": self.usage} if self.usage else {}
        return {"id": "1", "object": "x", "created": 1, "model": "m", "choices": [choice], **usage}


def content(body: dict[str, Any]) -> str:
    """What a request says."""
    return body["messages"][0]["content"] if "messages" in body else body["prompt"]


@contextlib.contextmanager
def serve(answer: Answer) -> Iterator[ChatServer]:
    server = ChatServer(answer)
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
