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
