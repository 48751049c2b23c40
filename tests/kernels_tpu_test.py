"""The TPU kernels in interpret mode: values and gradients of plain attention, and who calls them when."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from kernels_test import PACKED, draw, plain

from r1jax.core.sharding import DECODE_RULES, MeshConfig, make_mesh
from r1jax.kernels import decode_tpu, flash_tpu
from r1jax.models import attention
from r1jax.models import cache as kv
from r1jax.models.attention import attend, cached, causal
from r1jax.models.config import PRESETS


def test_flash_attention_and_its_gradients_are_those_of_plain_attention(monkeypatch) -> None:
    """Several tiles, segments that cross them, grouped heads, and values narrower than keys, as latents have them."""
    monkeypatch.setattr(flash_tpu, "_LARGEST_TILE", 128)
    B, T, N, K, H, V = 1, 250, 2, 1, 24, 16
    segments = jnp.asarray([[1] * 50 + [2] * 120 + [3] * 70 + [0] * 10])
    q, k, v, weight = draw((B, T, N, H), (B, T, K, H), (B, T, K, V), (B, T, N, V))

    def value_and_gradients(run):
        loss = jax.value_and_grad(lambda *x: jnp.sum(run(*x, segments, 0.3) * weight), (0, 1, 2))
        return jax.jit(loss)(q, k, v)

    value, gradients = value_and_gradients(lambda *x: flash_tpu.flash_attention(*x, interpret=True))
    expected, expected_gradients = value_and_gradients(plain)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for one, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_rows_of_one_segment_are_padded_behind_their_tokens() -> None:
    q, k, v = draw((1, 9, 1, 16), (1, 9, 1, 16), (1, 9, 1, 16))
    out = flash_tpu.flash_attention(q, k, v, None, 0.3, interpret=True)
    np.testing.assert_allclose(out, plain(q, k, v, None, 0.3), atol=1e-6)


def test_the_pieces_of_a_row_that_is_cut_over_devices_meet_all_its_keys_in_the_kernel(monkeypatch) -> None:
    """Values and gradients are those of plain attention; pieces of 100 tokens, which fill no tile, in segments."""
    monkeypatch.setattr(attention, "platform", lambda: "tpu")
    monkeypatch.setattr(flash_tpu, "_LARGEST_TILE", 128)
    kernel = functools.partial(flash_tpu.flash_attention_of_pieces, interpret=True)
    monkeypatch.setattr(flash_tpu, "flash_attention_of_pieces", kernel)
    B, T, N, K, H, V = 1, 400, 2, 1, 24, 16
    segments = jnp.asarray([[1] * 90 + [2] * 220 + [3] * 70 + [0] * 20])
    drawn = draw((B, T, N, H), (B, T, K, H), (B, T, K, V), (B, T, N, V))
    q, k, v, weight = (jnp.asarray(x, jnp.bfloat16) for x in drawn)

    def value_and_gradients(run, *arrays):
        loss = jax.value_and_grad(lambda *x: jnp.sum((run(*x) * weight).astype(jnp.float32)), (0, 1, 2))
        return jax.jit(loss)(*arrays)

    wide = (x.astype(jnp.float32) for x in (q, k, v))
    expected, expected_gradients = value_and_gradients(lambda *x: plain(*x, segments, 0.3), *wide)
    visible = causal(jnp.arange(T)[None], segments)
    with jax.set_mesh(make_mesh(MeshConfig(1, context=2), jax.devices()[:2])):
        value, gradients = value_and_gradients(lambda *x: attention.self_attention(*x, visible, 0.3), q, k, v)
    np.testing.assert_allclose(value, expected, rtol=0.02, atol=0.5)
    for one, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(np.asarray(one, np.float32), other, atol=0.02 * np.abs(other).max())


def test_a_tile_divides_the_padded_row() -> None:
    assert [flash_tpu.tile_size(tokens) for tokens in (1, 129, 512, 640, 1280, 2560, 3000)] == [
        128,
        256,
        512,
        128,
        256,
        512,
        512,
    ]


@pytest.mark.parametrize("key_heads, group", [(2, 3), (1, 9)], ids=["keys and values", "latents"])
def test_decode_attention_reads_the_used_part_of_a_layers_cache(key_heads: int, group: int) -> None:
    L, B, K, S, H = 2, 4, key_heads, 300, 24
    q, k, v = draw((B, K * group, H), (L, B, K, S, H), (L, B, K, S, H))
    lengths = jnp.array([1, 128, 200, 300], jnp.int32)
    k, v = (jnp.where(jnp.arange(S)[:, None] < lengths[:, None, None, None], x, jnp.nan) for x in (k, v))
    v, width = (v, H) if K > 1 else (None, 16)
    out = decode_tpu.decode_attention(q, k, v, jnp.int32(1), lengths, 0.3, width, block=128, interpret=True)
    mask = jnp.arange(S)[None, None] < lengths[:, None, None]
    keys = jnp.nan_to_num(k[1])
    values = keys[..., :width] if v is None else jnp.nan_to_num(v[1])
    np.testing.assert_allclose(out, attend(q[:, None], keys, values, mask, 0.3)[:, 0], atol=1e-6)


@pytest.mark.parametrize("arrays", [1, 2])
def test_a_new_token_of_each_row_is_written_to_one_layer_and_dropped_past_the_end(arrays: int) -> None:
    L, B, K, S, H = 2, 5, 2, 40, 8
    caches, new = draw(*[(L, B, K, S, H)] * arrays), draw(*[(B, K, H)] * arrays)
    positions = jnp.array([0, 15, 16, 39, 40], jnp.int32)
    written = decode_tpu.write_token(caches, jnp.int32(1), new, positions, interpret=True)
    for got, cache, token in zip(written, caches, new, strict=True):
        np.testing.assert_array_equal(got, cache.at[1, jnp.arange(B), :, positions].set(token, mode="drop"))


# --- on which tokens a mesh of TPUs calls them, with plain attention in their place


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    seen = []

    def flash(q, k, v, segments_BT, scale):
        seen.append("flash")
        return plain(q, k, v, segments_BT, scale)

    def decode(q, k, v, layer, lengths, scale, width):
        seen.append("decode")
        visible = cached(lengths[:, None] - 1, k.shape[3])
        values = k[..., :width] if v is None else v
        return attend(q[:, None], k[layer], values[layer], visible, scale)[:, 0]

    def write(caches, layer, new, positions):
        seen.append("write")
        rows = jnp.arange(len(positions))
        return [x.at[layer, rows, :, positions].set(y, mode="drop") for x, y in zip(caches, new, strict=True)]

    for module in (attention, kv):
        monkeypatch.setattr(module, "platform", lambda: "tpu")
    monkeypatch.setattr(flash_tpu, "flash_attention", flash)
    monkeypatch.setattr(decode_tpu, "decode_attention", decode)
    monkeypatch.setattr(decode_tpu, "write_token", write)
    return seen


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))


@pytest.mark.parametrize("segments", [None, np.tile(PACKED, (2, 1))], ids=["one segment", "packed"])
def test_tokens_of_a_mesh_s_rows_and_heads_meet_in_the_kernel(calls, mesh, segments) -> None:
    B, T, N, K, H, V = 4, 40, 4, 2, 8, 4
    q, k, v = (x.astype(jnp.bfloat16) for x in draw((B, T, N, H), (B, T, K, H), (B, T, K, V)))
    visible = causal(jnp.broadcast_to(jnp.arange(T), (B, T)), segments)
    whole = jax.jit(lambda q, k, v: attention.self_attention(q, k, v, visible, 0.3))(q, k, v)
    heads = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, "tensor", None))
    with jax.set_mesh(mesh):
        placed = [jax.device_put(x, heads) for x in (q, k, v)]
        parts = jax.jit(lambda q, k, v: attention.self_attention(q, k, v, visible, 0.3))(*placed)
    np.testing.assert_array_equal(np.asarray(parts, np.float32), np.asarray(whole, np.float32))
    assert calls == ["flash", "flash"]
    # float32, which is there to compare with, and tokens with a context take the plain form
    jax.eval_shape(lambda: attention.self_attention(q.astype(jnp.float32), k, v, visible, 0.3))
    contexts = causal(visible.positions, PACKED[:1], PACKED[:1])
    jax.eval_shape(lambda: attention.self_attention(q, k, v, contexts, 0.3))
    assert calls == ["flash", "flash"]


@pytest.mark.parametrize("latents", [False, True])
def test_a_new_token_of_each_row_meets_its_cache_in_the_kernel(calls, mesh, latents: bool) -> None:
    L, B, N, K, S, H = 2, 4, 4, 1 if latents else 2, 16, 128
    shapes = ((B, 1, N, H), (L, B, K, S, H), (L, B, K, S, H), (B, 1, K, H))
    q, k, v, new = (x.astype(jnp.bfloat16) for x in draw(*shapes))
    positions = jnp.array([[0], [3], [8], [15]])

    def run(q, k, v, new):
        old, new = (kv.KVCache(k, None if latents else v) for k, v in ((k, v), (new, -new)))
        cache = kv.write(old, 1, new, positions)
        return attention.cache_attention(q, cache, 1, cached(positions, S), 0.3, q.shape[-1])

    whole = jax.jit(run)(q, k, v, new)
    with jax.set_mesh(mesh):
        parts = jax.jit(run)(q, k, v, new)
    np.testing.assert_array_equal(np.asarray(parts, np.float32), np.asarray(whole, np.float32))
    jax.eval_shape(run, *(x[..., :64] for x in (q, k, v, new)))  # XLA lays such a cache out otherwise
    assert calls == ["write", "decode"] * 2


def test_a_cache_of_latents_is_as_wide_as_the_kernel_takes_it(calls) -> None:
    shapes = jax.eval_shape(lambda: kv.empty(PRESETS["deepseek_v3"], 1, 8, DECODE_RULES))
    assert shapes.k.shape[-1] == 640  # 512 + 64, and zeros
