"""The RL loop's parts: which questions, which rows, which weights, which means."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from half_right_graders import Graders
from tiny_run import ZERO, merged, rows, write_config

from r1jax import config, config_files
from r1jax.core.shares import ALL_ROWS, Shares
from r1jax.data.batching import pad_rollouts, take_rows
from r1jax.data.types import Prompt, Rollout
from r1jax.evaluation.rollouts import numbers_of
from r1jax.inference.engine import Engine
from r1jax.losses.grpo import GRPOConfig
from r1jax.models.io import load_model, save_model
from r1jax.rewards.config import RewardConfig, RewardModelConfig
from r1jax.stages import rl
from r1jax.stages.groups import active_reward_models, advantages_by_group, draw_rollouts
from r1jax.stages.rl_batch import minibatches, summarise
from r1jax.text import prompt_format
from r1jax.training import checkpoint
from r1jax.training.checkpoint import CheckpointConfig, Checkpoints

P, G = 4, 3
DYNAMIC = GRPOConfig(prompts_per_step=P, group_size=G, minibatches=1, dynamic_sampling_rounds=2)


def rollout(position: int, sample: int, reward: float | None, prompt_tokens=2, tokens=3, finish="stop") -> Rollout:
    prompt = Prompt(f"q{position}", "?", "1", "maths", ids=tuple(range(10, 10 + prompt_tokens)))
    ids, logprobs = np.arange(50, 50 + tokens), -np.arange(1, tokens + 1, dtype=np.float32)
    return Rollout(prompt, sample, ids, logprobs, "", finish, reward)


class Stream:
    """Questions whose groups have signal where `speaks` says so; keeps what was asked for."""

    def __init__(self, speaks, reward=lambda sample: float(sample == 0)):
        self.asked, self._speaks, self._reward, self.share = [], speaks, reward, 0

    def __call__(self, first: int, count: int, round_: int, owners: list[int]) -> tuple[list, list]:
        self.asked.append((first, count, round_))
        drawn = {
            q: [rollout(q, s, self._reward(s) if self._speaks(q) else 0.5) for s in range(G)]
            for q in range(first, first + count)
        }
        mine = [r for group, owner in zip(drawn.values(), owners, strict=True) if owner == self.share for r in group]
        return mine, [numbers_of(r) for group in drawn.values() for r in group]


def groups(rollouts: list[Rollout]) -> list[str]:
    """The questions in order, each with its whole group."""
    ids = [r.prompt.id for r in rollouts[::G]]
    assert [(r.prompt.id, r.sample) for r in rollouts] == [(id_, s) for id_ in ids for s in range(G)]
    return ids


def test_trap16_dynamic_sampling_replaces_whole_silent_groups_by_fresh_questions():
    stream = Stream(lambda q: q % 2 == 0)
    drawn = draw_rollouts(stream, DYNAMIC, RewardConfig(), 0, ALL_ROWS)
    # Round 0 asks 0-3, of which 1 and 3 are silent; round 1 asks 4 and 5 for their places; round 2 asks 8.
    assert stream.asked == [(0, 4, 0), (4, 2, 1), (8, 1, 2)]
    assert groups(drawn.rollouts) == ["q0", "q4", "q2", "q8"]
    assert drawn.advantages.shape == (P, G) and drawn.advantages.any(axis=1).all()
    assert drawn.no_signal == pytest.approx(3 / 7)


def test_every_process_draws_the_groups_of_its_share_and_knows_the_numbers_of_all():
    wholes = draw_rollouts(Stream(lambda q: q % 2 == 0), DYNAMIC, RewardConfig(), 0, ALL_ROWS)
    held = []
    for mine in range(2):
        stream = Stream(lambda q: q % 2 == 0)
        stream.share = mine
        drawn = draw_rollouts(stream, DYNAMIC, RewardConfig(), 0, Shares((0, 1), mine, True))
        assert stream.asked == [(0, 4, 0), (4, 2, 1), (8, 1, 2)]
        np.testing.assert_array_equal(drawn.advantages, wholes.advantages)
        assert drawn.numbers == wholes.numbers and drawn.no_signal == wholes.no_signal
        held.append(groups(drawn.rollouts))
    assert held == [["q0", "q4"], ["q2", "q8"]]


def test_trap16_dynamic_sampling_is_bounded_and_fills_up_with_advantage_0():
    stream = Stream(lambda q: q == 2)
    drawn = draw_rollouts(stream, DYNAMIC, RewardConfig(), 0, ALL_ROWS)
    assert len(stream.asked) == 3  # one draw and two replacements, whatever comes
    assert groups(drawn.rollouts) == ["q0", "q1", "q2", "q3"]
    assert drawn.advantages.any(axis=1).tolist() == [False, False, True, False]
    assert drawn.no_signal == pytest.approx(9 / 10)


def test_trap16_dynamic_sampling_works_with_continuous_rewards():
    """Signal is a difference of rewards, not an accuracy strictly between 0 and 1."""
    tenth = Stream(lambda q: True, reward=lambda s: 0.1 * s)
    drawn = draw_rollouts(tenth, DYNAMIC, RewardConfig(), 0, ALL_ROWS)
    assert len(tenth.asked) == 1 and drawn.no_signal == 0.0
    np.testing.assert_allclose(drawn.advantages, np.tile([-(1.5**0.5), 0, 1.5**0.5], (P, 1)), atol=1e-6)


def test_trap16_trap33_steps_own_disjoint_questions_however_many_they_used():
    quick, slow = Stream(lambda q: True), Stream(lambda q: False)
    seen = []
    for step in range(3):
        for stream in (quick, slow):
            stream.asked.clear()
            draw_rollouts(stream, DYNAMIC, RewardConfig(), step, ALL_ROWS)
        assert quick.asked[0] == slow.asked[0]  # what a step asks first does not depend on the steps before
        seen += [q for first, count, _ in slow.asked for q in range(first, first + count)]
    assert len(seen) == len(set(seen)) == 3 * 3 * P


def test_without_dynamic_sampling_there_is_one_draw():
    stream = Stream(lambda q: False)
    cfg = dataclasses.replace(DYNAMIC, dynamic_sampling_rounds=0)
    drawn = draw_rollouts(stream, cfg, RewardConfig(), 5, ALL_ROWS)
    assert stream.asked == [(5 * P, P, 0)] and groups(drawn.rollouts) == ["q20", "q21", "q22", "q23"]
    assert drawn.no_signal == 1.0


def test_trap17_each_reward_is_normalised_in_its_group_where_asked():
    """Worked by hand: thousandths of a penalty drown beside the accuracy, and then count as much as it does."""
    cfg = GRPOConfig(prompts_per_step=2, group_size=3, minibatches=1)
    parts = [(1.0, 0.001), (0.0, 0.0), (None, 0.0), (0.0, 0.003), (0.0, 0.001), (0.0, 0.002)]
    rollouts = [
        dataclasses.replace(
            rollout(i // 3, i % 3, None if a is None else a + 3 * b), parts={"accuracy": a, "repetition": b}
        )
        for i, (a, b) in enumerate(parts)
    ]
    rewards = RewardConfig(format=0.0, repetition=3.0, combination="per_reward")
    by_hand = [[1 + 3, -1 - 3, 0], [3 * 1.5**0.5, -3 * 1.5**0.5, 0]]  # the ungradable sample is in no mean
    np.testing.assert_allclose(advantages_by_group(rollouts, cfg, rewards), by_hand, rtol=1e-6, atol=1e-9)
    summed = advantages_by_group(rollouts, cfg, dataclasses.replace(rewards, combination="sum"))
    np.testing.assert_allclose(summed, [[1, -1, 0], [1.5**0.5, -(1.5**0.5), 0]], rtol=1e-6, atol=1e-6)


@pytest.fixture
def batch():
    """Twelve rows of 1 to 6 tokens; a row's advantage is its number."""
    return pad_rollouts([rollout(i, 0, 0.0, tokens=1 + i % 6) for i in range(12)], np.arange(12.0), bucket=8)


def test_each_row_is_trained_on_once_in_each_inner_epoch(batch):
    cfg = GRPOConfig(prompts_per_step=4, group_size=3, minibatches=3, inner_epochs=2)
    parts = [part.advantages[:, 0].tolist() for part in minibatches(batch, cfg, 6, seed=0, step=0)]
    assert [len(part) for part in parts] == [4] * 6
    first, second = np.concatenate(parts[:3]).tolist(), np.concatenate(parts[3:]).tolist()
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second and first != list(range(12))
    again = [part.advantages[:, 0].tolist() for part in minibatches(batch, cfg, 6, seed=0, step=0)]
    other = [part.advantages[:, 0].tolist() for part in minibatches(batch, cfg, 6, seed=0, step=1)]
    assert parts == again != other


@pytest.mark.parametrize("aggregation", ["sequence", "token", "dr_grpo"])
def test_two_processes_make_the_minibatches_of_one_from_their_own_rows(batch, aggregation):
    cfg = GRPOConfig(prompts_per_step=4, group_size=3, minibatches=3, inner_epochs=2, aggregation=aggregation)
    trained = batch.weights.sum(axis=1)
    parts = [
        minibatches(take_rows(batch, np.s_[6 * mine : 6 * mine + 6]), cfg, 6, 0, 0, trained, Shares((0, 1), mine))
        for mine in range(2)
    ]
    for whole, *halves in zip(minibatches(batch, cfg, 6, 0, 0), *parts, strict=True):
        for name in ("tokens", "weights", "advantages"):
            both = np.concatenate([getattr(half, name) for half in halves])
            np.testing.assert_array_equal(getattr(whole, name), both)


@pytest.mark.parametrize("aggregation", ["sequence", "token", "dr_grpo"])
def test_trap11_a_minibatchs_weights_are_made_from_its_own_rows(batch, aggregation):
    cfg = GRPOConfig(prompts_per_step=4, group_size=3, minibatches=3, aggregation=aggregation)
    for part in minibatches(batch, cfg, 6, seed=0, step=0):
        lengths = [1 + int(a) % 6 for a in part.advantages[:, 0]]
        np.testing.assert_array_equal((part.weights > 0).sum(axis=1), lengths)
        each = {"sequence": [1 / n / 4 for n in lengths], "token": [1 / sum(lengths)] * 4, "dr_grpo": [1 / 24] * 4}
        for row, weight in zip(part.weights, each[aggregation], strict=True):
            np.testing.assert_allclose(row[row > 0], weight, rtol=1e-6)
        # The other fields moved along: position 1 is the prompt's last, where the first sampled token is predicted.
        assert (part.targets[:, 1] == 50).all() and (part.sampler_logprobs[:, 1] == -1).all()


def test_trap15_masked_rows_count_neither_above_nor_below_the_line(batch):
    complete = (np.arange(12) % 2 == 0).astype(np.float32)[:, None]
    masked = dataclasses.replace(batch, weights=batch.weights * complete)
    cfg = GRPOConfig(prompts_per_step=4, group_size=3, minibatches=1)
    [part] = minibatches(masked, cfg, 6, seed=0, step=0)
    by_row = dict(zip(part.advantages[:, 0].astype(int).tolist(), part.weights.sum(axis=1).tolist(), strict=True))
    assert by_row == pytest.approx({i: (1 / 6 if i % 2 == 0 else 0.0) for i in range(12)})


def test_a_steps_row_is_weighted_means_maxima_and_plain_means():
    updates = [
        {"loss": 1.0, "grad_norm": 2.0, "skipped": 0.0, "kl": 0.3, "sampler_gap/max": 0.5, "weight": 1.0},
        {"loss": 3.0, "grad_norm": 4.0, "skipped": 1.0, "kl": 0.1, "sampler_gap/max": 0.2, "weight": 0.25},
    ]
    assert summarise(updates) == pytest.approx(
        {"loss": 2.0, "grad_norm": 3.0, "skipped": 0.5, "kl": 0.4 / 1.25, "sampler_gap/max": 0.5}
    )
    assert summarise([{"kl": 0.0, "weight": 0.0}]) == {"kl": 0.0}  # a step whose rows are all masked


def leaves(params) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(params)]


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


@pytest.fixture(scope="module")
def spied(tmp_path_factory, tiny, tiny_params, tokenizer, mesh1):
    """A run that breaks off after two steps and is resumed to four, with what went through its hands.

    Lists of one entry a step: the weights sampled from; the batch before it is split; what is saved after the step.
    Every sample of odd index is labelled as truncated.
    """
    folder = tmp_path_factory.mktemp("rl")
    log = SimpleNamespace(sampled=[], evaluated=[], batches=[], updated=[])
    generate, cut, save = Engine.generate, rl.minibatches, checkpoint.Checkpoints.save

    def label(r: Rollout) -> Rollout:
        return dataclasses.replace(r, finish="length" if r.sample % 2 else "stop")

    def generate_and_tell(self, params, prompts, samples, seed, on_finish, owners):
        (log.sampled if len(seed) == 3 else log.evaluated).append(leaves(params))
        drawn = generate(self, params, prompts, samples, seed, lambda r: on_finish(label(r)), owners=owners)
        return [label(r) for r in drawn]

    def cut_and_tell(batch, *args):
        log.batches.append(batch)
        return cut(batch, *args)

    def save_and_tell(self, finished, trees):
        log.updated.append((finished, leaves(trees["state"].params), leaves(trees["reference"])))
        save(self, finished, trees)
        if finished == 2:
            self.close()
            raise InterruptedError

    tree = merged(
        ZERO,
        num_steps=4,
        base="base",
        mesh={"data": 1},
        evaluation__every=0,
        checkpoint__every=1,
        optimizer__learning_rate=0.01,
        optimizer__schedule="cosine",
        grpo__mask_truncated=True,
        grpo__clip_low=0.001,
        grpo__clip_high=0.001,
        grpo__reference_every=4,
        sampling__max_new_tokens=8,
        evaluation__truncation={"temperature": 1.0, "top_p": 1.0},
    )
    cfg = config.parse(rl.RLConfig, config_files.load(write_config(folder / "zero.py", tree)))
    base, workdir = folder / "base", folder / "run"
    workdir.mkdir()
    save_model(base, tiny_params, tiny, tokenizer)
    with pytest.MonkeyPatch.context() as patch, jax.set_mesh(mesh1):
        patch.setattr(Engine, "generate", generate_and_tell)
        patch.setattr(rl, "minibatches", cut_and_tell)
        patch.setattr(rl, "GraderPool", Graders)
        patch.setattr(checkpoint.Checkpoints, "save", save_and_tell)
        with pytest.raises(InterruptedError):
            rl.run(cfg, workdir, mesh1, base)
        rl.run(cfg, workdir, mesh1, base)
    log.base, log.model = leaves(tiny_params), leaves(load_model(workdir / "model", mesh1)[0])
    log.form = prompt_format.read(workdir / "model")
    log.metrics, log.cfg = rows(workdir / "metrics.jsonl"), cfg
    return log


def test_trap07_rollouts_use_this_steps_weights_also_after_a_resume(spied):
    assert [finished for finished, _, _ in spied.updated] == [1, 2, 3, 4] and len(spied.sampled) == 4
    before = [spied.base, *(params for _, params, _ in spied.updated)]
    for step in range(4):
        assert same(spied.sampled[step], before[step]), f"step {step} sampled from other weights"
        assert not same(before[step], before[step + 1]), "the test needs weights that move"
    assert same(spied.evaluated[0], spied.base) and same(spied.evaluated[-1], before[-1])
    assert same(spied.model, before[-1])


def test_a_policy_keeps_the_form_that_it_was_asked_in(spied):
    assert spied.form == prompt_format.PromptFormat("plain", False, "")


def test_trap33_a_run_that_breaks_off_right_after_a_save_keeps_that_steps_row(spied):
    assert [row["step"] for row in spied.metrics] == [0, 1, 2, 3]


def test_trap12_with_several_minibatches_old_logprobs_are_set_and_the_clip_acts(spied):
    for batch, row in zip(spied.batches, spied.metrics, strict=True):
        assert batch.old_logprobs is not None
        on = batch.weights > 0
        # On-policy at the rollout's start: the sampler's probabilities are the trainer's, in float32.
        np.testing.assert_allclose(batch.old_logprobs[on], batch.sampler_logprobs[on], rtol=0, atol=3e-5)
        assert row["sampler_gap/max"] < 3e-5
    assert any(row["clip/rate"] > 0.1 for row in spied.metrics)


def test_truncated_samples_are_left_out_of_the_loss_and_keep_their_place_in_the_baseline(spied):
    for batch, row in zip(spied.batches, spied.metrics, strict=True):
        assert (batch.weights.sum(axis=1) > 0).tolist() == [True, False] * 8
        assert row["length/truncated"] == 0.5
        np.testing.assert_allclose(batch.advantages[:, 0], [-1, -1, 1, 1] * 4, atol=1e-6)  # of all four, masked or not


def test_the_reference_is_the_base_until_it_is_replaced_by_the_policy(spied):
    """Two updates a step and `reference_every` 4: replaced at the end of every second step."""
    references = [reference for _, _, reference in spied.updated]
    assert same(references[0], spied.base)
    assert same(references[1], spied.updated[1][1]) and same(references[2], references[1])
    assert same(references[3], spied.updated[3][1])
    # KL is that of the policy against the reference: nothing at all on the first update after a replacement.
    first, _, third, _ = spied.batches
    for batch in (first, third):
        np.testing.assert_allclose(batch.ref_logprobs, batch.old_logprobs, rtol=0, atol=1e-5)
    assert not np.allclose(spied.batches[1].ref_logprobs, spied.batches[1].old_logprobs, rtol=0, atol=1e-3)


def test_without_a_kl_term_a_saved_reference_is_not_read(tmp_path, tiny_params, mesh1):
    """As earlier versions saved one with grpo.beta=0; that no new one is saved `skipped_test` sees."""
    cfg = CheckpointConfig(every=1)
    saving = Checkpoints(tmp_path, cfg, 2)
    saving.save(1, {"state": tiny_params, "reference": tiny_params})
    saving.close()
    reading = Checkpoints(tmp_path, cfg, 2)
    step, trees = reading.restore(
        {"state": jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tiny_params)}
    )
    reading.close()
    assert step == 1 and set(trees) == {"state"} and same(trees["state"], tiny_params)


def test_the_learning_rate_reported_is_the_one_used(spied):
    """The last of a step's two updates; a cosine over all eight, down to a tenth."""
    cosine = [0.1 + 0.9 * (1 + np.cos(np.pi * (2 * step + 1) / 8)) / 2 for step in range(4)]
    assert [row["learning_rate"] for row in spied.metrics] == pytest.approx([0.01 * c for c in cosine], rel=1e-5)


def test_preference_rewards_count_from_their_step_on():
    rewards = RewardConfig(models=(RewardModelConfig("helpful", "a", from_step=3), RewardModelConfig("harmless", "b")))
    models = {"model/helpful": "a", "model/harmless": "b"}
    assert [sorted(active_reward_models(models, rewards, step).values()) for step in (0, 2, 3, 9)] == [
        ["b"],
        ["b"],
        ["a", "b"],
        ["a", "b"],
    ]


def test_a_part_that_a_question_has_no_use_for_adds_nothing_to_its_advantage():
    rewards = RewardConfig(combination="per_reward", models=(RewardModelConfig("helpful", "a", prompts="open"),))
    cfg = GRPOConfig(prompts_per_step=2, group_size=2, minibatches=1)
    parts = [{"accuracy": 0.0}, {"accuracy": 1.0}, {"model/helpful": 5.0}, {"model/helpful": 3.0}]
    rollouts = [
        dataclasses.replace(rollout(i // 2, i % 2, sum(each.values())), parts={"format": 1.0, **each})
        for i, each in enumerate(parts)
    ]
    np.testing.assert_allclose(advantages_by_group(rollouts, cfg, rewards), [[-1, 1], [1, -1]])
