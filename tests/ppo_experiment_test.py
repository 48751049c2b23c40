"""PPO of experiments/paper: rewards of tokens, GAE and the value loss by hand, and a run that is resumed."""

import dataclasses
import pathlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from half_right_graders import Graders
from paper_scripts import script
from tiny_run import ZERO, merged, rows, timeless

from r1jax import config
from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import pack_rows, pad_rollouts, to_device
from r1jax.data.types import Prompt, Rollout
from r1jax.models import transformer
from r1jax.models.io import load_model, save_model
from r1jax.models.reward import HEAD, param_specs
from r1jax.stages import rl
from r1jax.training import checkpoint

critic, training = map(script, ("ppo_critic", "ppo_training"))

MASK = np.array([[0, 1, 1, 1, 0], [1, 1, 0, 0, 0]], np.float32)


def test_a_tokens_reward_is_its_kl_penalty_and_the_last_ones_the_rollouts_too():
    logprobs = np.array([[9, -1.0, -2.0, -3.0, 9], [-1.0, -1.0, 9, 9, 9]])
    reference = np.array([[7, -2.0, -2.0, -1.0, 5], [-0.5, -3.0, 7, 7, 7]])
    rewards = critic.token_rewards(np.array([2.0, 1.0]), MASK, logprobs, reference, 0.1)
    np.testing.assert_allclose(rewards, [[0, -0.1, 0, 2.2, 0], [0.05, 0.8, 0, 0, 0]], atol=1e-12)
    without = critic.token_rewards(np.array([2.0, 1.0]), MASK, logprobs, None, 0.0)
    np.testing.assert_array_equal(without, [[0, 0, 0, 2, 0], [0, 1, 0, 0, 0]])


def test_generalised_advantages_by_hand():
    rewards = np.array([[0, 0.5, 0.0, 2.0, 0], [0.0, 1.0, 0, 0, 0]])
    values = np.array([[7, 1.0, 0.5, 1.5, 7], [0.25, 0.5, 7, 7, 7]])
    # delta: 0.5 + 0.5 - 1, 0 + 1.5 - 0.5, 2 - 1.5; and 0.5 - 0.25, 1 - 0.5
    advantages, targets = critic.generalized_advantages(rewards, values, MASK, 0.5)
    np.testing.assert_allclose(advantages, [[0, 0.625, 1.25, 0.5, 0], [0.5, 0.5, 0, 0, 0]])
    np.testing.assert_allclose(targets, [[0, 1.625, 1.75, 2.0, 0], [0.75, 1.0, 0, 0, 0]])
    # lambda 0: one step's difference. lambda 1: the rewards to come, less the value.
    by_step, _ = critic.generalized_advantages(rewards, values, MASK, 0.0)
    np.testing.assert_allclose(by_step, [[0, 0, 1.0, 0.5, 0], [0.25, 0.5, 0, 0, 0]])
    _, to_come = critic.generalized_advantages(rewards, values, MASK, 1.0)
    np.testing.assert_allclose(to_come, [[0, 2.5, 2.0, 2.0, 0], [1.0, 1.0, 0, 0, 0]])


def test_with_lambda_below_1_a_last_reward_fades_towards_the_first_token():
    """A critic that knows nothing: the k-th token before the last gets 0.95^k of the reward."""
    tokens = 100
    mask, rewards = np.ones((1, tokens)), np.zeros((1, tokens))
    rewards[0, -1] = 1.0
    advantages, _ = critic.generalized_advantages(rewards, np.zeros((1, tokens)), mask, 0.95)
    np.testing.assert_allclose(advantages[0, ::-1], 0.95 ** np.arange(tokens), rtol=1e-6)


def test_whitened_advantages_are_of_the_masks_tokens_alone():
    advantages = np.array([[50, 1.0, 2.0, 3.0, 50], [0.0, 4.0, 50, 50, 50]], np.float32)
    of_tokens = np.array([1.0, 2.0, 3.0, 0.0, 4.0])  # mean 2, population's deviation sqrt(2)
    white = critic.whitened(advantages, MASK)
    np.testing.assert_allclose(white[MASK > 0], (of_tokens - 2) / np.sqrt(2), rtol=1e-6)
    assert not white[MASK == 0].any()
    assert not critic.whitened(advantages, np.zeros_like(MASK)).any()


def test_explained_variance_by_hand():
    targets = np.array([[0, 1.0, 2.0, 3.0, 0], [0.0, 4.0, 0, 0, 0]])  # of the mask: 1, 2, 3, 0, 4, variance 2
    assert critic.explained_variance(targets + 7, targets, MASK) == pytest.approx(1.0)
    assert critic.explained_variance(np.full_like(targets, 3.0), targets, MASK) == pytest.approx(0.0)
    assert critic.explained_variance(targets / 2, targets, MASK) == pytest.approx(0.75)
    assert critic.explained_variance(targets, np.ones_like(targets), MASK) == 0.0


def rollout(question: int, sample: int, tokens: int, reward: float | None = 0.0) -> Rollout:
    prompt = Prompt(f"q{question}", "?", "1", "maths", ids=(10, 11 + question))
    ids = np.random.default_rng([question, sample]).integers(4, 300, tokens).astype(np.int32)
    return Rollout(prompt, sample, ids, -np.ones(tokens, np.float32), "", "stop", reward)


@pytest.fixture(scope="module")
def batch():
    """Eight rows of 3 to 8 tokens, whose targets are their rows' numbers; all tokens weigh the same."""
    rollouts = [rollout(i // 4, i % 4, 3 + i % 6) for i in range(8)]
    padded = pad_rollouts(rollouts, np.arange(8.0), bucket=32)
    return dataclasses.replace(padded, weights=padded.weights / padded.weights.sum())


def with_head(params, head):
    return {**params, HEAD: jnp.asarray(head, jnp.float32)}


def test_the_value_loss_and_its_gradient_in_the_head_by_hand(tiny, tiny_params, mesh1, batch):
    rows_of_batch = to_device(batch, mesh1)
    with jax.set_mesh(mesh1):
        output = transformer.forward(
            tiny_params, tiny, rows_of_batch.tokens, rows_of_batch.positions, rows_of_batch.segments, one_segment=True
        )
        both = jax.jit(jax.value_and_grad(lambda params: critic.value_loss(params, tiny, rows_of_batch)[0]))
        loss, gradient = both(with_head(tiny_params, np.zeros(tiny.embed_dim)))
    w, targets = np.asarray(batch.weights), np.asarray(batch.advantages)
    # A head of zeros: all values are 0, the loss half the mean square target, d loss / d head = -sum w target hidden.
    assert float(loss) == pytest.approx(0.5 * float((w * targets**2).sum()), rel=1e-5)
    by_hand = -np.einsum("bt,btd->d", w * targets, np.asarray(output.hidden))
    np.testing.assert_allclose(gradient[HEAD], by_hand, rtol=1e-4, atol=1e-5)
    assert not np.asarray(gradient["embed"]).any()  # nothing comes through a head of zeros


def test_values_are_those_before_their_tokens_packed_or_not_and_on_any_mesh(tiny, tiny_params, mesh1, mesh8, batch):
    head = np.random.default_rng(0).normal(size=tiny.embed_dim).astype(np.float32)

    def values(mesh, rows_of_batch):
        specs = param_specs(tiny)
        params = jax.device_put(with_head(tiny_params, head), core.shardings(specs, TRAIN_RULES, mesh))
        with jax.set_mesh(mesh):
            computed = jax.jit(lambda params, batch: critic.token_values(params, tiny, batch))(
                {name: value for name, value in params.items() if name in specs}, to_device(rows_of_batch, mesh)
            )
        return np.asarray(computed)

    alone = values(mesh1, batch)
    np.testing.assert_allclose(values(mesh8, batch), alone, rtol=1e-4, atol=1e-5)
    packed, places = pack_rows(batch, 8)
    assert places is not None
    of_packed = values(mesh1, packed)
    for source, target in places:
        np.testing.assert_allclose(of_packed[target], alone[source], rtol=1e-4, atol=1e-5)
    # The value at a position knows nothing of its target, the token that it is the value before.
    changed = batch.tokens.copy()
    changed[:, 4:] = 5
    other = values(mesh1, dataclasses.replace(batch, tokens=changed))
    np.testing.assert_allclose(other[:, :4], alone[:, :4], rtol=1e-4, atol=1e-5)


def test_a_rollout_that_cannot_be_graded_is_in_neither_batch():
    rollouts = [rollout(0, 0, 2, 1.0), rollout(0, 1, 2, None), rollout(0, 2, 2, 0.0)]
    padded = pad_rollouts(rollouts, np.zeros(3), bucket=4)
    cfg = SimpleNamespace(kl_in_reward=0.0, gae_lambda=1.0)
    of_policy, of_critic, metrics = training.with_advantages(padded, rollouts, np.full((3, 4), 0.5), cfg)
    np.testing.assert_array_equal(of_policy.weights, [[0, 1, 1, 0], [0] * 4, [0, 1, 1, 0]])
    np.testing.assert_allclose(of_policy.advantages, [[0, 1, 1, 0], [0] * 4, [0, -1, -1, 0]], rtol=1e-6)
    np.testing.assert_array_equal(of_critic.advantages, [[0, 1, 1, 0], [0] * 4, [0, 0, 0, 0]])
    assert metrics["advantage/std"] == pytest.approx(0.5) and metrics["reward/kl"] == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gae_lambda": 1.5}, r"gae_lambda=1\.5 must be between 0 and 1"),
        ({"grpo__dynamic_sampling_rounds": 1}, r"PPO with a critic has no grpo\.dynamic_sampling_rounds; leave it out"),
    ],
)
def test_settings_that_it_does_not_have_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        config.parse(training.PPOConfig, merged(ZERO, base="base", **changes))


def leaves(folder: pathlib.Path, mesh) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(load_model(folder, mesh)[0])]


@pytest.mark.usefixtures("shared_engines")
def test_a_resumed_run_ends_as_one_that_was_not(tmp_path, tiny, tiny_params, tokenizer, mesh1, monkeypatch):
    base = tmp_path / "base"
    save_model(base, tiny_params, tiny, tokenizer)
    tree = merged(
        ZERO,
        num_steps=3,
        base="base",
        mesh={"data": 1},
        evaluation__every=0,
        checkpoint__every=2,
        sampling__max_new_tokens=8,
        grpo__beta=0.0,
        kl_in_reward=0.05,
        gae_lambda=0.9,
    )
    cfg = config.parse(training.PPOConfig, tree)
    save = checkpoint.Checkpoints.save

    def save_and_break(self, finished, trees):
        save(self, finished, trees)
        if finished == 2:
            self.close()
            raise InterruptedError

    monkeypatch.setattr(rl, "GraderPool", Graders)
    with jax.set_mesh(mesh1):
        whole = training.run(cfg, tmp_path / "whole", mesh1, base)
        with monkeypatch.context() as patch, pytest.raises(InterruptedError):
            patch.setattr(checkpoint.Checkpoints, "save", save_and_break)
            training.run(cfg, tmp_path / "broken", mesh1, base)
        resumed = training.run(cfg, tmp_path / "broken", mesh1, base)
    for one, other in zip(leaves(whole, mesh1), leaves(resumed, mesh1), strict=True):
        np.testing.assert_array_equal(one, other)
    first, second = (rows(tmp_path / name / "metrics.jsonl") for name in ("whole", "broken"))
    assert len(first) == 3 and list(map(timeless, first)) == list(map(timeless, second))
    # The policy and the critic both learnt, and what the penalty took is in the row.
    assert any((a != b).any() for a, b in zip(leaves(base, mesh1), leaves(whole, mesh1), strict=True))
    assert first[0]["value/mean"] == 0.0 != first[1]["value/mean"]
    assert first[0]["reward/kl"] == pytest.approx(0.0, abs=1e-4) and first[2]["reward/kl"] != 0.0
