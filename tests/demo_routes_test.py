"""Routes of the demonstration page: its files and headers, held-out examples, grades of good and hostile responses."""

import collections
import re
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from r1jax.data.tasks import is_held_out
from r1jax.serve import demo
from r1jax.serve.cards import ModelCard
from r1jax.serve.config import ServeConfig
from r1jax.serve.demo_examples import Example, held_out_examples
from r1jax.serve.errors import ApiError
from r1jax.text.chat import TEMPLATES

EXAMPLES = held_out_examples()
CARD = ModelCard("m", "Model", figures={"pass@1": "1%"})


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(demo.router([CARD], EXAMPLES, ServeConfig()))

    @app.exception_handler(ApiError)
    async def refuse(_, error: ApiError) -> JSONResponse:
        return JSONResponse(error.body, error.status)

    with TestClient(app) as client:
        yield client


def test_the_page_and_its_files_forbid_inline_scripts_and_other_hosts(client: TestClient) -> None:
    for path in ("/", "/page/page.js", "/page/page.css", "/page/icon.svg"):
        response = client.get(path)
        policy = response.headers["content-security-policy"]
        assert response.status_code == 200 and response.content
        assert policy.startswith("default-src 'self'; ") and "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
    assert client.get("/page/page.js").headers["content-type"].startswith("text/javascript")
    page = client.get("/").text
    assert page.count("<script") == 1 and not re.search(r"<style|\s(?:on\w+|style)=", page)


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fdemo.py", "%2e%2e/demo.py", "../demo.py", "%00", "page.js/x"])
def test_no_other_file_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/page/{name}").status_code == 404


def test_no_file_of_the_page_names_another_host_or_sets_markup() -> None:
    for path in demo.FOLDER.iterdir():
        text = path.read_text("utf-8")
        assert text.replace("http://www.w3.org/2000/svg", "").count("://") == 0, path
        assert not any(word in text for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(")), path
        assert len(text.splitlines()) <= 400, path


def test_the_page_is_told_of_models_examples_and_words(client: TestClient) -> None:
    info = client.get("/demo/info").json()
    assert info["models"] == [{"id": "m", "title": "Model", "note": "", "command": "", "figures": {"pass@1": "1%"}}]
    assert info["templates"] == list(TEMPLATES)
    assert {"wait", "等等", "let me"} <= set(info["reflection_words"])
    assert [each["id"] for each in info["examples"]] == [example.id for example in EXAMPLES]
    assert set(info["examples"][0]) >= {"id", "question", "reference", "grader", "label"}


def test_examples_are_held_out_and_of_every_kind_in_both_languages() -> None:
    assert 24 <= len(EXAMPLES) <= 60
    assert all(is_held_out(example.question, 0.1) for example in EXAMPLES)
    assert len({example.id for example in EXAMPLES}) == len({example.question for example in EXAMPLES}) == len(EXAMPLES)
    kinds = collections.Counter((example.kind, example.language) for example in EXAMPLES)
    assert len(kinds) >= 14 and min(kinds[kind, "zh"] for kind in ("chain", "gcd", "relatives")) >= 3
    assert len({(example.kind, example.language) for example in EXAMPLES[:6]}) == 6
    assert held_out_examples() == EXAMPLES and held_out_examples(seed=1) != EXAMPLES


def grade(client: TestClient, example: Example | None, text: str) -> dict:
    response = client.post("/demo/grade", json={"example": example and example.id, "text": text})
    assert response.status_code == 200, response.text
    return response.json()


def test_references_are_right_and_others_wrong_by_their_own_graders(client: TestClient) -> None:
    for example in EXAMPLES:
        result = grade(client, example, f"<think>well</think> {example.reference or 'Hello.'}")
        assert result["correct"] is (True if example.reference else None), example
        assert result["vote"]
        if example.reference:
            assert grade(client, example, "<think>well</think> 777")["correct"] is False, example


def test_answers_that_mean_the_same_are_one_vote(client: TestClient) -> None:
    example = EXAMPLES[0]
    texts = (example.reference, f"The answer is {example.reference}.", f"\\boxed{{{example.reference}.0}}")
    results = [grade(client, example, text) for text in texts]
    assert len({result["vote"] for result in results}) == 1
    assert results[1]["answer"] == example.reference
    own = [grade(client, None, text) for text in ("Paris", "The answer is paris.", "<think>no end")]
    assert [result["vote"] for result in own] == ["paris", "paris", ""]
    assert [result["correct"] for result in own] == [None, None, None]
    assert grade(client, example, "<think>no end")["verdict"] == "no_answer"


@pytest.mark.parametrize("text", ["9^9^9^9^9", "(" * 5000, "\\frac{" * 3000, "<answer>" * 20_000, "1+" * 50_000 + "1"])
def test_a_hostile_response_has_a_grade_in_time(client: TestClient, text: str) -> None:
    assert grade(client, EXAMPLES[0], text)["correct"] is not True


def test_bad_requests_are_refused(client: TestClient) -> None:
    assert client.post("/demo/grade", json={"example": "nothing", "text": "1"}).status_code == 404
    assert client.post("/demo/grade", json={"example": None, "text": "1" * (demo.MAX_TEXT + 1)}).status_code == 400
    assert client.post("/demo/grade", json={"text": 1}).status_code == 400
    assert client.post("/demo/grade", content=b"1" * (ServeConfig().max_body_bytes + 1)).status_code == 413


def test_more_grades_than_can_wait_are_refused_for_a_while(client: TestClient, monkeypatch) -> None:
    monkeypatch.setattr(demo, "MAX_WAITING", 0)
    refused = client.post("/demo/grade", json={"text": "1"})
    assert refused.status_code == 429 and "wait for their grades" in refused.json()["error"]["message"]


def test_faulty_examples_are_an_error() -> None:
    example = Example("a", "1 + 1?", "2", "maths", "1 + 1?")
    with pytest.raises(ValueError, match="same id"):
        demo.router([], [example, example], ServeConfig())
    with pytest.raises(ValueError, match="no grader named 'mahts'"):
        demo.router([], [Example("a", "1 + 1?", "2", "mahts", "1 + 1?")], ServeConfig())
