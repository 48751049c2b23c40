"""Temperature, top-k and top-p against sorting: `process` is what is sampled from and what is scored with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1jax.models.logits import Truncation, process

V = 23


def by_sorting(logits, cfg, slack=0.0):
    """The tokens kept, bool `[V]`, by sorting in float64; `slack` moves the mass that must be reached."""
    p = np.exp(np.float64(logits) / cfg.temperature)
    kept = np.ones(len(p), bool)
    if cfg.top_k:
        kept = p >= np.sort(p)[::-1][min(cfg.top_k, len(p)) - 1]
    if cfg.top_p < 1:
        p = np.where(kept, p, 0) / p[kept].sum()
        descending = np.sort(p)[::-1]
        enough = np.flatnonzero(np.cumsum(descending) >= cfg.top_p + slack)
        kept &= p >= (descending[enough[0]] if len(enough) else 0)
    return kept


@functools.partial(jax.jit, static_argnums=1)
def kept_by_process(logits, cfg):
    return jnp.isfinite(process(logits, cfg))


@pytest.mark.parametrize(
    "cfg",
    [
        Truncation(1.0, 1, 1.0),
        Truncation(1.0, 5, 1.0),
        Truncation(0.6, 0, 0.95),
        Truncation(1.3, 0, 0.5),
        Truncation(1.0, 0, 1e-6),
        Truncation(0.7, 7, 0.8),
        Truncation(1.0, 100, 0.9),
    ],
    ids=str,
)
def test_truncation_equals_sorting_over_many_distributions(cfg):
    rng = np.random.default_rng(0)
    scales = np.exp(rng.uniform(-3, 3, (2000, 1)))
    logits = (rng.standard_normal((2000, V)) * scales).astype(np.float32)
    # Many ties, also at the threshold, and no near-ties: a unit in the last place apart, logits have one probability.
    logits = np.round(logits * 64) / 64
    logits[:500] = np.round(logits[:500])
    kept = np.asarray(kept_by_process(logits, cfg))
    # Where the mass reaches top_p to within float32's rounding of a sum, either side of the edge is right.
    bounds = np.array([[by_sorting(row, cfg, slack) for slack in (-1e-6, 1e-6)] for row in logits])
    np.testing.assert_array_equal(kept & ~bounds[:, 1], np.zeros_like(kept))
    np.testing.assert_array_equal(bounds[:, 0] & ~kept, np.zeros_like(kept))
    assert np.mean((bounds[:, 0] == bounds[:, 1]).all(axis=-1)) > 0.98  # the edge is seldom met
    assert kept.any(axis=-1).all()


def test_ties_at_the_threshold_are_all_kept():
    p = jnp.log(jnp.array([0.2, 0.2, 0.4, 0.1, 0.1]))
    assert np.isfinite(process(p, Truncation(top_k=2))).tolist() == [True, True, True, False, False]
    assert np.isfinite(process(p, Truncation(top_p=0.5))).tolist() == [True, True, True, False, False]
    assert np.isfinite(process(p, Truncation(top_p=0.39))).tolist() == [False, False, True, False, False]


def test_top_p_counts_the_mass_that_top_k_left():
    p = jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1]))
    # After top-2 the first has 4/7 = 0.571: enough for 0.57 and not for 0.58. Alone, 0.57 takes two tokens.
    for top_k, top_p, count in ((2, 0.57, 1), (2, 0.58, 2), (0, 0.57, 2)):
        assert np.isfinite(process(p, Truncation(top_k=top_k, top_p=top_p))).sum() == count


@pytest.mark.parametrize("cfg", [Truncation(), Truncation(0.6), Truncation(1.3, V), Truncation(1.0, V + 5)], ids=str)
def test_without_truncation_logits_are_only_scaled(cfg):
    logits = 30 * jax.random.normal(jax.random.key(0), (4, V))
    np.testing.assert_allclose(process(logits, cfg), logits / cfg.temperature, rtol=1e-6)


def test_kept_logits_are_scaled_and_others_minus_infinity():
    out = process(jnp.array([1.0, 3.0, 2.0], jnp.bfloat16), Truncation(0.5, 2))
    assert out.dtype == jnp.float32 and out.tolist() == [-np.inf, 6.0, 4.0]


def test_keep_is_never_truncated_and_nothing_else_changes():
    logits = jax.random.normal(jax.random.key(0), (V, V))
    cfg, keep = Truncation(0.8, 6, 0.7), jnp.arange(V)
    run = jax.jit(process, static_argnums=1)
    without, with_keep = run(logits, cfg), run(logits, cfg, keep)
    own = np.eye(V, dtype=bool)
    np.testing.assert_array_equal(without[~own], with_keep[~own])
    np.testing.assert_allclose(with_keep[own], logits[own] / 0.8, rtol=1e-6)
    assert np.isinf(without[own]).any()


def test_a_position_does_not_depend_on_the_others_of_its_batch():
    logits = 3 * jax.random.normal(jax.random.key(1), (2, 3, V))
    cfg = Truncation(1.0, 4, 0.9)
    batched, alone = kept_by_process(logits, cfg), [[kept_by_process(x, cfg) for x in row] for row in logits]
    np.testing.assert_array_equal(batched, alone)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((-0.1, 0, 1.0), "temperature=-0.1 must be at least 0"),
        ((1.0, -1, 1.0), "top_k=-1 must be at least 0"),
        ((1.0, 0, 0.0), "top_p=0.0 must be above 0"),
        ((1.0, 0, 1.1), "top_p=1.1 must be above 0 and at most 1"),
    ],
)
def test_values_without_meaning_raise(values, says):
    with pytest.raises(ValueError, match=says):
        Truncation(*values)
