"""/v1/chat/completions: a conversation in, the thought as `reasoning_content` and the answer as `content` out."""

from collections.abc import AsyncIterator
from typing import Any

from r1jax.serve.completion import Completions, Job, Step, chat_job
from r1jax.serve.config import ServeConfig
from r1jax.serve.protocol import ChatRequest, json_text
from r1jax.serve.response_text import Delta
from r1jax.serve.served import Served


def job(request: ChatRequest, model: Served, cfg: ServeConfig) -> Job:
    """The sampling that a chat request asks for.

    Raises:
        ApiError: a conversation that the model's format cannot hold, or that is too long.
    """
    return chat_job(
        model,
        [message.rendered() for message in request.messages],
        request.truncation(cfg),
        template=request.template,
        arguments=request.chat_template_kwargs or {},
        n=request.n or 1,
        max_tokens=request.max_completion_tokens or request.max_tokens or None,
        stops=request.stop or (),
        seed=request.seed,
        likelihood=bool(request.logprobs),
    )


async def whole(request: ChatRequest, model: Served, completions: Completions) -> dict[str, Any]:
    """The body of a response that is sent when all is sampled."""
    n = request.n or 1
    deltas, finishes, entries = [Delta() for _ in range(n)], [""] * n, [[] for _ in range(n)]
    async for step in completions.steps():
        deltas[step.index] += step.delta
        finishes[step.index] = step.finish
        entries[step.index] += _entries(step, model, request)
    choices = [
        {
            "index": i,
            "message": {
                "role": "assistant",
                "content": delta.content,
                **({"reasoning_content": delta.reasoning} if delta.reasoning else {}),
            },
            "finish_reason": finishes[i],
            "logprobs": {"content": entries[i]} if request.logprobs else None,
        }
        for i, delta in enumerate(deltas)
    ]
    return {**_head(model, completions, "chat.completion"), "choices": choices, "usage": completions.usage.body()}


async def events(request: ChatRequest, model: Served, completions: Completions) -> AsyncIterator[str]:
    """The data of the server-sent events of a stream, without its end."""
    head = _head(model, completions, "chat.completion.chunk")
    usage = {"usage": None} if request.wants_usage else {}

    def chunk(index: int, delta: dict[str, str], finish: str | None, logprobs: Any = None) -> str:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return json_text({**head, "choices": [choice], **usage})

    for index in range(request.n or 1):
        yield chunk(index, {"role": "assistant", "content": ""}, None)
    async for step in completions.steps():
        delta = {
            **({"reasoning_content": step.delta.reasoning} if step.delta.reasoning else {}),
            **({"content": step.delta.content} if step.delta.content else {}),
        }
        logprobs = {"content": _entries(step, model, request)} if request.logprobs else None
        yield chunk(step.index, delta, step.finish, logprobs)
    if request.wants_usage:
        yield json_text({**head, "choices": [], "usage": completions.usage.body()})


def _head(model: Served, completions: Completions, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{completions.id}", "object": kind, "created": completions.created, "model": model.id}


def _entries(step: Step, model: Served, request: ChatRequest) -> list[dict[str, Any]]:
    """The log-probs of a step's tokens."""
    if step.likelihood is None:
        return []
    own, top = step.likelihood, request.top_logprobs or 0
    return [
        {
            **model.token_texts.entry(token, own.chosen[t]),
            "top_logprobs": [
                model.token_texts.entry(int(i), p) for i, p in zip(own.top_ids[t][:top], own.top[t][:top], strict=True)
            ],
        }
        for t, token in enumerate(step.ids)
    ]
