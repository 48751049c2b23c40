"""A sampling session: sequences join and leave while others run, one window of decode steps at a time."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from r1jax.core import stopping
from r1jax.core.params import Params
from r1jax.core.sharding import DECODE_RULES, on_devices, place, replicated
from r1jax.core.shares import own_rows
from r1jax.data.batching import row_length
from r1jax.data.types import FinishReason
from r1jax.inference import decode
from r1jax.inference.programs import Programs
from r1jax.models import cache as kv
from r1jax.models.config import Truncation


@dataclasses.dataclass(frozen=True)
class Request:
    """One sequence to be sampled.

    Attributes:
        ids: the prompt, at least one token.
        key_words: of the randomness: the same prompt and words give the same tokens, whatever else is in the session
            (up to floating-point ties: batched matrix products of other shapes round differently in the last bit).
            At most `decode.MAX_KEY_WORDS`, each of 32 bits.
        max_tokens: that it may have, a stop id included.
        truncation: temperature, top-k, top-p.
        stop_ids: token ids that end it, at most `Programs.max_stop_ids`.
        likelihood: report the model's own log-probs too, with those of the likeliest tokens.
    """

    ids: tuple[int, ...]
    key_words: tuple[int, ...]
    max_tokens: int
    truncation: Truncation
    stop_ids: tuple[int, ...]
    likelihood: bool = False


class Piece(NamedTuple):
    """Tokens of one sequence that a window brought.

    Attributes:
        handle: of the sequence, from `Session.add`.
        ids: T sampled tokens, at least one; a stop id included.
        logprobs: `[T]` float32 under the distribution that was drawn from.
        likelihood: `[T]`, the model's own log-probs as numpy arrays; None where the request asks for none.
        finish: None: more will come.
    """

    handle: int
    ids: list[int]
    logprobs: np.ndarray
    likelihood: decode.Likelihood | None
    finish: FinishReason | None


def join_pieces(pieces: Sequence[Piece]) -> Piece:
    """Consecutive pieces of one sequence as one."""
    if len(pieces) == 1:
        return pieces[0]
    likelihood = None
    if pieces[0].likelihood is not None:
        likelihood = jax.tree.map(lambda *parts: np.concatenate(parts), *(piece.likelihood for piece in pieces))
    ids = [i for piece in pieces for i in piece.ids]
    logprobs = np.concatenate([piece.logprobs for piece in pieces])
    return Piece(pieces[0].handle, ids, logprobs, likelihood, pieces[-1].finish)


@dataclasses.dataclass
class _Sequence:
    """What the host knows of a sequence under way."""

    handle: int
    request: Request
    share: int = 0  # of the slots that it may take
    windows: int = 0  # dispatched since it was forked
    slot: int = -1  # where it is
    dropped: bool = False


class Session:
    """Sequences in slots, and those that wait for one. Not for several threads at a time.

    A window is dispatched before the one before it is read, so that the device does not wait for the host.

    With several processes all of them hold the same queues and dispatch the same programs: they learn from each window
    which sequences ended. The slots are shared out, see `Shares`; a process reads the tokens of its own share.

    Attributes:
        windows: dispatched so far.
    """

    def __init__(self, programs: Programs, params: Params, shrinks: bool = False):
        """Takes weights in any layout and memory; they are resharded for decoding here.

        Args:
            shrinks: decode in a quarter of the slots once no more are busy and nothing waits, again and again. Each
                number of slots is another program: for long draws, not for a server.
        """
        self._programs, self._cfg = programs, programs.cfg
        self._params = programs.to_decode_layout(on_devices(params))
        self._shares = programs.shares
        self._waiting: list[collections.deque[_Sequence]] = [collections.deque() for _ in self._shares.leaders]
        self._running: list[_Sequence | None] = [None] * self._cfg.slots
        self._slots: decode.Slots | None = None
        self._prefilled: dict[tuple[int, ...], int] = {}  # the prompts prefilled last -> their rows
        self._prompts: kv.KVCache | None = None
        self._unread: collections.deque[tuple[list[_Sequence | None], decode.Sampled]] = collections.deque()
        self._handles, self._shrinks = 0, shrinks
        self._longest = 0  # tokens that any sequence so far may come to have, prompt included
        self.windows = 0

    @property
    def waiting(self) -> int:
        """The number of sequences without a slot."""
        return sum(map(len, self._waiting))

    @property
    def running(self) -> int:
        """The number of sequences in slots."""
        return sum(sequence is not None for sequence in self._running)

    @property
    def busy(self) -> bool:
        """Whether `advance` has anything to do."""
        return bool(self.waiting or self.running or self._unread)

    def add(self, request: Request, share: int = 0) -> int:
        """Queues a sequence, and returns its handle.

        Args:
            share: whose process gets its pieces.

        Raises:
            ValueError: a prompt without tokens, no token to sample, or too many stop ids or key words.
        """
        for problem, is_so in (
            ("the prompt has no tokens", not request.ids),
            (f"max_tokens={request.max_tokens} is less than 1", request.max_tokens < 1),
            (
                f"{len(request.stop_ids)} stop ids are more than the {self._programs.max_stop_ids} of this engine",
                len(request.stop_ids) > self._programs.max_stop_ids,
            ),
            (
                f"{len(request.key_words)} words of randomness are more than {decode.MAX_KEY_WORDS}",
                len(request.key_words) > decode.MAX_KEY_WORDS,
            ),
        ):
            if is_so:
                raise ValueError(problem)
        self._handles += 1
        self._longest = max(self._longest, len(request.ids) + request.max_tokens)
        self._waiting[share].append(_Sequence(self._handles, request, share))
        return self._handles

    def drop(self, handle: int) -> None:
        """Ends a sequence: no piece of it comes any more, and its slot is free for the next window."""
        for sequence in (*itertools.chain(*self._waiting), *filter(None, self._running)):
            if sequence.handle == handle:
                sequence.dropped = True
        self._waiting = [collections.deque(each for each in queue if not each.dropped) for queue in self._waiting]
        self._running = [sequence if sequence and not sequence.dropped else None for sequence in self._running]

    def advance(self) -> list[Piece]:
        """Fills free slots, dispatches a window of steps, and returns the tokens of the window before it.

        Raises:
            Terminated: a training run leaves, see `stopping.leave_if_late`.
        """
        stopping.leave_if_late()
        self._fill()
        if self.running:
            self._shrink()
            self._slots = self._resized(self._needed())
            requests = [sequence.request for sequence in self._running if sequence]
            truncates = any(r.truncation.top_k or r.truncation.top_p < 1 for r in requests)
            likelihood = any(r.likelihood for r in requests)
            self._slots, sampled = self._programs.decode(self._params, self._slots, truncates, likelihood)
            self._unread.append((list(self._running), sampled))
            self.windows += 1
            for sequence in filter(None, self._running):
                sequence.windows += 1
        if self._unread and (len(self._unread) > 1 or not self.running):
            return self._read(*self._unread.popleft())
        return []

    def read_dispatched(self) -> list[Piece]:
        """The tokens of the windows that were dispatched and not read; dispatches no other."""
        unread = list(self._unread)
        self._unread.clear()
        return [piece for window in unread for piece in self._read(*window)]

    def score(self, prompts: Sequence[tuple[int, ...]]) -> list[decode.Likelihood]:
        """The model's own log-probs `[P - 1]` of each prompt's tokens after the first, as numpy arrays.

        Args:
            prompts: of at least two tokens each.
        """
        rows, results = self._cfg.prefill_rows, []
        for first in range(0, len(prompts), rows):
            batch = prompts[first : first + rows]
            likelihood = jax.device_get(self._programs.score(self._params, self._padded(batch)))
            for row, ids in enumerate(batch):
                results.append(jax.tree.map(lambda x, row=row, ids=ids: x[row, : len(ids) - 1], likelihood))
        return results

    def _fill(self) -> None:
        """Forks waiting sequences into free slots; a prompt is prefilled once for all that wait with it."""
        if self.waiting and len(self._running) < self._cfg.slots:
            self._move(self._cfg.slots)
        free: list[list[int]] = [[] for _ in self._waiting]
        for i, sequence in enumerate(self._running):
            if sequence is None:
                free[self._shares.of(i, len(self._running))].append(i)
        while waiting := [(slots, queue) for slots, queue in zip(free, self._waiting, strict=True) if slots and queue]:
            if not any(queue[0].request.ids in self._prefilled for _, queue in waiting):
                self._prefill([queue for _, queue in waiting])
            batch = []
            for slots, queue in waiting:
                while (
                    slots
                    and queue
                    and queue[0].request.ids in self._prefilled
                    and len(batch) < self._programs.fork_size
                ):
                    batch.append((slots.pop(0), queue.popleft()))
            for i, sequence in batch:
                self._running[i], sequence.slot = sequence, i
            self._slots = self._resized(max(self._needed(), row_length(self._prompts.length, self._cfg.bucket)))
            self._slots = self._fork(batch)

    def _shrink(self) -> None:
        """Leaves idle slots, three quarters at a time, where a busy one has four windows to go."""
        window, busy = self._programs.window_tokens, [sequence for sequence in self._running if sequence]
        if not self._shrinks or self.waiting or all(s.request.max_tokens < (s.windows + 4) * window for s in busy):
            return
        size = len(self._running)
        most = self._shares.count * max(collections.Counter(s.share for s in busy).values())
        while size % (4 * self._programs.fewest_slots) == 0 and size // 4 >= most:
            size //= 4
        if size < len(self._running):
            self._move(size)

    def _move(self, size: int) -> None:
        """Moves the busy slots to the front of so many, those of each share to the front of its own."""
        rows, running = np.full(size, -1, np.int32), [None] * size
        free = [size // self._shares.count * share for share in range(self._shares.count)]
        for sequence in filter(None, self._running):
            to = free[sequence.share]
            rows[to], running[to] = sequence.slot, sequence
            free[sequence.share], sequence.slot = to + 1, to
        sharding = DECODE_RULES.sharding(self._programs.mesh, ("batch",))
        self._slots = self._programs.take_slots(self._slots, place(rows, lambda _: sharding))
        self._running = running

    def _needed(self) -> int:
        """Cache length that the next window may touch; what the host has not read yet counts as sampled.

        Where a length costs no time, it is what any sequence may come to need: to grow would hold two caches at once.
        """
        if self._programs.reads_used:
            return row_length(self._longest, self._cfg.bucket)
        window = self._programs.window_tokens
        ends = [len(s.request.ids) + min(window * (s.windows + 1), s.request.max_tokens) for s in self._running if s]
        return row_length(max(ends), self._cfg.bucket)

    def _resized(self, length: int) -> decode.Slots:
        """The slots with a cache of at least `length`; it only grows, for some slot is nearly always long."""
        if self._slots is None:
            return self._programs.idle(length)
        return self._programs.resize(self._slots, length) if self._slots.cache.length < length else self._slots

    def _prefill(self, queues: Sequence[Iterable[_Sequence]]) -> None:
        """Prefills the next `prefill_rows` different prompts that wait, of each queue in turn."""
        self._prefilled = {}
        # A group's samples stand together: few are looked at, of many that wait.
        for sequence in filter(None, itertools.chain.from_iterable(itertools.zip_longest(*queues))):
            self._prefilled.setdefault(sequence.request.ids, len(self._prefilled))
            if len(self._prefilled) == self._cfg.prefill_rows:
                break
        self._prompts = self._programs.prefill(self._params, self._padded(list(self._prefilled)))

    def _padded(self, prompts: Sequence[tuple[int, ...]]) -> jax.Array:
        """`[prefill_rows, P]` int32, zeros behind each prompt."""
        width = row_length(max(map(len, prompts)), self._cfg.prompt_bucket or self._cfg.bucket)
        tokens = np.zeros((self._cfg.prefill_rows, width), np.int32)
        for row, ids in enumerate(prompts):
            tokens[row, : len(ids)] = ids
        sharding = DECODE_RULES.sharding(self._programs.mesh, ("batch", None))
        return place(tokens, lambda _: sharding)

    def _fork(self, batch: list[tuple[int, _Sequence]]) -> decode.Slots:
        F = self._programs.fork_size
        columns = np.zeros((F, 6), np.int32)
        columns[:, 0] = self._cfg.slots  # out of range: unused
        words = np.zeros((F, decode.MAX_KEY_WORDS), np.uint32)
        settings = np.ones((F, 2), np.float32)
        top_k = np.zeros(F, np.int32)
        stop_ids = np.full((F, self._programs.max_stop_ids), decode.NO_TOKEN, np.int32)
        for f, (slot, sequence) in enumerate(batch):
            request = sequence.request
            ids, n = request.ids, len(request.key_words)
            columns[f] = slot, self._prefilled[ids], ids[-1], len(ids) - 1, request.max_tokens, n
            words[f, :n] = request.key_words
            settings[f] = request.truncation.temperature, request.truncation.top_p
            top_k[f] = request.truncation.top_k
            stop_ids[f, : len(request.stop_ids)] = request.stop_ids
        slot, row, token, position, remaining, num_words = columns.T
        limits = decode.Limits(settings[:, 0], top_k, settings[:, 1], stop_ids)
        arguments = (slot, row, token, position, remaining, words, num_words, limits)
        return self._programs.fork(
            self._slots, self._prompts, *place(arguments, lambda _: replicated(self._programs.mesh))
        )

    def _read(self, owners: list[_Sequence | None], sampled: decode.Sampled) -> list[Piece]:
        """A window's tokens, by sequence; the slots of those that ended in it are free."""
        active, ended = np.asarray(sampled.active), np.asarray(sampled.ended)
        tokens, logprobs = (own_rows(x, self._shares, axis=1) for x in (sampled.tokens, sampled.logprobs))
        first = self._shares.index * tokens.shape[1]  # of the slots whose tokens these are
        likelihood = jax.device_get(sampled.likelihood)
        pieces = []
        for i, sequence in enumerate(owners):
            if sequence is None or sequence.dropped or not active[0, i]:
                continue  # idle, or it ended in an earlier window and was read then
            request, steps = sequence.request, active[:, i]
            if is_last := bool(ended[:, i].any()):
                self._running[sequence.slot] = None
            if sequence.share != self._shares.index:
                continue
            ids = tokens[steps, i - first].tolist()
            finish = None if not is_last else "stop" if ids[-1] in request.stop_ids else "length"
            own = jax.tree.map(lambda x, i=i, steps=steps: x[steps, i], likelihood) if request.likelihood else None
            pieces.append(Piece(sequence.handle, ids, logprobs[steps, i - first], own, finish))
        return pieces
