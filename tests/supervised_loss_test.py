"""Cross-entropy is the weighted sum of -log p(target), and a row's log-probs and gradient are its own affair."""

import dataclasses

import jax
import numpy as np
import pytest

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import pack
from r1jax.losses.auxiliary import AuxiliaryConfig
from r1jax.losses.logprobs import batch_logprobs
from r1jax.losses.supervised import cross_entropy_loss
from r1jax.models.config import ModelConfig
from r1jax.models.logits import Truncation
from r1jax.models.transformer import forward, param_specs

TINY = ModelConfig(vocab_size=23, embed_dim=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, mlp_dim=8)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # the same float32 sums in another order


@pytest.fixture(scope="module")
def weights(mesh1):
    drawn = core.init(param_specs(TINY), TRAIN_RULES, mesh1, seed=0)
    return {**drawn, "embed": 40 * drawn["embed"]}  # far from uniform


@pytest.fixture(scope="module")
def gradient(weights):
    run = jax.jit(
        jax.value_and_grad(lambda params, batch: cross_entropy_loss(params, TINY, batch, 5, AuxiliaryConfig())[0])
    )
    return lambda batch: run(weights, batch)


def examples(lengths):
    rng = np.random.default_rng(0)
    return [(rng.integers(0, TINY.vocab_size, n).tolist(), [1] * n) for n in lengths]


def test_the_loss_is_the_mean_negative_log_prob(weights):
    ids, _ = examples([9])[0]
    batch, _ = pack([(ids, [0] * 4 + [1] * 5)], 1, 8)
    positions = np.arange(8, dtype=np.int32)[None]
    logits = forward(weights, TINY, np.array([ids[:8]]), positions)[0][0] @ weights["embed"].T
    expected = -np.mean([jax.nn.log_softmax(logits[t])[ids[t + 1]] for t in range(3, 8)])
    np.testing.assert_allclose(cross_entropy_loss(weights, TINY, batch, 5, AuxiliaryConfig())[0], expected, rtol=1e-5)


def test_trap03_packing_and_padding_move_neither_loss_nor_gradient(gradient):
    """Five examples, packed tightly in two rows, or one a row with room after each and a row of nothing."""
    five = examples([9, 4, 5, 7, 2])
    tight, left_over = pack(five, 2, 12)
    loose, more_left_over = pack(five, 5, 8)
    assert left_over == more_left_over == 0
    roomy = jax.tree.map(lambda x: np.pad(x, ((0, 1), (0, 7))), loose)
    tight, roomy = gradient(tight), gradient(roomy)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), tight, roomy)


def test_trap11_a_batch_of_nothing_costs_nothing(gradient):
    batch, _ = pack([], 2, 12)
    value, grads = gradient(batch)
    assert float(value) == 0.0 and not any(np.any(g) for g in jax.tree.leaves(grads))


def test_log_probs_are_those_of_the_truncated_distribution(weights):
    """At temperature 0.5 with top-k 3, each position's candidate log-probs sum to 1 over the kept tokens."""
    ids, _ = examples([6])[0]
    batch, _ = pack([(ids, [1] * 6)], 1, 8)
    truncation = Truncation(0.5, 3)
    logits = np.asarray(forward(weights, TINY, batch.tokens, batch.positions, batch.segments)[0] @ weights["embed"].T)
    top = np.argsort(-logits, axis=-1)[..., :3]
    total = sum(
        np.exp(batch_logprobs(weights, TINY, dataclasses.replace(batch, targets=top[..., i]), truncation, 8)[0])
        for i in range(3)
    )
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)
