"""The algorithm against numbers worked out by hand and a second, plain implementation that goes token by token.

That its gradient is the same however the batch is cut is here too, through the very update that training uses.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from advantages_test import AGGREGATIONS, MAX_TOKENS, rollout

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import Batch, pad_rollouts, take_rows, to_device
from r1jax.losses.auxiliary import AuxiliaryConfig
from r1jax.losses.grpo import GRPOConfig, group_advantages, grpo_loss, k3, surrogate, token_weights
from r1jax.losses.logprobs import batch_logprobs
from r1jax.models.config import ModelConfig
from r1jax.models.logits import Truncation
from r1jax.models.transformer import forward, param_specs
from r1jax.training import state
from r1jax.training.step import accumulate, make_update

MODEL = ModelConfig(vocab_size=12, embed_dim=8, num_layers=1, num_heads=2, num_kv_heads=2, head_dim=4, mlp_dim=8)
PLAIN = Truncation()
SMALL = {"prompts_per_step": 2, "group_size": 2, "minibatches": 1}
scored = jax.jit(batch_logprobs, static_argnums=(1, 3, 4))


# --- the loss


@pytest.fixture(scope="module")
def weights(mesh1):
    """Weights large enough for distributions that are far from uniform."""
    drawn = core.init(param_specs(MODEL), TRAIN_RULES, mesh1, seed=0)
    return {**drawn, "embed": 40 * drawn["embed"]}


@jax.jit
def naive_logprobs(params, batch):
    """Log-probs `[B, T]` and entropies from the whole logits."""
    hidden = forward(params, MODEL, batch.tokens, batch.positions, batch.segments).hidden
    log_p = jax.nn.log_softmax(hidden @ params["embed"].T)
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
    return jnp.take_along_axis(log_p, batch.targets[..., None], axis=-1)[..., 0], entropy


@jax.jit
def pulled(params, batch, slopes):
    """The gradient in the weights of what has these slopes in log-probs and entropies."""
    return jax.vjp(lambda params: naive_logprobs(params, batch), params)[1](slopes)[0]


def make_batch(weights, rows: int, seed: int = 0, bucket: int = 4) -> Batch:
    """Ragged rows; old, reference and sampler's log-probs scattered about the current ones. One row has no token."""
    rng = np.random.default_rng(seed)
    rollouts = [
        rollout(rng.integers(0, 12, rng.integers(1, 4)).tolist(), rng.integers(0, 12, n).tolist())
        for n in (0, *rng.integers(1, 6, rows - 1))
    ]
    batch = pad_rollouts(rollouts, np.linspace(-1.5, 1.5, rows)[rng.permutation(rows)], bucket)
    now = np.asarray(naive_logprobs(weights, batch)[0])
    old, ref, sampler = (now + rng.normal(0, scale, now.shape).astype(np.float32) for scale in (0.6, 0.6, 0.8))
    return dataclasses.replace(batch, old_logprobs=old, ref_logprobs=ref, sampler_logprobs=sampler)


def with_weights(batch: Batch, aggregation: str) -> Batch:
    return dataclasses.replace(batch, weights=token_weights(batch.weights > 0, aggregation, MAX_TOKENS))


def by_token(logprobs, entropy, batch: Batch, cfg: GRPOConfig) -> dict:
    """The loss by each aggregation, sequence by sequence and token by token: DeepSeekMath's eq. 3 and its variants."""
    sequences = []
    for i, mask in enumerate(np.asarray(batch.weights) > 0):
        tokens = []
        for t in np.flatnonzero(mask):
            A = float(batch.advantages[i, t])
            ratio = np.exp(logprobs[i, t] - batch.old_logprobs[i, t])
            if A >= 0:
                value = A * np.minimum(ratio, 1 + cfg.clip_high)
            else:
                value = A * np.maximum(ratio, 1 - cfg.clip_low)
                if cfg.dual_clip:
                    value = np.maximum(value, A * cfg.dual_clip)
            if cfg.importance_cap:
                gap = batch.old_logprobs[i, t] - batch.sampler_logprobs[i, t]
                value = value * min(float(np.exp(gap)), cfg.importance_cap)
            towards = batch.ref_logprobs[i, t] - logprobs[i, t]
            value = value - cfg.beta * (np.exp(towards) - towards - 1) + cfg.entropy_bonus * entropy[i, t]
            tokens.append(value)
        if tokens:
            sequences.append(tokens)
    sums, lengths = [sum(tokens) for tokens in sequences], [len(tokens) for tokens in sequences]
    return {
        "sequence": -sum(each / length for each, length in zip(sums, lengths, strict=True)) / len(sequences),
        "token": -sum(sums) / sum(lengths),
        "dr_grpo": -sum(sums) / (len(sequences) * MAX_TOKENS),
    }


def slopes(logprobs, entropy, batch: Batch, cfg: GRPOConfig) -> dict:
    """The derivatives of `by_token` in float64 log-probs and entropies, by differences: compiled, it takes seconds."""
    found = {aggregation: (np.zeros_like(logprobs), np.zeros_like(entropy)) for aggregation in AGGREGATIONS}
    for place in zip(*np.nonzero(np.asarray(batch.weights) > 0), strict=True):
        for which in (0, 1):
            sides = []
            for step in (1e-6, -1e-6):
                moved = [logprobs.copy(), entropy.copy()]
                moved[which][place] += step
                sides.append(by_token(*moved, batch, cfg))
            for aggregation, each in found.items():
                each[which][place] = (sides[0][aggregation] - sides[1][aggregation]) / 2e-6
    return found


CONFIGS = {
    "paper": GRPOConfig(**SMALL),
    "clips": GRPOConfig(**SMALL, clip_low=0.2, clip_high=0.3, beta=0.2),
    "dual": GRPOConfig(**SMALL, clip_low=0.9, clip_high=0.1, beta=0.0, dual_clip=1.2),
    "all": GRPOConfig(
        **SMALL, clip_low=0.2, clip_high=0.4, beta=0.1, dual_clip=1.5, importance_cap=1.3, entropy_bonus=0.3
    ),
}


def loss_of(cfg: GRPOConfig, truncation: Truncation = PLAIN):
    return lambda params, batch: grpo_loss(params, MODEL, batch, cfg, truncation, 3, AuxiliaryConfig())


@pytest.fixture(scope="module")
def gradients():
    """Config -> jitted (params, batch) -> ((loss, metrics), gradient)."""
    return {name: jax.jit(jax.value_and_grad(loss_of(cfg), has_aux=True)) for name, cfg in CONFIGS.items()}


def assert_close(ours, theirs, rtol=1e-4):
    """Equal to float32's rounding of sums whose terms are as large as the largest entry."""

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-5 * (np.abs(b).max() + 1e-3))

    jax.tree.map(close, ours, theirs)


@pytest.mark.parametrize("name", CONFIGS)
def test_loss_and_gradient_equal_the_token_by_token_form(weights, gradients, name):
    batch, cfg = make_batch(weights, 6), CONFIGS[name]
    logprobs, entropy = (np.asarray(x, np.float64) for x in naive_logprobs(weights, batch))
    losses, expected = (function(logprobs, entropy, batch, cfg) for function in (by_token, slopes))
    assert losses.keys() == set(AGGREGATIONS)
    for aggregation in AGGREGATIONS:
        (value, metrics), gradient = gradients[name](weights, with_weights(batch, aggregation))
        assert float(value) == pytest.approx(losses[aggregation], rel=1e-4)
        assert_close(gradient, pulled(weights, batch, jax.tree.map(np.float32, expected[aggregation])))
        # Not a test of nothing: in all but the paper's config the clips bind somewhere, and not everywhere.
        assert name == "paper" or 0 < metrics["clip/rate"] < metrics["weight"]


@pytest.mark.parametrize("name", ["paper", "all"])
def test_trap11_a_fully_masked_batch_costs_zero_and_pulls_nowhere(weights, gradients, name):
    batch = make_batch(weights, 6)
    wild = np.full_like(batch.weights, np.inf)
    batch = dataclasses.replace(
        batch, weights=0 * wild.clip(0, 1), old_logprobs=-wild, ref_logprobs=wild, sampler_logprobs=wild
    )
    (value, metrics), gradient = gradients[name](weights, batch)
    assert float(value) == 0.0 and all(float(x) == 0.0 for x in metrics.values())
    assert not any(np.any(g) for g in jax.tree.leaves(gradient))


def test_surrogate_by_hand():
    cfg = GRPOConfig(clip_low=0.2, clip_high=0.3, dual_clip=2.0)
    ratio = jnp.array([1.0, 1.5, 0.5, 1.0, 1.5, 0.5, 3.0])
    advantages = jnp.array([2.0, 2.0, 2.0, -2.0, -2.0, -2.0, -2.0])
    value, clipped = surrogate(ratio, advantages, cfg)
    np.testing.assert_allclose(value, [2.0, 2.6, 1.0, -2.0, -3.0, -1.6, -4.0], rtol=1e-6)
    assert clipped.tolist() == [0, 1, 0, 0, 0, 1, 1]


def test_trap12_on_policy_the_gradient_is_reinforce_with_a_group_baseline(weights):
    """With old log-probs left out, and with them given, as computed by the scorer's function, at the same weights."""
    cfg = GRPOConfig(**SMALL, clip_low=0.01, clip_high=0.01, beta=0.0)
    rewards = np.array([[1.0, 0.0, 0.25], [0.0, 0.0, 1.0]])
    batch = with_weights(make_batch(weights, 6), "sequence")
    advantages = np.float32(rewards - rewards.mean(axis=1, keepdims=True)).reshape(-1)
    np.testing.assert_allclose(group_advantages(rewards, False).reshape(-1), advantages, rtol=1e-6)
    batch = dataclasses.replace(
        batch,
        advantages=np.broadcast_to(advantages[:, None], batch.tokens.shape),
        ref_logprobs=None,
        old_logprobs=None,
    )

    def reinforce(params):
        return -jnp.sum(batch.weights * batch.advantages * naive_logprobs(params, batch)[0])

    expected = jax.jit(jax.grad(reinforce))(weights)
    gradient = jax.jit(jax.grad(loss_of(cfg), has_aux=True))
    old = np.asarray(scored(weights, MODEL, batch, Truncation(), 3)[0])
    for candidate in (batch, dataclasses.replace(batch, old_logprobs=old)):
        ours, metrics = gradient(weights, candidate)
        assert_close(ours, expected)
        assert float(metrics["ratio"] / metrics["weight"]) == pytest.approx(1.0, abs=1e-5)
        assert float(metrics["clip/rate"]) == 0.0


@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("log_ratio", [1.0, -1.0])
def test_trap12_the_clip_acts_at_both_signs_once_weights_have_moved(weights, gradients, advantage, log_ratio):
    batch = with_weights(make_batch(weights, 6), "token")
    now = np.asarray(naive_logprobs(weights, batch)[0])
    batch = dataclasses.replace(
        batch,
        advantages=np.full(batch.tokens.shape, advantage, np.float32),
        old_logprobs=now - np.float32(log_ratio),
        ref_logprobs=now,
    )
    (_, metrics), gradient = gradients["clips"](weights, batch)
    pulls = max(np.abs(g).max() for g in jax.tree.leaves(gradient))
    if advantage * log_ratio > 0:  # already moved the way the advantage asks for
        assert float(metrics["clip/rate"]) == pytest.approx(1.0)
        assert pulls < 1e-6  # what is left is the KL term's, 0 at equality but for rounding
    else:
        assert float(metrics["clip/rate"]) == 0.0 and pulls > 0.01


def test_trap12_a_rollout_of_more_than_one_update_needs_old_log_probs():
    def needs(minibatches, inner_epochs):
        return GRPOConfig(minibatches=minibatches, inner_epochs=inner_epochs).needs_old_logprobs

    assert not needs(1, 1) and needs(2, 1) and needs(1, 2)


def test_trap13_k3_is_an_estimate_of_the_kl_that_pulls_towards_the_reference():
    """On a vocabulary of 5 every token is enumerated. k1 as a loss is the control: on average it pulls nowhere."""

    def mean_gradient(logits, estimate):
        """E over y ~ pi of d estimate(y) / d logits, pi held fixed as sampling holds it."""
        p = jax.lax.stop_gradient(jax.nn.softmax(logits))
        return jax.grad(lambda logits: jnp.sum(p * estimate(jax.nn.log_softmax(logits))))(logits)

    @jax.jit
    def at(seed):
        """k3 of each token, its mean, the exact KL before and after a step against k3's pull, the pulls of all."""
        logits, ref = jax.random.normal(jax.random.key(seed), (2, 5))
        ref_log_p = jax.nn.log_softmax(ref)

        def exact(logits):
            log_p = jax.nn.log_softmax(logits)
            return jnp.sum(jnp.exp(log_p) * (log_p - ref_log_p))

        log_p = jax.nn.log_softmax(logits)
        each = k3(log_p, ref_log_p)
        pull = mean_gradient(logits, lambda lp: k3(lp, ref_log_p))
        k1 = mean_gradient(logits, lambda lp: lp - ref_log_p)
        before, after = exact(logits), exact(logits - 0.1 * pull)
        return each, jnp.sum(jnp.exp(log_p) * each), before, after, pull, jax.grad(exact)(logits), k1

    for seed in range(20):
        each, mean, before, after, pull, exact_pull, k1 = jax.device_get(at(seed))
        assert (each >= 0).all()
        assert float(mean) == pytest.approx(float(before), rel=1e-4)
        assert np.vdot(pull, exact_pull) > 0
        assert after < before
        np.testing.assert_allclose(k1, 0.0, atol=1e-6)
        assert np.abs(pull).max() > 0.01

    same = jnp.linspace(-20.0, 0.0, 50)
    np.testing.assert_array_equal(k3(same, same), np.zeros(50))
    np.testing.assert_array_equal(jax.grad(lambda lp: k3(lp, same).sum())(same), np.zeros(50))


# --- what the gradient must not depend on


def test_trap10_the_gradient_is_the_same_for_any_microbatching_devices_and_order(weights, mesh1, mesh8):
    """Plain SGD with rate 1, so that the weights' change is the gradient; metrics agree as well."""
    specs, tx, loss = param_specs(MODEL), optax.sgd(1.0), loss_of(CONFIGS["all"])
    shuffled = np.random.default_rng(1).permutation(16)
    ways = {
        (mesh, parts): make_update(loss, tx, specs, mesh, parts)
        for mesh, parts in ((mesh1, 1), (mesh1, 4), (mesh8, 1), (mesh8, 2))
    }
    whole = make_batch(weights, 16)
    for aggregation in AGGREGATIONS:
        batch = with_weights(whole, aggregation)
        results = []
        for rows in (np.arange(16), shuffled):
            for (mesh, parts), update in ways.items():
                if rows is shuffled and parts == 1:
                    continue
                with jax.set_mesh(mesh):
                    start = state.create(jax.device_get(weights), specs, tx, mesh)
                    end, metrics = update(start, to_device(take_rows(batch, rows), mesh))
                    step = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), weights, end.params)
                    results.append((step, jax.device_get(metrics)))
        first = results[0]
        assert max(np.abs(g).max() for g in jax.tree.leaves(first[0])) > 0.05
        for other in results[1:]:
            # The change is a difference of weights of size 1: good to 1e-6.
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=5e-6), first, other)


def test_trap10_weights_made_for_each_microbatch_would_not_do(weights):
    """What the test above guards against: the token mean of parts is not the token mean of the whole."""
    batch = make_batch(weights, 16)
    per_part = np.concatenate([token_weights(part > 0, "token", MAX_TOKENS) for part in np.split(batch.weights, 4)]) / 4
    assert np.abs(per_part - token_weights(batch.weights > 0, "token", MAX_TOKENS)).max() > 1e-3


def test_trap03_a_row_pulls_alike_alone_in_company_and_in_any_bucket(weights, gradients):
    together = make_batch(weights, 6)
    (_, _), alone = gradients["all"](weights, take_rows(together, np.array([2])))
    muted = dataclasses.replace(together, weights=together.weights * (np.arange(6) == 2)[:, None])
    (_, _), in_company = gradients["all"](weights, muted)
    wide = jax.tree.map(lambda x: np.pad(x, ((0, 0), (0, 5))) if x.ndim > 1 else x, take_rows(together, np.array([2])))
    wide = dataclasses.replace(wide, positions=np.arange(wide.tokens.shape[1], dtype=np.int32)[None])
    (_, _), in_a_large_bucket = gradients["all"](weights, wide)
    assert_close(in_company, alone)
    assert_close(in_a_large_bucket, alone)


def test_trap04_the_loss_covers_what_was_sampled_end_of_sequence_included_and_nothing_after(weights):
    """The end of sequence is id 0, which also fills the padding. Which tokens count is read off a gradient."""
    rollouts = [rollout([5, 6], [7, 0]), rollout([5], [0]), rollout([5, 6, 7], [8, 9, 3]), rollout([4, 0, 4], [0])]
    batch = with_weights(pad_rollouts(rollouts, np.ones(4), 8), "token")
    now = np.asarray(naive_logprobs(weights, batch)[0])

    @jax.jit
    @jax.grad
    def gradient(old, batch):
        return loss_of(CONFIGS["paper"])(weights, dataclasses.replace(batch, old_logprobs=old))[0]

    felt = np.asarray(gradient(now, batch))
    expected = np.zeros((4, 8), bool)
    expected[0, 1:3] = expected[1, 0] = expected[2, 2:5] = expected[3, 2] = True
    np.testing.assert_array_equal(felt != 0, expected)
    # What fills the padding does not matter.
    filled = dataclasses.replace(
        batch, tokens=np.where(batch.segments, batch.tokens, 11), targets=np.where(batch.segments, batch.targets, 11)
    )
    np.testing.assert_array_equal(gradient(now, filled), felt)


def test_on_the_truncated_distribution_the_ratio_of_unmoved_weights_is_one(weights):
    """Scored as it is sampled: with top-k and a temperature, against log-probs scored the same way."""
    truncation = Truncation(0.7, 4, 0.9)
    batch = dataclasses.replace(with_weights(make_batch(weights, 6), "token"), ref_logprobs=None)
    now = np.asarray(scored(weights, MODEL, batch, truncation, 3)[0])
    batch = dataclasses.replace(batch, old_logprobs=now, sampler_logprobs=now)
    _, metrics = jax.jit(loss_of(GRPOConfig(**SMALL), truncation))(weights, batch)
    assert float(metrics["ratio"]) == pytest.approx(1.0, abs=1e-5) and float(metrics["sampler_gap/max"]) < 1e-5


def test_accumulate_keeps_maxima_and_adds_the_rest(weights, gradients):
    batch = with_weights(make_batch(weights, 6), "token")
    one = gradients["paper"](weights, batch)[0][1]
    two = jax.jit(lambda: accumulate(loss_of(CONFIGS["paper"]), weights, batch, 2)[1])()
    gap = np.where(batch.weights > 0, np.abs(batch.old_logprobs - batch.sampler_logprobs), 0)
    for metrics in (one, two):
        assert float(metrics["sampler_gap/max"]) == pytest.approx(gap.max(), rel=1e-6)
        assert float(metrics["sampler_gap/mean"]) == pytest.approx((gap * batch.weights).sum(), rel=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"group_size": 1}, "a group of one has no baseline"),
        ({"prompts_per_step": 3, "group_size": 3, "minibatches": 2}, "9 samples do not split into minibatches=2"),
        ({"dual_clip": 0.5}, "dual_clip=0.5 must be above 1"),
    ],
)
def test_configs_without_meaning_raise(change, message):
    with pytest.raises(ValueError, match=message):
        GRPOConfig(**change)
