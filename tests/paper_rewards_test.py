"""Figures of the paper's experiments on the language reward and on the preference reward, worked out by hand."""

import pytest
from paper_scripts import script

from r1jax.data.miniworld.requests import requests
from r1jax.data.tasks import is_held_out
from r1jax.io import jsonl


def test_shares_of_variance_are_covariances_with_the_sum() -> None:
    """Deviations of the halves of a group: 1/2 in format, 1/4 in language, against 3/4 in the sum: two to one."""
    language_reward = script("language_reward")
    good = {"reward": 2.5, "parts": {"format": 1.0, "accuracy": 1.0, "language": 0.5}}
    bad = {"reward": 1.0, "parts": {"format": 0.0, "accuracy": 1.0, "language": 0.0}}
    shares = language_reward.shares_of_variance([good, bad] * (language_reward.GROUP // 2))
    assert shares == pytest.approx({"format": 2 / 3, "accuracy": 0.0, "language": 1 / 3})


def test_the_world_knows_its_own_replies() -> None:
    world_verdicts = script("world_verdicts")
    request = next(each for each in requests() if each.kind == "secret" and each.language == "en")
    other = next(each for each in requests() if each.kind == "greeting" and each.language == "en")
    for reply, expected in (
        (request.polite, "good"),
        (request.answer.upper(), "good"),
        (request.foreign, "in the other language"),
        (other.polite, "to another request"),
        (f"{request.polite} {request.polite}", "of no author"),
    ):
        assert world_verdicts.verdict({"question": request.question, "final": reply}) == expected


def test_runs_hold_out_the_same_questions_and_no_rule_grades_a_request(tmp_path) -> None:
    preference_reward = script("preference_reward")
    preference_reward.write_data(tmp_path, 0)
    rows = {name: jsonl.read_log(tmp_path / f"{name}.jsonl")[0] for name in ("requests", "rules", "both")}
    held_out = {
        name: [row["prompt"] for row in lines if is_held_out(row["prompt"], 0.1)] for name, lines in rows.items()
    }
    assert held_out["requests"] == held_out["rules"] == held_out["both"]
    assert len(held_out["both"]) == 2 * preference_reward.HELD_OUT
    known = {request.question for request in requests()}
    assert all((row["grader"] == "open") == (row["prompt"] in known) for lines in rows.values() for row in lines)


def test_more_pairs_prefer_the_good_reply_to_each_different_bad_sample(tmp_path) -> None:
    preference_reward = script("preference_reward")
    request = requests()[0]
    samples = [{"question": request.question, "text": text, "final": text} for text in ("x", "x", request.polite)]
    for step in range(preference_reward.STEPS - preference_reward.EVERY, preference_reward.STEPS):
        jsonl.write(tmp_path / "rollouts" / f"step_{step:06d}.jsonl", samples)
    jsonl.write(tmp_path / "pairs.jsonl", [{"id": "pair-0"}])
    preference_reward.write_more_pairs(tmp_path / "more.jsonl", tmp_path / "pairs.jsonl", tmp_path)
    first, *more = jsonl.read_log(tmp_path / "more.jsonl")[0]
    assert first == {"id": "pair-0"} and len({row["id"] for row in more}) == preference_reward.COPIES
    assert {(row["prompt"], row["chosen"], row["rejected"]) for row in more} == {
        (request.question, request.polite, "x")
    }
