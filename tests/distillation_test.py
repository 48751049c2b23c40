"""Learning from a teacher's distribution: the divergence by hand and exactly, its gradient, and what moves neither."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from logprobs_test import BIG, CHUNK, LENGTH, ROWS, assert_logits_never_whole, big  # noqa: F401 - a fixture

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import pack, to_device
from r1jax.losses.auxiliary import AuxiliaryConfig
from r1jax.losses.distillation import DistillationConfig, distillation_loss, divergence, soft_targets
from r1jax.losses.supervised import cross_entropy_loss
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import forward, param_specs, unembed_table
from r1jax.training.step import accumulate

B, T, D, V = 2, 10, 6, 19
TINY = ModelConfig(vocab_size=24, embed_dim=8, num_layers=1, num_heads=2, num_kv_heads=2, head_dim=4, mlp_dim=8)
BOTH = pytest.mark.parametrize("kl", ["forward", "reverse"])


@pytest.fixture(scope="module")
def inputs():
    """The student's states and table, and the whole distribution of a teacher."""
    return drawn()


@jax.jit
def drawn():
    keys = jax.random.split(jax.random.key(0), 3)
    hidden, table = jax.random.normal(keys[0], (B, T, D)), jax.random.normal(keys[1], (V, D))
    return hidden, table, jax.nn.log_softmax(2 * jax.random.normal(keys[2], (B, T, V)))


def outcomes(log_p, ids):
    """Log-probs of the tokens named and, last, of all others, by a sum over the vocabulary for each."""
    named = jax.nn.one_hot(ids, log_p.shape[-1])
    members = jnp.concatenate([named, 1 - named.sum(axis=-2, keepdims=True)], axis=-2)
    return jnp.log(jnp.einsum("btkv,btv->btk", members, jnp.exp(log_p)))


@functools.partial(jax.jit, static_argnums=1)
def likeliest(log_p, k):
    """As a teacher would store it, but in float32."""
    ids = jax.lax.top_k(log_p, k)[1]
    return ids, outcomes(log_p, ids)


def naive(hidden, table, ids, log_p, kl, temperature):
    """The divergence from whole softmaxes."""
    log_q, log_p = outcomes(jax.nn.log_softmax(hidden @ table.T / temperature), ids), jax.nn.log_softmax(log_p)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q) if kl == "forward" else jnp.exp(log_q) * (log_q - log_p), axis=-1)


jitted = jax.jit(divergence, static_argnums=(4, 5, 6))
targets = jax.jit(soft_targets, static_argnums=(2, 3, 4, 5))


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def value_and_gradient(hidden, table, ids, log_p, kl, temperature, chunk):
    """The sum of the divergences, and its gradient in the states."""
    return jax.value_and_grad(lambda h: divergence(h, table, ids, log_p, kl, temperature, chunk).sum())(hidden)


def test_both_divergences_by_hand():
    """The teacher names two of four tokens, and gives them and the tail 1/2, 1/4, 1/4; the student 1/4, 1/4, 1/2."""
    hidden, table = jnp.ones((1, 1, 1)), jnp.log(jnp.array([[0.25], [0.125], [0.25], [0.375]]))
    ids, log_p = jnp.array([[[2, 0]]]), jnp.log(jnp.array([[[0.5, 0.25, 0.25]]]))
    forward_kl = 0.5 * math.log(2) + 0.25 * math.log(1) + 0.25 * math.log(0.5)
    reverse_kl = 0.25 * math.log(0.5) + 0.25 * math.log(1) + 0.5 * math.log(2)
    np.testing.assert_allclose(jitted(hidden, table, ids, log_p, "forward", 1.0, 8), [[forward_kl]], rtol=1e-6)
    np.testing.assert_allclose(jitted(hidden, table, ids, log_p, "reverse", 1.0, 8), [[reverse_kl]], rtol=1e-6)
    # At temperature 1/2 the student's shares are squared: 4, 1, 4, 9 of 18.
    halved = jitted(hidden, table, ids, log_p, "forward", 0.5, 8)
    expected = 0.5 * math.log(0.5 * 18 / 4) + 0.25 * math.log(0.25 * 18 / 4) + 0.25 * math.log(0.25 * 18 / 10)
    np.testing.assert_allclose(halved, [[expected]], rtol=1e-6)


@BOTH
def test_with_all_tokens_named_it_is_the_exact_divergence_which_fewer_never_exceed(inputs, kl):
    hidden, table, log_p = inputs
    log_p, log_q = np.float32(log_p), np.float32(jax.nn.log_softmax(hidden @ table.T))
    exact = np.sum(np.exp(log_p) * (log_p - log_q) if kl == "forward" else np.exp(log_q) * (log_q - log_p), axis=-1)
    before = np.zeros((B, T))
    for k in (1, 3, 10, V - 1):
        now = np.asarray(jitted(hidden, table, *likeliest(log_p, k), kl, 1.0, 4))
        assert (now >= before - 1e-6).all() and (now <= exact + 1e-5).all()
        before = now
    ids = np.argsort(-log_p, axis=-1)
    whole = np.pad(np.take_along_axis(log_p, ids, -1), ((0, 0), (0, 0), (0, 1)), constant_values=-np.inf)
    np.testing.assert_allclose(jitted(hidden, table, ids, whole, kl, 1.0, 4), exact, rtol=2e-5, atol=2e-6)


@BOTH
@pytest.mark.parametrize("k, temperature, chunk", [(1, 1.0, 4), (5, 1.0, 64), (5, 2.0, 1), (V - 1, 0.7, 5)])
def test_values_and_gradients_equal_autodiff_of_the_whole_softmax(inputs, kl, k, temperature, chunk):
    hidden, table, log_p = inputs
    ids, log_p = likeliest(log_p, k)
    cotangent = np.float32(np.random.default_rng(1).normal(size=(B, T)))

    @functools.partial(jax.jit, static_argnums=0)
    def pulled(function, hidden, table):
        value, pull = jax.vjp(function, hidden, table)
        return value, pull(cotangent)

    ours = pulled(lambda h, w: divergence(h, w, ids, log_p, kl, temperature, chunk), hidden, table)
    theirs = pulled(lambda h, w: naive(h, w, ids, log_p, kl, temperature), hidden, table)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), ours, theirs)


@BOTH
@pytest.mark.parametrize("k", [1, 5, V])
def test_a_student_that_is_its_teacher_loses_nothing_and_is_not_moved(inputs, kl, k):
    """Through the float16 of what is stored: its rounding moves a probability by less than 2e-4."""
    hidden, table, _ = inputs
    ids, log_p = targets(hidden, table, k, V, 1.3, 4)
    assert (ids.shape, log_p.shape, log_p.dtype) == ((B, T, k), (B, T, k + 1), jnp.float16)
    value, gradient = value_and_gradient(hidden, table, ids, log_p, kl, 1.3, 4)
    assert abs(float(value)) < 1e-4 and np.abs(gradient).max() < 2e-3
    _, gradient = value_and_gradient(hidden[:, ::-1], table, ids, log_p, kl, 1.3, 4)
    assert np.abs(gradient).max() > 0.1


def test_a_teachers_likeliest_tokens_and_the_share_of_all_others(inputs):
    hidden, table, _ = inputs
    top, expected = jax.jit(lambda: jax.lax.top_k(jax.nn.log_softmax(hidden @ table.T / 2.0), 3))()
    ids, stored = targets(hidden, table, 3, V, 2.0, 4)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(stored[..., :3], top, rtol=2**-11)
    np.testing.assert_allclose(np.exp(np.float32(stored)).sum(axis=-1), 1.0, atol=1e-3)


@BOTH
def test_rows_of_a_table_that_stand_for_no_token_are_neither_taught_nor_learnt_from(inputs, kl):
    """The teacher's table is longer than its vocabulary of 15, which it names whole; so is the student's."""
    hidden, table, _ = inputs
    ids, stored = targets(hidden, table, 15, 15, 1.0, 4)
    assert int(ids.max()) == 14 and np.isneginf(stored[..., -1]).all()
    np.testing.assert_allclose(np.exp(np.float32(stored)).sum(axis=-1), 1.0, atol=1e-3)
    assert all(np.isfinite(x).all() for x in value_and_gradient(hidden, table, ids, stored, kl, 1.0, 4))


@BOTH
def test_extreme_logits_stay_finite(inputs, kl):
    hidden, table, log_p = inputs
    ids, stored = likeliest(log_p, 4)
    assert all(np.isfinite(x).all() for x in value_and_gradient(1e3 * hidden, table, ids, stored, kl, 1.0, 4))


# --- the loss of a batch


@pytest.fixture(scope="module")
def weights(mesh1):
    drawn = core.init(param_specs(TINY), TRAIN_RULES, mesh1, seed=0)
    return {**drawn, "embed": 40 * drawn["embed"]}  # far from uniform


@pytest.fixture(scope="module")
def batch():
    """Eight rows, some with two examples; a teacher that names three tokens."""
    rng = np.random.default_rng(0)
    examples, soft = [], []
    for n in (9, 4, 12, 5, 8, 12, 3, 10, 11, 6):
        examples.append((rng.integers(0, TINY.vocab_size, n).tolist(), [0, 0] + [1] * (n - 2)))
        ids = np.stack([rng.permutation(TINY.vocab_size)[:3] for _ in range(n - 2)])
        soft.append((ids, np.log(rng.dirichlet(np.ones(4), n - 2)).astype(np.float16)))
    packed, left_over = pack(examples, 8, 12, soft)
    assert left_over == 0
    return packed


def loss(params, batch, weight=0.7, kl="forward", temperature=2.0):
    how = DistillationConfig(weight, kl)
    return distillation_loss(params, TINY, batch, 5, AuxiliaryConfig(), how, temperature)


def test_the_loss_is_the_weighted_mean_over_trained_targets_of_both_terms(weights, batch):
    value, metrics = jax.device_get(jax.jit(loss)(weights, batch))
    plain, plain_metrics = jax.jit(lambda *args: cross_entropy_loss(*args, 5, AuxiliaryConfig()), static_argnums=1)(
        weights, TINY, batch
    )

    @jax.jit
    def by_target(weights, batch):
        hidden = forward(weights, TINY, batch.tokens, batch.positions, batch.segments).hidden
        return naive(hidden, weights["embed"], batch.soft_ids, batch.soft_logprobs.astype(np.float32), "forward", 2.0)

    trained = np.asarray(by_target(weights, batch))[batch.weights > 0]
    assert metrics["kl"] == pytest.approx(float(trained.mean()), rel=1e-4)
    assert metrics["cross_entropy"] == pytest.approx(float(plain), rel=1e-6)
    assert value == pytest.approx(0.3 * metrics["cross_entropy"] + 0.7 * 4 * metrics["kl"], rel=1e-6)
    assert metrics["entropy"] == pytest.approx(float(plain_metrics["entropy"]), rel=1e-6)


def test_what_stands_where_nothing_is_trained_on_is_not_read(weights, batch):
    untrained = (batch.weights == 0)[..., None]
    other = dataclasses.replace(
        batch,
        soft_ids=np.where(untrained, 7, batch.soft_ids),
        soft_logprobs=np.where(untrained, -3, batch.soft_logprobs),
    )
    ours, theirs = (jax.jit(jax.value_and_grad(loss, has_aux=True))(weights, each) for each in (batch, other))
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


def test_trap10_the_gradient_does_not_depend_on_microbatches_or_devices(weights, batch, mesh1, mesh8):
    def gradient(mesh, parts):
        with jax.set_mesh(mesh):
            placed = jax.device_put(jax.device_get(weights), core.shardings(param_specs(TINY), TRAIN_RULES, mesh))
            update = jax.jit(lambda params, rows: accumulate(loss, params, rows, parts))
            return jax.device_get(update(placed, to_device(batch, mesh)))

    whole = gradient(mesh1, 1)
    assert np.abs(whole[0]["embed"]).max() > 1e-3
    for other in (gradient(mesh1, 4), gradient(mesh8, 2)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), whole, other)


def test_the_whole_logits_never_exist_neither_teaching_nor_learning(big):  # noqa: F811
    params, batch = big
    k, chunk = 4, CHUNK // 2  # two losses' chunks
    batch = dataclasses.replace(
        batch,
        advantages=None,
        sampler_logprobs=None,
        old_logprobs=None,
        ref_logprobs=None,
        soft_ids=jax.ShapeDtypeStruct((ROWS, LENGTH, k), "int32"),
        soft_logprobs=jax.ShapeDtypeStruct((ROWS, LENGTH, k + 1), "float16"),
    )

    def learn(params, batch):
        return distillation_loss(params, BIG, batch, chunk, AuxiliaryConfig(), DistillationConfig(), 1.0)

    def teach(params, batch):
        hidden = forward(params, BIG, batch.tokens, batch.positions, batch.segments).hidden
        return soft_targets(hidden, unembed_table(params), k, BIG.vocab_size, 1.0, chunk)

    assert_logits_never_whole(jax.jit(jax.grad(learn, has_aux=True)).lower(params, batch).compile())
    assert_logits_never_whole(jax.jit(teach).lower(params, batch).compile())


@pytest.mark.parametrize("weight", [0.0, 1.5])
def test_a_weight_that_makes_no_sense_is_refused(weight):
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        DistillationConfig(weight)
