"""The way to a server that speaks OpenAI's protocol, for what is sampled from one and for judges."""

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openai

# What a config has wrong, not what a server has for a while.
OURS_TO_MEND = {401: "the key is refused", 403: "the key may not do this", 404: "no such model, or no such address"}


class Pace:
    """Lets threads through one at a time, evenly, so many a minute (above 0). Tests have a clock of their own."""

    def __init__(
        self, per_minute: float,
        clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
    ):  # fmt: skip
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


def connect(
    who: str, base_url: str, api_key_env: str, timeout_s: float, retries: int, requests_per_minute: float = 0.0
) -> "openai.OpenAI":
    """A client; no request is made.

    Args:
        who: what it is for, as errors begin: "the judge".
        base_url: say http://localhost:8000/v1.
        api_key_env: the environment variable that holds the key; "" where none is needed.
        timeout_s: seconds that a request may take.
        retries: of timeouts, lost connections, 408, 409, 429 and 5xx, with a growing delay.
        requests_per_minute: at most so many, retries among them; 0: as they come.

    Raises:
        ValueError: that variable is not set, or the package openai is not installed.
    """
    try:
        import openai  # only where a server is asked: the extra `judge`
    except ImportError as error:
        raise ValueError(f"{who} needs the package openai: pip install 'r1jax[judge]'") from error
    if api_key_env and not os.environ.get(api_key_env):
        raise ValueError(
            f"{who} has no key: set the environment variable {api_key_env}, "
            'or api_key_env="" for an endpoint that needs none'
        )
    key = os.environ[api_key_env] if api_key_env else "none"
    client = None
    if requests_per_minute:
        pace = Pace(requests_per_minute)
        # At the last door before the wire: the client retries by itself, behind our back.
        client = openai.DefaultHttpxClient(event_hooks={"request": [lambda request: pace.wait()]})
    return openai.OpenAI(base_url=base_url, api_key=key, timeout=timeout_s, max_retries=retries, http_client=client)
