"""The thread that advances the sessions of all served models, and the streams that requests read from it."""

import asyncio
import collections
import logging
import threading
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from r1jax.inference.decode import Likelihood
from r1jax.inference.session import Piece, Request, Session, join_pieces
from r1jax.serve.errors import ApiError

_log = logging.getLogger(__name__)
_FAILED = "the model failed on this request; the server's log has the reason"


class SamplingThread:
    """Advances sessions in one thread: programs of several devices must start in the same order on all of them.

    All other methods belong to the event loop's thread.

    Attributes:
        failure: the error that ended the thread; None: it runs.
    """

    def __init__(self, open_sessions: Mapping[str, Callable[[], Session]], mesh: Mesh, slots: int, queue: int):
        """Opens the sessions, which reads no file.

        Args:
            open_sessions: by model; called again after a failure.
            slots: of a session.
            queue: sequences of a model that may wait for a slot.
        """
        self._open, self._mesh, self._slots, self._queue = dict(open_sessions), mesh, slots, queue
        self._sessions: dict[str, Session] = {}
        self._streams: dict[tuple[str, int], Stream] = {}  # by model and handle; of the thread
        self._inbox: collections.deque[Callable[[], Any]] = collections.deque()
        self._wake = threading.Event()
        self._stopping = False
        self._open_sequences: collections.Counter[str] = collections.Counter()  # this and the next: of the event loop
        self._open_streams: set[Stream] = set()
        self._thread = threading.Thread(target=self._run, name="sampling", daemon=True)
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Starts the thread, in a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Ends the thread after the window that runs."""
        self._stopping = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    def sequences(self, model: str) -> tuple[int, int]:
        """The numbers of a model's sequences in slots and of those that wait."""
        count = self._open_sequences[model]
        return min(count, self._slots), max(count - self._slots, 0)

    def sample(self, model: str, requests: Sequence[Request]) -> "Stream":
        """Queues the sequences of one API request.

        Raises:
            ApiError: 429: the queue is full; 400: there are more of them than it holds; 503: the thread has ended.
        """
        self._check_alive()
        if len(requests) > self._slots + self._queue:
            raise ApiError(400, f"{len(requests)} completions are more than this server samples for one request", "n")
        if self._open_sequences[model] + len(requests) > self._slots + self._queue:
            raise ApiError(429, "the server is busy and its queue is full: try again later", retry_after_s=1)
        stream = Stream(self, model, len(requests))
        self._open_streams.add(stream)
        self._open_sequences[model] += len(requests)
        self._post(lambda: stream.add(self._sessions[model], requests, self._streams))
        return stream

    async def score(self, model: str, prompts: Sequence[tuple[int, ...]]) -> list[Likelihood]:
        """See `Session.score`."""
        self._check_alive()
        result = self._loop.create_future()

        def compute() -> None:
            try:
                likelihoods = self._sessions[model].score(prompts)
            except Exception:
                _log.exception("scoring by %s failed", model)
                self._later(_fail, result, ApiError(500, _FAILED))
            else:
                self._later(_succeed, result, likelihoods)

        self._post(compute)
        return await result

    def drop(self, stream: "Stream", indices: Collection[int]) -> None:
        """Ends some sequences of a stream."""
        self._open_sequences[stream.model] -= len(indices)
        self._post(lambda: stream.drop_from(self._sessions[stream.model], indices, self._streams))

    def ended(self, stream: "Stream") -> None:
        """Notes that a sequence of a stream has ended by itself."""
        self._open_sequences[stream.model] -= 1

    def closed(self, stream: "Stream") -> None:
        """Notes that nobody reads a stream any more."""
        self._open_streams.discard(stream)

    def _check_alive(self) -> None:
        if self.failure or self._stopping:
            raise ApiError(503, "the server is stopping" if self._stopping else _FAILED)

    def _post(self, work: Callable[[], Any]) -> None:
        self._inbox.append(work)
        self._wake.set()

    def _later(self, function: Callable[..., Any], *args: Any) -> None:
        """Calls a function in the event loop, if that still runs."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def _run(self) -> None:
        try:
            with jax.set_mesh(self._mesh):
                self._reopen()
                while not self._stopping:
                    self._wake.clear()
                    while self._inbox:
                        self._inbox.popleft()()
                    busy = [model for model, session in self._sessions.items() if session.busy]
                    for model in busy:
                        self._advance(model)
                    if not busy and not self._inbox:
                        self._wake.wait()
        except BaseException as error:
            _log.exception("sampling ended")
            self.failure = error
            self._fail_all()

    def _reopen(self) -> None:
        self._sessions = {model: open_session() for model, open_session in self._open.items()}

    def _advance(self, model: str) -> None:
        try:
            pieces = self._sessions[model].advance()
        except Exception:
            _log.exception("sampling from %s failed", model)
            self._fail_all()
            self._reopen()
            return
        deliveries = []
        for piece in pieces:
            stream = self._streams[model, piece.handle]
            if piece.finish:
                del self._streams[model, piece.handle]
            deliveries.append((stream, piece))
        if deliveries:
            self._later(_deliver, deliveries)

    def _fail_all(self) -> None:
        self._streams.clear()
        self._later(self._fail_open_streams)

    def _fail_open_streams(self) -> None:
        for stream in self._open_streams:
            stream.receive(ApiError(500, _FAILED))


def _deliver(deliveries: Sequence[tuple["Stream", Piece]]) -> None:
    for stream, piece in deliveries:
        stream.receive(piece)


def _succeed(future: asyncio.Future, value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future, error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


class Stream:
    """The pieces of the sequences of one request as they come."""

    def __init__(self, thread: SamplingThread, model: str, count: int):
        self.model = model
        self._thread, self._running = thread, set(range(count))
        self._arrived: asyncio.Queue[tuple[int, Piece] | ApiError] = asyncio.Queue()
        self._handles: list[int] = []  # of the sampling thread until pieces come
        self._closed = False

    def add(self, session: Session, requests: Sequence[Request], streams: dict[tuple[str, int], "Stream"]) -> None:
        """Adds the sequences to the session; in the sampling thread."""
        if not self._closed:
            self._handles = [session.add(request) for request in requests]
            streams.update({(self.model, handle): self for handle in self._handles})

    def drop_from(self, session: Session, indices: Collection[int], streams: dict[tuple[str, int], "Stream"]) -> None:
        """Drops sequences from the session where they have not ended; in the sampling thread."""
        for handle in (self._handles[i] for i in indices if self._handles):
            if streams.pop((self.model, handle), None):
                session.drop(handle)

    def receive(self, arrived: Piece | ApiError) -> None:
        """Takes a piece, or the error with which sampling ended; in the event loop."""
        if isinstance(arrived, ApiError):
            self._arrived.put_nowait(arrived)
            return
        index = self._handles.index(arrived.handle)
        if index in self._running:  # else dropped
            if arrived.finish:
                self._running.remove(index)
                self._thread.ended(self)
            self._arrived.put_nowait((index, arrived))

    def drop(self, index: int) -> None:
        """Drops a sequence whose completion is done without its further tokens; nothing where it has ended."""
        if index in self._running:
            self._running.remove(index)
            self._thread.drop(self, [index])

    def close(self) -> None:
        """Drops what still runs. Must be called; a second time it does nothing."""
        self._closed = True
        if self._running:
            self._thread.drop(self, sorted(self._running))
            self._running = set()
        self._thread.closed(self)

    async def __aiter__(self) -> AsyncIterator[tuple[int, Piece]]:
        """Pairs of a completion's index and a piece, until all have ended or were dropped.

        Pieces that came while the reader was busy are joined to one: a busy server sends fewer, longer chunks.

        Raises:
            ApiError: sampling failed.
        """
        while self._running or not self._arrived.empty():
            arrivals = [await self._arrived.get()]
            while not self._arrived.empty():
                arrivals.append(self._arrived.get_nowait())
            by_index: dict[int, list[Piece]] = {}
            for arrived in arrivals:
                if isinstance(arrived, ApiError):
                    raise arrived
                by_index.setdefault(arrived[0], []).append(arrived[1])
            for index, pieces in by_index.items():
                yield index, join_pieces(pieces)
