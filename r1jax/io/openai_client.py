"""Client of servers with OpenAI's API: a request rate, retries where they help, and one parser for all replies."""

import collections
import json
import logging
import math
import os
import random
import reprlib
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from r1jax.config import printable
from r1jax.io import http_request
from r1jax.io.http_request import MissedReply

_log = logging.getLogger(__name__)

# Errors of the config, for which no retry helps.
_MISCONFIGURED = {401: "the key is refused", 403: "the key may not do this", 404: "no such model, or no such address"}
_PASSING = (408, 409, 429)  # and 5xx
# The protocol's two ways to end a text, and what text-generation-inference calls the first.
_FINISHES = {"stop": "stop", "length": "length", "eos_token": "stop", "stop_sequence": "stop"}
_MOST_TOKENS = 10_000_000  # of one reply; a server that says more is not believed
_FIRST_DELAY_S, _MOST_DELAY_S, _MOST_ASKED_DELAY_S = 0.5, 8.0, 120.0


class Pace:
    """Lets threads through one at a time, evenly, so many a minute (above 0). Tests have a clock of their own."""

    def __init__(
        self,
        per_minute: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._interval, self._clock, self._sleep = 60.0 / per_minute, clock, sleep
        self._lock, self._next = threading.Lock(), clock()

    def wait(self) -> None:
        """Returns when it is the caller's turn, in the order of the calls; time that nobody used is not saved up."""
        with self._lock:
            now = self._clock()
            turn = max(self._next, now)
            self._next = turn + self._interval
        if turn > now:
            self._sleep(turn - now)


class Completion(NamedTuple):
    """A reply that can be used.

    Attributes:
        text: whole; a thought that the server keeps apart is put before it, in its tags.
        finish: "length" where the server cut it.
        tokens: of the prompt and of the reply; None: the server says nothing that could be true.
    """

    text: str
    finish: Literal["stop", "length"]
    tokens: tuple[int, int] | None


class Server:
    """A model behind a server, for any number of threads.

    Attributes:
        missed: requests that got no usable reply, retried ones among them, by kind.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        model: str,
        api_key_env: str,
        timeout_s: float,
        retries: int,
        requests_per_minute: float = 0.0,
    ):
        """Makes no request.

        Args:
            name: what it is for, as messages begin: "the judge".
            base_url: say http://localhost:8000/v1.
            model: as the server names it.
            api_key_env: the environment variable that holds the key; "" where none is needed.
            timeout_s: seconds that a request may take as a whole, see `http_request.post`.
            retries: of time-outs, lost connections, 408, 409, 429, 5xx and replies that are not the protocol's, with a
                growing delay, or the one that the server asks for.
            requests_per_minute: at most so many, retries among them; 0: as they come.

        Raises:
            ValueError: that variable is not set or holds no key, or the address is none.
        """
        if api_key_env and not os.environ.get(api_key_env):
            raise ValueError(
                f"{name} has no key: set the environment variable {api_key_env}, "
                'or api_key_env="" for an endpoint that needs none'
            )
        key = os.environ[api_key_env] if api_key_env else "none"
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"{name}: the environment variable {api_key_env} holds characters that no key has")
        http_request.check_url(base_url)
        self.missed: collections.Counter[str] = collections.Counter()
        self._name, self._model, self._base_url = name, model, base_url
        self._timeout_s, self._retries, self._lock = timeout_s, retries, threading.Lock()
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        self._pace = Pace(requests_per_minute) if requests_per_minute else None

    def ask(
        self, request: Mapping[str, Any], on_reply: Callable[[tuple[int, int] | None], None] = lambda tokens: None
    ) -> Completion:
        """One completion, of a chat where there are `messages`, else of a `prompt`.

        Args:
            request: the body, without the model.
            on_reply: called with the tokens of each reply that was paid for, also of unusable ones that state a price.

        Raises:
            MissedReply: no usable reply came, retries included.
            ValueError: the server refuses the key, the model or the address.
        """
        chat = "messages" in request
        parts = urllib.parse.urlsplit(self._base_url)
        path = f"{parts.path.rstrip('/')}/{'chat/completions' if chat else 'completions'}"
        url = urllib.parse.urlunsplit(parts._replace(path=path))
        body = json.dumps({"model": self._model, **request}).encode()
        for retry in range(self._retries + 1):
            if self._pace:
                self._pace.wait()
            asked_delay = None
            try:
                response = http_request.post(url, body, self._headers, self._timeout_s)
                asked_delay = _asked_delay(response.headers)
                completion = _read(response, chat)
            except MissedReply as missed:
                self._count(missed)
                if missed.tokens:
                    on_reply(missed.tokens)
                if missed.misconfigured:
                    raise ValueError(
                        f"{self._name}: {self._model!r} at {self._base_url}: {printable(str(missed))}"
                    ) from missed
                if missed.lasting or retry == self._retries or (asked_delay or 0) > _MOST_ASKED_DELAY_S:
                    raise
            else:
                on_reply(completion.tokens)
                return completion
            time.sleep(asked_delay or min(_FIRST_DELAY_S * 2.0**retry, _MOST_DELAY_S) * random.uniform(0.75, 1.0))
        raise AssertionError("the last retry returns or raises")

    def misses(self) -> str:
        """`missed` in words, for the console; "" where there are none."""
        with self._lock:
            counts = ", ".join(f"{kind} {count}" for kind, count in self.missed.most_common())
        return f"{self._name}: requests without a usable reply: {counts}" if counts else ""

    def _count(self, missed: MissedReply) -> None:
        with self._lock:
            self.missed[missed.kind] += 1
            first = self.missed[missed.kind] == 1
        if first:
            _log.warning("%s: %s; more of this kind are only counted", self._name, printable(str(missed)))


# Reading a reply


def _read(response: http_request.Response, chat: bool) -> Completion:
    """The completion that a response holds.

    Raises:
        MissedReply: another status than success, or anything but the protocol's own form.
    """
    status = response.status
    if 200 <= status < 300:
        return read_reply(response.body, chat)
    misconfigured = status in _MISCONFIGURED
    why = _MISCONFIGURED[status] if misconfigured else _message(response.body)
    lasting = status not in _PASSING and status < 500
    raise MissedReply(f"HTTP {status}", f"{why} (HTTP {status})", lasting, misconfigured)


def read_reply(body: bytes, chat: bool) -> Completion:
    """The completion of a reply's JSON, the first where there are several.

    Of its cost only counts that can be true are taken; without them the text is as good.

    Raises:
        MissedReply: anything else than the protocol's form, says what.
    """
    try:
        reply = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"no JSON in UTF-8: {body[:60]!r}: {type(error).__name__}: {error}") from error
    if not isinstance(reply, dict):
        raise _malformed(f"the reply is {reprlib.repr(reply)}, should be an object")
    tokens = _tokens(reply.get("usage"))
    try:
        if reply.get("error"):
            raise _malformed(_message(body))
        choices = reply.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise _malformed(f"choices is {reprlib.repr(choices)}, should be a list of objects")
        finish = choices[0].get("finish_reason")
        if not isinstance(finish, str) or finish not in _FINISHES:
            raise _malformed(f"finish_reason is {reprlib.repr(finish)}, should be stop or length")
        text = _chat_text(choices[0].get("message")) if chat else choices[0].get("text")
        return Completion(_checked("text", text), _FINISHES[finish], tokens)
    except MissedReply as missed:
        missed.tokens = tokens
        raise


def _chat_text(message: Any) -> str:
    """A message's whole text. DeepSeek's API and vLLM keep the thought in a field of its own, under either name."""
    if not isinstance(message, dict):
        raise _malformed(f"message is {reprlib.repr(message)}, should be an object")
    thoughts = [_checked(key, message[key]) for key in ("reasoning_content", "reasoning") if message.get(key)]
    content = message.get("content")
    # The protocol's null is an empty text, and some servers leave out what is null beside a thought.
    content = "" if content is None and (thoughts or "content" in message) else _checked("content", content)
    return f"<think>{thoughts[0]}</think>{content}" if thoughts else content


def _checked(name: str, text: Any) -> str:
    """Text that can be written down as UTF-8."""
    if not isinstance(text, str):
        raise _malformed(f"{name} is {reprlib.repr(text)}, should be text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _malformed(f"{name} holds half a surrogate pair") from error
    return text


def _tokens(usage: Any) -> tuple[int, int] | None:
    counts = [usage.get(f"{part}_tokens") if isinstance(usage, dict) else None for part in ("prompt", "completion")]
    believed = all(type(count) is int and 0 <= count <= _MOST_TOKENS for count in counts)
    return (counts[0], counts[1]) if believed else None


def _malformed(why: str) -> MissedReply:
    return MissedReply("malformed", why)


def _message(body: bytes) -> str:
    """The message in an error's body, shortened."""
    try:
        error = json.loads(body)["error"]
        error = error["message"] if isinstance(error, dict) else error
    except (ValueError, RecursionError, LookupError, TypeError):
        error = body[:200].decode("utf-8", "replace")
    return f"the server says {error[:200] if isinstance(error, str) else reprlib.repr(error)!r}"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _asked_delay(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait; None: it does not say."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except ValueError:  # or a date, which few servers send
            continue
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    return None
