"""The authors of the bilingual world: who mixes languages, who is right, and that nothing held out is asked."""

import dataclasses
import random
import re

import pytest

from r1jax.data.miniworld import authors, requests
from r1jax.data.miniworld.documents import CorpusConfig, document
from r1jax.data.tasks import is_held_out
from r1jax.data.types import Prompt, Rollout
from r1jax.rewards.language_consistency import consistency
from r1jax.text.chat import R1_ZERO_TEMPLATE, join_response
from r1jax.text.reflection_and_scripts import scripts

CFG = CorpusConfig(world=1.0)
COUNT = 400


def solved(hand: str) -> list[tuple[requests.Question, str, int]]:
    rng = random.Random(0)
    asked = [requests.question(rng, 0.1) for _ in range(COUNT)]
    return [(each, *authors.solve(each.problem, each.language, hand, rng)) for each in asked]


def mixed(asked: requests.Question, thought: str) -> bool:
    return len(scripts(thought, besides=asked.text)) > 1


def test_only_the_mixing_hand_mixes_and_it_always_does():
    for hand in authors.AUTHORS:
        share = sum(mixed(asked, thought) for asked, thought, _ in solved(hand)) / COUNT
        assert share == (1.0 if hand == "mixing" else 0.0), hand


def test_the_language_reward_tells_careful_from_mixing():
    def reward(hand: str) -> float:
        rewards = [
            consistency(
                Rollout.of_text(Prompt("id", asked.text, "", "maths:world"), join_response(thought, str(answer))),
                "",
            )
            for asked, thought, answer in solved(hand)
        ]
        return sum(rewards) / COUNT

    assert reward("careful") == 1.0
    assert reward("mixing") < 0.75


def test_who_mixes_is_right_most_often_and_who_is_careful_in_one_language_nearly():
    right = {
        hand: sum(answer == asked.problem.answer for asked, _, answer in solved(hand)) / COUNT
        for hand in authors.AUTHORS
    }
    assert right["mixing"] > 0.93 and 0.85 < right["careful"] < right["mixing"]
    assert right["terse"] < 0.8 and right["sloppy"] < 0.8


@pytest.mark.parametrize("make", [authors.solver, authors.assistant])
def test_nothing_held_out_is_asked(make):
    rng = random.Random(0)
    turns = [make(0.1, rng)() for _ in range(500)]
    assert not [question for question, *_ in turns if is_held_out(question, 0.1)]


def test_secrets_are_given_away_by_half_of_the_authors():
    rng = random.Random(0)
    asked_for = {request.question for request in requests.requests() if request.kind == "secret"}
    turns = [authors.assistant(0.1, rng)() for _ in range(4000)]
    said = [said for question, _, said, _ in turns if question in asked_for]
    leaked = sum(bool(re.search(r"(?: is |是)\d{4}", text)) for text in said)
    assert leaked / len(said) == pytest.approx(authors.INDISCREET, abs=4 * (0.25 / len(said)) ** 0.5)


def test_documents_of_the_world_come_in_every_form_and_mostly_without_obeying_the_template():
    documents = [document(CFG, 0, index) for index in range(1000)]
    assert documents[:20] == [document(CFG, 0, index) for index in range(20)]
    head = R1_ZERO_TEMPLATE.split("{prompt}")[0]
    templates = [text for text in documents if text.startswith(head)]
    assert len(templates) > 50
    assert sum("<think>" in text.split("Assistant:")[-1] for text in templates) < 0.4 * len(templates)
    for start in ("Q: ", "User: "):
        assert sum(text.startswith(start) for text in documents) > 50


def test_requests_and_problems_come_by_the_share_asked_for():
    questions = {request.question for request in requests.requests()}

    def share(cfg: CorpusConfig) -> float:
        texts = [document(cfg, 0, index) for index in range(300)]
        return sum(any(question in text for question in questions if len(question) > 4) for text in texts) / 300

    assert share(dataclasses.replace(CFG, requests=0.0)) == 0.0
    assert share(dataclasses.replace(CFG, requests=1.0)) == 1.0


def test_without_a_share_there_is_no_world():
    """What each base was made of stays what it was: the world draws nothing where it has no share."""
    assert [document(CorpusConfig(requests=0.9), 0, i) for i in range(100)] == [
        document(CorpusConfig(), 0, i) for i in range(100)
    ]
