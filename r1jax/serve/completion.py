"""Sampling for one API request: prompts in, deltas of text with their log-probs out, usage counted."""

import dataclasses
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax

from r1jax.data.types import FinishReason
from r1jax.inference.decode import Likelihood
from r1jax.inference.session import Request
from r1jax.models.config import Truncation
from r1jax.serve.response_text import Delta, ResponseText, ThoughtSplitter
from r1jax.serve.sampling_thread import SamplingThread
from r1jax.serve.served import Served

if TYPE_CHECKING:
    from r1jax.serve.metrics import Metrics  # the chat in the terminal does without prometheus-client


@dataclasses.dataclass(frozen=True)
class Job:
    """The sampling that a request asks for.

    Attributes:
        model: that is sampled from.
        prompts: token ids; `n` completions of each.
        max_tokens: of a completion, for each prompt.
        truncation: temperature, top-k, top-p.
        stops: strings that end a completion.
        seed: None: a random one.
        likelihood: whether log-probs are asked for.
        splitters: of thought and answer, for each completion; None: the text stays whole.
    """

    model: Served
    prompts: Sequence[tuple[int, ...]]
    n: int
    max_tokens: Sequence[int]
    truncation: Truncation
    stops: Sequence[str]
    seed: int | None
    likelihood: bool
    splitters: Sequence[ThoughtSplitter] | None = None

    def sequences(self) -> list[tuple[Request, ResponseText]]:
        """The sequences to be sampled, prompt by prompt, each with the reader of its text.

        There are none with max_tokens=0, which only scores the prompts.
        """
        seed = secrets.randbits(64) if self.seed is None else self.seed
        eos_ids = self.model.tokenizer.eos_ids
        requests = [
            Request(ids, key_words(seed, i), most, self.truncation, eos_ids, self.likelihood)
            for (ids, most), i in itertools.product(zip(self.prompts, self.max_tokens, strict=True), range(self.n))
            if most
        ]
        splitters = self.splitters or [None] * len(requests)
        texts = [ResponseText(self.model.tokenizer, eos_ids, self.stops, splitter) for splitter in splitters]
        return list(zip(requests, texts, strict=True))


def key_words(seed: int, index: int) -> tuple[int, int, int]:
    """The words of the randomness of a request's completion: of its seed, and of its index among those of a prompt."""
    low, high = seed & 0xFFFF_FFFF, (seed >> 32) & 0xFFFF_FFFF
    return low, high, index


def warm_up_job(model: Served, truncation: Truncation, window: int) -> Job:
    """A few tokens, sampled so that the first request need not wait for the compiler.

    Args:
        window: decode steps in one device call.
    """
    return Job(model, [(0,)], 1, [window + 1], truncation, (), 0, False)


def chat_job(
    model: Served,
    messages: Sequence[Mapping[str, Any]],
    truncation: Truncation,
    *,
    template: str | None = None,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    n: int = 1,
    max_tokens: int | None = None,
    stops: Sequence[str] = (),
    seed: int | None = None,
    likelihood: bool = False,
) -> Job:
    """The sampling of the next message of a conversation; for the arguments see `Served.chat_prompt` and `Job`.

    Args:
        max_tokens: None: all that the model's context leaves.

    Raises:
        ApiError: a conversation that the model's format cannot hold, or that is too long.
    """
    text = model.chat_prompt(messages, template, arguments)
    ids = tuple(model.tokenizer.encode(text))
    most = model.max_tokens(len(ids), max_tokens)
    splitters = [model.splitter(text) for _ in range(n)]
    return Job(model, [ids], n, [most], truncation, stops, seed, likelihood, splitters)


@dataclasses.dataclass(frozen=True)
class Step:
    """New text of one completion.

    Attributes:
        index: of the completion: those of the first prompt, then of the second.
        delta: the text.
        ids: the tokens that came; T of them.
        likelihood: `[T]`, the model's log-probs of these; None where they were not asked for.
        finish: None: more will come.
    """

    index: int
    delta: Delta
    ids: list[int]
    likelihood: Likelihood | None
    finish: FinishReason | None


@dataclasses.dataclass
class Usage:
    """Tokens of a request."""

    prompt: int
    completion: int = 0
    reasoning: int = 0

    def body(self) -> dict[str, Any]:
        """The usage in OpenAI's form."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }


class Completions:
    """The completions of one request.

    Attributes:
        usage: the tokens so far.
        created: seconds since 1970.
        id: of the request.
    """

    def __init__(self, job: Job, thread: SamplingThread, metrics: "Metrics"):
        """Queues the sequences; raises `ApiError` as `SamplingThread.sample` does."""
        self._job, self._metrics, self._began = job, metrics, time.monotonic()
        self.created, self.id = int(time.time()), secrets.token_hex(12)
        self.usage = Usage(sum(map(len, job.prompts)))
        sequences = job.sequences()
        self._texts = [text for _, text in sequences]
        self._stream = thread.sample(job.model.id, [request for request, _ in sequences])

    def close(self) -> None:
        """Drops what still runs; for a response that was not read to its end, or not at all."""
        self._stream.close()

    async def steps(self) -> AsyncIterator[Step]:
        """Text as it comes, of all completions.

        Raises:
            ApiError: sampling failed.
        """
        first = True
        async for index, piece in self._stream:
            if first:
                self._metrics.first_token(self._job.model.id, time.monotonic() - self._began)
                first = False
            text = self._texts[index]
            if text.finish:
                continue
            before = text.tokens, text.reasoning_tokens
            delta, used = text.push(piece.ids, piece.finish)
            self.usage.completion += text.tokens - before[0]
            self.usage.reasoning += text.reasoning_tokens - before[1]
            self._metrics.sampled(self._job.model.id, len(piece.ids))
            if text.finish:
                self._stream.drop(index)
            own = piece.likelihood and jax.tree.map(lambda x, used=used: x[:used], piece.likelihood)
            if delta or text.finish or own:
                yield Step(index, delta, piece.ids[:used], own, text.finish)
