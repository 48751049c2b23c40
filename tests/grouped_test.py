"""Which kernel multiplies experts on which platform."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1jax.kernels import grouped
from r1jax.kernels.grouped import grouped_product

X, W = np.ones((4, 3), np.float32), np.arange(1, 3, dtype=np.float32)[:, None, None] * np.ones((2, 3, 5), np.float32)
SIZES = jnp.array([3, 1])
EXPECTED = np.float32([3, 3, 3, 6])[:, None] * np.ones((4, 5), np.float32)


@pytest.fixture
def nvidia(monkeypatch):
    monkeypatch.setattr(grouped, "platform", lambda: "gpu")
    monkeypatch.setattr(grouped, "is_nvidia", lambda: True)


def test_runs_of_rows_meet_their_matrices():
    np.testing.assert_array_equal(grouped_product(X, W, SIZES), EXPECTED)


def test_an_nvidia_gpu_without_tokamax_is_refused_with_the_reason_and_the_command(nvidia, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokamax", None)
    with pytest.raises(ValueError, match=r"all 2 experts of the device; pip install -e '\.\[experts\]'"):
        grouped_product(X, W, SIZES)


def test_an_nvidia_gpu_with_tokamax_uses_its_kernels_and_not_its_fallback(nvidia, monkeypatch):
    seen = []

    def ragged_dot(x, w, sizes, *, implementation, **options):
        seen.append(implementation)
        return jax.lax.ragged_dot(x, w, sizes, **options)

    monkeypatch.setitem(sys.modules, "tokamax", types.SimpleNamespace(ragged_dot=ragged_dot))
    np.testing.assert_array_equal(grouped_product(X, W, SIZES), EXPECTED)
    assert seen == [("mosaic", "triton")]


def test_the_kernel_s_gradient_of_the_matrices_is_that_of_each_run_of_rows() -> None:
    """With a run of no rows, rows of no run, and a number of rows that is no multiple of a tile."""
    x, dy = (jax.random.normal(jax.random.key(i), (140, width)) for i, width in enumerate((8, 16)))
    sizes = jnp.array([70, 0, 60])
    got = grouped._d_matrices(x, dy, sizes, jnp.float32, interpret=True)
    runs = [(0, 70), (70, 70), (70, 130)]
    np.testing.assert_allclose(got, jnp.stack([x[a:b].T @ dy[a:b] for a, b in runs]), rtol=1e-5, atol=1e-5)


def test_on_a_tpu_gradients_are_those_of_the_plain_product(monkeypatch) -> None:
    def d_matrices(x, dy, sizes, dtype):
        ends = jnp.cumsum(sizes)
        runs = (jnp.arange(len(x)) < ends[:, None]) & (jnp.arange(len(x)) >= (ends - sizes)[:, None])
        return jnp.einsum("em,md,mf->edf", runs, x, dy).astype(dtype)

    def gradients():
        return jax.grad(lambda x, w: jnp.sum(grouped_product(x, w, SIZES) ** 2), (0, 1))(X, W)

    expected = gradients()
    monkeypatch.setattr(grouped, "platform", lambda: "tpu")
    monkeypatch.setattr(grouped, "_d_matrices", d_matrices)
    for one, other in zip(gradients(), expected, strict=True):
        np.testing.assert_array_equal(one, other)
