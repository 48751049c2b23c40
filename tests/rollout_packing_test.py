"""Rollouts packed in rows: every token keeps its place, its log-probs and its pull; little is padding."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from advantages_test import AGGREGATIONS, rollout
from auxiliary_test import DEEP, EVERYTHING
from mla_test import weights

from r1jax.core.config import RuleChanges
from r1jax.core.sharding import MeshConfig, make_mesh, use_rules
from r1jax.data.batching import pack_rows, pad_rollouts, row_length, to_device, unpack_rows
from r1jax.data.tasks import DataConfig
from r1jax.inference.config import RolloutSamplingConfig
from r1jax.losses.config import AuxiliaryConfig, GRPOConfig
from r1jax.losses.grpo import grpo_loss
from r1jax.models.config import ModelConfig
from r1jax.stages.config import RLConfig
from r1jax.stages.rl_batch import make_batch, make_scorer, minibatches, packed, with_logprobs
from r1jax.training.step import accumulate

DENSE = ModelConfig(vocab_size=24, embed_dim=8, num_layers=1, num_heads=4, num_kv_heads=2, head_dim=4, mlp_dim=8)
MODELS = {
    "dense": (DENSE, AuxiliaryConfig()),
    "experts": (dataclasses.replace(DEEP, mtp_depth=0), AuxiliaryConfig(balance_weight=0.0)),
    "experts, balanced, looking ahead": (dataclasses.replace(DEEP, mtp_depth=2), EVERYTHING),
}
CFG = RLConfig(
    "rl",
    "",
    1,
    DataConfig(tasks=(), path="questions.jsonl"),
    RolloutSamplingConfig(max_new_tokens=24),
    GRPOConfig(
        prompts_per_step=4,
        group_size=4,
        minibatches=1,
        inner_epochs=2,  # which needs the old policy's log-probs
        clip_low=0.2,
        clip_high=0.2,
        beta=0.1,
        mask_truncated=True,
        importance_cap=1.5,
        entropy_bonus=0.1,
    ),
    microbatches=4,
    batch_bucket=8,
    logprob_chunk=8,
)


def drawn(count: int = 16, longest: int = 24, seed: int = 0, of_a_prompt: int = 2):
    """Rollouts and advantages: one completion of `longest` tokens, else short ones; every fourth is truncated."""
    rng = np.random.default_rng(seed)
    rollouts = []
    for i, tokens in enumerate([longest, *rng.integers(1, 7, count - 1)]):
        ids = rng.integers(0, 24, tokens).tolist()
        if i % of_a_prompt == 0:
            prompt = rng.integers(0, 24, rng.integers(1, 5)).tolist()
        each = rollout(prompt, ids, logprob=-3.0)
        rollouts.append(dataclasses.replace(each, finish="length" if i % 4 == 1 else "stop"))
    return rollouts, rng.normal(size=count)


def test_rows_packed_by_hand():
    """The longest first, each to the first row with room; two parts, of the rows 0 and 2, and 1 and 3."""
    rollouts = [rollout([1], [9]), rollout([2, 3], [4, 5, 6]), rollout([7, 8], [9]), rollout([10], [0])]
    batch = pad_rollouts(rollouts, np.array([1.0, 2.0, 3.0, 4.0]), bucket=2)
    rows, places = pack_rows(batch, 2)
    np.testing.assert_array_equal(rows.tokens, [[2, 3, 4, 5], [0] * 4, [7, 8, 1, 10], [0] * 4])
    np.testing.assert_array_equal(rows.targets, [[3, 4, 5, 6], [0] * 4, [8, 9, 9, 0], [0] * 4])
    np.testing.assert_array_equal(rows.positions, [[0, 1, 2, 3], [0] * 4, [0, 1, 0, 0], [0] * 4])
    np.testing.assert_array_equal(rows.segments, [[1, 1, 1, 1], [0] * 4, [1, 1, 2, 3], [0] * 4])
    np.testing.assert_array_equal(rows.weights, [[0, 1, 1, 1], [0] * 4, [0, 1, 1, 1], [0] * 4])
    np.testing.assert_array_equal(rows.advantages, [[2, 2, 2, 2], [0] * 4, [3, 3, 1, 4], [0] * 4])
    assert not rows.one_segment and rows.ref_logprobs is None
    for name in ("tokens", "targets", "weights", "advantages", "sampler_logprobs"):
        np.testing.assert_array_equal(unpack_rows(getattr(rows, name), places), getattr(batch, name))


def test_rows_that_share_their_prompt_by_hand():
    """The prompt 1 2 3 stands once in each row that holds its completions, but for its last token, which each has."""
    rollouts = [rollout([1, 2, 3], [4, 5]), rollout([7], [8]), rollout([1, 2, 3], [6]), rollout([1, 2, 3], [9])]
    batch = pad_rollouts(rollouts, np.array([1.0, 2.0, 3.0, 4.0]), bucket=5)
    rows, places = pack_rows(batch, 4, share_prompts=True)
    np.testing.assert_array_equal(rows.tokens[:2], [[1, 2, 3, 4, 3], [1, 2, 3, 7, 0]])
    np.testing.assert_array_equal(rows.targets[:2], [[2, 3, 4, 5, 6], [2, 3, 9, 8, 0]])
    np.testing.assert_array_equal(rows.positions[:2], [[0, 1, 2, 3, 2], [0, 1, 2, 0, 0]])
    np.testing.assert_array_equal(rows.segments[:2], [[1, 1, 2, 2, 3], [1, 1, 2, 3, 0]])
    np.testing.assert_array_equal(rows.contexts[:2], [[1, 1, 1, 1, 1], [1, 1, 1, 3, 0]])
    np.testing.assert_array_equal(rows.weights[:2], [[0, 0, 1, 1, 1], [0, 0, 1, 1, 0]])
    assert not rows.segments[2:].any()
    np.testing.assert_array_equal(unpack_rows(rows.weights, places), batch.weights)
    np.testing.assert_array_equal(unpack_rows(rows.advantages, places)[:, 2], [1, 0, 3, 4])


def test_a_groups_prompt_is_computed_once_a_row():
    """As in `zero:mini`: 8 completions of some 30 tokens for each question of 130; the longest has 112."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 24, 130).tolist() for _ in range(16)]
    rollouts = [rollout(prompt, [1] * int(rng.integers(10, 50))) for prompt in prompts for _ in range(8)]
    rollouts[0] = rollout(prompts[0], [1] * 112)
    batch = pad_rollouts(rollouts, np.zeros(128), 96)
    (alone, _), (shared, _) = (pack_rows(batch, 16, share_prompts=share) for share in (False, True))
    computed = [sum(rows.segments[part::16].any() for part in range(16)) for rows in (alone, shared)]
    assert computed[1] <= computed[0] / 2


def test_rows_that_packing_saves_no_part_of_stay_rows_of_one_segment():
    long, short = [rollout([1, 2], [3] * 4)] * 4, [rollout([1], [2])] * 4
    for rollouts, parts in ((long, 4), (long + short, 1), (long + short, 2)):
        batch = pad_rollouts(rollouts, np.zeros(len(rollouts)), 2)
        rows, places = pack_rows(batch, parts)
        assert (rows is batch and places is None) == (rollouts == long or parts == 1)
        assert rows.one_segment == (places is None)


def used_share(lengths: np.ndarray, at_a_time: int) -> tuple[float, float]:
    """The share of tokens in the rows that are computed, so many at a time; and in all of them, a rollout each."""
    batch = pad_rollouts([rollout([1], [2] * n) for n in lengths], np.zeros(len(lengths)), 512)
    parts = len(lengths) // at_a_time
    rows, _ = pack_rows(batch, parts)
    computed = sum(rows.segments[part::parts].any() for part in range(parts))
    assert (rows.segments > 0).sum() == lengths.sum()
    return lengths.sum() / (batch.tokens.shape[1] * at_a_time * computed), lengths.sum() / batch.tokens.size


def test_few_of_the_tokens_that_are_computed_are_padding():
    rng = np.random.default_rng(0)
    now, before = used_share(np.array([20_000, *rng.integers(100, 1080, 511)]), at_a_time=1)
    assert now >= 0.9 and before == pytest.approx(0.031, abs=0.001)
    # As R1's: log-normal, 9,300 tokens on average, none of more than 32,768.
    lengths = np.exp(rng.normal(8.95, 0.75, 256)).clip(1, 32_768).astype(int)
    lengths[0] = 32_768
    now, before = used_share(lengths, at_a_time=4)
    assert lengths.mean() == pytest.approx(9_300, rel=0.06)
    assert now >= 0.9 and before == pytest.approx(0.27, abs=0.03)


def test_a_run_of_growing_rollouts_compiles_few_lengths_and_no_number_of_filled_rows_anew():
    assert [row_length(n, 1) for n in range(1, 19)] == [*range(1, 9), 10, 10, 12, 12, 14, 14, 16, 16, 20, 20]
    every = np.arange(1, 32_769)
    lengths = np.array([row_length(int(n), 512) for n in every])
    assert len(set(lengths)) == 20 and (lengths >= every).all()
    assert (lengths <= 1.25 * (every + 511)).all() and (lengths % 512 == 0).all()
    traced = []
    program = jax.jit(lambda batch: traced.append((batch.tokens.shape[1], batch.one_segment)))
    rng = np.random.default_rng(0)
    for longest in np.exp(np.linspace(np.log(64), np.log(4096), 100)).astype(int):
        sizes = np.append(longest, np.exp(rng.uniform(np.log(8), np.log(longest), 7))).astype(int)
        batch = pad_rollouts([rollout([1], [2] * n) for n in sizes], np.zeros(8), 64)
        program(pack_rows(batch, 8)[0])
    # 64 multiples of the bucket became 20 lengths, of which some occur in both forms.
    assert len({length for length, _ in traced}) <= 20 and len(traced) == len(set(traced)) <= 30


# --- gradients, metrics and log-probs


class Case:
    """A model's scorer and gradient on a mesh."""

    def __init__(self, name: str, mesh):
        self.model, aux = MODELS[name]
        self.mesh, cfg = mesh, dataclasses.replace(CFG, auxiliary=aux)

        def loss(params, rows):
            return grpo_loss(params, self.model, rows, cfg.grpo, cfg.sampling.truncation, cfg.logprob_chunk, aux)

        self.score = {
            packing: make_scorer(self.model, dataclasses.replace(cfg, packing=packing), mesh)
            for packing in (True, False)
        }
        self.gradient = jax.jit(lambda params, rows: accumulate(loss, params, rows, cfg.microbatches))

    def __call__(self, batch, packing: bool, aggregation: str = "sequence"):
        """Gradient, metrics, and the batch with its log-probs, whose old policy and reference are others' weights."""
        cfg = dataclasses.replace(CFG, packing=packing, grpo=dataclasses.replace(CFG.grpo, aggregation=aggregation))
        with jax.set_mesh(self.mesh):
            policy = weights(self.model, self.mesh)
            old, reference = (jax.tree.map(lambda w, by=by: by * w, policy) for by in (0.8, 1.1))
            batch = with_logprobs(batch, cfg.grpo, self.score[packing], old, reference)
            minibatch = next(minibatches(batch, cfg.grpo, cfg.sampling.max_new_tokens, seed=0, step=0))
            rows, places = packed(minibatch, cfg, self.model, self.mesh)
            assert (places is not None) == packing
            return *jax.device_get(self.gradient(policy, to_device(rows, self.mesh))), batch


@pytest.fixture(scope="module")
def case():
    return functools.cache(Case)


def assert_same(ours, theirs):
    """Gradients and metrics are equal but for the order of float32 sums."""

    def close(path, a, b):
        np.testing.assert_allclose(a, b, 1e-4, 2e-6 * max(1, np.abs(b).max()), err_msg=jax.tree_util.keystr(path))

    jax.tree_util.tree_map_with_path(close, ours, theirs)


@pytest.mark.parametrize(
    "name", ["dense", pytest.param("experts", marks=pytest.mark.slow), "experts, balanced, looking ahead"]
)
def test_trap10_packing_changes_neither_gradient_nor_metrics_nor_log_probs(name, case, mesh1):
    run = case(name, mesh1)
    rollouts, advantages = drawn()
    batch = make_batch(rollouts, advantages, CFG)
    for aggregation in AGGREGATIONS:
        gradient, metrics, scored = run(batch, True, aggregation)
        expected, expected_metrics, expected_scored = run(batch, False, aggregation)
        real = batch.weights > 0 if name == "dense" else batch.segments > 0  # shared prompts stand in one row
        for field in ("old_logprobs", "ref_logprobs"):
            ours, theirs = getattr(scored, field)[real], getattr(expected_scored, field)[real]
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
            assert np.ptp(theirs) > 0.01
        assert_same((gradient, metrics), (expected, expected_metrics))
        assert metrics["weight"] > 0 and metrics["kl"] > 0 and metrics["clip/rate"] > 0
        loads = [load for key, load in metrics.items() if key.startswith("load/")]
        assert all(load.sum() > 0 for load in loads) and bool(loads) == (name != "dense")
    # Other rollouts fill other rows of the same two programs, packed and not.
    run(make_batch(*drawn(seed=1), CFG), True)
    assert run.gradient._cache_size() == 2


@pytest.mark.parametrize("name", ["dense", pytest.param("experts, balanced, looking ahead", marks=pytest.mark.slow)])
def test_trap10_eight_devices_and_another_order_give_the_same_from_packed_rows(name, case, mesh1, mesh8):
    rollouts, advantages = drawn()
    gradient, metrics, _ = case(name, mesh1)(make_batch(rollouts, advantages, CFG), True)
    order = np.random.default_rng(5).permutation(len(rollouts))
    other = make_batch([rollouts[i] for i in order], advantages[order], CFG)
    for mesh in (mesh1, mesh8):
        assert_same(case(name, mesh)(other, True)[:2], (gradient, metrics))


def test_a_step_whose_every_response_is_masked_has_log_probs_and_no_gradient(case, mesh1):
    """All were cut off, and `mask_truncated` leaves them out: nothing is packed, and nothing must fail."""
    rollouts, advantages = drawn()
    cut = [dataclasses.replace(rollout, finish="length") for rollout in rollouts]
    cfg = dataclasses.replace(CFG, grpo=dataclasses.replace(CFG.grpo, mask_truncated=True))
    batch = make_batch(cut, advantages, cfg)
    assert not batch.weights.any()
    gradient, metrics, _ = case("dense", mesh1)(batch, True)
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient)) and metrics["weight"] == 0


DENSE_AND_DEEP = ("dense", "experts, balanced, looking ahead")


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("dense", {"fsdp": 2, "context": 2, "tensor": 2}),
        ("experts, balanced, looking ahead", {"fsdp": 2, "expert": 2, "context": 2}),
        *(
            pytest.param(name, sizes, marks=pytest.mark.slow)
            for name in DENSE_AND_DEEP
            for sizes in (
                {"data": 4, "tensor": 2},
                {"fsdp": 2, "expert": 2, "tensor": 2},
                {"data": 4, "context": 2},
                {"data": 2, "context": 4},
                {"context": 4, "tensor": 2},
                {"expert": 4, "context": 2},
                {"expert": 2, "context": 2, "tensor": 2},
            )
        ),
    ],
    ids=str,
)
def test_trap10_rows_whose_tokens_are_cut_over_devices_give_the_same(name, sizes, case, mesh1):
    """Packed rows with shared prompts, latents, experts and looking ahead: gradients, metrics and log-probs."""
    batch = make_batch(*drawn(), CFG)
    gradient, metrics, scored = case(name, mesh1)(batch, True)
    cut_gradient, cut_metrics, cut = case(name, make_mesh(MeshConfig(**{"data": 1} | sizes)))(batch, True)
    assert_same((cut_gradient, cut_metrics), (gradient, metrics))
    for field in ("old_logprobs", "ref_logprobs"):
        np.testing.assert_allclose(getattr(cut, field), getattr(scored, field), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, rules",
    [
        ("dense", {"embed": "fsdp+data", "length": "context+tensor", "heads": "none", "kv_heads": "none"}),
        ("experts, balanced, looking ahead", {"embed": "none", "rank": "data", "experts": "fsdp+context"}),
    ],
)
def test_other_rules_give_the_same(name, rules, case, mesh1):
    batch = make_batch(*drawn(), CFG)
    expected = case(name, mesh1)(batch, True)
    cfg = MeshConfig(data=2, fsdp=2, context=2, train_rules=RuleChanges(**rules))
    with use_rules(cfg):
        assert_same(Case(name, make_mesh(cfg))(batch, True)[:2], expected[:2])
