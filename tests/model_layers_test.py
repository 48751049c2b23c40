"""The small parts of a block, against numbers worked out by hand and float64 numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1jax.models.config import RopeScaling
from r1jax.models.layers import rms_norm, rope, rope_frequencies, rotation, swiglu


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


def roped(x, positions, theta, scaling=None):
    return rope(x, rotation(positions, x.shape[-1], theta, scaling))


def test_rope_by_hand():
    # Head width 4: frequencies 1 and theta^-1/2; dimension i turns with i + 2.
    x = jnp.array([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 4)
    out = roped(x, jnp.array([[3]]), theta=100.0)[0, 0, 0]
    np.testing.assert_allclose(out, [np.cos(3), np.cos(0.3), np.sin(3), np.sin(0.3)], rtol=1e-6)


def test_rope_scores_depend_on_the_difference_of_positions_alone():
    q, k = (jax.random.normal(jax.random.key(i), (1, 6, 2, 8)) for i in (0, 1))
    positions = jnp.array([[0, 1, 5, 7, 20, 40]])

    def scores(shift):
        return jnp.einsum("btnh,bsnh->bnts", roped(q, positions + shift, 1e4), roped(k, positions + shift, 1e4))

    # A float32 angle near 1,000 is right to 6e-5.
    np.testing.assert_allclose(scores(0), scores(1000), atol=2e-3)
    moved = jnp.einsum("btnh,bsnh->bnts", roped(q, positions + 1, 1e4), roped(k, positions, 1e4))
    assert np.abs(moved - scores(0)).max() > 0.1
    lengths = jnp.linalg.norm(roped(q, positions, 1e4), axis=-1)
    np.testing.assert_allclose(lengths, jnp.linalg.norm(q, axis=-1), rtol=1e-5)


def test_rope_tells_neighbours_apart_in_bfloat16():
    """Positions held in bfloat16 would make 256 and 257, or 1,001 and 1,002, the same."""
    x = jnp.ones((1, 4, 1, 8), jnp.bfloat16)
    out = np.asarray(roped(x, jnp.array([[256, 257, 1001, 1002]]), 1e4)[0, :, 0, 0], np.float32)
    angles = np.array([256, 257, 1001, 1002.0])
    np.testing.assert_allclose(out, np.cos(angles) - np.sin(angles), atol=0.01)


def llama3(wavelength: float, s: RopeScaling) -> float:
    """Llama 3.1's rule for one pair, in wavelengths: its new frequency."""
    if wavelength < s.original_length / s.high_frequency_factor:
        return 2 * math.pi / wavelength
    if wavelength > s.original_length / s.low_frequency_factor:
        return 2 * math.pi / wavelength / s.factor
    smooth = (s.original_length / wavelength - s.low_frequency_factor) / (
        s.high_frequency_factor - s.low_frequency_factor
    )
    return (1 - smooth) * 2 * math.pi / wavelength / s.factor + smooth * 2 * math.pi / wavelength


def yarn(i: int, half: int, theta: float, s: RopeScaling) -> float:
    """NTK-by-parts (arXiv 2309.00071, section 3.2) for pair i, with the ramp over whole pairs as in its code."""
    # Pair d turns original_length theta^(-d/half) / 2 pi times; solved for d.
    pair = lambda turns: half * math.log(s.original_length / (2 * math.pi * turns)) / math.log(theta)  # noqa: E731
    low, high = math.floor(pair(s.beta_fast)), math.ceil(pair(s.beta_slow))
    low, high = max(low, 0), min(high, 2 * half - 1)
    if i <= low:
        stretched = 0.0
    elif i >= high:
        stretched = 1.0
    else:
        stretched = (i - low) / (high - low)
    return theta ** (-i / half) * ((1 - stretched) + stretched / s.factor)


@pytest.mark.parametrize("half, theta", [(64, 5e5), (32, 1e4), (8, 1e6)])
def test_unscaled_and_linear_frequencies(half, theta):
    exact = np.array([theta ** (-i / half) for i in range(half)])
    np.testing.assert_allclose(rope_frequencies(half, theta, None), exact, rtol=2e-6)
    np.testing.assert_allclose(rope_frequencies(half, theta, RopeScaling("linear", 2.5)), exact / 2.5, rtol=2e-6)


@pytest.mark.parametrize(
    "half, theta, scaling",
    [
        (64, 5e5, RopeScaling("llama3", 8.0, 8192)),  # Llama 3.1
        (32, 5e5, RopeScaling("llama3", 32.0, 8192)),  # Llama 3.2 1B
        (16, 1e4, RopeScaling("llama3", 3.0, 64, low_frequency_factor=0.5, high_frequency_factor=3.0)),
    ],
    ids=["llama3_1", "llama3_2_1b", "small"],
)
def test_llama3_frequencies_are_those_of_the_rule_in_wavelengths(half, theta, scaling):
    exact = [llama3(2 * math.pi * theta ** (i / half), scaling) for i in range(half)]
    np.testing.assert_allclose(rope_frequencies(half, theta, scaling), exact, rtol=1e-5)
    unscaled = theta ** (-np.arange(half) / half)
    share = np.asarray(exact) / unscaled
    # The case holds all three parts: kept, divided, and in between.
    assert share[0] == 1 and np.isclose(share[-1], 1 / scaling.factor)
    assert np.any((share < 0.99) & (share > 1.01 * share[-1]))


@pytest.mark.parametrize(
    "half, theta, scaling",
    [
        (32, 1e4, RopeScaling("yarn", 40.0, 4096)),  # DeepSeek-V3
        (64, 1e6, RopeScaling("yarn", 4.0, 32_768)),  # Qwen2.5 beyond 32k
        (4, 1e4, RopeScaling("yarn", 4.0, 16)),  # both ends of the ramp clamped
        (16, 1e4, RopeScaling("yarn", 8.0, 512, beta_fast=8.0, beta_slow=2.0)),
    ],
    ids=["deepseek_v3", "qwen2_5", "clamped", "small"],
)
def test_yarn_frequencies_are_those_of_the_rule(half, theta, scaling):
    exact = [yarn(i, half, theta, scaling) for i in range(half)]
    np.testing.assert_allclose(rope_frequencies(half, theta, scaling), exact, rtol=1e-5)


def test_deepseeks_ramp_by_hand():
    """32 ln(4096 / 64 pi) / ln 10^4 = 10.47 and 32 ln(4096 / 2 pi) / ln 10^4 = 22.51: it runs from pair 10 to 23."""
    unscaled, scaled = (rope_frequencies(32, 1e4, s) for s in (None, RopeScaling("yarn", 40.0, 4096)))
    share = np.asarray(scaled / unscaled, np.float64)
    expected = {0: 1, 10: 1, 11: 1 - 0.975 / 13, 22: 1 - 0.975 * 12 / 13, 23: 1 / 40, 31: 1 / 40}
    np.testing.assert_allclose(share[list(expected)], list(expected.values()), rtol=1e-5)


@pytest.mark.parametrize(
    "change, length",
    [
        ({}, 0.1 * math.log(40) + 1),
        ({"mscale": 1.0, "mscale_all_dim": 1.0}, 1.0),  # DeepSeek-V3: all of it goes into the scores
        ({"mscale": 0.5}, 0.1 * math.log(40) + 1),
        ({"mscale": 1.0, "mscale_all_dim": 0.5}, (0.1 * math.log(40) + 1) / (0.05 * math.log(40) + 1)),
        ({"mscale": 1.0, "mscale_all_dim": 0.5, "attention_factor": 1.25}, 1.25),
        ({"factor": 0.5}, 1.0),  # shrunk contexts need no temperature
    ],
    ids=str,
)
def test_yarn_scales_rotated_vectors_by_its_temperature(change, length):
    scaling = RopeScaling("yarn", **{"factor": 40.0, "original_length": 4096, **change})
    x = jax.random.normal(jax.random.key(0), (1, 3, 2, 8))
    rotated = roped(x, jnp.array([[0, 5, 900]]), 1e4, scaling)
    np.testing.assert_allclose(jnp.linalg.norm(rotated, axis=-1) / jnp.linalg.norm(x, axis=-1), length, rtol=1e-5)
    np.testing.assert_allclose(rotated[:, 0], x[:, 0] * length, rtol=1e-5)


def test_swiglu_by_hand():
    x = jnp.array([[2.0]])
    gate, up, down = jnp.array([[1.0, -1.0]]), jnp.array([[3.0, 0.5]]), jnp.array([[1.0], [10.0]])
    silu = lambda z: z / (1 + np.exp(-z))  # noqa: E731
    np.testing.assert_allclose(swiglu(x, gate, up, down), [[silu(2) * 6 + silu(-2) * 1 * 10]], rtol=1e-6)
