"""No array of a training program grows with the square of a row's length, compiled for CPUs or traced for TPUs."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformer_test import operations

from r1jax.core import params as core
from r1jax.models import attention
from r1jax.models.config import MLAConfig
from r1jax.models.transformer import forward, param_specs

LATENTS = MLAConfig(q_rank=12, kv_rank=20, nope_dim=10, rope_dim=6, v_dim=7)


@pytest.fixture(params=["heads", "latents"])
def gradient(request, tiny):
    """(a compute type, a row's length) -> the gradient of a sum of states of packed rows, and the weights' shapes."""

    def make(dtype: str, tokens: int):
        latents = {"mla": LATENTS, "head_dim": 16, "num_kv_heads": 4} if request.param == "latents" else {}
        cfg = dataclasses.replace(tiny, dtype=dtype, remat=True, **latents)
        ids = np.zeros((1, tokens), np.int32)
        positions = np.arange(tokens, dtype=np.int32)[None]
        segments = 1 + positions // 50

        def loss(params):
            return forward(params, cfg, ids, positions, segments).hidden.astype(jnp.float32).sum()

        shapes = jax.tree.map(
            lambda spec: jax.ShapeDtypeStruct(spec.shape, jnp.float32),
            param_specs(cfg),
            is_leaf=lambda x: isinstance(x, core.ParamSpec),
        )
        return jax.grad(loss), shapes

    return make


def test_no_array_of_a_compiled_program_has_a_row_s_length_squared(monkeypatch, gradient) -> None:
    for name, value in (("QUERIES", 8), ("SCORE_BYTES", 1), ("FEWEST_QUERIES", 4), ("BANDS", 1)):
        monkeypatch.setattr(attention, name, value)
    run, weights = gradient("float32", 400)
    text = jax.jit(run).lower(weights).compile().as_text()
    shapes = re.findall(r"\w+\[(\d[\d,]*)\]", text)
    assert max(math.prod(map(int, shape.split(","))) for shape in shapes) < 400**2


def test_no_array_of_a_tpu_s_program_has_a_row_s_length_squared(monkeypatch, gradient) -> None:
    monkeypatch.setattr(attention, "platform", lambda: "tpu")
    run, weights = gradient("bfloat16", 2048)
    equations = operations(jax.make_jaxpr(run)(weights).jaxpr)
    assert any("splash" in str(each.params.get("name")) for each in equations)
    assert max(math.prod(v.aval.shape) for each in equations for v in each.outvars) < 2048**2
