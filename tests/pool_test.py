"""Rollouts graded in processes that can be killed: what becomes of those that hang, crash or cannot be graded."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from r1jax.config import parse
from r1jax.data.types import Prompt, Rollout
from r1jax.rewards import pool as pool_module
from r1jax.rewards.combine import combine, grade
from r1jax.rewards.config import GraderConfig, RewardConfig
from r1jax.rewards.pool import GraderPool

CFG = RewardConfig(random=0.5, overlong_buffer=4, graders=GraderConfig(timeout_s=2.0, memory_mb=512))
SEED, MAX_TOKENS = 3, 16


@pytest.fixture(scope="module")
def graders() -> Iterator[GraderPool]:
    with GraderPool(CFG, SEED, MAX_TOKENS) as pool:
        pool.score([_rollout("5")])  # so that the workers are up
        yield pool


def _rollout(answer: str, sample: int = 0, source: str = "maths") -> Rollout:
    prompt = Prompt("p", "?", "5", source, metadata={"entry_metadata": {}})
    text = f"<think>a</think><answer>{answer}</answer>"
    return Rollout(prompt, sample, np.zeros(sample, np.int32), np.zeros(sample, np.float32), text, "stop")


def test_score_equals_grading_in_this_process_and_keeps_the_order(graders: GraderPool) -> None:
    sources = ("maths", "reasoning_gym:chain_sum")
    rollouts = [_rollout(str(3 + i % 4), sample=i, source=sources[i % 2]) for i in range(32)]
    for rollout, graded in zip(rollouts, graders.score(rollouts), strict=True):
        parts, verdict = grade(rollout, CFG, SEED, MAX_TOKENS)
        assert (graded.sample, graded.parts, graded.verdict) == (rollout.sample, parts, verdict)
        assert graded.reward == combine(parts, CFG)
        assert graded.logprobs is rollout.logprobs
    assert graders.score([]) == []


@pytest.mark.parametrize(
    "fate, score, verdict",
    [("hang", 0.0, "timeout"), ("grow", 0.0, "memory"), ("crash", 0.0, "crash"), ("killed", None, "ungradable"),
     ("raise", None, "ungradable")],
)  # fmt: skip
def test_trap18_trap35_what_becomes_of_a_grader_is_told_apart_and_the_rest_of_the_reward_stays(
    graders: GraderPool, monkeypatch: pytest.MonkeyPatch, fate: str, score: float | None, verdict: str
) -> None:
    fates = {"hang": hang, "grow": grow, "crash": crash, "killed": killed}
    monkeypatch.setattr(pool_module, "grade", fates.get(fate, grade))
    rollout = _rollout("5", source="no_such_grader" if fate == "raise" else "maths")
    graded = graders.submit(rollout).result()
    assert (graded.parts["accuracy"], graded.verdict) == (score, verdict)
    assert graded.parts["format"] == 1.0 and graded.parts["random"] in (0.0, 1.0), "its form is graded all the same"
    assert graded.reward == (None if score is None else pytest.approx(1.0 + 0.5 * graded.parts["random"]))


def test_trap18_pathological_samples_cost_at_most_their_limit_on_top_of_twice_the_clean_time(
    graders: GraderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """512 samples, every twentieth of which hangs, whatever it is that makes it hang."""
    clean = [_rollout(f"{i}.5", sample=i) for i in range(512)]
    begin = time.monotonic()
    graders.score(clean)
    clean_s = time.monotonic() - begin
    monkeypatch.setattr(pool_module, "grade", grade_or_hang)
    mixed = [_rollout("hang" if i % 20 == 0 else f"{i}.25", sample=i) for i in range(512)]
    begin = time.monotonic()
    graded = graders.score(mixed)
    mixed_s = time.monotonic() - begin
    assert [r.verdict for r in graded[::20]] == ["timeout"] * 26
    assert {r.verdict for i, r in enumerate(graded) if i % 20} == {"wrong"}
    # The clean time is a fraction of a second here; starting 26 processes in place of those that hang takes another.
    assert mixed_s < 2 * clean_s + CFG.graders.timeout_s + 2.0


def test_pathological_answers_are_seen_through_at_once(graders: GraderPool) -> None:
    nasty = ["9^{9^{9^{9}}}", "1+" * 500_000 + "1", "(" * 5000 + "5" + ")" * 5000, r"\frac{" * 2000, "5" * 1_000_000]
    begin = time.monotonic()
    graded = graders.score([_rollout(answer) for answer in nasty])
    assert {r.parts["accuracy"] for r in graded} == {0.0}
    assert "timeout" not in {r.verdict for r in graded}
    assert time.monotonic() - begin < CFG.graders.timeout_s


def test_a_custom_reward_is_a_function_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def brevity(rollout):\n    return -len(rollout.text) / 100\n")
    section = {"custom": ({"function": f"{tmp_path}/mine.py:brevity", "weight": 2.0},)}
    cfg = parse(RewardConfig, section)
    with GraderPool(cfg, SEED, MAX_TOKENS) as graders:
        [graded] = graders.score([_rollout("5")])
    length = len(graded.text) / 100
    assert graded.parts["custom/brevity"] == pytest.approx(-length)
    assert graded.reward == pytest.approx(2.0 - 2 * length)


def test_what_is_missing_shows_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r"nothing\.py"):
        GraderPool(parse(RewardConfig, {"custom": ({"function": f"{tmp_path}/nothing.py:f"},)}), SEED, MAX_TOKENS)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    judge = {"weight": 1.0, "base_url": "http://localhost:1", "model": "m", "api_key_env": "NO_SUCH_KEY"}
    with pytest.raises(ValueError, match="NO_SUCH_KEY"):
        GraderPool(parse(RewardConfig, {"judge": judge}), SEED, MAX_TOKENS)


def hang(*_: object) -> None:
    9**9**9


def grow(*_: object) -> None:
    bytes(2**31)


def crash(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def grade_or_hang(rollout: Rollout, *args: object) -> object:
    if "hang" in rollout.text:
        hang()
    return grade(rollout, *args)
