"""The small parts of a block, against numbers worked out by hand and float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np

from r1jax.models.layers import rms_norm, rope, swiglu


def test_rms_norm_by_hand():
    # mean of squares (9 + 16) / 2 = 12.5; eps makes it 16
    out = rms_norm(jnp.array([[3.0, 4.0]]), jnp.array([1.0, 2.0]), eps=3.5)
    np.testing.assert_allclose(out, [[0.75, 2.0]], rtol=1e-6)


def test_trap09_the_norm_of_bfloat16_is_taken_in_float32():
    x = jax.random.normal(jax.random.key(0), (4, 4096)).astype(jnp.bfloat16) * 100
    out = rms_norm(x, jnp.ones(4096, jnp.bfloat16), 1e-6)
    assert out.dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64)
    exact /= np.sqrt((exact**2).mean(-1, keepdims=True))
    # Half a unit in bfloat16's last place is all that rounding the result may cost.
    np.testing.assert_allclose(np.asarray(out, np.float64), exact, rtol=2**-8)


def test_rope_by_hand():
    # Head width 4: frequencies 1 and theta^-1/2; dimension i turns with i + 2.
    x = jnp.array([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 4)
    out = rope(x, jnp.array([[3]]), theta=100.0)[0, 0, 0]
    np.testing.assert_allclose(out, [np.cos(3), np.cos(0.3), np.sin(3), np.sin(0.3)], rtol=1e-6)


def test_rope_scores_depend_on_the_difference_of_positions_alone():
    q, k = (jax.random.normal(jax.random.key(i), (1, 6, 2, 8)) for i in (0, 1))
    positions = jnp.array([[0, 1, 5, 7, 20, 40]])

    def scores(shift):
        return jnp.einsum(
            "btnh,bsnh->bnts", rope(q, positions + shift, 10_000.0), rope(k, positions + shift, 10_000.0)
        )

    # A float32 angle near 1,000 is right to 6e-5.
    np.testing.assert_allclose(scores(0), scores(1000), atol=2e-3)
    moved = jnp.einsum("btnh,bsnh->bnts", rope(q, positions + 1, 10_000.0), rope(k, positions, 10_000.0))
    assert np.abs(moved - scores(0)).max() > 0.1
    lengths = jnp.linalg.norm(rope(q, positions, 10_000.0), axis=-1)
    np.testing.assert_allclose(lengths, jnp.linalg.norm(q, axis=-1), rtol=1e-5)


def test_rope_tells_neighbours_apart_in_bfloat16():
    """Positions held in bfloat16 would make 256 and 257, or 1,001 and 1,002, the same."""
    x = jnp.ones((1, 4, 1, 8), jnp.bfloat16)
    out = np.asarray(rope(x, jnp.array([[256, 257, 1001, 1002]]), 10_000.0)[0, :, 0, 0], np.float32)
    angles = np.array([256, 257, 1001, 1002.0])
    np.testing.assert_allclose(out, np.cos(angles) - np.sin(angles), atol=0.01)


def test_swiglu_by_hand():
    x = jnp.array([[2.0]])
    gate, up, down = jnp.array([[1.0, -1.0]]), jnp.array([[3.0, 0.5]]), jnp.array([[1.0], [10.0]])
    silu = lambda z: z / (1 + np.exp(-z))  # noqa: E731
    np.testing.assert_allclose(swiglu(x, gate, up, down), [[silu(2) * 6 + silu(-2) * 1 * 10]], rtol=1e-6)
