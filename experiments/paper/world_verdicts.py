"""The mini world's verdicts on replies to its open requests, of which rewards know nothing."""

import functools
from typing import Any

from r1jax.data.miniworld import requests as world
from r1jax.data.miniworld.requests import Request
from r1jax.graders.exact_match import normalize

VERDICTS = ("good", "in the other language", "to another request", "of no author")
Row = dict[str, Any]


@functools.cache
def request_of(question: str) -> Request | None:
    """The world's request of this text; None for a problem."""
    return next((request for request in world.requests() if request.question == question), None)


@functools.cache
def replies_of_world() -> frozenset[str]:
    """The polite replies to all requests, as `normalize` leaves them."""
    return frozenset(normalize(request.polite) for request in world.requests())


def verdict(row: Row) -> str:
    """Of a sample's summary, its key `final`, one of `VERDICTS`; letter case, punctuation and articles do not count."""
    request, reply = request_of(row["question"]), normalize(row["final"])
    if reply in (normalize(request.polite), normalize(request.answer)):
        return "good"
    if reply == normalize(request.foreign):
        return "in the other language"
    return "to another request" if reply in replies_of_world() else "of no author"


def is_good(row: Row) -> bool:
    """Whether a sample is one of the two good replies that the world has to a request: the polite one, or its core."""
    return verdict(row) == "good"
