"""Decoding with weights and cache in narrower types: what is rounded and how far, on one device and on eight."""

import dataclasses

import jax
import numpy as np
import pytest

from r1jax.core import params as core
from r1jax.core.quantization import Int8, narrow, narrow_shardings, quantize
from r1jax.core.sharding import DECODE_RULES, TRAIN_RULES
from r1jax.data.types import Prompt
from r1jax.inference.engine import Engine, SamplingConfig
from r1jax.models import cache as kv
from r1jax.models.config import MLAConfig
from r1jax.models.transformer import param_specs

PROMPTS = [Prompt(str(i), "?", "1", "maths", ids=tuple(range(3, 5 + i))) for i in range(4)]
CONFIG = SamplingConfig(max_new_tokens=8, slots=8, window=8, prefill_rows=4, bucket=16)


@dataclasses.dataclass(frozen=True)
class NoEnd:
    """A tokenizer whose end of sequence is not met."""

    eos_ids: tuple[int, ...] = (2,)

    def decode(self, ids) -> str:
        return ""


def draw(cfg, model, mesh, params) -> list[np.ndarray]:
    """Tokens `[N]` and log-probs of the same draw."""
    rollouts = Engine(model, cfg, NoEnd(), mesh).generate(params, PROMPTS, 2, (1,))
    return [np.concatenate([getattr(rollout, name) for rollout in rollouts]) for name in ("ids", "logprobs")]


def test_numbers_are_rounded_to_127_parts_of_the_largest_that_shares_their_scale():
    x = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32) * np.array([1, 100, 0])[:, None, None]
    small = quantize(x, (1,))
    assert small.values.dtype == np.int8 and small.scale.shape == (3, 1, 7)
    largest = np.abs(x).max(axis=1, keepdims=True)
    assert (np.abs(small.astype("float32") - x) <= largest / 254 * 1.0001).all()
    np.testing.assert_array_equal(np.abs(small.values).max(axis=1)[:2], 127)


def test_matrices_of_layers_are_narrow_with_a_scale_for_each_output(tiny, tiny_params):
    specs = param_specs(tiny)
    small = narrow(tiny_params, specs, "float32", "int8")
    L, D, N, K, H, F = 2, tiny.embed_dim, tiny.num_heads, tiny.num_kv_heads, tiny.head_dim, tiny.mlp_dim
    scales = {name: part.scale.shape for name, part in small["layers"].items() if isinstance(part, Int8)}
    assert scales == {
        "q": (L, 1, N, H),
        "k": (L, 1, K, H),
        "v": (L, 1, K, H),
        "o": (L, 1, 1, D),
        "gate": (L, 1, F),
        "up": (L, 1, F),
        "down": (L, 1, D),
    }
    assert small["embed"].dtype == small["layers"]["attn_norm"].dtype == np.float32
    half = narrow(tiny_params, specs, "float32", "bfloat16")
    assert half["layers"]["q"].dtype == "bfloat16" and half["embed"].dtype == np.float32


@pytest.fixture(scope="module")
def wide(tiny, tiny_params, mesh1):
    return draw(CONFIG, tiny, mesh1, tiny_params)


INT8 = {"weight_type": "int8", "cache_type": "int8"}
BFLOAT16 = {"weight_type": "bfloat16", "cache_type": "bfloat16"}


@pytest.mark.parametrize("changes, gap", [(INT8, 0.03), (BFLOAT16, 0.01)], ids=["int8", "bfloat16"])
def test_log_probs_are_near_those_of_the_compute_type(shared_engines, tiny, tiny_params, mesh1, wide, changes, gap):
    """The same noise gives nearly always the same token."""
    ids, logprobs = draw(dataclasses.replace(CONFIG, **changes), tiny, mesh1, tiny_params)
    same = ids == wide[0]
    assert same.mean() > 0.8
    assert 0 < np.abs(logprobs - wide[1])[same].max() < gap


def test_narrow_sharded_tokens_equal_those_of_one_device(shared_engines, tiny, tiny_params, mesh1, mesh8):
    cfg = dataclasses.replace(CONFIG, **INT8)
    params8 = core.init(param_specs(tiny), TRAIN_RULES, mesh8, seed=0)
    one, eight = draw(cfg, tiny, mesh1, tiny_params), draw(cfg, tiny, mesh8, params8)
    np.testing.assert_array_equal(one[0], eight[0])
    np.testing.assert_allclose(one[1], eight[1], atol=1e-3)  # a sum in another order may round a number elsewhere


MLA = MLAConfig(q_rank=0, kv_rank=10, nope_dim=4, rope_dim=4, v_dim=8)


@pytest.mark.parametrize("by_layer", [False, True])
@pytest.mark.parametrize("mla", [None, MLA], ids=["gqa", "mla"])
def test_an_int8_cache_holds_what_was_written_of_each_token_and_head(tiny, by_layer, mla):
    cfg = dataclasses.replace(tiny, mla=mla, num_kv_heads=4 if mla else 2)
    cache = kv.empty(cfg, 2, 5, DECODE_RULES, kv.Layout(by_layer, "int8"))
    rng, heads, width = np.random.default_rng(0), 1 if mla else cfg.num_kv_heads, 14 if mla else cfg.head_dim
    new = rng.normal(size=(2, 2, heads, width)).astype(np.float32)
    positions = np.array([[0, 1], [3, 4]])
    cache = kv.write(cache, 1, kv.KVCache(new, None if mla else -new), positions)
    cache = kv.take_rows(kv.resize(cache, 7), np.array([1, 0]))
    k, v = cache.layer(1, "float32")
    assert k.shape == (2, heads, 7, width) and cache.length == 7
    expected = np.zeros(k.shape, np.float32)
    for row, t in np.ndindex(2, 2):
        expected[1 - row, :, positions[row, t]] = new[row, t]
    np.testing.assert_allclose(k, expected, atol=np.abs(new).max() / 250)
    if not mla:
        np.testing.assert_array_equal(v, -np.asarray(k))


def test_scales_lie_where_their_outputs_do(tiny, mesh8):
    shardings = narrow_shardings(param_specs(tiny), DECODE_RULES, mesh8, "int8")["layers"]
    assert shardings["q"].scale.spec == shardings["q"].values.spec
    assert shardings["down"].values.spec[1] and not any(shardings["down"].scale.spec)
    assert jax.tree.structure(shardings["o"]) == jax.tree.structure(Int8(0, 0))
