"""Scores of an evaluation, by hand: what divides what, who votes, and how sure one may be."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from r1jax.core.shares import ALL_ROWS
from r1jax.data.types import Prompt, Rollout
from r1jax.evaluation import in_training
from r1jax.evaluation.in_training import question_scores
from r1jax.evaluation.rollout_files import write_samples
from r1jax.evaluation.rollouts import numbers_of
from r1jax.models.logits import Truncation


def rollout(question: int, sample: int, answer: str, grade: float | None, finish="stop", source="maths", text=None):
    prompt = Prompt(f"q{question}", f"question {question}", "42", source)
    text = f"<think>so</think> <answer>{answer}</answer>" if text is None else text
    parts = {"accuracy": grade, "format": float(finish == "stop" and text.endswith("</answer>"))}
    ids = np.arange(3 + sample, dtype=np.int32)
    return Rollout(prompt, sample, ids, np.zeros(len(ids), np.float32), text, finish, grade, parts, answer=answer)


def graded(*questions: list[tuple[str, float | None]], **kwargs) -> list[Rollout]:
    return [rollout(q, s, *pair, **kwargs) for q, row in enumerate(questions) for s, pair in enumerate(row)]


def scores(rollouts: list[Rollout], samples: int) -> dict:
    return in_training.scores(question_scores(rollouts, samples), list(map(numbers_of, rollouts)), samples)


def test_trap29_pass_at_1_divides_by_the_samples_really_drawn():
    row = scores(graded([("42", 1.0)] * 3 + [("1", 0.0)], [("1", 0.0)] * 3 + [("42", 1.0)]), 4)
    assert row["pass@1"] == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert (row["n"], row["k"]) == (2, 4)
    # An ungradable sample is no sample: two of three, not two of four.
    row = scores(graded([("42", 1.0), ("42", 1.0), ("1", 0.0), ("?", None)]), 4)
    assert row["pass@1"] == pytest.approx(2 / 3) and row["ungradable"] == 0.25


def test_an_ungradable_question_counts_nowhere():
    row = scores(graded([("42", 1.0)] * 2, [("?", None)] * 2), 2)
    assert (row["n"], row["pass@1"], row["cons@k"], row["ungradable"]) == (1, 1.0, 1.0, 0.5)
    nothing = scores(graded([("?", None)] * 2), 2)
    assert (nothing["n"], nothing["pass@1"], nothing["stderr"]) == (0, 0.0, 0.0)


def test_trap30_the_majority_is_over_answers_in_one_spelling():
    assert scores(graded([("7", 0.0), ("7", 0.0), ("42", 1.0), ("42", 1.0), ("42", 1.0)]), 5)["cons@k"] == 1.0
    # A tie goes to what was drawn first, right or wrong.
    assert scores(graded([("7", 0.0), ("42", 1.0)]), 2)["cons@k"] == 0.0
    assert scores(graded([("42", 1.0), ("7", 0.0)]), 2)["cons@k"] == 1.0
    # No answer is no vote; nobody's vote is a wrong consensus.
    assert scores(graded([("", 0.0), ("", 0.0), ("42", 1.0)]), 3)["cons@k"] == 1.0
    assert scores(graded([("", 0.0), ("", 0.0)]), 2)["cons@k"] == 0.0


def test_trap31_n_truncation_and_standard_error_stand_beside_the_score():
    rollouts = graded([("42", 1.0)] * 2, [("1", 0.0)] * 2, [("42", 1.0), ("1", 0.0)])
    rollouts[3] = rollout(1, 1, "1", 0.0, finish="length", text="<think>on and on")
    row = scores(rollouts, 2)
    assert row["n"] == 3 and row["truncated"] == pytest.approx(1 / 6) and row["format"] == pytest.approx(5 / 6)
    # Question means 1, 0, 1/2: variance 1/4, over 3 questions.
    assert row["stderr"] == pytest.approx(np.sqrt(0.25 / 3))
    assert row["pass@1_if_well_formed"] == pytest.approx(3 / 5)
    assert row["length"] == pytest.approx(3.5)


def test_the_question_is_the_unit_of_the_standard_error():
    two = graded([("42", 1.0)], [("1", 0.0)])
    many = graded([("42", 1.0)] * 100, [("1", 0.0)] * 100)
    # A hundred equal answers to the same two questions tell no more than one each.
    assert scores(two, 1)["stderr"] == pytest.approx(scores(many, 100)["stderr"]) == pytest.approx(0.5)


def test_sources_are_scored_apart():
    rollouts = graded([("42", 1.0)] * 2, [("1", 0.0)] * 2) + [rollout(2, s, "5", 1.0, source="logic") for s in range(2)]
    by_source = scores(rollouts, 2)["by_source"]
    assert by_source["maths"] == {"n": 2, "pass@1": 0.5, "stderr": pytest.approx(0.5)}
    assert by_source["logic"] == {"n": 1, "pass@1": 1.0, "stderr": 0.0}


def test_trap31_every_evaluation_asks_with_the_same_noise_and_says_how_it_sampled(monkeypatch):
    seeds = []

    def sample(engine, graders, params, prompts, samples, seed, models):
        seeds.append(seed)
        return graded([("42", 1.0)])

    monkeypatch.setattr(in_training, "sample_and_grade", sample)
    truncation = Truncation(0.6, 0, 0.95)
    engine = SimpleNamespace(programs=SimpleNamespace(shares=ALL_ROWS))
    rows = [in_training.evaluate(engine, None, params, [], 1, truncation, 5)[0] for params in ("base", "trained")]
    assert seeds[0] == seeds[1] and len(seeds[0]) == 2  # training's seeds have three words
    assert all((row["temperature"], row["top_p"]) == (0.6, 0.95) for row in rows)


def test_samples_are_written_with_thought_and_answer_apart(tmp_path):
    r = rollout(0, 1, "42", 1.0, text="<think>数一数</think> <answer>42</answer>")
    write_samples(tmp_path / "evals" / "step.jsonl", [r], ALL_ROWS)
    text = (tmp_path / "evals" / "step.jsonl").read_text(encoding="utf-8")
    assert "数一数" in text
    row = json.loads(text)
    assert (row["thought"], row["final"], row["correct"], row["num_tokens"]) == ("数一数", "42", 1.0, 4)
    assert (row["id"], row["sample"], row["question"], row["well_formed"]) == ("q0", 1, "question 0", True)
