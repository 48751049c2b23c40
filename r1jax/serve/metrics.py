"""Counters of the server, as Prometheus reads them at /metrics."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """The counters of one server."""

    def __init__(self, models: Sequence[str], sequences: Callable[[str], tuple[int, int]]):
        """Begins at zero.

        Args:
            sequences: model -> its sequences in slots, and those that wait.
        """
        self._registry = CollectorRegistry()
        labels = {"labelnames": ["model"], "registry": self._registry}
        self._tokens = Counter("r1jax_sampled_tokens", "Tokens sampled; their rate is tokens a second.", **labels)
        self._first = Histogram(
            "r1jax_time_to_first_token_seconds",
            "From the request to the first tokens of any of its completions.",
            buckets=_SECONDS,
            **labels,
        )
        slots = Gauge("r1jax_slots_in_use", "Sequences that are decoded.", **labels)
        queue = Gauge("r1jax_queue", "Sequences that wait for a slot.", **labels)
        for model in models:
            slots.labels(model).set_function(lambda model=model: sequences(model)[0])
            queue.labels(model).set_function(lambda model=model: sequences(model)[1])
            self._tokens.labels(model)
        self._responses = Counter(
            "r1jax_responses", "Responses by path and status.", ["path", "status"], registry=self._registry
        )

    def sampled(self, model: str, tokens: int) -> None:
        self._tokens.labels(model).inc(tokens)

    def first_token(self, model: str, seconds: float) -> None:
        self._first.labels(model).observe(seconds)

    def response(self, path: str, status: int) -> None:
        """Counts a response; `path` is one of the server's routes."""
        self._responses.labels(path, str(status)).inc()

    def text(self) -> bytes:
        """The content of /metrics."""
        return generate_latest(self._registry)
