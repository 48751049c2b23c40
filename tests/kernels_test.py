"""The GPU kernels in interpret mode: values and gradients of plain attention, segments, padding, mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from transformer_test import operations

from r1jax.core import params as core
from r1jax.core.quantization import quantize
from r1jax.core.sharding import TRAIN_RULES, MeshConfig, make_mesh
from r1jax.data.batching import pad_rollouts
from r1jax.data.types import Prompt, Rollout
from r1jax.kernels import flash_gpu
from r1jax.kernels.decode_gpu import MOST_HEADS, decode_attention
from r1jax.kernels.flash_gpu import Blocks, first_keys, flash_attention, last_queries
from r1jax.models import attention
from r1jax.models.attention import attend, causal
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import forward, param_specs

SMALL = Blocks((16, 16, 4, 2), (16, 16, 4, 2), (16, 16, 4, 2))
PACKED = np.array([[1] * 7 + [2] * 20 + [3] * 3 + [0] * 10, [1] * 33 + [0] * 7], np.int32)


def draw(*shapes: tuple[int, ...]) -> list[jax.Array]:
    return [jnp.asarray(np.random.default_rng(i).normal(size=shape), jnp.float32) for i, shape in enumerate(shapes)]


def plain(q, k, v, segments, scale):
    positions = jnp.broadcast_to(jnp.arange(q.shape[1]), q.shape[:2])
    return attend(q, k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3), causal(positions, segments), scale)


def test_the_ends_of_segments_are_found() -> None:
    first = first_keys(jnp.asarray(PACKED), PACKED.shape)
    assert first[0].tolist() == [0] * 7 + [7] * 20 + [27] * 3 + [30] * 10
    assert last_queries(first)[0].tolist() == [6] * 7 + [26] * 20 + [29] * 3 + [39] * 10
    assert not first_keys(None, (2, 5)).any()


@pytest.mark.parametrize(
    "segments, key_heads", [(None, 2), (PACKED, 1), (PACKED, 4)], ids=["one segment", "packed, one head", "packed"]
)
def test_flash_attention_and_its_gradients_are_those_of_plain_attention(segments, key_heads: int) -> None:
    B, T, N, H = 2, 40, 4, 16  # 40: not a multiple of a tile
    q, k, v, weight = draw((B, T, N, H), (B, T, key_heads, H), (B, T, key_heads, H), (B, T, N, H))

    def value_and_gradients(run):
        return jax.jit(jax.value_and_grad(lambda *x: jnp.sum(run(*x, segments, 0.3) * weight), (0, 1, 2)))(q, k, v)

    value, gradients = value_and_gradients(lambda *x: flash_attention(*x, SMALL, interpret=True))
    expected, expected_gradients = value_and_gradients(plain)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for one, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def decoded(q, k, v, lengths, scale):
    """The same by plain attention over one layer's cache."""
    mask = np.arange(k.shape[2])[None, None] < lengths[:, None, None]
    return np.asarray(jax.jit(functools.partial(attend, scale=scale))(np.asarray(q)[:, None], k, v, mask))[:, 0]


@pytest.mark.parametrize("group", [1, 3, 8])
@pytest.mark.parametrize("programs", [1, 64])
def test_decode_attention_reads_the_used_part_of_a_layers_cache(group: int, programs: int) -> None:
    L, B, K, S, H = 2, 4, 2, 48, 16
    q, k, v = draw((B, K * group, H), (L, B, K, S, H), (L, B, K, S, H))
    lengths = np.array([1, 17, 33, 48], np.int32)
    k, v = (np.where(np.arange(S)[:, None] < lengths[:, None, None, None], x, np.nan) for x in (k, v))
    decode = functools.partial(decode_attention, scale=0.3, block=16, programs=programs, interpret=True)
    out = jax.jit(decode)(q, k, v, jnp.int32(1), lengths)
    clean = [np.nan_to_num(x[1]) for x in (k, v)]
    np.testing.assert_allclose(out, decoded(q, *clean, lengths, 0.3), atol=1e-6)


def test_decode_attention_multiplies_an_int8_cache_by_its_scales() -> None:
    L, B, K, S, H = 2, 2, 2, 32, 16
    q, k, v = draw((B, K * 3, H), (L, B, K, S, H), (L, B, K, S, H))
    k, v = (jax.jit(lambda x: quantize(x * 5, (4,)))(x) for x in (k, v))
    lengths = np.array([17, 32], np.int32)
    decode = functools.partial(decode_attention, scale=0.3, block=16, interpret=True)
    out = jax.jit(decode)(q, k, v, jnp.int32(1), lengths)
    wide = [np.float32(x.values[1]) * np.asarray(x.scale[1]) for x in (k, v)]
    np.testing.assert_allclose(out, decoded(q, *wide, lengths, 0.3), atol=1e-5)


def test_decode_attention_refuses_more_query_heads_than_a_tile_has() -> None:
    q, k, v = draw((1, MOST_HEADS + 1, 16), (1, 1, 1, 16, 16), (1, 1, 1, 16, 16))
    with pytest.raises(ValueError, match="17 query heads a key head: at most 16"):
        decode_attention(q, k, v, jnp.int32(0), jnp.array([3]), 1.0, interpret=True)


def test_kernels_run_on_each_devices_rows_and_heads(monkeypatch) -> None:
    """What a mesh of GPUs does, with the kernels interpreted: sharded equals unsharded."""
    monkeypatch.setattr(attention, "platform", lambda: "gpu")
    monkeypatch.setattr(attention, "is_nvidia", lambda: False)
    monkeypatch.setattr(
        flash_gpu, "flash_attention", lambda q, k, v, s, scale: flash_attention(q, k, v, s, scale, SMALL, True)
    )
    B, T, N, K, H = 4, 40, 4, 2, 16
    q, k, v = (x.astype(jnp.bfloat16) for x in draw((B, T, N, H), (B, T, K, H), (B, T, K, H)))
    segments = jnp.asarray(np.tile(PACKED, (2, 1)))
    positions = jnp.broadcast_to(jnp.arange(T), (B, T))
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    heads = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, "tensor", None))
    for of_rows in (None, segments):
        visible = causal(positions, of_rows)
        whole = jax.jit(lambda q, k, v, seen=visible: attention.self_attention(q, k, v, seen, 0.3))(q, k, v)
        with jax.set_mesh(mesh):
            placed = [jax.device_put(x, heads) for x in (q, k, v)]
            parts = jax.jit(lambda q, k, v, seen=visible: attention.self_attention(q, k, v, seen, 0.3))(*placed)
        np.testing.assert_array_equal(np.asarray(parts, np.float32), np.asarray(whole, np.float32))


def test_rows_of_one_segment_need_no_segments() -> None:
    """Padding stands at the end, so causality hides it: real tokens' states are the same, bit for bit."""
    model = ModelConfig(64, 32, 2, 4, 2, 8, 64)
    rollouts = [
        Rollout(
            Prompt(str(n), "", "", "exact:t", ids=(1, 2, 3)), 0, np.arange(n, dtype=np.int32), np.zeros(n), "", "stop"
        )
        for n in (2, 9)
    ]
    batch = pad_rollouts(rollouts, np.zeros(2), 8)
    assert batch.one_segment
    params = core.init(param_specs(model), TRAIN_RULES, make_mesh(MeshConfig(data=1), jax.devices()[:1]), 0)

    @functools.partial(jax.jit, static_argnums=1)
    def states(params, one: bool):
        return forward(params, model, batch.tokens, batch.positions, batch.segments, one_segment=one).hidden

    real = batch.segments > 0
    packed, alone = (np.asarray(states(params, one))[real] for one in (False, True))
    np.testing.assert_array_equal(packed, alone)


def test_rematerialisation_keeps_what_an_attention_kernel_returns(monkeypatch) -> None:
    monkeypatch.setattr(attention, "platform", lambda: "gpu")
    monkeypatch.setattr(
        flash_gpu, "flash_attention", lambda q, k, v, s, scale: flash_attention(q, k, v, s, scale, SMALL, True)
    )
    model = ModelConfig(64, 32, 2, 4, 2, 16, 64, dtype="bfloat16", remat=True)
    params = core.init(param_specs(model), TRAIN_RULES, make_mesh(MeshConfig(data=1), jax.devices()[:1]), 0)
    tokens = np.zeros((2, 40), np.int32)
    positions = np.broadcast_to(np.arange(40, dtype=np.int32), (2, 40))

    def loss(params):
        return forward(params, model, tokens, positions, PACKED).hidden.astype(jnp.float32).sum()

    equations = operations(jax.make_jaxpr(jax.grad(loss))(params).jaxpr)
    kernels = [str(equation.params["name"]) for equation in equations if equation.primitive.name == "pallas_call"]
    assert sorted(kernels) == ["flash_d_keys", "flash_d_queries", "flash_forward"]
