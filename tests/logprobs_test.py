"""Chunked log-probs and entropy, and the gradients written for them by hand, equal autodiff of the full softmax.

The memory proof is compiled, not argued: no array of [B, T, V] is in the program, and the naive loss fails that check.
"""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import Batch
from r1jax.losses.auxiliary import AuxiliaryConfig
from r1jax.losses.grpo import GRPOConfig, grpo_loss
from r1jax.losses.logprobs import token_logprobs
from r1jax.models.config import ModelConfig
from r1jax.models.logits import Truncation, process
from r1jax.models.transformer import forward, param_specs, unembed_table
from r1jax.training.state import state_shardings
from r1jax.training.step import make_update

B, T, D, V = 2, 10, 6, 19
TRUNCATIONS = [Truncation(), Truncation(0.6), Truncation(1.3, 5), Truncation(1.0, 0, 0.8), Truncation(0.9, 6, 0.7)]


def naive(hidden, table, targets, truncation):
    """Log-probs and entropy from the whole logits, for autodiff."""
    logits = hidden.astype(jnp.float32) @ table.astype(jnp.float32).T
    kept = jax.lax.stop_gradient(jnp.isfinite(process(logits, truncation, keep=targets)))
    # Finite, or autodiff would meet 0 * inf; exp(-1e9) is exactly 0.
    log_p = jax.nn.log_softmax(jnp.where(kept, logits / truncation.temperature, -1e9))
    entropy = -jnp.sum(jnp.exp(log_p) * log_p * kept, axis=-1)
    return jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0], entropy


@pytest.fixture(scope="module")
def inputs():
    keys = jax.random.split(jax.random.key(0), 5)
    hidden, table = jax.random.normal(keys[0], (B, T, D)), jax.random.normal(keys[1], (V, D))
    targets = jax.random.randint(keys[2], (B, T), 0, V)
    return hidden, table, targets, tuple(jax.random.normal(key, (B, T)) for key in keys[3:])


@functools.partial(jax.jit, static_argnums=(0, 5))
def value_and_pullback(function, hidden, table, targets, cotangents, truncation):
    outputs, pull = jax.vjp(lambda hidden, table: function(hidden, table, targets, truncation), hidden, table)
    return outputs, pull(cotangents)


# Chunks that divide T = 10, that do not, that are one position and that are more than all.
@pytest.mark.parametrize(
    "truncation, chunk",
    [
        *((truncation, 4) for truncation in TRUNCATIONS),
        (TRUNCATIONS[0], 5),
        (TRUNCATIONS[4], 1),
        (TRUNCATIONS[4], 10),
        (TRUNCATIONS[0], 64),
    ],
    ids=str,
)
def test_values_and_gradients_equal_autodiff_of_the_whole_softmax(inputs, truncation, chunk):
    hidden, table, targets, cotangents = inputs

    def chunked(hidden, table, targets, truncation):
        return token_logprobs(hidden, table, targets, truncation, chunk)

    ours = value_and_pullback(chunked, hidden, table, targets, cotangents, truncation)
    theirs = value_and_pullback(naive, hidden, table, targets, cotangents, truncation)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), ours, theirs)


def test_log_probs_and_entropy_by_hand():
    hidden, table = jnp.ones((1, 1, 1)), jnp.log(jnp.array([[0.5], [0.25], [0.25]]))
    logprobs, entropy = token_logprobs(hidden, table, jnp.array([[1]]), Truncation(), 8)
    np.testing.assert_allclose(logprobs, [[math.log(0.25)]], rtol=1e-6)
    np.testing.assert_allclose(entropy, [[1.5 * math.log(2)]], rtol=1e-6)
    # Top-1 keeps the first alone; the target, had it been drawn before, stays in the set.
    logprobs, entropy = token_logprobs(hidden, table, jnp.array([[1]]), Truncation(top_k=1), 8)
    np.testing.assert_allclose(logprobs, [[math.log(1 / 3)]], rtol=1e-6)


@pytest.mark.parametrize("truncation", [Truncation(), Truncation(0.9, 6, 0.7)], ids=str)
def test_trap09_bfloat16_states_are_scored_in_float32(inputs, truncation):
    hidden, table, targets, cotangents = inputs
    hidden, table = hidden.astype(jnp.bfloat16), table.astype(jnp.bfloat16)

    def chunked(hidden, table, targets, truncation):
        return token_logprobs(hidden, table, targets, truncation, 4)

    ours, ours_grads = value_and_pullback(chunked, hidden, table, targets, cotangents, truncation)
    theirs, theirs_grads = value_and_pullback(naive, hidden, table, targets, cotangents, truncation)
    # Products of bfloat16 are exact in float32: values are as good as if the states had been float32 all along.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), ours, theirs)
    for a, b in zip(ours_grads, theirs_grads, strict=True):
        assert a.dtype == jnp.bfloat16
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        # d logits is rounded to bfloat16 on its way (2^-9 relative a term), the result once more.
        np.testing.assert_allclose(a, b, atol=2**-6 * np.abs(b).max())


def test_extreme_logits_stay_finite(inputs):
    hidden, table, targets, cotangents = inputs
    for truncation in (Truncation(), Truncation(0.9, 6, 0.7)):
        results = value_and_pullback(
            lambda *args: token_logprobs(*args, 4), 1e4 * hidden, table, targets, cotangents, truncation
        )
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(results))


# --- memory

BIG = ModelConfig(vocab_size=8192, embed_dim=32, num_layers=1, num_heads=1, num_kv_heads=1, head_dim=8, mlp_dim=32)
ROWS, LENGTH, CHUNK = 4, 512, 32
LOGITS = ROWS * LENGTH * BIG.vocab_size


def largest_array(compiled) -> int:
    shapes = re.findall(r"\b(?:f32|bf16|f16|f64|pred|s32|u32)\[([\d,]+)\]", compiled.as_text())
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


def assert_logits_never_whole(compiled):
    assert compiled.memory_analysis().temp_size_in_bytes < LOGITS * 4 / 2
    assert largest_array(compiled) < LOGITS / 4


@pytest.fixture(scope="module")
def big(mesh1):
    """Shapes alone, of weights and of a batch with every field."""
    ints, floats = (jax.ShapeDtypeStruct((ROWS, LENGTH), dtype) for dtype in ("int32", "float32"))
    batch = Batch(ints, ints, ints, ints, floats, floats, floats, floats, floats)
    return core.abstract(param_specs(BIG), TRAIN_RULES, mesh1), batch


def loss(params, batch):
    cfg, truncation = GRPOConfig(entropy_bonus=0.01), Truncation(0.9, 20, 0.9)
    return grpo_loss(params, BIG, batch, cfg, truncation, CHUNK, AuxiliaryConfig())


def test_the_gradient_of_the_loss_never_holds_the_whole_logits(big):
    assert_logits_never_whole(jax.jit(jax.grad(loss, has_aux=True)).lower(*big).compile())


def test_the_update_never_holds_the_whole_logits(big, mesh1):
    specs, tx = param_specs(BIG), optax.sgd(0.1)
    params, batch = big
    shapes = state_shardings(specs, tx, mesh1)
    state = type(shapes)(jax.ShapeDtypeStruct((), "int32"), params, jax.eval_shape(tx.init, params))
    with jax.set_mesh(mesh1):
        assert_logits_never_whole(make_update(loss, tx, specs, mesh1).lower(state, batch).compile())


def test_a_naive_loss_would_fail_the_memory_check(big):
    def naive_loss(params, batch):
        hidden = forward(params, BIG, batch.tokens, batch.positions, batch.segments).hidden
        return -jnp.sum(batch.weights * naive(hidden, unembed_table(params), batch.targets, Truncation())[0])

    compiled = jax.jit(jax.grad(naive_loss)).lower(*big).compile()
    with pytest.raises(AssertionError):
        assert_logits_never_whole(compiled)
    assert largest_array(compiled) >= LOGITS and compiled.memory_analysis().temp_size_in_bytes >= LOGITS * 4
