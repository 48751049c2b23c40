"""Sampling and grading together: what is handed in, in which order it comes back, and the means over it."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from r1jax.core.shares import ALL_ROWS
from r1jax.data.types import Prompt, Rollout
from r1jax.evaluation.rollouts import describe, numbers_of, sample_and_grade

GOOD = "<think>a</think> <answer>1</answer>"


def rollout(sample=0, text=GOOD, tokens=3, finish="stop", reward=1.0, verdict="", **parts) -> Rollout:
    prompt = Prompt("p", "?", "1", "maths")
    return Rollout(prompt, sample, np.arange(tokens), np.zeros(tokens), text, finish, reward, parts, verdict)


def means(rollouts: list[Rollout]) -> dict[str, float]:
    return describe(list(map(numbers_of, rollouts)))


def test_each_rollout_is_handed_in_when_complete_and_returned_in_its_place():
    drawn = [rollout(sample=i, reward=None) for i in range(4)]
    log = []

    class Engine:
        programs = SimpleNamespace(shares=ALL_ROWS)

        def generate(self, params, prompts, samples, seed, on_finish, owners):
            assert (params, samples, seed) == ("weights", 4, (1, 2))
            for i in (2, 0, 3, 1):  # as they happen to end
                on_finish(drawn[i])
            log.append("all drawn")
            return drawn

    class Graders:
        def submit(self, r):
            log.append(r.sample)

            class Pending:
                def result(self, scores):
                    return rollout(sample=r.sample, reward=float(r.sample), **scores)

            return Pending()

    class Model:
        def reads(self, prompt):
            return prompt.id == "p"

        def score(self, rollouts):
            assert rollouts == drawn
            log.append("all scored")
            return [r.sample / 8 for r in rollouts]

    models = {"model/helpful": Model()}
    graded = sample_and_grade(Engine(), Graders(), "weights", [drawn[0].prompt], 4, (1, 2), models)
    assert log == [2, 0, 3, 1, "all drawn", "all scored"]
    assert [(r.sample, r.reward) for r in graded] == [(i, float(i)) for i in range(4)]
    assert [r.parts["model/helpful"] for r in graded] == [i / 8 for i in range(4)]


def test_a_reward_model_for_open_requests_scores_no_others():
    prompts = [Prompt("sum", "1 + 1?", "2", "maths"), Prompt("hello", "Hello!", "", "open")]
    drawn = [dataclasses.replace(rollout(sample=s, reward=None), prompt=p) for p in prompts for s in range(2)]

    class Engine:
        programs = SimpleNamespace(shares=ALL_ROWS)

        def generate(self, params, prompts, samples, seed, on_finish, owners):
            for r in drawn:
                on_finish(r)
            return drawn

    class Graders:
        def submit(self, r):
            return SimpleNamespace(result=lambda scores: dataclasses.replace(r, parts=dict(scores)))

    class Model:
        reads = staticmethod(lambda prompt: prompt.grader == "open")
        score = staticmethod(lambda rollouts: [0.5 + r.sample for r in rollouts])

    graded = sample_and_grade(Engine(), Graders(), "weights", prompts, 2, (0,), {"model/helpful": Model()})
    assert [dict(r.parts) for r in graded] == [{}, {}, {"model/helpful": 0.5}, {"model/helpful": 1.5}]


def test_means_over_responses_by_hand():
    row = means(
        [
            rollout(tokens=3, reward=2.0, accuracy=1.0, format=1.0),
            rollout(tokens=5, reward=0.0, accuracy=0.0, format=0.0, text="<think>wait, wait, 不对</think> 1"),
            rollout(tokens=10, reward=None, accuracy=None, format=0.0, finish="length", text="<think>数"),
            rollout(
                tokens=2, reward=1.0, accuracy=0.0, format=1.0, verdict="timeout", text="<think>let me check</think>"
            ),
        ]
    )
    assert row["reward/total"] == pytest.approx(1.0) and row["grading/ungradable"] == 0.25
    assert row["reward/accuracy"] == pytest.approx(1 / 3) and row["reward/format"] == 0.5
    assert row["verdict/timeout"] == 0.25
    assert row["length/mean"] == 5.0 and row["length/max"] == 10 and row["length/truncated"] == 0.25
    assert row["reflection/share"] == 0.5
    assert row["language/mixed"] == 0.25 and row["language/chinese"] == 0.25


def test_nothing_gradable_is_no_error():
    row = means([rollout(reward=None, accuracy=None)])
    assert row["reward/total"] == 0.0 and row["grading/ungradable"] == 1.0 and row["reward/accuracy"] == 0.0
