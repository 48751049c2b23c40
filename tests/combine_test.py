"""Parts of a reward and their sum."""

import dataclasses

import numpy as np
import pytest

from r1jax.data.types import Prompt, Rollout
from r1jax.rewards.combine import RewardConfig, combine, grade

RIGHT = "<think>a</think><answer>5</answer>"


def _rollout(text: str = RIGHT, tokens: int = 0, sample: int = 0, prompt_id: str = "p", answer: str = "5") -> Rollout:
    prompt = Prompt(id=prompt_id, question="?", answer=answer, source="maths")
    return Rollout(prompt, sample, np.zeros(tokens, np.int32), np.zeros(tokens, np.float32), text, "stop")


def test_accuracy_and_format_are_recorded_whatever_their_weights() -> None:
    cfg = RewardConfig(accuracy=0.0, format=0.0)
    parts = grade(_rollout(), cfg, seed=0, max_tokens=10)
    assert parts == {"accuracy": 1.0, "format": 1.0}
    assert combine(parts, cfg) == 0.0


def test_the_source_decides_the_grader() -> None:
    prompt = Prompt("p", "2 + 3 =", "5", "reasoning_gym:chain_sum", metadata={"entry_metadata": {}})
    listed = dataclasses.replace(_rollout("<answer>It is 5</answer>"), prompt=prompt)
    assert grade(listed, RewardConfig(), 0, 10)["accuracy"] == 0.0  # reasoning-gym wants the bare number
    assert grade(_rollout("<answer>It is 5</answer>"), RewardConfig(), 0, 10)["accuracy"] == 1.0


def test_the_reward_is_the_weighted_sum() -> None:
    cfg = RewardConfig(accuracy=2.0, format=0.5, random=0.25, overlong_buffer=4)
    parts = {"accuracy": 1.0, "format": 1.0, "random": 1.0, "overlong": -0.5, "grader_timeout": 1.0}
    assert combine(parts, cfg) == pytest.approx(2.0 + 0.5 + 0.25 - 0.5)


def test_trap15_an_ungradable_part_makes_the_reward_none_only_where_it_has_weight() -> None:
    parts = grade(_rollout(answer="..."), RewardConfig(random=1.0), seed=0, max_tokens=10)
    assert parts["accuracy"] is None
    assert combine(parts, RewardConfig(random=1.0)) is None
    assert combine(parts, RewardConfig(accuracy=0.0)) == 1.0


def test_trap16_the_length_penalty_counts_tokens_not_characters() -> None:
    cfg = RewardConfig(overlong_buffer=4)
    assert grade(_rollout(RIGHT + " " * 1000, tokens=6), cfg, 0, max_tokens=10)["overlong"] == 0.0
    assert grade(_rollout(RIGHT, tokens=9), cfg, 0, max_tokens=10)["overlong"] == pytest.approx(-0.75)


def test_trap28_the_coin_is_fair_and_a_pure_function_of_seed_prompt_and_sample() -> None:
    cfg = RewardConfig(accuracy=0.0, format=0.0, random=1.0)

    def flips(seed: int) -> list[float | None]:
        rollouts = [_rollout("x", sample=sample, prompt_id=f"p{i}") for i in range(50) for sample in range(8)]
        return [combine(grade(rollout, cfg, seed, 10), cfg) for rollout in rollouts]

    first = flips(0)
    assert set(first) == {0.0, 1.0}
    assert sum(first) == pytest.approx(200, abs=40)  # four standard deviations
    assert flips(0) == first
    assert flips(1) != first
    blind = [grade(_rollout(text), cfg, 0, 10)["random"] for text in (RIGHT, "wrong", "")]
    assert len(set(blind)) == 1, "the control must not see the answer"


@pytest.mark.parametrize("field", [{"workers": 0}, {"timeout_s": 0.0}, {"overlong_buffer": -1}])
def test_an_impossible_config_is_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        RewardConfig(**field)
