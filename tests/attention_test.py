"""Grouped-query attention equals the loops of its definition, and its masks say who sees whom."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformer_test import operations

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.models import attention
from r1jax.models.attention import attend, cache_mask, causal_mask
from r1jax.models.transformer import forward, param_specs

compiled = jax.jit(attend)  # an operation at a time, each would be compiled alone


def loops(q, k, v, mask):
    """q `[B, T, N, H]`, k and v `[B, K, S, H]`, mask `[B, T, S]`: one query, one head at a time, float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    B, T, N, H = q.shape
    out = np.zeros_like(q)
    for b, t, n in np.ndindex(B, T, N):
        seen = np.flatnonzero(mask[b, t])
        key_head = n // (N // k.shape[1])
        scores = k[b, key_head, seen] @ q[b, t, n] / np.sqrt(H)
        weights = np.exp(scores - scores.max())
        out[b, t, n] = weights @ v[b, key_head, seen] / weights.sum()
    return out


def draw(dtype="float32", B=2, T=5, S=7, N=6, K=2, H=4, scale=1.0):
    rng = np.random.default_rng(0)
    mask = rng.random((B, T, S)) < 0.5
    mask[:, :, 0] = True
    q, k, v = (rng.normal(size=shape) for shape in ((B, T, N, H), (B, K, S, H), (B, K, S, H)))
    return *(jnp.asarray(x, dtype) for x in (scale * q, k, v)), mask


def test_attention_equals_its_definition():
    q, k, v, mask = draw()
    np.testing.assert_allclose(compiled(q, k, v, mask), loops(q, k, v, mask), rtol=1e-5, atol=1e-6)


def test_large_scores_do_not_overflow():
    q, k, v, mask = draw(scale=500.0)
    np.testing.assert_allclose(compiled(q, k, v, mask), loops(q, k, v, mask), rtol=1e-3, atol=1e-4)


def test_trap09_the_softmax_of_bfloat16_is_float32():
    """Scores near 100 are half a unit apart in bfloat16: a softmax of such scores would be off by tens of per cent."""
    q, k, v, mask = draw("bfloat16", S=300, scale=40.0)
    out = compiled(q, k, v, mask)
    assert out.dtype == jnp.bfloat16
    # The weights are rounded once before they meet the values, the result once more.
    np.testing.assert_allclose(np.asarray(out, np.float64), loops(q, k, v, mask), atol=2**-7)


def test_a_query_that_sees_nothing_has_finite_gradients():
    q, k, v, mask = draw()
    mask[0, 2] = False
    loss = jax.grad(lambda q, k, v: jnp.sum(attend(q, k, v, jnp.asarray(mask)) ** 2), argnums=(0, 1, 2))
    gradients = jax.jit(loss)(q, k, v)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("visible", ["mask", "ordered mask", "ordered ids", "ordered ids and contexts"])
def test_long_inputs_a_piece_at_a_time_are_the_whole_in_values_and_gradients(monkeypatch, visible):
    q, k, v, mask = draw(T=11, S=11)
    positions = jnp.array([[0, 1, 2, 3, 4, 2, 3, 4, 0, 1, 0]] * len(q))
    segments = jnp.array([[1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 0]] * len(q))
    contexts = jnp.where((segments == 2) | (segments == 3), 1, segments)
    seen = {
        "mask": jnp.asarray(mask),
        "ordered mask": jnp.asarray(mask) & jnp.tri(11, dtype=bool) | jnp.eye(11, dtype=bool),
        "ordered ids": attention.causal(positions, segments),
        "ordered ids and contexts": attention.causal(positions, segments, contexts),
    }[visible]

    def run(q, k, v):
        out = attention.attend(q, k, v, seen, ordered=visible != "mask")
        return jnp.sum(out**3), out

    def values_and_gradients():
        return jax.jit(jax.value_and_grad(run, argnums=(0, 1, 2), has_aux=True))(q, k, v)

    (_, whole), gradients = values_and_gradients()
    # Pieces of two, the last one not full; ordered: four bands of three or two.
    for name, value in (("QUERIES", 2), ("SCORE_BYTES", 0), ("FEWEST_QUERIES", 2)):
        monkeypatch.setattr(attention, name, value)
    (_, pieces), others = values_and_gradients()
    np.testing.assert_allclose(pieces, whole, rtol=1e-5, atol=1e-6)
    for a, b in zip(others, gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_memory_grows_with_the_length_and_not_with_its_square():
    def scratch(T):
        q, kv, mask = (
            jax.ShapeDtypeStruct(s, d)
            for s, d in (((1, T, 4, 8), "float32"), ((1, 4, T, 8), "float32"), ((1, T, T), "bool"))
        )
        loss = jax.grad(lambda q, k, v, mask: jnp.sum(attend(q, k, v, mask) ** 2), argnums=(0, 1, 2))
        return jax.jit(loss).lower(q, kv, kv, mask).compile().memory_analysis().temp_size_in_bytes

    assert scratch(8192) < 2.5 * scratch(4096)
    assert scratch(8192) < 4 * (4 * 8192**2) / 3  # of what the four heads' scores alone would take


def test_rematerialisation_makes_the_scores_once_more_and_not_twice(tiny, mesh1):
    model, ids = dataclasses.replace(tiny, remat=True, scan_unroll=1), np.zeros((1, 600), np.int32)
    params = core.abstract(param_specs(model), TRAIN_RULES, mesh1)

    def loss(params):
        return jnp.sum(forward(params, model, ids, np.arange(600)[None]).hidden)

    program = jax.make_jaxpr(jax.grad(loss))(params).jaxpr
    assert [e.primitive.name for e in operations(program)].count("exp") == 2 * attention.BANDS


def test_masks_by_hand():
    positions, segments = jnp.array([[0, 1, 0, 1, 0]]), jnp.array([[1, 1, 2, 2, 0]])
    assert causal_mask(positions, segments)[0].astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    assert cache_mask(jnp.array([[0, 2]]), 4)[0].astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]
