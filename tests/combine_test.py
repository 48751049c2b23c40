"""Reward of a rollout: its parts, their weighted sum, and the table of reward functions."""

import dataclasses
import importlib
from typing import Any

import pytest

from r1jax import rewards
from r1jax.config import ConfigError, parse
from r1jax.data.types import Prompt, Rollout
from r1jax.graders.config import JudgeConfig
from r1jax.rewards.combine import Parts, bounded_parts, combine, grade, weights
from r1jax.rewards.config import RewardConfig, RewardModelConfig

RIGHT = "<think>a</think><answer>5</answer>"


def _rollout(text: str = RIGHT, tokens: int = 0, sample: int = 0, prompt_id: str = "p", answer: str = "5") -> Rollout:
    prompt = Prompt(id=prompt_id, question="?", answer=answer, source="maths")
    return Rollout.of_text(prompt, text, sample, tokens=tokens)


def _parts(rollout: Rollout, cfg: RewardConfig | None = None, seed: int = 0) -> Parts:
    return grade(rollout, cfg or RewardConfig(), seed, max_tokens=10)[0]


def test_accuracy_and_format_are_recorded_whatever_their_weights() -> None:
    cfg = RewardConfig(accuracy=0.0, format=0.0)
    parts, graded = grade(_rollout(), cfg, seed=0, max_tokens=10)
    assert (parts, graded.verdict) == ({"accuracy": 1.0, "format": 1.0}, "right")
    assert combine(parts, cfg) == 0.0


def test_the_source_decides_the_grader() -> None:
    prompt = Prompt("p", "2 + 3 =", "5", "reasoning_gym:chain_sum", metadata={"entry_metadata": {}})
    listed = dataclasses.replace(_rollout("<answer>It is 5</answer>"), prompt=prompt)
    assert _parts(listed)["accuracy"] == 0.0  # reasoning-gym accepts the bare number only
    assert _parts(_rollout("<answer>It is 5</answer>"))["accuracy"] == 1.0


def test_the_reward_is_the_weighted_sum() -> None:
    cfg = RewardConfig(accuracy=2.0, format=0.5, random=0.25, overlong_buffer=4)
    parts = {"accuracy": 1.0, "format": 1.0, "random": 1.0, "overlong": -0.5}
    assert combine(parts, cfg) == pytest.approx(2.0 + 0.5 + 0.25 - 0.5)


def test_trap15_an_ungradable_part_makes_the_reward_none_only_where_it_has_weight() -> None:
    parts = _parts(_rollout(answer="..."), RewardConfig(random=1.0))
    assert parts["accuracy"] is None
    assert combine(parts, RewardConfig(random=1.0)) is None
    assert combine(parts, RewardConfig(accuracy=0.0)) == 1.0


def test_trap16_the_length_penalty_counts_tokens_not_characters() -> None:
    cfg = RewardConfig(overlong_buffer=4)
    assert _parts(_rollout(RIGHT + " " * 1000, tokens=6), cfg)["overlong"] == 0.0
    assert _parts(_rollout(RIGHT, tokens=9), cfg)["overlong"] == pytest.approx(-0.75)
    half = RewardConfig(overlong=0.5, overlong_buffer=4)
    assert combine({"accuracy": 1.0, "format": 0.0, "overlong": -0.5}, half) == pytest.approx(0.75)


def test_trap28_the_coin_is_fair_and_a_pure_function_of_seed_prompt_and_sample() -> None:
    cfg = RewardConfig(accuracy=0.0, format=0.0, random=1.0)

    def coin_flips(seed: int) -> list[float | None]:
        rollouts = [_rollout("x", sample=sample, prompt_id=f"p{i}") for i in range(50) for sample in range(8)]
        return [combine(_parts(rollout, cfg, seed), cfg) for rollout in rollouts]

    first = coin_flips(0)
    assert set(first) == {0.0, 1.0}
    assert sum(first) == pytest.approx(200, abs=40)  # four standard deviations
    assert coin_flips(0) == first
    assert coin_flips(1) != first
    without_reference = [_parts(_rollout(text), cfg)["random"] for text in (RIGHT, "wrong", "")]
    assert len(set(without_reference)) == 1, "the control must not see the answer"


def test_every_reward_that_has_weight_has_its_part() -> None:
    section = {
        "language": 1.0,
        "repetition": 1.0,
        "random": 1.0,
        "overlong_buffer": 4,
        "target_language": "en",
        "judge": {"weight": 1.0, "base_url": "http://localhost", "model": "m"},
        "models": ({"name": "helpfulness", "path": "rm"},),
        "custom": ({"function": "mine.py:twice", "weight": 3.0},),
    }
    cfg = parse(RewardConfig, section)
    outside = {"judge", "model/helpfulness", "custom/twice"}  # computed elsewhere
    parts = _parts(_rollout("<think>a thought in words</think><answer>5</answer>"), cfg)
    assert parts.keys() == weights(cfg).keys() - outside
    assert parts["language"] == 1.0 and parts["repetition"] == 0.0
    assert bounded_parts(_rollout(), cfg, 0, 10).keys() == parts.keys() - {"accuracy"}
    assert combine(parts | dict.fromkeys(outside), cfg) is None
    total = sum(weight * (parts | dict.fromkeys(outside, 0.5))[name] for name, weight in weights(cfg).items())
    assert combine(parts | dict.fromkeys(outside, 0.5), cfg) == pytest.approx(total)


def test_the_table_of_reward_functions_lists_every_part_and_functions_that_exist() -> None:
    rows = [line.split() for line in rewards.__doc__.splitlines() if line.startswith("    ")][1:]
    cfg = RewardConfig(
        **dict.fromkeys(("language", "repetition", "random"), 1.0),
        overlong_buffer=4,
        judge=JudgeConfig(weight=1.0, base_url="http://localhost", model="m"),
        models=(RewardModelConfig("<name>", "rm"),),
    )
    assert {row[0] for row in rows[:-1]} == weights(cfg).keys()
    assert rows[-1][0] == "custom/<name>"
    for *_, function in rows:
        owner, _, name = function.rpartition(".")
        if owner.startswith("inference."):  # not imported: it needs jax
            continue
        module = owner.removesuffix(".Judge")
        module = importlib.import_module(f"r1jax.{module}" if "." in module else f"r1jax.rewards.{module}")
        assert callable(getattr(module.Judge if owner.endswith(".Judge") else module, name)), function


@pytest.mark.parametrize(
    "section, message",
    [
        ({"graders": {"workers": 0}}, "workers"),
        ({"graders": {"timeout_s": 0.0}}, "timeout_s"),
        ({"graders": {"code": {"time_s": 0.0}}}, "time_s"),
        ({"overlong_buffer": -1}, "overlong_buffer"),
        ({"judge": {"weight": 1.0}}, "base_url"),
        ({"custom": ({"function": "mine.py"},)}, r"path/file\.py:name"),
        ({"custom": ({"function": "a.py:f"}, {"function": "b.py:f"})}, "custom/f"),
    ],
)
def test_an_impossible_config_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(RewardConfig, section)


def test_an_open_request_has_no_accuracy_and_its_other_parts_make_the_reward():
    prompt = Prompt("hello", "Hello!", "", "open")
    rollout = Rollout.of_text(prompt, "<think>a</think><answer>Hello!</answer>", tokens=3)
    parts, graded = grade(rollout, RewardConfig(), 0, 10)
    assert (graded.score, graded.verdict) == (None, "open") and "accuracy" not in parts
    assert combine(parts, RewardConfig()) == 1.0  # of its format
