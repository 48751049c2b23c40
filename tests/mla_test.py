"""Latent attention: decoding from latents equals the expanded whole pass, alone and in the sampler with experts."""

import dataclasses

import jax
import numpy as np
import pytest
from engine_test import ManyEnds, assert_greedy, draw, tokens
from transformer_test import CLOSE, count_up, draw_tokens, operations

from r1jax.core import params as core
from r1jax.core.config import RuleChanges
from r1jax.core.params import ParamSpec
from r1jax.core.sharding import DECODE_RULES, TRAIN_RULES, MeshConfig, make_mesh, use_rules
from r1jax.data.batching import pad_rollouts, to_device
from r1jax.data.types import Prompt
from r1jax.inference.engine import Engine, SamplingConfig
from r1jax.losses.logprobs import batch_logprobs
from r1jax.models import cache as kv
from r1jax.models import mla
from r1jax.models.config import PRESETS, MLAConfig, ModelConfig, MoEConfig, RopeScaling
from r1jax.models.logits import Truncation
from r1jax.models.transformer import forward, param_specs

# Widths that are all different, so that a shape tells what it is the shape of. YaRN multiplies scores by 1.3 here.
LOW_RANK = ModelConfig(
    vocab_size=64,
    embed_dim=32,
    num_layers=2,
    num_heads=4,
    num_kv_heads=4,
    head_dim=16,
    mlp_dim=48,
    mla=MLAConfig(q_rank=12, kv_rank=20, nope_dim=10, rope_dim=6, v_dim=7),
    rope_scaling=RopeScaling("yarn", 40.0, 16, mscale=0.5, mscale_all_dim=0.4),
)
FULL_RANK = dataclasses.replace(LOW_RANK, mla=dataclasses.replace(LOW_RANK.mla, q_rank=0), rope_scaling=None)
DEEP = dataclasses.replace(
    LOW_RANK,
    tie_embeddings=False,
    mtp_depth=1,
    vocab_size=96,
    moe=MoEConfig(num_experts=8, top_k=2, expert_dim=8, first_dense=1, num_groups=4, top_groups=2, scale=2.5),
)


def weights(cfg: ModelConfig, mesh):
    """Norms that are not 1, selection biases that are not 0, logits that differ by a few nats."""
    rng = np.random.default_rng(0)

    def draw(path, spec):
        noise = rng.normal(size=spec.shape)
        if spec.init != "normal":
            return np.float32(0.1 * noise + (spec.init == "ones"))
        table = path[0].key in ("embed", "unembed")
        return np.float32(noise * (0.3 if table else spec.std))

    specs = param_specs(cfg)
    drawn = jax.tree_util.tree_map_with_path(draw, specs, is_leaf=lambda x: isinstance(x, ParamSpec))
    return jax.device_put(drawn, core.shardings(specs, TRAIN_RULES, mesh))


@pytest.fixture(scope="module", params=[LOW_RANK, FULL_RANK], ids=["low rank, yarn", "full rank"])
def model(request, mesh1):
    return request.param, weights(request.param, mesh1)


def test_absorbed_decoding_equals_the_expanded_whole_pass_and_never_expands(model):
    cfg, params = model
    ids = draw_tokens(cfg, 2, 9)
    whole = np.asarray(jax.jit(lambda p: forward(p, cfg, ids, count_up(ids)).hidden)(params))
    step = jax.jit(lambda p, t, at, cache: forward(p, cfg, t, at, cache=cache, rules=DECODE_RULES)[:2])
    # Four tokens at once, which takes the expanded form over the cache; then one by one.
    hidden, cache = step(params, ids[:, :4], count_up(ids)[:, :4], kv.empty(cfg, 2, 41, DECODE_RULES))
    np.testing.assert_allclose(hidden, whole[:, :4], **CLOSE)
    for t in range(4, 9):
        now, cache = step(params, ids[:, t : t + 1], np.full((2, 1), t, np.int32), cache)
        np.testing.assert_allclose(now[:, 0], whole[:, t], **CLOSE)
    # A decode step's arrays over the 41 slots are scores, latents and rotated keys; none is a head's keys or values.
    program = jax.make_jaxpr(step)(params, ids[:, :1], ids[:, :1], cache)
    widths = {n for e in operations(program.jaxpr) for v in e.outvars if 41 in v.aval.shape for n in v.aval.shape}
    assert 20 + 6 in widths and not widths & {10, 16, 7}


def test_scores_are_scaled_by_yarns_temperature_squared_by_hand():
    # DeepSeek-V3: (0.1 ln 40 + 1)^2 / sqrt(192) = 1.36889^2 / 13.8564
    assert mla._score_scale(PRESETS["deepseek_v3"]) == pytest.approx(0.135234, rel=1e-5)
    assert mla._score_scale(LOW_RANK) == pytest.approx((0.04 * np.log(40) + 1) ** 2 / 4)
    assert mla._score_scale(FULL_RANK) == 1 / 4


def test_no_state_depends_on_a_later_token_or_another_segment(model):
    cfg, params = model
    ids = np.arange(6, dtype=np.int32)[None]
    segments, positions = np.array([[1, 1, 1, 2, 2, 0]]), np.array([[0, 1, 2, 0, 1, 0]])
    direction = np.random.default_rng(0).normal(size=cfg.embed_dim)

    def states(table):
        return forward({**params, "embed": table}, cfg, ids, positions, segments).hidden[0] @ direction

    depends = np.abs(jax.jit(jax.jacrev(states))(params["embed"]))[:, :6].max(axis=-1) > 0
    np.testing.assert_array_equal(depends, np.tril(np.ones((6, 6))) * (segments[0] == segments[0][:, None]))


# --- in the sampler, with experts and an idle multi-token-prediction block

SAMPLING = SamplingConfig(
    max_new_tokens=12, truncation=Truncation(1.0, 30, 0.95), slots=8, window=4, prefill_rows=4, bucket=16
)
ENDS = ManyEnds(DEEP.vocab_size)


@pytest.fixture(scope="module")
def deep(mesh1):
    return weights(DEEP, mesh1)


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    rng = np.random.default_rng(0)
    ids = [tuple(rng.integers(3, DEEP.vocab_size, n).tolist()) for n in (1, 4, 9, 14, 2)]
    return [Prompt(f"p{i}", "?", "1", "maths", ids=row) for i, row in enumerate(ids)]


@pytest.fixture(scope="module")
def drawn(deep, mesh1, prompts):
    """15 sequences through 8 slots, over a bucket's edge: forked, refilled and resized."""
    return draw(Engine(DEEP, SAMPLING, ENDS, mesh1), mesh1, deep, prompts, samples=3)


def test_trap01_trap02_the_trainer_finds_the_tokens_and_logprobs_of_latents_and_experts(drawn, deep, mesh1):
    assert max(len(r.prompt.ids) + len(r.ids) for r in drawn) > 16
    batch = pad_rollouts(drawn, np.zeros(len(drawn)), 32)
    sampled = batch.weights > 0
    np.testing.assert_array_equal(batch.targets[sampled], np.concatenate([r.ids for r in drawn]))
    with jax.set_mesh(mesh1):
        score = jax.jit(lambda p, b: batch_logprobs(p, DEEP, b, SAMPLING.truncation, 16)[0])
        found = np.asarray(score(deep, to_device(batch, mesh1)))[sampled]
    reported = np.concatenate([r.logprobs for r in drawn])
    np.testing.assert_allclose(found, reported, rtol=0, atol=5e-5)
    assert reported.min() < -2


def test_sharded_tokens_of_latents_and_experts_equal_those_of_one_device(drawn, deep, prompts):
    mesh = make_mesh(MeshConfig(data=1, fsdp=2, expert=2, tensor=2))
    sharded = jax.device_put(deep, core.shardings(param_specs(DEEP), TRAIN_RULES, mesh))
    cfg = dataclasses.replace(SAMPLING, bucket=32)
    assert tokens(draw(Engine(DEEP, cfg, ENDS, mesh), mesh, sharded, prompts, samples=3)) == tokens(drawn)


@pytest.mark.parametrize(
    "sizes, rules",
    [
        ({"fsdp": 2, "expert": 2, "context": 2}, {"embed": "fsdp", "rank": "fsdp", "experts": "expert+context"}),
        pytest.param(
            {"fsdp": 2, "expert": 2, "context": 2}, {"experts": "expert+fsdp+context"}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"fsdp": 2, "expert": 2, "tensor": 2},
            {"batch": "data+expert", "mlp": "tensor+fsdp", "vocab": "tensor+fsdp"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_tokens_are_those_of_one_device_where_decoding_cuts_weights_by_other_rules(drawn, deep, prompts, sizes, rules):
    """Weights gathered a layer at a time; experts over two axes, and over all; matrices cut along their outputs."""
    cfg = MeshConfig(1, **sizes, decode_rules=RuleChanges(**rules))
    mesh = make_mesh(cfg)
    sharded = jax.device_put(deep, core.shardings(param_specs(DEEP), TRAIN_RULES, mesh))
    sampling = dataclasses.replace(SAMPLING, bucket=32, prefill_rows=8)
    with use_rules(cfg):
        assert tokens(draw(Engine(DEEP, sampling, ENDS, mesh), mesh, sharded, prompts, samples=3)) == tokens(drawn)


def test_greedy_tokens_of_latents_and_experts_are_the_argmax_of_a_full_forward(deep, mesh1, prompts):
    cfg = dataclasses.replace(SAMPLING, truncation=Truncation(temperature=0.0), max_new_tokens=7)
    rollouts = draw(Engine(DEEP, cfg, ENDS, mesh1), mesh1, deep, prompts[:3], samples=1)
    assert len(np.unique(assert_greedy(rollouts, DEEP, deep, mesh1))) > 3
