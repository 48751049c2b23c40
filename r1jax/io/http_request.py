"""HTTP requests with a deadline for the whole request, a limit of bytes, and no redirect to another origin.

All clients of model servers send by `post`, so that these limits are set in one place. A library's time-out bounds each
wait for bytes instead: a server that sends one now and then would hold such a client for ever.
"""

import base64
import functools
import http.client
import io
import ssl
import time
import urllib.parse
import urllib.request
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

# Of one reply, as sent and as decompressed: a million tokens, each character written as an escape.
MOST_BYTES = 8 * 2**20
_PIECE = 2**16  # bytes
_CONNECT_S = 30.0  # for each address of a host
_REDIRECTS, _MOST_REDIRECTS = (301, 302, 307, 308), 3
_PERMANENT = (301, 308)


class MissedReply(Exception):
    """No usable reply came; the message says why.

    Attributes:
        kind: one of few, for counting: "time-out", "HTTP 503".
        lasting: a retry would not help.
        misconfigured: nor would it later: the config names the wrong address, model or key.
        tokens: of the prompt and of the reply, where the server states what the unusable reply has cost.
    """

    def __init__(
        self,
        kind: str,
        why: str,
        lasting: bool = False,
        misconfigured: bool = False,
        tokens: tuple[int, int] | None = None,
    ):
        super().__init__(why)
        self.kind, self.lasting, self.misconfigured, self.tokens = kind, lasting, misconfigured, tokens


class Response(NamedTuple):
    """A whole response; `body` is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def check_url(url: str) -> None:
    """Checks an address, and that the proxy that the environment names for it, if any, can be used.

    Raises:
        ValueError: says what is wrong with it.
    """
    parts = urllib.parse.urlsplit(url)
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ValueError(f"{url!r} is no address of a server, should be like http://localhost:8000/v1")
    if parts.username or parts.password:
        raise ValueError("an address with a password would stand in every record: name the key by api_key_env")
    _ = parts.port  # raises
    _proxy(parts)


def post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Response:
    """Sends a request, through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name, if any.

    Args:
        url: http or https.
        timeout_s: seconds that all of it may take, redirects among them; only looking up a name, and addresses of a
            host that do not answer, half a minute each, can take longer.

    Raises:
        MissedReply: no whole response came in time and within `MOST_BYTES`, or the server redirects to another origin.
    """
    deadline = time.monotonic() + timeout_s
    try:
        for _ in range(1 + _MOST_REDIRECTS):
            response = _post_once(url, body, headers, deadline)
            if response.status not in _REDIRECTS:
                return response
            target = urllib.parse.urljoin(url, response.headers.get("Location", ""))
            if _origin(target) != _origin(url):
                raise MissedReply(
                    "redirect",
                    f"redirects to {target[:200]!r}, another origin, which is not sent the prompts: if it "
                    "should be, make it base_url",
                    lasting=True,
                    misconfigured=response.status in _PERMANENT,
                )
            url = target
    except TimeoutError as error:
        raise MissedReply("time-out", f"no whole reply within {timeout_s:g} s") from error
    except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
        raise MissedReply("connection", f"{type(error).__name__}: {error}") from error
    raise MissedReply("redirect", f"more than {_MOST_REDIRECTS} redirects", lasting=True)


def _post_once(url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Response:
    connection, target, more = _connection(urllib.parse.urlsplit(url), deadline)
    request_headers = {**headers, **more, "Accept-Encoding": "identity", "Connection": "close", "User-Agent": "r1jax"}
    try:
        connection.request("POST", target, body, request_headers)
        response = connection.getresponse()
        try:
            return Response(response.status, response.headers, _body(response))
        finally:
            response.close()
    finally:
        connection.close()


def _body(response: http.client.HTTPResponse) -> bytes:
    pieces = []
    while piece := response.read(_PIECE):  # by pieces: the length that a server announces may be any
        pieces.append(piece)
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    body = b"".join(pieces)
    encoding = ", ".join(response.headers.get_all("Content-Encoding", [])).strip().lower()
    if not body or encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise MissedReply("malformed", f"compressed as {encoding[:50]!r}, which was not asked for")
    opened = zlib.decompressobj(zlib.MAX_WBITS + 32)  # gzip or zlib, as its first bytes say
    body = opened.decompress(body, MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise _too_long()
    if not opened.eof:
        raise zlib.error("cut off")
    return body


def _too_long() -> MissedReply:
    return MissedReply("too long", f"more than {MOST_BYTES:,} bytes")


# Connections


class _Wire(io.RawIOBase):
    """The bytes from a socket, until the deadline and up to the limit."""

    def __init__(self, connection: "_Limited", sock: Any):
        self._connection, self._sock = connection, sock
        self._file = sock.makefile("rb", buffering=0)  # keeps the socket open when http.client has closed it

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._connection.seconds_left())
        count = self._file.readinto(buffer)
        self._connection.received += count or 0
        if self._connection.received > MOST_BYTES:
            raise _too_long()
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Limited:
    """Bounds a connection of http.client.

    Attributes:
        deadline: by `time.monotonic`.
        received: bytes, headers among them.
    """

    deadline, received = 0.0, 0

    def seconds_left(self) -> float:
        """Raises TimeoutError where there are none."""
        if (left := self.deadline - time.monotonic()) <= 0:
            raise TimeoutError
        return left

    def connect(self) -> None:
        self.timeout = min(self.seconds_left(), _CONNECT_S)
        super().connect()

    def send(self, data: bytes) -> None:
        if self.sock is None:
            self.connect()
        for start in range(0, len(data), _PIECE):
            self.sock.settimeout(self.seconds_left())
            self.sock.sendall(data[start : start + _PIECE])

    def response_class(self, sock: Any, *args: Any, **named: Any) -> http.client.HTTPResponse:
        return http.client.HTTPResponse(_Readable(self, sock), *args, **named)


class _Readable(NamedTuple):
    """The part of a socket's interface that a response uses."""

    connection: _Limited
    sock: Any

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Wire(self.connection, self.sock), _PIECE)


class _HTTP(_Limited, http.client.HTTPConnection):
    pass


class _HTTPS(_Limited, http.client.HTTPSConnection):
    pass


def _connection(parts: urllib.parse.SplitResult, deadline: float) -> tuple[_HTTP | _HTTPS, str, dict[str, str]]:
    """A connection that is not open yet, the target of the request, and the headers that a proxy needs."""
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    through, more = _proxy(parts), {}
    if through is None:
        host, port = parts.hostname, parts.port
    else:
        host, port = through.hostname, through.port or 80
        if through.username:
            secret = f"{urllib.parse.unquote(through.username)}:{urllib.parse.unquote(through.password or '')}"
            more["Proxy-Authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
    if parts.scheme == "https":
        connection = _HTTPS(host, port, context=_trusted())
        if through is not None:
            connection.set_tunnel(parts.hostname, parts.port or 443, more)
            more = {}  # for the proxy alone
    else:
        connection = _HTTP(host, port)
        if through is not None:
            target = urllib.parse.urlunsplit(("http", parts.netloc, parts.path or "/", parts.query, ""))
    connection.deadline = deadline
    return connection, target, more


def _proxy(parts: urllib.parse.SplitResult) -> urllib.parse.SplitResult | None:
    proxies = urllib.request.getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    if not named or urllib.request.proxy_bypass(parts.hostname):
        return None
    through = urllib.parse.urlsplit(named if "://" in named else f"http://{named}")
    if through.scheme != "http" or not through.hostname:
        raise ValueError(f"the environment's proxy for {parts.scheme}:// is not like http://host:port")
    return through


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The system's authorities and, where it is installed, those of certifi: a slim container has none of its own."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context
