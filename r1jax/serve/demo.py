"""Demonstration page of the server: its files, its models and examples, and grades of responses to these.

The page (`r1jax/serve/page`) asks the models through the server's OpenAI-compatible routes. Here are the others:

    GET  /             the page
    GET  /page/NAME    its files
    GET  /demo/info    {"models": [...], "examples": [...], "templates": [...], "reflection_words": [...]}
    POST /demo/grade   {"example": id or null, "text": response} -> {"correct", "answer", "vote", "verdict"}

A grade's `correct` is null where there is no reference or no grade in time; `vote` is the same text for all answers
that mean the same, "" for no answer.
"""

import asyncio
import contextlib
import dataclasses
import pathlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pydantic
from fastapi import APIRouter, Request, Response

from r1jax.data.types import Prompt, Rollout
from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.graders.grade_row import grade_row
from r1jax.rewards.workers import JobError, WorkerDied, Workers, WorkersFailed
from r1jax.serve.cards import ModelCard
from r1jax.serve.config import ServeConfig
from r1jax.serve.demo_examples import Example
from r1jax.serve.errors import ApiError
from r1jax.serve.protocol import read_request
from r1jax.text.chat import TEMPLATES
from r1jax.text.reflection_and_scripts import REFLECTION_WORDS

FOLDER = pathlib.Path(__file__).parent / "page"
MAX_TEXT = 400_000  # characters of a response that is graded; more is refused
MAX_WAITING = 64  # responses that wait for their grade; more are refused for a while
_GRADERS = GraderConfig(workers=1, timeout_s=30.0)  # a busy machine is no wrong answer
_DEMOTE_AFTER_S = 1.0  # an ordinary answer takes a thousandth of it
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# No inline script or style, and nothing from or to another host: text of a model that got into the markup would be
# inert. `frame-ancestors` and `form-action` do not follow `default-src`.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Answer(pydantic.BaseModel):
    """Body of `POST /demo/grade`: an example's id, null for another question, and the whole text of a response."""

    example: str | None = None
    text: str = pydantic.Field(max_length=MAX_TEXT)


def router(models: Sequence[ModelCard], examples: Sequence[Example], cfg: ServeConfig) -> APIRouter:
    """The page's routes. The process that grades lives as long as the application that includes them.

    Args:
        models: in the order in which they are shown.
        cfg: of the server; its limit on the size of requests holds here too.

    Raises:
        ValueError: two examples of one id, or one without a known grader.
    """
    by_id = {example.id: example for example in examples}
    if len(by_id) < len(examples):
        raise ValueError("two examples have the same id")
    for example in examples:
        grader_table.grader(example.grader)
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in _TYPES}
    info = {
        "models": [dataclasses.asdict(card) for card in models],
        "examples": [dataclasses.asdict(example) for example in examples],
        "templates": list(TEMPLATES),
        "reflection_words": list(REFLECTION_WORDS),
    }
    workers = Workers(_GRADERS.workers, _GRADERS.memory_mb)
    waiting = 0

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        with workers:
            yield

    routes = APIRouter(lifespan=lifespan, include_in_schema=False)

    def file(name: str) -> Response:
        if name not in files:
            raise ApiError(404, f"the page has no file {name[:200]!r}")
        return Response(files[name], headers=_HEADERS, media_type=_TYPES[pathlib.Path(name).suffix])

    @routes.get("/")
    def page() -> Response:
        return file("index.html")

    @routes.get("/page/{name}")
    def page_file(name: str) -> Response:
        return file(name)

    @routes.get("/demo/info")
    def demo_info() -> dict[str, Any]:
        # The grader process takes seconds to start: it does so while the reader looks at the page.
        workers.submit(int, timeout_s=_GRADERS.timeout_s)
        return info

    @routes.post("/demo/grade")
    async def demo_grade(request: Request) -> dict[str, Any]:
        nonlocal waiting
        answer = await read_request(Answer, request, cfg)
        if answer.example is not None and answer.example not in by_id:
            raise ApiError(404, f"no example {answer.example[:200]!r}: /demo/info lists them", "example")
        if waiting >= MAX_WAITING:
            raise ApiError(429, f"{waiting} responses wait for their grades already", retry_after_s=1)
        waiting += 1
        try:
            return await _graded(workers, by_id.get(answer.example), answer.text)
        finally:
            waiting -= 1

    return routes


async def _graded(workers: Workers, example: Example | None, text: str) -> dict[str, Any]:
    """The grade of a response. Without a reference an answer is taken as words, so that votes can be counted."""
    has_reference = example is not None and bool(example.reference)
    grader = example.grader if has_reference else "exact"
    prompt = Prompt(
        example.id if example else "question",
        example.question if example else "",
        example.reference if has_reference else "",
        f"{grader}:demo",
        metadata={"thought": "optional"},
    )
    job = workers.submit(
        grade_row,
        grader_table.grade,
        Rollout.of_text(prompt, text),
        _GRADERS,
        timeout_s=_GRADERS.timeout_s,
        demote_after_s=_DEMOTE_AFTER_S,
    )
    try:
        grade, final_text = await asyncio.wrap_future(job)
    except (TimeoutError, MemoryError, WorkerDied, JobError, WorkersFailed) as error:
        return {"correct": None, "answer": None, "vote": "", "verdict": type(error).__name__}
    correct = None if grade.score is None or not has_reference else grade.score == 1.0
    verdict = grade.verdict if has_reference or grade.verdict == "no_answer" else "open"
    return {"correct": correct, "answer": final_text, "vote": grade.answer, "verdict": verdict}
