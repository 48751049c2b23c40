"""Rollouts graded in processes that can be killed: what becomes of those that hang, crash or cannot be graded."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import planted
import pytest

from r1jax.config import ConfigError, parse
from r1jax.data.types import Prompt, Rollout
from r1jax.rewards import pool as pool_module
from r1jax.rewards.combine import combine, grade
from r1jax.rewards.config import CustomReward, GraderConfig, RewardConfig
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
        parts, found = grade(rollout, CFG, SEED, MAX_TOKENS)
        assert (graded.sample, graded.parts, graded.verdict, graded.answer) == (
            rollout.sample, parts, found.verdict, found.answer
        )  # fmt: skip
        assert graded.reward == combine(parts, CFG)
        assert graded.logprobs is rollout.logprobs
    assert graders.score([]) == []


@pytest.mark.parametrize(
    "fate, score, verdict",
    [("hang", 0.0, "timeout"), ("grow", 0.0, "memory"), ("crash", 0.0, "crash"), ("killed", None, "ungradable"),
     ("no_such", None, "ungradable")],
)  # fmt: skip
def test_trap18_trap35_what_becomes_of_a_grader_is_told_apart_and_the_rest_of_the_reward_stays(
    graders: GraderPool, monkeypatch: pytest.MonkeyPatch, fate: str, score: float | None, verdict: str
) -> None:
    monkeypatch.setattr(pool_module, "grade", getattr(planted, fate, grade))
    rollout = _rollout("5", source="no_such_grader" if fate == "no_such" else "maths")
    graded = graders.submit(rollout).result()
    assert (graded.parts["accuracy"], graded.verdict) == (score, verdict)
    assert graded.parts["format"] == 1.0 and graded.parts["random"] in (0.0, 1.0), "its form is graded all the same"
    assert graded.reward == (None if score is None else pytest.approx(1.0 + 0.5 * graded.parts["random"]))


NASTY = (
    "9^{9^{9^{9}}}", "1+" * 500_000 + "1", "(" * 5000 + "5" + ")" * 5000, r"\frac{" * 2000, "5" * 1_000_000, "99!!!!",
    r"\boxed{" * 20_000, "the answer is " * 80_000, "[" * 30 + "x^2" + "]" * 30, r"\sqrt{" * 300 + "2" + "}" * 300,
)  # fmt: skip


def timed(graders: GraderPool, answers: list[str]) -> tuple[float, list[Rollout]]:
    rollouts = [_rollout(answer, sample=i) for i, answer in enumerate(answers)]
    begin = time.monotonic()
    graded = graders.score(rollouts)
    return time.monotonic() - begin, graded


def test_trap18_of_512_samples_5_percent_pathological_cost_at_most_the_clean_time_and_a_limit(
    graders: GraderPool,
) -> None:
    clean_s, _ = timed(graders, [f"{i}.5" for i in range(512)])
    mixed_s, graded = timed(graders, [NASTY[i // 20 % len(NASTY)] if i % 20 == 0 else f"{i}.5" for i in range(512)])
    assert {r.parts["accuracy"] for r in graded} == {0.0}
    assert "timeout" not in {r.verdict for r in graded}, "all are seen through"
    assert mixed_s < 2 * clean_s + CFG.graders.timeout_s


def test_trap18_what_hangs_in_earnest_costs_the_others_its_patience_and_a_new_process(
    graders: GraderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_s, _ = timed(graders, [f"{i}.5" for i in range(512)])
    monkeypatch.setattr(pool_module, "grade", planted.grade_or_hang)
    mixed_s, graded = timed(graders, ["hang" if i % 20 == 0 else f"{i}.25" for i in range(512)])
    assert [r.verdict for r in graded[::20]] == ["timeout"] * 26
    assert {r.verdict for i, r in enumerate(graded) if i % 20} == {"wrong"}
    each_s = pool_module._PATIENCE_S / CFG.graders.workers + 0.1  # a process starts in a few hundredths of a second
    assert mixed_s < 2 * clean_s + CFG.graders.timeout_s + 26 * each_s


def test_telling_languages_apart_costs_no_worker_its_place() -> None:
    thought = "<think>These are more than enough words for a language to be told.</think><answer>5</answer>"
    rollouts = [dataclasses.replace(_rollout("5", sample=i), text=thought) for i in range(32)]
    with GraderPool(RewardConfig(language=1.0, target_language="en"), SEED, MAX_TOKENS) as pool:
        pool.score([_rollout("5", sample=i) for i in range(8)])
        before = pool._workers.pids()
        graded = pool.score(rollouts)
        assert set(before) & set(pool._workers.pids()), "each read the language model, and was taken to hang"
    assert {r.parts["language"] for r in graded} == {1.0}


@pytest.mark.slow
def test_a_thousand_ordinary_answers_are_graded_a_second() -> None:
    """Answers as in MATH, one in five an expression that sympy must read, each after a page of thought."""
    forms = (
        ("{}", "{}"), ("{}.5", "{}.50"), (r"\frac{{{}}}{{7}}", r"\dfrac{{{}}}{{7}}"), ("({}, 3)", r"\left({},3\right)"),
        (r"{}\sqrt{{2}}", r"\sqrt{{2}} \cdot {}"),
    )  # fmt: skip
    thought = "Let us see what follows from the first equation, and then check it. " * 30
    rollouts = []
    for i in range(8192):
        reference, answer = (form.format(i + 1) for form in forms[i % len(forms)])
        prompt = Prompt(f"{i // 8}", "What is x?", reference, "maths:bench")
        text = rf"<think>{thought}</think><answer>It is $\boxed{{{answer}}}$.</answer>"
        rollouts.append(Rollout(prompt, i % 8, np.zeros(500, np.int32), np.zeros(500, np.float32), text, "stop"))
    with GraderPool(RewardConfig(), SEED, 1000) as pool:
        pool.score([_rollout("5")])
        begin = time.monotonic()
        graded = pool.score(rollouts)
        rate = len(rollouts) / (time.monotonic() - begin)
    assert {r.verdict for r in graded} == {"right"}
    print(f"{rate:,.0f} answers a second")
    assert rate >= 1000


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
    with pytest.raises(ConfigError, match=r"nothing\.py"):
        GraderPool(parse(RewardConfig, {"custom": ({"function": f"{tmp_path}/nothing.py:f"},)}), SEED, MAX_TOKENS)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    judge = {"weight": 1.0, "base_url": "http://localhost:1", "model": "m", "api_key_env": "NO_SUCH_KEY"}
    with pytest.raises(ValueError, match="NO_SUCH_KEY"), GraderPool(parse(RewardConfig, {"judge": judge}), 0, 1):
        pass


def test_an_open_request_whose_grading_hangs_still_has_no_accuracy(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def hang(rollout):\n    while True: pass\n")
    custom = CustomReward(f"{tmp_path / 'mine.py'}:hang")
    cfg = RewardConfig(custom=(custom,), graders=GraderConfig(workers=1, timeout_s=0.5, memory_mb=512))
    with GraderPool(cfg, SEED, MAX_TOKENS) as pool:
        [graded] = pool.score([_rollout("Hello!", source="open")])
    assert (graded.parts, graded.reward, graded.verdict) == ({"format": 1.0, custom.part: None}, None, "open")
