"""Advantages and the weights of tokens, against numbers worked out by hand."""

import dataclasses

import numpy as np
import pytest

from r1jax.data.batching import pad_rollouts
from r1jax.data.types import Prompt, Rollout
from r1jax.losses.grpo import GRPOConfig, group_advantages, token_weights
from r1jax.rewards.config import RewardConfig
from r1jax.stages.groups import advantages_by_group
from r1jax.stages.rl_batch import minibatches

MAX_TOKENS = 9
AGGREGATIONS = ("sequence", "token", "dr_grpo")


def test_advantages_by_hand():
    rewards = np.array([[1.0, 0.0, 0.0, 0.0], [2.0, 4.0, 6.0, 8.0]])
    s, d = 3**0.5, 5**0.5
    expected = [[s, -1 / s, -1 / s, -1 / s], [-3 / d, -1 / d, 1 / d, 3 / d]]
    np.testing.assert_allclose(group_advantages(rewards, True), expected, rtol=1e-6)
    np.testing.assert_array_equal(group_advantages(rewards, False), [[0.75, -0.25, -0.25, -0.25], [-3, -1, 1, 3]])


@pytest.mark.parametrize("normalize_std", [True, False])
@pytest.mark.parametrize("row", [[0.95] * 8, [0.1 + 0.2] * 7 + [0.3], [0.0] * 3, [1.0]], ids=str)
def test_trap14_equal_rewards_and_groups_of_one_give_exactly_zero(row, normalize_std):
    out = group_advantages(np.array([row]), normalize_std)
    assert out.dtype == np.float32 and not out.any()


@pytest.mark.parametrize("normalize_std", [True, False])
def test_trap15_an_ungradable_sample_is_left_out_of_its_group(normalize_std):
    rollouts = [dataclasses.replace(rollout([1], [2]), reward=r) for r in (None, 1.0, 0.0, None, 0.7, None, None, None)]
    rollouts += [dataclasses.replace(rollouts[0]) for _ in range(4)]
    cfg = GRPOConfig(prompts_per_step=3, group_size=4, minibatches=1, normalize_std=normalize_std)
    with np.errstate(all="raise"):
        out = advantages_by_group(rollouts, cfg, RewardConfig())
    half = 1.0 if normalize_std else 0.5
    # Two gradable, one gradable, none.
    np.testing.assert_array_equal(out, [[0, half, -half, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def rollout(prompt: list[int], ids: list[int], logprob: float = -1.0, name: str = "p") -> Rollout:
    logprobs = np.full(len(ids), logprob, np.float32)
    return Rollout(Prompt(name, "", "", "", ids=tuple(prompt)), 0, np.array(ids, np.int32), logprobs, "", "stop")


def test_trap14_advantages_stay_with_their_rows_through_shuffling_and_splitting():
    cfg = GRPOConfig(prompts_per_step=4, group_size=4, minibatches=4, inner_epochs=2)
    rollouts = [rollout([1] * (1 + i % 3), [i, *[3] * (i % 5)]) for i in range(16)]
    advantages = np.arange(16.0) + 100
    batch = pad_rollouts(rollouts, advantages, 4)
    epochs = {}
    for n, part in enumerate(minibatches(batch, cfg, MAX_TOKENS, seed=3, step=7)):
        trained = part.weights > 0
        who = [int(row_targets[row.argmax()]) for row_targets, row in zip(part.targets, trained, strict=True)]
        np.testing.assert_array_equal(part.advantages[:, 0], advantages[who])
        assert trained.sum(axis=1).tolist() == [len(rollouts[i].ids) for i in who]
        np.testing.assert_array_equal(part.weights, token_weights(trained, "sequence", MAX_TOKENS))
        epochs.setdefault(n // 4, []).append(who)
    orders = [[i for part in parts for i in part] for parts in epochs.values()]
    assert [sorted(order) for order in orders] == [list(range(16))] * 2  # each epoch sees each row once
    assert orders[0] != orders[1] != list(range(16))
    again = next(minibatches(batch, cfg, MAX_TOKENS, seed=3, step=7))
    np.testing.assert_array_equal(again.advantages[:, 0], advantages[epochs[0][0]])


def test_token_weights_by_hand():
    """Three rows of 2, 1 and 0 tokens: the empty one counts nowhere."""
    mask = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0]])
    q = 1 / 4
    np.testing.assert_allclose(token_weights(mask, "sequence", 5), [[0, q, q], [2 * q, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(token_weights(mask, "token", 5), mask / 3, rtol=1e-6)
    np.testing.assert_allclose(token_weights(mask, "dr_grpo", 5), mask / 10, rtol=1e-6)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_trap11_a_fully_masked_batch_weighs_zero(aggregation):
    with np.errstate(all="raise"):
        assert not token_weights(np.zeros((2, 3)), aggregation, 5).any()
