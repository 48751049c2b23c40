"""The cache: what it holds and nothing else, where a write lands, what resizing keeps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1jax.core.sharding import DECODE_RULES
from r1jax.models import cache as kv
from r1jax.models.config import MLAConfig, ModelConfig

GQA = ModelConfig(vocab_size=8, embed_dim=8, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=6, mlp_dim=8)
MLA = dataclasses.replace(GQA, num_kv_heads=4, mla=MLAConfig(q_rank=0, kv_rank=10, nope_dim=4, rope_dim=2, v_dim=6))
ROWS, LENGTH = 2, 5


def size(cache: kv.KVCache) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(cache))


@pytest.mark.parametrize("dtype, width", [("float32", 4), ("bfloat16", 2)])
def test_a_token_costs_its_keys_and_values_or_its_latent_and_rotated_key(dtype, width):
    grouped, latent = (
        kv.empty(dataclasses.replace(cfg, dtype=dtype), ROWS, LENGTH, DECODE_RULES) for cfg in (GQA, MLA)
    )
    assert size(grouped) == width * 3 * ROWS * LENGTH * 2 * (2 * 6)
    assert size(latent) == width * 3 * ROWS * LENGTH * (10 + 2)
    assert latent.v is None and kv.axes(MLA).v is None
    for cfg, cache in ((GQA, grouped), (MLA, latent)):
        assert cache.length == LENGTH and len(kv.axes(cfg).k) == cache.k.ndim


@pytest.mark.parametrize("cfg", [GQA, MLA], ids=["gqa", "mla"])
def test_a_write_lands_at_its_rows_positions_in_its_layer_alone(cfg):
    before = jax.tree.map(lambda x: x - 1.0, kv.empty(cfg, ROWS, LENGTH, DECODE_RULES))
    heads, width = before.k.shape[2], before.k.shape[4]
    new = np.arange(ROWS * 2 * heads * width, dtype=np.float32).reshape(ROWS, 2, heads, width)
    positions = np.array([[0, 1], [4, 5]])  # 5 is past the end
    after = kv.write(before, jnp.int32(1), kv.KVCache(new, None if cfg.mla else -new), positions)
    expected = np.full(before.k.shape, -1.0)
    for row, t in ((0, 0), (0, 1), (1, 0)):
        expected[1, row, :, positions[row, t]] = new[row, t]
    np.testing.assert_array_equal(after.k, expected)
    if cfg.mla:
        assert after.v is None
    else:
        np.testing.assert_array_equal(after.v, np.where(expected == -1, -1, -expected))


@pytest.mark.parametrize("cfg", [GQA, MLA], ids=["gqa", "mla"])
def test_resizing_keeps_what_there_is_room_for(cfg):
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(lambda x: jnp.array(rng.normal(size=x.shape)), kv.empty(cfg, ROWS, LENGTH, DECODE_RULES))
    longer, shorter = kv.resize(drawn, 8), kv.resize(drawn, 3)
    assert (longer.length, shorter.length) == (8, 3)
    for old, more, fewer in zip(*map(jax.tree.leaves, (drawn, longer, shorter)), strict=True):
        np.testing.assert_array_equal(more[:, :, :, :LENGTH], old)
        assert not np.any(more[:, :, :, LENGTH:])
        np.testing.assert_array_equal(fewer, old[:, :, :, :3])
