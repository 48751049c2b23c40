"""Replies of a server that are not OpenAI's protocol, or only nearly, each with what a client may make of it."""

import gzip
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

JSON = {"Content-Type": "application/json"}
HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body>Bad \xe2\x80\xae gateway</body></html>"
# What is well formed apart from the place that a case replaces; the judge needs a verdict, which the server fills in.
TEXT = "TEXT"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


class Reply(NamedTuple):
    """A reply as it goes over the wire.

    Attributes:
        body: its bytes; TEXT in them stands for a usable text.
        status, headers: of HTTP.
        usable: it holds a text nevertheless, which a client should take.
        told: the tokens that a client should count; None: none.
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = JSON
    usable: bool = False
    told: tuple[int, int] | None = None


def whole(chat: bool, **changes: Any) -> dict[str, Any]:
    """A good reply; `message`, `choice` and top-level keys replaced, those that are `...` left out."""
    said = {"message": {"role": "assistant", "content": TEXT}} if chat else {"text": TEXT}
    choice = {"index": 0, "finish_reason": "stop", **said, **changes.pop("choice", {})}
    reply = {"id": "1", "object": "x", "created": 1, "model": "m", "choices": [_cut(choice)], "usage": USAGE, **changes}
    return _cut(reply)


def _cut(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not ...}


# Values that are no text.
_NO_TEXT = {
    "number": 5,
    "float": 0.5,
    "true": True,
    "object": {"text": TEXT},
    "list": [TEXT],
    "empty_list": [],
    "list_of_parts": [{"type": "text", "text": TEXT}],
    "nested_list": [[[[]]]],
    "half_a_surrogate": "half \ud83d of it",
}
# Counts of tokens that no server has used.
_NO_COUNT = {
    "null": None,
    "text": "7",
    "float": 2.5,
    "huge_float": 1e300,
    "negative": -1,
    "huge": 2**40,
    "enormous": 10**300,
    "true": True,
    "list": [7],
    "object": {"n": 7},
}


def replies(chat: bool) -> Iterator[tuple[str, Reply]]:
    """(name, reply) of each case, of the chat endpoint or of the one that continues texts."""

    def of(**changes: Any) -> bytes:
        return json.dumps(whole(chat, **changes)).encode()

    def message(**changes: Any) -> bytes:
        said = {"message": _cut({"role": "assistant", "content": TEXT, **changes})} if chat else changes
        return of(choice=said)

    told = (3, 2)
    # The text and its place
    for name, value in _NO_TEXT.items():
        yield f"text_{name}", Reply(message(**{"content" if chat else "text": value}), told=told)
    yield "text_missing", Reply(message(**{"content" if chat else "text": ...}), told=told)
    if chat:
        yield "message_null", Reply(of(choice={"message": None}), told=told)
        yield "message_missing", Reply(of(choice={"message": ...}), told=told)
        yield "message_text", Reply(of(choice={"message": TEXT}), told=told)
        yield "message_list", Reply(of(choice={"message": [{"content": TEXT}]}), told=told)
        yield "message_empty", Reply(of(choice={"message": {}}), told=told)
        yield "text_place_of_the_other_endpoint", Reply(of(choice={"message": ..., "text": TEXT}), told=told)
        for name, value in {"list": ["so"], "object": {"text": "so"}, "number": 3, "surrogate": "\udc00"}.items():
            yield f"thought_{name}", Reply(message(reasoning_content=value), told=told)
            yield f"thought_by_its_other_name_{name}", Reply(message(reasoning=value), told=told)
        yield "thought_null", Reply(message(reasoning_content=None, reasoning=None), usable=True, told=told)
    else:
        yield "text_null", Reply(of(choice={"text": None}), told=told)
        yield (
            "text_place_of_the_other_endpoint",
            Reply(of(choice={"text": ..., "message": {"content": TEXT}}), told=told),
        )
    # Choices
    for name, value in {
        "missing": ...,
        "null": None,
        "empty": [],
        "object": {"0": {}},
        "text": "text",
        "number": 1,
        "of_null": [None],
        "of_text": [TEXT],
        "of_lists": [[{}]],
        "of_nothing": [{}],
    }.items():
        yield f"choices_{name}", Reply(of(choices=value), told=told)
    yield "choices_several", Reply(of(choices=whole(chat)["choices"] * 3), usable=True, told=told)
    # Why it ended
    for name, value in {
        "null": None,
        "missing": ...,
        "unknown": "because",
        "number": 1,
        "list": ["stop"],
        "object": {"a": 1},
        "filtered": "content_filter",
        "a_call": "tool_calls",
        "broken_off": "insufficient_system_resource",
    }.items():
        yield f"finish_{name}", Reply(of(choice={"finish_reason": value}), told=told)
    # Tokens: a text that is there is taken, and what cannot be believed of its cost is not
    for name, value in _NO_COUNT.items():
        yield f"completion_tokens_{name}", Reply(of(usage=USAGE | {"completion_tokens": value}), usable=True)
        yield f"prompt_tokens_{name}", Reply(of(usage=USAGE | {"prompt_tokens": value}), usable=True)
    for name, value in {"null": None, "missing": ..., "list": [3, 2], "text": "5", "number": 5, "empty": {}}.items():
        yield f"usage_{name}", Reply(of(usage=value), usable=True)
    for name, value in {"NaN": "NaN", "Infinity": "-Infinity", "1e999": "1e999"}.items():
        body = of(usage={"prompt_tokens": 3, "completion_tokens": "N"}).replace(b'"N"', value.encode())
        yield f"completion_tokens_{name}", Reply(body, usable=value == "1e999")
    # Not such an object
    for name, value in {
        "null": None,
        "true": True,
        "number": 5,
        "text": TEXT,
        "list": [whole(chat)],
        "empty_list": [],
        "empty": {},
    }.items():
        yield f"json_{name}", Reply(json.dumps(value).encode())
    yield "error_object", Reply(b'{"error": {"message": "overloaded \\u001b[31m", "code": 529}}')
    yield "error_text", Reply(b'{"error": "overloaded", "choices": []}')
    yield "error_beside_a_choice", Reply(of(error={"message": "cut short"}), told=told)
    # Not JSON, or not whole
    yield "nothing", Reply(b"")
    yield "blanks", Reply(b" \n" * 9)
    yield "html", Reply(HTML, headers={"Content-Type": "text/html"})
    yield "html_called_json", Reply(HTML)
    yield "json_called_html", Reply(of(), headers={"Content-Type": "text/html"}, usable=True, told=told)
    yield "json_called_nothing", Reply(of(), headers={}, usable=True, told=told)
    yield "plain_text", Reply(TEXT.encode(), headers={"Content-Type": "text/plain"})
    yield "events", Reply(b"data: " + of() + b"\n\ndata: [DONE]\n\n", headers={"Content-Type": "text/event-stream"})
    yield "two_objects", Reply(of() + b"\n" + of())
    yield "cut_off", Reply(of()[:-20])
    yield "cut_off_in_the_text", Reply(of()[: of().index(b"TEXT")])
    yield "single_quotes", Reply(of().replace(b'"', b"'"))
    yield "number_of_many_digits", Reply(of().replace(b'"created": 1', b'"created": ' + b"1" * 10_000))
    yield "deep", Reply(b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    yield "deep_within_reach", Reply(b'{"choices": ' + b"[" * 900 + b"]" * 900 + b"}")
    yield "deep_objects", Reply(b'{"a":' * 50_000 + b"1" + b"}" * 50_000)
    # Encodings
    yield "utf_16", Reply(json.dumps(whole(chat)).encode("utf-16"))
    yield "utf_32", Reply(json.dumps(whole(chat)).encode("utf-32"))
    yield "latin_1", Reply(of().replace(b"TEXT", b"caf\xe9 TEXT"))
    yield "broken_utf_8", Reply(of().replace(b"TEXT", b"\xf0\x9f\x98 TEXT"))
    yield "byte_order_mark", Reply(b"\xef\xbb\xbf" + of(), usable=True, told=told)
    yield "bytes_of_no_meaning", Reply(bytes(range(256)) * 9)
    yield "compressed_unasked", Reply(of(), headers=JSON | {"Content-Encoding": "identity"}, usable=True, told=told)
    yield "said_to_be_compressed", Reply(of(), headers=JSON | {"Content-Encoding": "gzip"})
    yield "compressed_and_cut_off", Reply(gzip.compress(of())[:-12], headers=JSON | {"Content-Encoding": "gzip"})
    yield "compressed_otherwise", Reply(of(), headers=JSON | {"Content-Encoding": "br"})
    yield (
        "charset_unknown",
        Reply(of(), headers={"Content-Type": "application/json; charset=klingon"}, usable=True, told=told),
    )
    # HTTP
    for status in (400, 402, 408, 413, 418, 422, 429, 500, 502, 503, 529, 599):
        yield f"http_{status}_json", Reply(b'{"error": {"message": "no \\u001b[31m\\u202e"}}', status)
        yield f"http_{status}_html", Reply(HTML, status, {"Content-Type": "text/html"})
    for status in (201, 202, 206):
        yield f"http_{status}", Reply(of(), status, usable=True, told=told)
    for status in (204, 300, 304):
        yield f"http_{status}", Reply(of() if status == 300 else b"", status)
    yield "http_500_of_a_good_body", Reply(of(), 500)
    yield "http_503_deep_json", Reply(b"[" * 100_000, 503)
    yield "retry_after_nonsense", Reply(b"{}", 429, JSON | {"Retry-After": "nan", "retry-after-ms": "1e999"})
    yield "retry_after_for_ever", Reply(b"{}", 429, JSON | {"Retry-After": "99999999999"})
    places = {"nowhere": "http://[", "a_file": "file:///etc/passwd", "nothing": "", "controls": "\x7f"}
    for name, place in places.items():
        yield f"redirect_to_{name}", Reply(b"", 307, {"Location": place})


CHAT, TEXTS = dict(replies(True)), dict(replies(False))
