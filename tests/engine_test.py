"""The sampler: what it says of its tokens is what the trainer finds, and nothing around a sequence moves them."""

import dataclasses

import jax
import numpy as np
import pytest

from r1jax.core import params as core
from r1jax.core.config import RuleChanges
from r1jax.core.sharding import DECODE_RULES, TRAIN_RULES, MeshConfig, make_mesh, use_rules
from r1jax.data.batching import pad_rollouts, to_device
from r1jax.data.types import Prompt, Rollout
from r1jax.inference.engine import Engine, SamplingConfig
from r1jax.losses.logprobs import batch_logprobs
from r1jax.models.config import ModelConfig
from r1jax.models.logits import Truncation
from r1jax.models.transformer import forward, param_specs, unembed_table

SEED = (7, 3)
CONFIG = SamplingConfig(max_new_tokens=40, slots=8, window=4, prefill_rows=4, bucket=32)


@dataclasses.dataclass(frozen=True)
class ManyEnds:
    """A tokenizer with so many ends of sequence that an untrained model meets them: about one token in sixteen."""

    vocab_size: int
    pad_id: int = 2

    @property
    def eos_ids(self) -> tuple[int, ...]:
        return tuple(range(2, self.vocab_size, 16))

    def decode(self, ids) -> str:
        return " ".join(map(str, ids))


@pytest.fixture(scope="module")
def ends(tiny) -> ManyEnds:
    return ManyEnds(tiny.vocab_size)


def loud(params):
    """Weights whose logits differ by a few nats, so that samples are neither uniform nor all the same."""
    return {**params, "embed": params["embed"] * 10}


@pytest.fixture(scope="module")
def params(tiny_params):
    return loud(tiny_params)


@pytest.fixture(scope="module")
def prompts(tiny) -> list[Prompt]:
    """Prompts of 1 to 30 tokens; the last two differ in their id alone."""
    rng = np.random.default_rng(0)
    ids = [tuple(rng.integers(3, tiny.vocab_size, n).tolist()) for n in (1, 5, 17, 9, 30, 3)]
    return [Prompt(f"p{i}", "?", "1", "maths", ids=row) for i, row in enumerate([*ids, ids[-1]])]


@pytest.fixture(scope="module")
def engine(tiny, ends, mesh1) -> Engine:
    return Engine(tiny, CONFIG, ends, mesh1)


def draw(engine: Engine, mesh, params, prompts, samples=6, seed=SEED, **kwargs) -> list[Rollout]:
    with jax.set_mesh(mesh):
        return engine.generate(params, prompts, samples, seed, **kwargs)


@pytest.fixture(scope="module")
def finished() -> list[Rollout]:
    return []


@pytest.fixture(scope="module")
def drawn(engine, mesh1, params, prompts, finished) -> list[Rollout]:
    """42 sequences through 8 slots: every slot is refilled."""
    return draw(engine, mesh1, params, prompts, on_finish=finished.append)


def tokens(rollouts) -> dict[tuple[str, int], list[int]]:
    return {(r.prompt.id, r.sample): r.ids.tolist() for r in rollouts}


def test_rollouts_come_prompt_by_prompt_and_each_is_announced_once(drawn, prompts, finished):
    assert [(r.prompt, r.sample) for r in drawn] == [(prompt, s) for prompt in prompts for s in range(6)]
    assert len(finished) == len(drawn) and {id(r) for r in finished} == {id(r) for r in drawn}
    assert [id(r) for r in finished] != [id(r) for r in drawn], "short ones should be announced before long ones"


def test_trap05_every_end_of_sequence_counts_and_the_finish_reason_is_carried(drawn, ends):
    for r in drawn:
        assert r.ids.dtype == np.int32 and r.logprobs.dtype == np.float32 and r.ids.shape == r.logprobs.shape
        assert 1 <= len(r.ids) <= CONFIG.max_new_tokens
        assert not set(r.ids[:-1].tolist()) & set(ends.eos_ids), "sampled on after an end of sequence"
        stopped = int(r.ids[-1]) in ends.eos_ids
        assert r.finish == ("stop" if stopped else "length")
        assert stopped or len(r.ids) == CONFIG.max_new_tokens
        assert r.text == ends.decode(r.ids[:-1] if stopped else r.ids)
    # The draw holds what the test is about: several ends, both reasons, and lengths on either side of a bucket's edge.
    assert len({int(r.ids[-1]) for r in drawn if r.finish == "stop"}) > 5
    assert {r.finish for r in drawn} == {"stop", "length"}
    lengths = [len(r.prompt.ids) + len(r.ids) for r in drawn]
    assert min(lengths) < 32 < max(lengths)


def test_trap05_a_first_token_end_is_a_completion_of_one_token(engine, tiny, ends, mesh1, params, prompts):
    # Every row of the table lies on one line, the ends' far out on either side: whatever the hidden state's sign, one
    # of them is far likelier than all that is no end.
    out = np.full(tiny.vocab_size, 0.01)
    out[list(ends.eos_ids)] = np.where(np.arange(len(ends.eos_ids)) % 2, 200.0, -200.0)
    table = jax.device_put(np.float32(out[:, None]) * params["embed"][0], params["embed"].sharding)
    rollouts = draw(engine, mesh1, {**params, "embed": table}, prompts[:3], samples=4)
    assert all(r.finish == "stop" and len(r.ids) == 1 and r.text == "" for r in rollouts)
    batch = pad_rollouts(rollouts, np.zeros(len(rollouts)), 32)
    assert batch.weights.sum() == len(rollouts)  # trap 4: the sampled end is trained on
    assert set(batch.targets[batch.weights > 0].tolist()) <= set(ends.eos_ids)


def test_trap03_trap08_tokens_do_not_depend_on_what_else_is_sampled(drawn, engine, mesh1, params, prompts):
    expected = tokens(drawn)
    alone = draw(engine, mesh1, params, prompts[4:5])
    reordered = draw(engine, mesh1, params, prompts[::-1])
    fewer = draw(engine, mesh1, params, prompts[2:5], samples=3)
    assert len(alone) == 6 and len(fewer) == 9
    for rollouts in (alone, reordered, fewer):
        assert all(expected[key] == ids for key, ids in tokens(rollouts).items())


@pytest.mark.parametrize(
    "changes",
    [
        {"slots": 3, "window": 7, "prefill_rows": 2, "bucket": 96},
        {"slots": 64, "window": 16, "prefill_rows": 8, "bucket": 96},
    ],
    ids=str,
)
def test_trap03_tokens_do_not_depend_on_slots_windows_or_buckets(drawn, tiny, ends, mesh1, params, prompts, changes):
    other = draw(Engine(tiny, dataclasses.replace(CONFIG, **changes), ends, mesh1), mesh1, params, prompts)
    assert tokens(other) == tokens(drawn)
    for a, b in zip(drawn, other, strict=True):
        # Matrix products of other shapes round differently: log-probs of a few nats to some 1e-6.
        np.testing.assert_allclose(a.logprobs, b.logprobs, rtol=0, atol=3e-5)


def test_a_prompt_is_prefilled_once_for_its_whole_group(engine, mesh1, params, prompts, monkeypatch):
    """Seven prompts, four at a time, six samples each in eight slots: two prefills, whenever the slots come free."""
    rows, prefill = [], engine.programs.prefill

    def count(params, tokens):
        rows.append(tokens.shape[0])
        return prefill(params, tokens)

    monkeypatch.setattr(engine.programs, "prefill", count)
    draw(engine, mesh1, params, prompts)
    assert rows == [CONFIG.prefill_rows] * 2


def test_sharded_tokens_equal_those_of_one_device(drawn, tiny, ends, mesh1, mesh8, params, prompts):
    sharded = jax.device_put(params, core.shardings(param_specs(tiny), TRAIN_RULES, mesh8))
    cfg = dataclasses.replace(CONFIG, bucket=96)
    assert tokens(draw(Engine(tiny, cfg, ends, mesh8), mesh8, sharded, prompts)) == tokens(drawn)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"embed": "fsdp"},
        {"batch": "data+context", **dict.fromkeys(("heads", "kv_heads", "mlp", "vocab"), "fsdp")},
    ],
    ids=str,
)
def test_tokens_are_those_of_one_device_by_other_rules(drawn, tiny, ends, params, prompts, rules):
    cfg = MeshConfig(data=2, fsdp=2, context=2, decode_rules=RuleChanges(**rules))
    mesh = make_mesh(cfg)
    sharded = jax.device_put(params, core.shardings(param_specs(tiny), TRAIN_RULES, mesh))
    sampling = dataclasses.replace(CONFIG, bucket=96, prefill_rows=8, slots=8)
    with use_rules(cfg):
        assert tokens(draw(Engine(tiny, sampling, ends, mesh), mesh, sharded, prompts)) == tokens(drawn)


def test_trap08_samples_prompts_and_steps_have_noise_of_their_own(drawn, engine, mesh1, params, prompts):
    first = tokens(drawn)
    again = tokens(draw(engine, mesh1, params, prompts))
    assert again == first
    next_step = tokens(draw(engine, mesh1, params, prompts, seed=(7, 4)))
    other_run = tokens(draw(engine, mesh1, params, prompts, seed=(8, 3)))
    swapped = tokens(draw(engine, mesh1, params, prompts, seed=(3, 7)))
    for i, a in enumerate([first, next_step, other_run, swapped]):
        for b in [first, next_step, other_run, swapped][:i]:
            assert sum(a[key] == b[key] for key in a) <= 2  # completions of one token may agree by chance
    for i in range(len(prompts)):
        assert len({tuple(first[f"p{i}", s]) for s in range(6)}) >= 5
    # p5 and p6 are the same text under two ids.
    assert sum(first["p5", s] == first["p6", s] for s in range(6)) <= 1


@pytest.mark.parametrize(
    "truncation",
    [
        Truncation(0.6, 0, 0.95),
        Truncation(1.0),
        Truncation(1.3, 20, 1.0),
        Truncation(1.0, 30, 0.8),
    ],
    ids=str,
)
def test_trap01_trap02_the_trainer_finds_the_samplers_tokens_and_logprobs(
    tiny, ends, mesh1, params, prompts, truncation
):
    cfg = dataclasses.replace(CONFIG, max_new_tokens=10, truncation=truncation, bucket=64)
    rollouts = draw(Engine(tiny, cfg, ends, mesh1), mesh1, params, prompts, samples=4)
    batch = pad_rollouts(rollouts, np.zeros(len(rollouts)), 64)
    sampled = batch.weights > 0
    np.testing.assert_array_equal(batch.targets[sampled], np.concatenate([r.ids for r in rollouts]))  # trap 2
    reported = np.concatenate([r.logprobs for r in rollouts])
    np.testing.assert_array_equal(batch.sampler_logprobs[sampled], reported)
    with jax.set_mesh(mesh1):
        score = jax.jit(lambda p, b: batch_logprobs(p, tiny, b, truncation, 16)[0])
        found = np.asarray(score(params, to_device(batch, mesh1)))[sampled]
    # Logits of up to about 20, divided by 0.6, in float32: some 1e-5.
    np.testing.assert_allclose(found, reported, rtol=0, atol=3e-5)
    assert reported.min() < -2 and reported.max() <= 0


def assert_greedy(rollouts, model: ModelConfig, params, mesh) -> np.ndarray:
    """Each sampled token is the likeliest of a full forward pass; returns them all."""
    batch = pad_rollouts(rollouts, np.zeros(len(rollouts)), 64)
    with jax.set_mesh(mesh):
        hidden = jax.jit(lambda p, b: forward(p, model, b.tokens, b.positions, b.segments).hidden)(params, batch)
    best = np.argmax(np.asarray(hidden) @ np.asarray(unembed_table(params)).T, axis=-1)
    np.testing.assert_array_equal(best[batch.weights > 0], batch.targets[batch.weights > 0])
    return best[batch.weights > 0]


def test_greedy_is_the_argmax_of_a_full_forward(tiny, ends, mesh1, params, prompts):
    cfg = dataclasses.replace(CONFIG, max_new_tokens=10, truncation=Truncation(temperature=0.0), bucket=64)
    assert_greedy(draw(Engine(tiny, cfg, ends, mesh1), mesh1, params, prompts[:4], samples=2), tiny, params, mesh1)


def test_sampled_frequencies_are_the_models(mesh1):
    truncation = Truncation(1.3, top_k=6)
    model = ModelConfig(vocab_size=8, embed_dim=8, num_layers=1, num_heads=1, num_kv_heads=1, head_dim=8, mlp_dim=8)
    params = core.init(param_specs(model), TRAIN_RULES, mesh1, seed=0)
    params = {**params, "embed": params["embed"] * 12}
    cfg = SamplingConfig(max_new_tokens=1, truncation=truncation, slots=256, window=1, prefill_rows=1, bucket=8)
    prompt = Prompt("p", "?", "1", "maths", ids=(3, 1, 4))
    n = 2048
    rollouts = draw(Engine(model, cfg, ManyEnds(8), mesh1), mesh1, params, [prompt], samples=n)
    counts = np.bincount([int(r.ids[0]) for r in rollouts], minlength=8)
    with jax.set_mesh(mesh1):
        ids, positions = np.array([prompt.ids]), np.arange(3)[None]
        hidden = jax.jit(lambda p: forward(p, model, ids, positions, rules=DECODE_RULES).hidden)(params)
    logits = np.float64(np.asarray(hidden)[0, -1] @ np.asarray(unembed_table(params)).T) / truncation.temperature
    p = np.exp(logits - logits.max())
    p = np.where(p >= np.sort(p)[-truncation.top_k], p, 0)
    p /= p.sum()
    assert counts[p == 0].sum() == 0
    seen = p > 0
    assert n * p[seen].min() > 20 and seen.sum() == 6, "the weights make a poor test"
    chi_square = np.sum((counts[seen] - n * p[seen]) ** 2 / (n * p[seen]))
    assert chi_square < 20.5  # 5 degrees of freedom exceed this once in a thousand; the draw is always the same


def test_slots_that_do_not_divide_over_the_mesh_and_empty_prompts_are_refused(tiny, ends, mesh8, engine, mesh1, params):
    with pytest.raises(
        ValueError, match=r"sampling\.slots=6 .* multiples of the mesh's data x fsdp x expert x context = 4"
    ):
        Engine(tiny, dataclasses.replace(CONFIG, slots=6), ends, mesh8)
    with pytest.raises(ValueError, match="prompt 'empty' has no tokens"):
        draw(engine, mesh1, params, [Prompt("empty", "?", "1", "maths")])
