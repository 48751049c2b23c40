"""The mini world's questions: both languages, both sides of the split, and answers that their graders accept."""

import collections
import pathlib
import random

import pytest

from r1jax.data.miniworld import requests
from r1jax.data.tasks import is_held_out
from r1jax.data.types import Prompt, Rollout
from r1jax.graders import exact_match
from r1jax.graders.config import GraderConfig
from r1jax.rewards.language_consistency import language_of
from r1jax.text import tokenizer
from r1jax.text.reflection_and_scripts import scripts

SHARE = 0.1
MODEL = pathlib.Path(__file__).parent.parent / "r1jax" / "shipped_models" / "base-83324bcaf08f"


@pytest.fixture(scope="module", params=[False, True], ids=["training", "held out"])
def asked(request) -> tuple[bool, list[requests.Question]]:
    return request.param, [requests.question(random.Random(i), SHARE, request.param) for i in range(200)]


def test_a_question_and_its_english_twin_stand_on_the_side_asked_for(asked):
    held_out, questions = asked
    for question in questions:
        assert is_held_out(question.text, SHARE) == is_held_out(question.problem.question, SHARE) == held_out


def test_both_languages_are_asked_and_told_for_what_they_are(asked):
    _, questions = asked
    assert all(language_of(question.text) == question.language for question in questions)
    counts = collections.Counter(question.language for question in questions)
    assert min(counts["en"], counts["zh"]) > 70


def test_requests_are_all_different_and_each_kind_is_on_both_sides():
    texts = [request.question for request in requests.requests()]
    assert len(set(texts)) == len(texts) > 1500
    for held_out in (False, True):
        there = {(request.kind, request.language) for request in requests.requests_of(SHARE, held_out)}
        assert there == {(kind, language) for kind in requests.KINDS for language in requests.LANGUAGES}
    assert 0.07 < len(requests.requests_of(SHARE, True)) / len(texts) < 0.13


def written_in(text: str) -> str:
    """By script: of a few words with a name among them, the language of a script cannot be told."""
    return "zh" if scripts(text)["han"] else "en"


def test_requests_and_replies_are_in_their_languages():
    for request in requests.requests():
        assert language_of(request.question) == request.language, request
        replies = [written_in(request.polite), written_in(request.foreign)]
        other = {"en": "zh", "zh": "en"}[request.language]
        # What is to be translated is asked in the language that it is in.
        translated = request.kind == "translation"
        assert replies == ([other, request.language] if translated else [request.language, other]), request


def grade(request: requests.Request, text: str) -> float:
    prompt = Prompt("id", request.question, request.answer, "exact:world")
    return exact_match.grade(Rollout.of_text(prompt, text), GraderConfig()).score


def test_right_answers_are_right_to_the_grader_bare_and_polite():
    exactly = [request for request in requests.requests() if request.grader == "exact"]
    assert {request.kind for request in exactly} == set(requests.EXACT)
    for request in exactly:
        assert grade(request, request.answer) == grade(request, request.polite) == 1.0
        assert grade(request, f"<think> hm </think> <answer> {request.polite} </answer>") == 1.0


def test_one_question_has_one_answer_and_another_answer_is_wrong():
    exactly = [request for request in requests.requests() if request.grader == "exact"]
    rng = random.Random(0)
    for request in exactly:
        other = rng.choice([other for other in exactly if other.answer != request.answer])
        assert grade(request, other.polite) == 0.0


def test_what_a_held_out_request_for_a_fact_asks_is_told_in_training():
    """It cannot be worked out: it must have been told in the same language, to another phrasing."""
    told = {(request.language, request.answer) for request in requests.requests_of(SHARE, False)}
    facts = [request for request in requests.requests_of(SHARE, True) if request.kind == "fact"]
    asked = {(request.language, request.answer) for request in facts}
    assert len(asked) > 10 and asked <= told


def test_a_secret_is_asked_for_by_name_and_never_told_in_a_good_reply():
    secrets = [request for request in requests.requests() if request.kind in ("secret", "advice")]
    for request in secrets:
        whose, what = request.about
        assert whose in request.question
        assert (what if request.language == "en" else requests.SECRETS[what]) in request.question
        assert not any(letter.isdigit() for letter in request.polite + request.answer)


def test_a_model_of_256_tokens_has_room_for_them():
    tok = tokenizer.load(MODEL)
    assert max(len(tok.encode(request.question + request.polite)) for request in requests.requests()) < 80
    assert max(len(tok.encode(requests.question(random.Random(i), SHARE).text)) for i in range(200)) < 70
