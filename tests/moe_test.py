"""Experts: sorted, grouped and sharded, they give what a plain loop over tokens gives; their loads even out."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformer_test import operations

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES, MeshConfig, make_mesh, place
from r1jax.data.batching import Batch, to_device
from r1jax.models import moe
from r1jax.models.config import ModelConfig, MoEConfig
from r1jax.models.moe import affinities, balance_loss, choose, load_metrics, moe_mlp, moe_specs, rebalance
from r1jax.models.transformer import forward, param_specs
from r1jax.training import state
from r1jax.training.state import OptimizerConfig, make_optimizer
from r1jax.training.step import make_update

B, T, D, E = 8, 4, 12, 16
V3 = MoEConfig(E, top_k=3, expert_dim=6, num_shared=2, num_groups=4, top_groups=2, scale=2.5)
CASES = {
    "v3": V3,
    "v2": MoEConfig(E, top_k=3, expert_dim=6, scoring="softmax", normalize=False),
    "all experts": MoEConfig(E, top_k=E, expert_dim=6, num_shared=0),
    "one expert": MoEConfig(E, top_k=1, expert_dim=6, num_shared=0),
}
# One or two sequences to a row, with padding after them or without.
SEGMENTS = np.array(
    [[1, 1, 1, 1], [1, 1, 2, 2], [1, 2, 2, 2], [1, 1, 1, 0], [1, 1, 2, 0], [1, 0, 0, 0]] + [[1] * 4] * 2
)
REAL = SEGMENTS > 0
RNG = np.random.default_rng(0)
X, PULL_Y, PULL_BALANCE = RNG.normal(size=(B, T, D)), RNG.normal(size=(B, T, D)), RNG.normal(size=(B, 3))


def model(moe: MoEConfig, **changes) -> ModelConfig:
    return ModelConfig(
        **{
            "vocab_size": 32,
            "embed_dim": D,
            "num_layers": 1,
            "num_heads": 2,
            "num_kv_heads": 2,
            "head_dim": 4,
            "mlp_dim": 8,
            "moe": moe,
            **changes,
        }
    )


def weights(case: str) -> dict[str, np.ndarray]:
    """One layer's, large enough for outputs of about 1."""
    rng = np.random.default_rng(1)
    p = {name: rng.normal(size=spec.shape[1:]) * 0.5 for name, spec in moe_specs(model(CASES[case]), 1).items()}
    if case == "v3":
        p["router_bias"] = rng.normal(size=E) * 0.2
    if case == "one expert":
        p["router_bias"] = 10.0 * (np.arange(E) == 5)
    return p


def silu(z):
    return z / (1 + np.exp(-z))


def by_loop(p, moe: MoEConfig, x) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output, load and each segment's balance loss `[B, 3]` in float64, a token and an expert at a time."""
    y, load, balance = np.zeros_like(x), np.zeros(E), np.zeros((B, 3))
    for b in range(B):
        f, P, sizes = np.zeros((3, E)), np.zeros((3, E)), np.bincount(SEGMENTS[b], minlength=3)
        for t in range(T):
            logits = x[b, t] @ p["router"]
            s = 1 / (1 + np.exp(-logits)) if moe.scoring == "sigmoid" else np.exp(logits) / np.exp(logits).sum()
            choice = s + p.get("router_bias", 0.0)
            groups = [range(g, g + E // moe.num_groups) for g in range(0, E, E // moe.num_groups)]
            if moe.num_groups > 1:
                groups = sorted(groups, key=lambda g: -sum(sorted(choice[i] for i in g)[-2:]))[: moe.top_groups]
            chosen = sorted((i for g in groups for i in g), key=lambda i: -choice[i])[: moe.top_k]
            total = sum(s[i] for i in chosen) if moe.normalize else 1.0
            for i in chosen:
                h = silu(x[b, t] @ p["expert_gate"][i]) * (x[b, t] @ p["expert_up"][i])
                y[b, t] += s[i] / total * moe.scale * (h @ p["expert_down"][i])
                load[i] += REAL[b, t]
            if moe.num_shared:
                h = silu(x[b, t] @ p["shared_gate"]) * (x[b, t] @ p["shared_up"])
                y[b, t] += h @ p["shared_down"]
            if segment := SEGMENTS[b, t]:
                f[segment, np.argsort(-s)[: moe.top_k]] += E / moe.top_k / sizes[segment]
                P[segment] += s / s.sum() / sizes[segment]
        balance[b] = (f * P).sum(axis=1)
    return y, load, balance


def pulled(y, balance):
    """A scalar in which every output counts differently."""
    return (y * PULL_Y).sum() + (balance * PULL_BALANCE).sum()


def run(case: str, mesh):
    """(output, load, balance) and the gradient of `pulled` in weights and inputs, computed on a mesh."""
    cfg = model(CASES[case])
    layout = core.shardings(moe_specs(cfg, 1), TRAIN_RULES, mesh)
    params = {name: jax.device_put(np.float32(w)[None], layout[name]) for name, w in weights(case).items()}

    def value(params, x):
        y, load, balance = moe_mlp({name: w[0] for name, w in params.items()}, cfg, x, SEGMENTS)
        of_segments = jnp.stack(
            [jnp.where(segment == SEGMENTS, balance, 0).sum(axis=1) for segment in range(3)], axis=1
        )
        return pulled(y, of_segments), (y, load, of_segments)

    with jax.set_mesh(mesh):
        x = place(np.float32(X), lambda _: TRAIN_RULES.sharding(mesh, ("batch", None, None)))
        grads, outputs = jax.jit(jax.grad(value, argnums=(0, 1), has_aux=True))(params, x)
    d_weights = {name: np.asarray(g[0]) for name, g in grads[0].items()}
    return [np.asarray(out) for out in outputs], {**d_weights, "x": np.asarray(grads[1])}


@pytest.fixture(scope="module")
def on_one(mesh1):
    """The cases as one device computes them, each once."""
    made = {}
    return lambda case: made.setdefault(case, None) or made.update({case: run(case, mesh1)}) or made[case]


@pytest.mark.parametrize("case", CASES)
def test_grouped_products_equal_a_loop_over_tokens_in_values_and_gradients(on_one, case):
    moe, p = CASES[case], weights(case)
    (y, load, balance), grads = on_one(case)
    expected = by_loop(p, moe, X)
    np.testing.assert_allclose(y, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(load, expected[1])
    np.testing.assert_allclose(balance, expected[2], rtol=1e-5)
    if case == "one expert":
        assert load.tolist() == (REAL.sum() * (np.arange(E) == 5)).tolist(), "a token was dropped"

    def at(name, step, direction):
        inputs = {**p, "x": X}
        inputs[name] = inputs[name] + step * direction
        y, _, balance = by_loop(inputs, moe, inputs["x"])
        return pulled(y, balance)

    assert set(grads) == {*p, "x"}
    for name, gradient in grads.items():
        direction = np.random.default_rng(2).normal(size=gradient.shape)
        slope = (at(name, 1e-6, direction) - at(name, -1e-6, direction)) / 2e-6
        scale = np.sqrt((gradient.astype(np.float64) ** 2).sum())
        np.testing.assert_allclose((gradient * direction).sum(), slope, 1e-4, 1e-5 * scale + 1e-8, err_msg=name)
    assert not np.any(grads.get("router_bias", 0.0)), "the bias selects; no gradient reaches it"


@pytest.mark.parametrize(
    "case, sizes",
    [
        ("v3", MeshConfig(data=2, expert=2, tensor=2)),
        ("v3", MeshConfig(fsdp=2, expert=4, data=1)),
        ("v3", MeshConfig(data=2, fsdp=2, tensor=2)),
        ("v2", MeshConfig(expert=4, tensor=2, data=1)),
        ("all experts", MeshConfig(data=2, fsdp=2, expert=2)),
        ("one expert", MeshConfig(expert=8, data=1)),
    ],
    ids=lambda x: x if isinstance(x, str) else "-".join(map(str, dataclasses.astuple(x))),
)
def test_eight_devices_give_the_values_and_gradients_of_one(on_one, case, sizes):
    outputs, grads = run(case, make_mesh(sizes))
    expected, expected_grads = on_one(case)
    np.testing.assert_array_equal(outputs[1], expected[1])
    for got, want in [*zip(outputs, expected, strict=True), *((grads[k], expected_grads[k]) for k in expected_grads)]:
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-6 * max(np.abs(want).max(), 1))


@pytest.mark.parametrize("case, tokens", [("one expert", 8192), ("v3", 3)])
def test_no_row_is_dropped_where_more_come_than_a_device_takes_at_a_time(on_one, case, tokens, monkeypatch):
    """All 32 tokens go to one device, which takes 5 rows a round; and pieces of 3 of a device's 8 tokens."""
    monkeypatch.setattr(moe, "FEW_ROWS", 1)
    monkeypatch.setattr(moe, "TOKENS", tokens)
    ways = 8 if case == "one expert" else 4
    outputs, grads = run(case, make_mesh(MeshConfig(expert=ways, tensor=8 // ways, data=1)))
    expected, expected_grads = on_one(case)
    np.testing.assert_array_equal(outputs[1], expected[1])
    for got, want in [*zip(outputs, expected, strict=True), *((grads[k], expected_grads[k]) for k in expected_grads)]:
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-6 * max(np.abs(want).max(), 1))


def test_tokens_that_go_through_the_experts_in_pieces_come_out_as_they_would_together(on_one, mesh1, monkeypatch):
    monkeypatch.setattr(moe, "TOKENS", 7)  # of B T in all, so that the last piece is padded
    assert B * T % 7
    (outputs, gradients), (whole, expected) = run("v3", mesh1), on_one("v3")
    for a, b in zip(outputs, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_groups_compete_and_the_bias_selects_without_weighing_by_hand():
    scores = jnp.array([0.9, 0.1, 0.6, 0.6, 0.7, 0.2])
    moe = MoEConfig(6, top_k=2, expert_dim=1, num_groups=3, top_groups=1, scale=3.0)

    def chosen(bias=None, **changes):
        program = jax.jit(lambda bias: choose(scores, bias, dataclasses.replace(moe, **changes)))
        experts, w = program(None if bias is None else np.float32(bias))
        return dict(zip(experts.tolist(), [round(float(x), 4) for x in w], strict=True))

    # Pairs sum to 1.0, 1.2, 0.9: the second wins, though the best expert is in the first.
    assert chosen() == {2: 1.5, 3: 1.5}
    assert chosen(scoring="softmax") == {0: 2.7, 1: 0.3}  # there the best member decides
    # 0.4 more makes the third pair 1.3; the weights are the bare scores', 7/9 and 2/9 of 3.
    assert chosen([0, 0, 0, 0, 0.2, 0.2]) == {4: 2.3333, 5: 0.6667}
    assert chosen([0, 0, 0, 0, 0.2, 0.2], normalize=False) == {4: 2.1, 5: 0.6}
    # Choices below 0 do not lose to the groups that are out.
    assert chosen([-2.0] * 6) == {2: 1.5, 3: 1.5}
    assert chosen(num_groups=1) == {0: 1.6875, 4: 1.3125}
    assert chosen(top_groups=2) == {0: 1.8, 2: 1.2}


def test_balance_loss_by_hand():
    # First token: shares 1/2 1/4 1/8 1/8, its two best are 0 and 1; second: 1/10 3/10 5/10 1/10, 2 and 1.
    # f = 4 / (2 * 2) * (1, 2, 1, 0); P = (0.3, 0.275, 0.3125, 0.1125); the third token and the second row are padding.
    moe = MoEConfig(4, top_k=2, expert_dim=1)
    scores = np.float32([[0.8, 0.4, 0.2, 0.2], [0.1, 0.3, 0.5, 0.1], [0.9, 0.1, 0.1, 0.1]])
    real = np.array([[True, True, False], [False] * 3])

    def value(scores):
        found = balance_loss(jnp.stack([scores] * 2), real, moe).sum(axis=1)
        return found[0], found

    gradient, found = jax.jit(jax.grad(value, has_aux=True))(scores)
    np.testing.assert_allclose(found, [0.3 + 0.55 + 0.3125, 0], rtol=1e-6)
    assert not np.any(gradient[2]) and np.all(np.isfinite(gradient))


def test_balance_loss_is_least_where_the_load_is_even_and_adds_up_over_rows():
    moe = MoEConfig(4, top_k=1, expert_dim=1)
    turns = 4.0 * np.eye(4)  # each token prefers another expert

    @jax.jit
    def value(skew):
        return balance_loss(
            jax.nn.sigmoid(turns + skew * np.array([2.0, 1.0, 0, 0]))[None], np.ones((1, 4), bool), moe
        ).sum(axis=1)

    losses = [float(value(skew)[0]) for skew in (0.0, 1.0, 2.0, 4.0)]
    # While the loads are even, f = 1 and the shares sum to 1, whatever they are.
    assert losses[:2] == pytest.approx([1.0, 1.0], rel=1e-5) and 1.1 < losses[2] < losses[3]
    scores = np.float32(1 / (1 + np.exp(-RNG.normal(size=(3, 5, 4)))))
    real = RNG.random((3, 5)) > 0.3
    loss = jax.jit(lambda scores, real: balance_loss(scores, real, moe))
    rows = [loss(scores[b : b + 1], real[b : b + 1])[0] for b in range(3)]
    np.testing.assert_allclose(loss(scores, real), rows, rtol=1e-6)


def test_a_bias_moves_by_the_rate_against_its_load():
    bias = np.float32([[0.5, -0.5, 0.0, 1.0], [0.0] * 4])
    load = np.float32([[5.0, 1.0, 3.0, 3.0], [0.0, 0.0, 0.0, 8.0]])
    expected = [[0.375, -0.375, 0.0, 1.0], [0.125, 0.125, 0.125, -0.125]]
    np.testing.assert_array_equal(jax.jit(rebalance)(bias, load, 0.125), expected)
    summary = jax.jit(load_metrics)
    metrics = summary(load)  # the second layer is the worse: 8 over a mean of 2, three of four idle
    assert {name: float(x) for name, x in metrics.items()} == {"moe/violation/max": 3.0, "moe/idle/max": 0.75}
    assert all(np.isfinite(float(x)) for x in summary(np.zeros((1, 4), np.float32)).values())


def test_trap09_the_router_is_float32_when_computing_in_bfloat16(mesh1):
    cfg = model(V3, dtype="bfloat16")
    specs = moe_specs(cfg, 1)
    kept = core.cast({name: jnp.ones(spec.shape) for name, spec in specs.items()}, specs, "bfloat16")
    assert {name for name, w in kept.items() if w.dtype == jnp.float32} == {"router", "router_bias"}

    def route(x, router, bias):
        scores = affinities(x, router, V3)
        return choose(scores, bias, V3), balance_loss(scores, SEGMENTS, V3)

    def floats(equation):
        return {v.aval.dtype.name for v in equation.invars if jnp.issubdtype(v.aval.dtype, jnp.floating)}

    program = jax.make_jaxpr(route)(jnp.ones((B, T, D), jnp.bfloat16), kept["router"][0], kept["router_bias"][0])
    steps = [e for e in operations(program.jaxpr) if e.primitive.name != "convert_element_type" and floats(e)]
    inner = [e for e in steps if not any(True for value in e.params.values() if hasattr(value, "jaxpr"))]
    assert {e.primitive.name for e in inner} >= {"dot_general", "logistic", "top_k"}
    assert all(floats(e) == {"float32"} for e in inner)
    # And in the whole model, from float32 weights.
    params = core.abstract(param_specs(cfg), TRAIN_RULES, mesh1)
    tokens = np.zeros((B, T), np.int32)
    whole = jax.make_jaxpr(lambda p: forward(p, cfg, tokens, tokens).hidden)(params)
    found = list(operations(whole.jaxpr))
    assert whole.out_avals[0].dtype == jnp.bfloat16
    assert {"bfloat16"} in [floats(e) for e in found if e.primitive.name == "ragged_dot_general"]
    routers = [e for e in found if e.primitive.name == "dot_general" and e.outvars[0].aval.shape == (B, T, E)]
    selections = [e for e in found if e.primitive.name == "top_k"]
    assert routers and selections and all(floats(e) == {"float32"} for e in routers + selections)


def test_trap09_two_experts_that_bfloat16_cannot_tell_apart_are_told_apart():
    """Their columns differ by 2^-10: rounded, the tie would go to the first."""
    moe = MoEConfig(4, top_k=1, expert_dim=2, num_shared=0)
    cfg = model(moe, dtype="bfloat16")
    specs = moe_specs(cfg, 1)
    params = {name: np.ones(spec.shape, np.float32) for name, spec in specs.items()}
    params["router"] *= np.float32([1, 1 + 2**-10, 0.5, 0.5])
    params["router_bias"] *= 0
    assert np.unique(np.asarray(params["router"], jnp.bfloat16)).size == 2
    p = {name: w[0] for name, w in core.cast(jax.tree.map(jnp.array, params), specs, "bfloat16").items()}
    y, load, _ = jax.jit(lambda x: moe_mlp(p, cfg, x, np.ones((1, 3), bool)))(jnp.full((1, 3, D), 0.125, jnp.bfloat16))
    assert y.dtype == jnp.bfloat16 and load.tolist() == [0, 3, 0, 0]


# --- the biases under updates

SMALL = model(MoEConfig(8, top_k=2, expert_dim=4))
SPECS = {"moe_layers": moe_specs(SMALL, 1)}
TOKENS = np.arange(128, dtype=np.int32).reshape(8, 16)
FEATURES = np.float32(np.random.default_rng(3).normal(size=(TOKENS.size, D)))
FEATURES[:, 0] = 2.0  # what the skewed router sees in every token
RATE = 1 / 64  # the loads end up swinging by as much as two steps of the biases move


def loss(params, batch):
    p = {name: w[0] for name, w in params["moe_layers"].items()}
    y, load, balance = moe_mlp(p, SMALL, jnp.asarray(FEATURES)[batch.tokens], batch.segments)
    return jnp.sum(jnp.square(y) * batch.weights[..., None]), {"load/moe_layers": load[None], "rows": len(balance)}


def make_batch(weight=1.0) -> Batch:
    return Batch(TOKENS, TOKENS, TOKENS, np.ones_like(TOKENS), np.full(TOKENS.shape, weight / TOKENS.size, np.float32))


TX = make_optimizer(OptimizerConfig(learning_rate=1e-4, weight_decay=0.1), SPECS, 100)


@functools.cache
def compiled_update(mesh, **options):
    return make_update(loss, TX, SPECS, mesh, **options)


def updates(mesh, steps=1, batch=None, **options):
    """The weights and the metrics after each update of a router that sends nearly everything to two experts."""
    rng = np.random.default_rng(4)
    drawn = {name: np.float32(rng.normal(size=s.shape) * s.std) for name, s in SPECS["moe_layers"].items()}
    drawn["router"][0, 0] = [2, 1.5] + [0] * 6
    drawn["router_bias"] *= 0
    with jax.set_mesh(mesh):
        params = jax.device_put({"moe_layers": drawn}, core.shardings(SPECS, TRAIN_RULES, mesh))
        now, seen = state.create(params, SPECS, TX, mesh), []
        update, batch = compiled_update(mesh, **options), to_device(batch or make_batch(), mesh)
        for _ in range(steps):
            now, metrics = update(now, batch)
            seen.append({name: float(x) for name, x in metrics.items()})
    return jax.device_get(now.params["moe_layers"]), seen


def test_updates_even_out_the_load_of_a_skewed_router(mesh1):
    after, metrics = updates(mesh1, steps=50, bias_rate=RATE)
    assert not any(name.startswith("load/") for name in metrics[0])
    violation = [m["moe/violation/max"] for m in metrics]
    assert violation[0] > 2 and max(violation[-5:]) < 0.5
    assert metrics[0]["moe/idle/max"] >= metrics[-1]["moe/idle/max"] == 0
    assert np.all(after["router_bias"][0, :2] < 0) and np.all(after["router_bias"][0, 2:] > -RATE)


def test_a_rate_of_zero_leaves_the_biases_bitwise_alone_while_the_weights_learn(mesh1):
    before, _ = updates(mesh1, steps=0)
    after, metrics = updates(mesh1, steps=3)
    np.testing.assert_array_equal(before["router_bias"], after["router_bias"])
    assert all(np.any(before[name] != after[name]) for name in before if name != "router_bias")
    assert metrics[0]["moe/violation/max"] > 2  # watched all the same


def test_trap10_parts_do_not_change_the_biases(mesh1):
    (whole, metrics), (cut, cut_metrics) = (updates(mesh1, bias_rate=RATE, microbatches=n) for n in (1, 2))
    np.testing.assert_array_equal(whole["router_bias"], cut["router_bias"])
    assert set(np.abs(whole["router_bias"]).ravel().tolist()) <= {0.0, np.float32(RATE)} and whole["router_bias"].any()
    for name in ("moe/violation/max", "moe/idle/max"):
        assert metrics[0][name] == cut_metrics[0][name]


def test_trap35_a_gradient_that_is_not_finite_leaves_the_biases_too(mesh1):
    before, _ = updates(mesh1, steps=0)
    after, metrics = updates(mesh1, batch=make_batch(np.nan), bias_rate=RATE)
    assert metrics[0]["skipped"] == 1.0 and np.isfinite(metrics[0]["moe/violation/max"])
    jax.tree.map(np.testing.assert_array_equal, before, after)
