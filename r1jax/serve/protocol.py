"""Requests of OpenAI's protocol, and errors in its form."""

import json
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request

from r1jax.config import nearest
from r1jax.io.files import parse_object
from r1jax.models.config import Truncation
from r1jax.serve.config import ServeConfig
from r1jax.serve.errors import ApiError
from r1jax.text.chat import TEMPLATES

MAX_STOPS, MAX_N = 16, 128
# Fields of OpenAI's that leave the text as it is, and are ignored.
_WITHOUT_EFFECT = (
    "frequency_penalty",  # checked to be 0 below
    "presence_penalty",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
)
# Fields that ask for what this server does not do; null and empty values are no request.
_NOT_SUPPORTED = {
    "audio": "audio",
    "frequency_penalty": "penalties other than 0",
    "presence_penalty": "penalties other than 0",
    "functions": "function calls",
    "function_call": "function calls",
    "tools": "tool calls",
    "tool_choice": "tool calls",
    "logit_bias": "biases of logits",
    "modalities": "output other than text",
    "prediction": "predicted outputs",
    "reasoning_effort": "levels of reasoning",
    "suffix": "text behind the completion",
    "web_search_options": "web search",
}
_PLAIN = {"response_format": {"type": "text"}, "modalities": ["text"], "tool_choice": "none", "function_call": "none"}


def _as_list(stop: Any) -> Any:
    strings = [stop] if isinstance(stop, str) else stop
    return [string for string in strings if string != ""] if isinstance(strings, list) else strings


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="ignore", strict=True)
    include_usage: bool = False


class SamplingRequest(BaseModel):
    """Fields that both kinds of completions have; `top_k` is an extension that other servers have too."""

    model_config = ConfigDict(extra="forbid")
    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    stop: Annotated[list[str] | None, Field(max_length=MAX_STOPS), BeforeValidator(_as_list)] = None

    def truncation(self, cfg: ServeConfig) -> Truncation:
        """Temperature, top-k and top-p, with the server's for what the request leaves open."""
        return Truncation(
            cfg.temperature if self.temperature is None else self.temperature,
            max(self.top_k or 0, 0),
            cfg.top_p if self.top_p is None else self.top_p,
        )

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A message of a conversation. A thought of an earlier turn is left out, as DeepSeek's API asks for."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def rendered(self) -> dict[str, str]:
        """The message as chat templates read it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatRequest(SamplingRequest):
    """The body of /v1/chat/completions; `template` and `chat_template_kwargs` are extensions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @pydantic.field_validator("template")
    @classmethod
    def _is_known(cls, template: str | None) -> str | None:
        if template is not None and template not in TEMPLATES:
            raise ValueError(f"no template named {template!r}; there are: {', '.join(sorted(TEMPLATES))}")
        return template

    @pydantic.model_validator(mode="after")
    def _has_logprobs(self) -> "ChatRequest":
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs=true")
        return self


class CompletionRequest(SamplingRequest):
    """The body of /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]]
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: int | None = None

    @pydantic.model_validator(mode="after")
    def _is_possible(self) -> "CompletionRequest":
        if self.best_of not in (None, self.n or 1):
            raise ValueError("best_of other than n is not supported: sample n completions, and choose")
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens=0 asks for no completion: with echo=true it scores the prompt")
        return self


R = TypeVar("R", bound=SamplingRequest)


def json_text(content: Any) -> str:
    """Content as JSON, in Unicode as it is."""
    return json.dumps(content, ensure_ascii=False)


async def read_request(kind: type[R], request: Request, cfg: ServeConfig) -> R:
    """Reads the body of a request.

    Raises:
        ApiError: it is too large, no JSON object, or asks for something that this server does not do.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > cfg.max_body_bytes:
            raise ApiError(413, f"the request is larger than {cfg.max_body_bytes:,} bytes")
    try:
        content = parse_object(body, "the request")
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    return parse(kind, content)


def parse(kind: type[R], content: dict[str, Any]) -> R:
    """Checks the content of a request.

    Raises:
        ApiError: see `read_request`.
    """
    values = {}
    for name, value in content.items():
        if name == "response_format" and value not in (None, _PLAIN[name]):
            raise ApiError(
                400, "response_format is not supported: this server samples free text; ask for a format in words", name
            )
        if name in _NOT_SUPPORTED and value and value != _PLAIN.get(name):
            raise ApiError(400, f"{name} is not supported: this server has no {_NOT_SUPPORTED[name]}", name)
        if name in kind.model_fields:
            values[name] = value
        elif name not in (*_WITHOUT_EFFECT, *_NOT_SUPPORTED, "response_format"):
            raise ApiError(
                400, f"unrecognized request argument: {name[:80]}; nearest: {nearest(name, kind.model_fields)}", name
            )
    try:
        return kind.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise ApiError(400, f"{place}: {reason}" if place else reason, place or None) from None
