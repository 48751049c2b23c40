"""The decoder's promises: it never looks ahead or aside, and cache, packing, padding, mesh, remat and unrolling change
nothing but the cost."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1jax.core import params as core
from r1jax.core.sharding import DECODE_RULES, TRAIN_RULES, MeshConfig, make_mesh
from r1jax.losses.logprobs import token_logprobs
from r1jax.models import cache as kv
from r1jax.models.config import ModelConfig, MoEConfig
from r1jax.models.logits import Truncation
from r1jax.models.transformer import forward, param_specs, split_stacks, unembed_table

# Two orders of the same float32 sums, in states of size about 1.
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


def draw_tokens(tiny, rows, length):
    return np.random.default_rng(0).integers(0, tiny.vocab_size, (rows, length)).astype(np.int32)


def count_up(tokens):
    return np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape)


@pytest.fixture(scope="module")
def hidden(tiny, tiny_params):
    """(tokens, positions, segments) -> hidden states without a cache, float64 on the host."""
    run = jax.jit(lambda tokens, positions, segments: forward(tiny_params, tiny, tokens, positions, segments)[0])
    return lambda tokens, positions, segments: np.asarray(run(tokens, positions, segments), np.float64)


def test_no_state_depends_on_a_later_token_another_segment_or_another_row(tiny, tiny_params):
    """Every token is a different one, so the gradient in its row of the table is the gradient in its embedding."""
    T = 6
    tokens = np.arange(2 * T, dtype=np.int32).reshape(2, T)
    segments = np.array([[1] * T, [1, 1, 2, 2, 2, 0]], np.int32)
    positions = np.array([[0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 2, 0]], np.int32)
    direction = jax.random.normal(jax.random.key(0), (tiny.embed_dim,))

    def states(table):
        return forward({**tiny_params, "embed": table}, tiny, tokens, positions, segments)[0] @ direction

    jacobian = np.asarray(jax.jit(jax.jacrev(states))(tiny_params["embed"]))[:, :, : 2 * T]  # [2, T, 2T, D]
    depends = np.abs(jacobian).max(axis=-1).reshape(2 * T, 2 * T) > 0
    row, at, segment = np.repeat([0, 1], T), np.tile(np.arange(T), 2), segments.reshape(-1)
    expected = (row[:, None] == row) & (at[:, None] >= at) & (segment[:, None] == segment)
    np.testing.assert_array_equal(depends, expected)


@pytest.fixture(scope="module")
def step(tiny, tiny_params):
    return jax.jit(
        lambda tokens, positions, cache: forward(tiny_params, tiny, tokens, positions, cache=cache, rules=DECODE_RULES)[
            :2
        ]
    )


def test_decoding_token_by_token_equals_the_whole_pass(tiny, hidden, step):
    tokens = draw_tokens(tiny, 3, 12)
    whole = hidden(tokens, count_up(tokens), np.ones_like(tokens))
    cache = kv.empty(tiny, 3, 16, DECODE_RULES)
    for t in range(12):
        now, cache = step(tokens[:, t : t + 1], np.full((3, 1), t, np.int32), cache)
        np.testing.assert_allclose(now[:, 0], whole[:, t], **CLOSE)


def test_prefill_then_decode_equals_the_whole_pass_though_rows_differ_in_length(tiny, hidden, step):
    """Each row is at its own position; what right padding left in the cache is overwritten before it is seen."""
    tokens = draw_tokens(tiny, 3, 12)
    whole = hidden(tokens, count_up(tokens), np.ones_like(tokens))
    lengths = np.array([4, 8, 1], np.int32)
    prompts = np.where(count_up(tokens)[:, :8] < lengths[:, None], tokens[:, :8], 7)
    states, cache = step(prompts, count_up(prompts), kv.empty(tiny, 3, 8, DECODE_RULES))
    cache = kv.resize(cache, 16)
    for row, n in enumerate(lengths):
        np.testing.assert_allclose(states[row, :n], whole[row, :n], **CLOSE)
    for offset in range(4):
        positions = lengths + offset
        now, cache = step(tokens[np.arange(3), positions][:, None], positions[:, None], cache)
        np.testing.assert_allclose(now[:, 0], whole[np.arange(3), positions], **CLOSE)


def test_writes_past_the_end_of_the_cache_are_dropped(tiny, step):
    full = jax.tree.map(lambda x: x + 1.0, kv.empty(tiny, 3, 16, DECODE_RULES))
    _, after = step(np.zeros((3, 1), np.int32), np.full((3, 1), 16, np.int32), full)
    jax.tree.map(np.testing.assert_array_equal, full, after)


def test_packed_segments_equal_rows_of_their_own(tiny, hidden):
    tokens = draw_tokens(tiny, 1, 12)
    cuts = [slice(0, 5), slice(5, 6), slice(6, 10)]
    segments, positions = np.zeros_like(tokens), np.zeros_like(tokens)
    for i, cut in enumerate(cuts):
        segments[0, cut], positions[0, cut] = i + 1, np.arange(cut.stop - cut.start)
    packed = hidden(tokens, positions, segments)[0]
    for cut in cuts:
        alone = tokens[:, cut]
        np.testing.assert_allclose(packed[cut], hidden(alone, count_up(alone), np.ones_like(alone))[0], **CLOSE)


def test_trap03_right_padding_changes_nothing_whatever_stands_in_it(tiny, hidden):
    tokens = draw_tokens(tiny, 2, 12)
    segments = (count_up(tokens) < 7).astype(np.int32)
    filled = np.where(segments, tokens, tokens[::-1])
    first, second = (hidden(x, count_up(x), segments)[:, :7] for x in (tokens, filled))
    np.testing.assert_array_equal(first, second)
    alone = tokens[:, :7]
    np.testing.assert_allclose(first, hidden(alone, count_up(alone), np.ones_like(alone)), **CLOSE)


def test_eight_devices_give_the_states_of_one(tiny, tiny_params, hidden, mesh8):
    tokens = draw_tokens(tiny, 4, 8)
    cut = core.init(param_specs(tiny), TRAIN_RULES, mesh8, seed=0)
    with jax.set_mesh(mesh8):
        states = jax.jit(lambda params: forward(params, tiny, tokens, count_up(tokens))[0])(cut)
    np.testing.assert_allclose(states, hidden(tokens, count_up(tokens), np.ones_like(tokens)), **CLOSE)


def test_remat_and_unrolling_change_neither_states_nor_gradients(tiny, tiny_params):
    tokens = draw_tokens(tiny, 2, 8)

    def gradient(cfg):
        loss = lambda params: jnp.sum(forward(params, cfg, tokens, count_up(tokens))[0] ** 3)  # noqa: E731
        return jax.jit(jax.value_and_grad(loss))(tiny_params)

    def same(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max())

    jax.tree.map(same, gradient(tiny), gradient(dataclasses.replace(tiny, remat=True, scan_unroll=2)))


@pytest.mark.parametrize("moe", [False, True], ids=["dense", "experts"])
def test_a_stack_split_into_its_layers_gives_the_same_states(tiny, moe):
    cfg = tiny
    if moe:
        cfg = dataclasses.replace(tiny, num_layers=3, moe=MoEConfig(4, 2, 16, first_dense=1))
    params = core.init(param_specs(cfg), TRAIN_RULES, make_mesh(MeshConfig(), jax.devices()[:1]), seed=0)
    tokens = draw_tokens(cfg, 2, 6)
    run = jax.jit(lambda params: forward(params, cfg, tokens, count_up(tokens)))
    split = split_stacks(cfg, params)
    assert isinstance(split["layers"], list) and (not moe or len(split["moe_layers"]) == 2)
    whole, of_layers = run(params), run(split)
    np.testing.assert_allclose(of_layers.hidden, whole.hidden, **CLOSE)
    jax.tree.map(np.testing.assert_allclose, of_layers.routing, whole.routing)


def inner_jaxprs(params):
    """The programs that an equation (a scan, a call) holds among its parameters, closed or not."""
    values = [x for value in params.values() for x in (value if isinstance(value, tuple | list) else [value])]
    return [getattr(x, "jaxpr", x) for x in values if hasattr(getattr(x, "jaxpr", x), "eqns")]


def operations(jaxpr):
    """Every equation of a jaxpr, those inside its scans and calls too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in inner_jaxprs(equation.params):
            yield from operations(inner)


def test_trap09_norms_softmax_and_logprobs_are_float32_when_computing_in_bfloat16(tiny, tiny_params):
    cfg = dataclasses.replace(tiny, dtype="bfloat16")
    tokens = draw_tokens(tiny, 2, 8)

    def logprobs(params):
        states = forward(params, cfg, tokens, count_up(tokens)).hidden
        assert states.dtype == jnp.bfloat16
        return token_logprobs(states, unembed_table(params).astype(cfg.dtype), tokens, Truncation(0.6, 5, 0.9), 4)

    delicate = ("exp", "log", "rsqrt", "sin", "cos", "reduce_sum", "reduce_max", "div")
    found = {name: set() for name in (*delicate, "dot_general")}
    for equation in operations(jax.make_jaxpr(logprobs)(tiny_params).jaxpr):
        if equation.primitive.name in found:
            found[equation.primitive.name] |= {v.aval.dtype.name for v in equation.invars} - {"int32", "bool"}
    assert found.pop("dot_general") >= {"bfloat16"}  # or nothing was computed in it
    assert all(dtypes == {"float32"} for dtypes in found.values()), found

    @jax.jit
    def plain(params, table):
        states = forward(params, dataclasses.replace(tiny, dtype=table.dtype.name), tokens, count_up(tokens)).hidden
        return token_logprobs(states, table, tokens, Truncation(), 4)[0]

    rounded, exact = (plain(tiny_params, tiny_params["embed"].astype(dtype)) for dtype in ("bfloat16", "float32"))
    # Logits of size 0.1 are good to 2^-8 of that in bfloat16; log-probs of size 6, rounded, would be off by 0.01.
    np.testing.assert_allclose(rounded, exact, atol=5e-3)


def test_an_untied_table_is_the_one_that_unembeds(tiny, mesh1):
    untied = dataclasses.replace(tiny, tie_embeddings=False)
    params = core.abstract(param_specs(untied), TRAIN_RULES, mesh1)
    assert unembed_table(params) is params["unembed"] and params["unembed"].shape == params["embed"].shape
    assert unembed_table({"embed": params["embed"]}) is params["embed"]


@pytest.mark.parametrize("change, message", [({"num_kv_heads": 3}, "num_heads=4"), ({"head_dim": 7}, "head_dim=7")])
def test_shapes_that_cannot_be_raise(tiny: ModelConfig, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(tiny, **change)
