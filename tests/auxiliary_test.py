"""What is added to a loss: which targets count further ahead, what an idle block keeps; parts and devices agree."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mla_test import weights

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES, MeshConfig, make_mesh
from r1jax.data.batching import Batch, pack, to_device
from r1jax.losses.auxiliary import AuxiliaryConfig, auxiliary_loss, mtp_loss
from r1jax.losses.supervised import cross_entropy_loss
from r1jax.models.config import MLAConfig, ModelConfig, MoEConfig
from r1jax.models.transformer import forward, look_ahead, param_specs
from r1jax.training import state
from r1jax.training.state import OptimizerConfig, make_optimizer
from r1jax.training.step import accumulate, make_update

PLAIN = ModelConfig(
    vocab_size=24, embed_dim=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, mlp_dim=12, mtp_depth=2
)
DEEP = ModelConfig(
    vocab_size=24,
    embed_dim=8,
    num_layers=2,
    num_heads=2,
    num_kv_heads=2,
    head_dim=6,
    mlp_dim=12,
    mtp_depth=1,
    tie_embeddings=False,
    mla=MLAConfig(q_rank=4, kv_rank=6, nope_dim=4, rope_dim=2, v_dim=4),
    moe=MoEConfig(num_experts=4, top_k=2, expert_dim=4, first_dense=1),
)
EVERYTHING = AuxiliaryConfig(balance_weight=0.3, bias_rate=0.125, mtp_weight=0.5)
# Ids and what is trained on: two share the first row, one is nearly too short to look ahead in.
EXAMPLES = [
    ([3, 1, 4, 1, 5], [0, 0, 1, 1, 1]),
    ([9, 2, 6], [0, 1, 1]),
    ([5, 3, 5, 8, 9, 7, 9], [0, 1, 0, 1, 1, 1, 1]),
]
PLACES = [(0, 0), (0, 4), (1, 0)]  # row and column of each one's first token


def packed() -> Batch:
    batch, left_over = pack(EXAMPLES, rows=2, length=8)
    assert left_over == 0 and batch.segments.tolist() == [[1, 1, 1, 1, 2, 2, 0, 0], [1] * 6 + [0, 0]]
    return batch


def test_mtp_loss_by_hand_on_a_packed_batch():
    """Depth d predicts, at token t of an example, its token t + d + 1, if it has one and it is trained on."""
    rng = np.random.default_rng(0)
    states, table = rng.normal(size=(2, 2, 8, PLAIN.embed_dim)), rng.normal(size=(24, PLAIN.embed_dim))
    logits = states @ table.T
    logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    total, counted = 0.0, []
    for depth in (1, 2):
        for (ids, mask), (row, column) in zip(EXAMPLES, PLACES, strict=True):
            for t in range(len(ids) - depth - 1):
                target = t + depth + 1
                total -= mask[target] * logprobs[depth - 1, row, column + t, ids[target]]
                counted += [(depth, row, column + t)] * mask[target]
    # By eye: the second example's only target at depth 1 is its last token, and at depth 2 it has none.
    assert [at for at in counted if (0, 4) <= at[1:] < (1, 0)] == [(1, 0, 4)] and len(counted) == 3 + 1 + 4 + 2 + 4
    expected = total / sum(sum(mask) for _, mask in EXAMPLES) / 2
    with jax.default_matmul_precision("float32"):
        program = jax.jit(lambda table, states: mtp_loss({"embed": table}, PLAIN, packed(), list(states), 3))
        found = program(np.float32(table), np.float32(states))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_a_state_of_depth_d_sees_d_tokens_further_and_no_more(mesh1):
    """Every token is a different one; the last d places of a segment have nothing ahead and are left out."""
    params, T = weights(PLAIN, mesh1), 8
    segments = np.array([[1, 1, 1, 1, 1, 2, 2, 2]])
    positions = np.array([[0, 1, 2, 3, 4, 0, 1, 2]])
    # Token ids 0 .. 4 and 10 .. 12; each segment's last target is a token of its own.
    tokens, targets = np.array([[0, 1, 2, 3, 4, 10, 11, 12]]), np.array([[1, 2, 3, 4, 5, 11, 12, 13]])
    direction = np.random.default_rng(0).normal(size=PLAIN.embed_dim)

    def states(table):
        now = {**params, "embed": table}
        hidden = forward(now, PLAIN, tokens, positions, segments).hidden
        return jnp.stack(look_ahead(now, PLAIN, hidden, targets, positions, segments)[0])[:, 0] @ direction

    sees = np.abs(jax.jit(jax.jacrev(states))(params["embed"])).max(axis=-1) > 0  # [depth, T, V]
    for depth in (1, 2):
        for t in range(T):
            first, last = (0, 5) if t < 5 else (10, 13)  # the segment's ids, its last target included
            here = int(tokens[0, t])
            if here + depth <= last:
                assert np.flatnonzero(sees[depth - 1, t]).tolist() == list(range(first, here + depth + 1)), (depth, t)


def test_an_idle_block_gets_no_gradient_and_is_not_decayed_and_a_busy_one_learns(mesh1):
    cfg, batch = dataclasses.replace(PLAIN, mtp_depth=1), packed()
    specs = param_specs(cfg)
    optimizer = OptimizerConfig(learning_rate=0.01, weight_decay=0.1)
    for aux in (AuxiliaryConfig(), AuxiliaryConfig(mtp_weight=0.1)):
        tx = make_optimizer(optimizer, specs, 10, aux.idle)

        def loss(params, rows, aux=aux):
            return cross_entropy_loss(params, cfg, rows, 8, aux)

        with jax.set_mesh(mesh1):
            now = state.create(weights(cfg, mesh1), specs, tx, mesh1)
            before = jax.device_get(now.params)
            now, metrics = make_update(loss, tx, specs, mesh1)(now, to_device(batch, mesh1))
            after = jax.device_get(now.params)
            moments = jax.tree.leaves(optax_moments(now.opt_state))
        changed = {
            name: jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.any(a != b)), before[name], after[name]))
            for name in before
        }
        assert all(changed["layers"]) and all(changed["embed"])
        if aux.mtp_weight:
            assert all(changed["mtp"]) and float(metrics["mtp_loss"]) > 0
        else:
            assert not any(changed["mtp"]) and "mtp_loss" not in metrics
            assert all(not np.any(m) for m in moments)


def optax_moments(opt_state):
    """Adam's moments of the block that looks ahead: zero if no gradient ever reached it."""
    found = [part for part in jax.tree.leaves(opt_state, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(part, "mu")]
    return [(part.mu["mtp"], part.nu["mtp"]) for part in found]


def test_a_dense_model_adds_nothing_and_unwanted_terms_are_not_computed(mesh1):
    dense = dataclasses.replace(PLAIN, mtp_depth=0)
    batch = jax.tree.map(jnp.asarray, packed())
    output = jax.eval_shape(
        lambda p: forward(p, dense, batch.tokens, batch.positions, batch.segments),
        core.abstract(param_specs(dense), TRAIN_RULES, mesh1),
    )
    assert auxiliary_loss({}, dense, batch, output, EVERYTHING, 8) == (0.0, {})


def whole(seed=0) -> Batch:
    """Eight rows, each with two examples; weights that differ from row to row and sum to 1."""
    rng = np.random.default_rng(seed)
    examples = [(rng.integers(0, 24, n).tolist(), (rng.random(n) > 0.3).astype(int).tolist()) for n in (5, 4, 6, 3) * 4]
    return pack(examples, rows=8, length=8)[0]


def test_trap10_parts_and_devices_change_neither_loss_nor_gradient_nor_load(mesh1):
    batch = whole()
    assert len(set(batch.weights.sum(axis=1).tolist())) > 2  # or a mean over rows would pass for a sum

    def loss(params, rows):
        return cross_entropy_loss(params, DEEP, rows, 8, EVERYTHING)

    def run(mesh, parts):
        with jax.set_mesh(mesh):
            program = jax.jit(lambda params, rows: accumulate(loss, params, rows, parts))
            return jax.device_get(program(weights(DEEP, mesh), to_device(batch, mesh)))

    grads, metrics = run(mesh1, 1)
    # Both stacks route every real token to two experts, and no padding.
    for load in (metrics["load/moe_layers"], metrics["load/mtp"]):
        assert load.shape == (1, 4) and load.sum() == 2 * (batch.segments > 0).sum()
    # A row counts by its share of the weights, so even routing costs about 1 a routed layer: here there are two.
    assert 1.9 < metrics["balance_loss"] < 3
    terms = {name: float(x) for name, x in metrics.items() if not name.startswith("load/")}
    plain = jax.jit(lambda p: cross_entropy_loss(p, DEEP, batch, 8, AuxiliaryConfig(balance_weight=0.0))[0])
    expected = float(plain(weights(DEEP, mesh1))) + 0.3 * terms["balance_loss"] + 0.5 * terms["mtp_loss"]
    assert terms["loss"] == pytest.approx(expected, rel=1e-5) and terms["mtp_loss"] > 2

    def same(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

    both = run(make_mesh(MeshConfig(data=1, fsdp=2, expert=2, tensor=2)), 2)
    jax.tree.map(same, (grads, metrics), both)
    assert np.any(grads["moe_layers"]["router"]) and np.any(grads["mtp"]["router"])
    assert not np.any(grads["moe_layers"]["router_bias"]) and not np.any(grads["mtp"]["router_bias"])


@pytest.mark.parametrize("field", ["balance_weight", "bias_rate", "mtp_weight"])
def test_weights_below_zero_are_refused(field):
    with pytest.raises(ValueError, match=f"{field}=-0.1"):
        AuxiliaryConfig(**{field: -0.1})
