"""/v1/completions: a text or token ids continued, or scored with `echo` and `logprobs`."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np

from r1jax.inference.decode import Likelihood
from r1jax.serve.completion import Completions, Job, Step
from r1jax.serve.config import ServeConfig
from r1jax.serve.errors import ApiError
from r1jax.serve.protocol import CompletionRequest, json_text
from r1jax.serve.response_text import TokenTexts
from r1jax.serve.sampling_thread import SamplingThread
from r1jax.serve.served import Served

_DEFAULT_TOKENS = 16  # OpenAI's
_NO_TOKENS = Likelihood(np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0)))


def job(request: CompletionRequest, model: Served, cfg: ServeConfig) -> Job:
    """The sampling that a request asks for.

    Raises:
        ApiError: a prompt that is empty, too long, or holds ids that the model does not have.
    """
    prompts = prompt_ids(request.prompt, model)
    requested = _DEFAULT_TOKENS if request.max_tokens is None else request.max_tokens
    return Job(
        model,
        prompts,
        request.n or 1,
        [model.max_tokens(len(ids), requested) for ids in prompts],
        request.truncation(cfg),
        request.stop or (),
        request.seed,
        request.logprobs is not None,
    )


def prompt_ids(prompt: str | list[str] | list[int] | list[list[int]], model: Served) -> list[tuple[int, ...]]:
    """The token ids of each prompt of a request; raises as `job` does."""
    several = prompt if isinstance(prompt, list) and not (prompt and isinstance(prompt[0], int)) else [prompt]
    ids = [tuple(model.tokenizer.encode(one) if isinstance(one, str) else one) for one in several]
    if not ids or not all(ids):
        raise ApiError(400, "prompt is empty: give at least one token", "prompt")
    vocab = model.tokenizer.vocab_size
    if bad := next((i for one in ids for i in one if not 0 <= i < vocab), None):
        raise ApiError(400, f"prompt has the token id {bad}, and {model.id} has ids from 0 to {vocab - 1}", "prompt")
    return ids


class _Choice:
    """The log-probs of one choice in the form of /v1/completions."""

    def __init__(self, texts: TokenTexts, top: int):
        self._texts, self._top, self._offset = texts, top, 0

    def add(self, ids: Sequence[int], likelihood: Likelihood, unscored: int = 0) -> dict[str, Any]:
        """Log-probs of T tokens of which the first `unscored` have none, as a text's first token."""
        names = [self._texts(token) for token in ids]
        offsets = []
        for name in names:
            offsets.append(self._offset)
            self._offset += len(name)
        scored = len(ids) - unscored
        tops = [self._texts.of_top(likelihood.top_ids[t], likelihood.top[t], max(self._top, 1)) for t in range(scored)]
        return {
            "tokens": names,
            "token_logprobs": [None] * unscored + [float(p) for p in likelihood.chosen[:scored]],
            "top_logprobs": [None] * unscored + tops if self._top else None,
            "text_offset": offsets,
        }


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The log-probs of consecutive pieces of one choice."""
    if not parts:
        return None
    return {
        name: None if parts[0][name] is None else [value for part in parts for value in part[name]] for name in parts[0]
    }


async def _prompt_scores(
    request: CompletionRequest, model: Served, prompts: Sequence[tuple[int, ...]], thread: SamplingThread
) -> list[Likelihood | None]:
    """The log-probs of each prompt's tokens after the first, where the request wants to see them."""
    if not request.echo or request.logprobs is None:
        return [None] * len(prompts)
    longer = [ids for ids in prompts if len(ids) > 1]
    scores = iter(await thread.score(model.id, longer) if longer else ())
    return [next(scores) if len(ids) > 1 else _NO_TOKENS for ids in prompts]


async def events(
    request: CompletionRequest, model: Served, job: Job, completions: Completions, thread: SamplingThread
) -> AsyncIterator[dict[str, Any]]:
    """The choices of a stream, in pieces: the prompts where they are echoed, then what is sampled."""
    n = job.n
    recorders = [_Choice(model.token_texts, request.logprobs or 0) for _ in range(n * len(job.prompts))]
    scores = await _prompt_scores(request, model, job.prompts, thread)
    if request.echo:
        for index, recorder in enumerate(recorders):
            ids, score = job.prompts[index // n], scores[index // n]
            logprobs = recorder.add(ids, score, 1) if score else None
            finish = None if request.max_tokens != 0 else "length"
            text = model.tokenizer.decode(list(ids))
            yield {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
    async for step in completions.steps():
        yield _choice(step, recorders[step.index])


def _choice(step: Step, recorder: _Choice) -> dict[str, Any]:
    logprobs = recorder.add(step.ids, step.likelihood) if step.likelihood is not None else None
    return {"index": step.index, "text": step.delta.content, "logprobs": logprobs, "finish_reason": step.finish}


async def whole(
    pieces: AsyncIterator[dict[str, Any]], count: int, model: Served, completions: Completions
) -> dict[str, Any]:
    """The body of a response that is sent when all is sampled, from the `count` choices' pieces of `events`."""
    texts, logprobs, finishes = [""] * count, [[] for _ in range(count)], [None] * count
    async for piece in pieces:
        index = piece["index"]
        texts[index] += piece["text"]
        finishes[index] = piece["finish_reason"]
        if piece["logprobs"]:
            logprobs[index].append(piece["logprobs"])
    choices = [
        {"index": i, "text": texts[i], "logprobs": _joined(logprobs[i]), "finish_reason": finishes[i]}
        for i in range(count)
    ]
    return {**_head(model, completions), "choices": choices, "usage": completions.usage.body()}


async def lines(
    request: CompletionRequest, model: Served, pieces: AsyncIterator[dict[str, Any]], completions: Completions
) -> AsyncIterator[str]:
    """The data of the server-sent events of a stream, from the pieces of `events`."""
    head, usage = _head(model, completions), {"usage": None} if request.wants_usage else {}
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            yield json_text({**head, "choices": [piece], **usage})
    if request.wants_usage:
        yield json_text({**head, "choices": [], "usage": completions.usage.body()})


def _head(model: Served, completions: Completions) -> dict[str, Any]:
    return {
        "id": f"cmpl-{completions.id}",
        "object": "text_completion",
        "created": completions.created,
        "model": model.id,
    }
