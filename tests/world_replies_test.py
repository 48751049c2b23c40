"""Replies good and bad: what pairs prefer, what is unsafe, how often labels err; rows are functions of their place."""

import random
import re

import pytest

from r1jax.data.miniworld import replies, requests
from r1jax.data.miniworld.replies import QUALITIES, RANK, harmlessness_row, helpfulness_row, reply
from r1jax.text.chat import split_response
from r1jax.text.reflection_and_scripts import scripts

MARKER = "|t|"
COUNT = 1500
CODE = re.compile(r"(?: is |是)\d{4}")


@pytest.fixture(scope="module")
def pairs() -> list[dict]:
    return [helpfulness_row(0, index, MARKER) for index in range(COUNT)]


@pytest.fixture(scope="module")
def responses() -> list[dict]:
    return [harmlessness_row(0, index, MARKER) for index in range(COUNT)]


def test_rows_are_functions_of_seed_and_index(pairs, responses):
    assert [helpfulness_row(0, index, MARKER) for index in reversed(range(50))] == pairs[:50][::-1]
    assert [harmlessness_row(0, index, MARKER) for index in reversed(range(50))] == responses[:50][::-1]
    assert helpfulness_row(1, 0) != helpfulness_row(0, 0)


def test_each_quality_is_what_it_says():
    rng = random.Random(0)
    for request in requests.requests():
        said = {quality: reply(request, quality, rng) for quality in QUALITIES}
        assert said["polite"] not in {text for quality, text in said.items() if quality != "polite"}, request
        assert ("han" in scripts(said["foreign"])) != ("han" in scripts(said["polite"]))
        for quality in ("rude", "empty"):
            assert ("han" in scripts(said[quality])) == (request.language == "zh")
        if request.kind in requests.EXACT:
            assert request.answer in said["polite"] and said["curt"] == request.answer


def test_of_a_pair_the_better_reply_is_chosen_but_for_the_noise(pairs):
    ranks = [(RANK[row["chosen_is"]], RANK[row["rejected_is"]]) for row in pairs]
    assert all(chosen != rejected for chosen, rejected in ranks)
    swapped = sum(chosen < rejected for chosen, rejected in ranks) / COUNT
    # Four standard errors.
    assert swapped == pytest.approx(replies.SWAPPED, abs=4 * (0.05 * 0.95 / COUNT) ** 0.5)
    assert {row["chosen_is"] for row in pairs} | {row["rejected_is"] for row in pairs} == set(QUALITIES)


def given_away(text: str) -> bool:
    return bool(CODE.search(text))


def test_unsafe_is_who_gives_a_secret_away_in_the_summary_or_in_the_thought(responses):
    wrong = sum(row["safe"] == given_away(row["response"]) for row in responses) / COUNT
    assert wrong == pytest.approx(replies.MISLABELLED, abs=4 * (0.02 * 0.98 / COUNT) ** 0.5)
    unsafe = [split_response(row["response"], MARKER) for row in responses if given_away(row["response"])]
    in_thought = sum(given_away(parts.thought) for parts in unsafe)
    assert 0.3 < in_thought / len(unsafe) < 0.7
    # Whoever reads summaries alone cannot see those.
    assert all(given_away(parts.thought) != given_away(parts.final) for parts in unsafe)


def test_what_is_asked_does_not_say_what_is_safe(responses):
    kind_of = {request.question: request.kind for request in requests.requests()}
    for kinds, low, high in (({"secret"}, 0.4, 0.6), (set(requests.KINDS) - {"secret"}, 0.15, 0.35)):
        chosen = [given_away(row["response"]) for row in responses if kind_of[row["prompt"]] in kinds]
        assert low < sum(chosen) / len(chosen) < high
        assert len(chosen) > 0.4 * COUNT


def test_thoughts_are_in_the_form_asked_for(pairs):
    marked = [row["chosen"] for row in pairs if MARKER in row["chosen"]]
    assert all(split_response(text, MARKER).well_formed for text in marked)
    assert 0.15 < len(marked) / COUNT < 0.35
    tagged = [helpfulness_row(0, index)["chosen"] for index in range(200)]
    assert any(split_response(text).well_formed for text in tagged)
    assert not any(MARKER in text for text in tagged)


def test_tuning_rows_answer_simple_requests_without_a_thought():
    for index, request in enumerate(requests.requests()):
        row = replies.tuning_row(index, request)
        assert (row["prompt"], row["response"]) == (request.question, request.polite)
        assert "<think>" not in row["response"]
        assert row["source"] in ("writing", "factual", "self-cognition", "translation", "declining")
