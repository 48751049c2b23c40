"""Carried-over groups: what a step begins, waits for and trains on; whose tokens they are; kills in between."""

import collections
import copy
import dataclasses
import functools

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from engine_test import loud
from hypothesis import given, settings
from rl_test import Graders, same
from tiny_run import ZERO, merged, rows, timeless

from r1jax import config
from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import pad_rollouts, to_device
from r1jax.data.types import Prompt, Rollout
from r1jax.evaluation.config import EvaluateConfig
from r1jax.inference.carry_over import CarriedGroups
from r1jax.inference.config import RolloutSamplingConfig
from r1jax.inference.engine import Engine
from r1jax.inference.session import Piece
from r1jax.io import jsonl
from r1jax.losses.logprobs import batch_logprobs
from r1jax.models.config import ModelConfig, Truncation
from r1jax.models.io import load_model, save_model
from r1jax.models.transformer import param_specs
from r1jax.stages import rl
from r1jax.stages.config import RLConfig
from r1jax.tools import replay
from r1jax.training import checkpoint, loop

pytestmark = pytest.mark.usefixtures("shared_engines", "shared_updates")


class CountingSession:
    """A session whose sequences count: token t of one that has as many tokens as its length is t."""

    def __init__(self, slots: int, window: int):
        self.windows, self._slots, self._window, self._handles = 0, slots, window, 0
        self._waiting: list[list[int]] = []  # handle, tokens so far, tokens to come
        self._running: list[list[int]] = []
        self._unread: list[list[Piece]] = []

    waiting = property(lambda self: len(self._waiting))
    running = property(lambda self: len(self._running))

    def add(self, request: tuple[int, int]) -> int:
        self._handles += 1
        self._waiting.append([self._handles, *request])
        return self._handles

    def advance(self) -> list[Piece]:
        while self._waiting and len(self._running) < self._slots:
            self._running.append(self._waiting.pop(0))
        if self._running:
            self._unread.append([self._piece(each) for each in self._running if each[2]])
            self.windows += 1
        return self._read() if len(self._unread) > 1 or not self._running else []

    def read_dispatched(self) -> list[Piece]:
        return [piece for _ in list(self._unread) for piece in self._read()]

    def _piece(self, sequence: list[int]) -> Piece:
        handle, at, left = sequence
        n = min(left, self._window)
        sequence[1:] = at + n, left - n
        ids = list(range(at, at + n))
        return Piece(handle, ids, -np.array(ids, np.float32), None, None if left > n else "stop")

    def _read(self) -> list[Piece]:
        pieces = self._unread.pop(0)
        ended = {piece.handle for piece in pieces if piece.finish}
        self._running = [each for each in self._running if each[0] not in ended]
        return pieces


@dataclasses.dataclass
class CountingEngine:
    """An engine of such sessions; `length_of` a question's position and a sample's index."""

    length_of: collections.abc.Callable[[int, int], int]
    slots: int
    window: int

    def open(self, params, shrinks) -> CountingSession:
        return CountingSession(self.slots, self.window)

    def request(self, prompt: Prompt, sample: int, seed, drawn) -> tuple[int, int]:
        return len(drawn), self.length_of(int(prompt.id), sample) - len(drawn)

    def rollout(self, prompt: Prompt, sample: int, *arrays) -> Rollout:
        ids, logprobs, finish, versions = arrays
        return Rollout(prompt, sample, ids, logprobs, "", finish, versions=versions)


def counting(length_of, P: int, G: int, carry_over: int, steps: int, slots: int, window: int) -> CarriedGroups:
    cfg = RolloutSamplingConfig(slots=slots, window=window, carry_over=carry_over)
    engine = CountingEngine(length_of, slots, window)
    return CarriedGroups(engine, cfg, lambda at: Prompt(str(at), "", "", ""), P, G, steps, seed=0)


def long_tail(at: int, sample: int) -> int:
    """Log-normal lengths: a median of 12, cut at 8 times as many; long questions have long answers."""
    rng = np.random.default_rng([at, sample])
    of_question = np.random.default_rng(at).normal()
    return int(np.clip(12 * np.exp(0.5 * of_question + 0.8 * rng.normal()), 1, 96))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    P=st.integers(1, 4),
    G=st.integers(2, 3),
    carry_over=st.integers(0, 3),
    slots=st.integers(1, 20),
    window=st.integers(1, 5),
    steps=st.integers(1, 5),
)
def test_every_group_is_trained_on_once_whole_and_in_time_also_after_a_restart(
    seed, P, G, carry_over, slots, window, steps
):
    @functools.cache
    def length_of(at: int, sample: int) -> int:
        return int(np.random.default_rng([seed, at, sample]).integers(1, 9)) ** 2

    run = counting(length_of, P, G, carry_over, steps, slots, window)
    trained, finished = [], []
    for step in range(steps):
        resumed = counting(length_of, P, G, carry_over, steps, slots, window)
        resumed.restore(run.arrays())
        rollouts = run.draw(None, step, finished.append)
        again = resumed.draw(None, step, lambda rollout: None)
        for a, b in zip(rollouts, again, strict=True):
            assert (a.prompt.id, a.sample, a.finish) == (b.prompt.id, b.sample, b.finish)
            assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("ids", "logprobs", "versions"))
        assert run.metrics == resumed.metrics
        positions = [int(rollout.prompt.id) for rollout in rollouts]
        assert positions == sorted(positions) and len(rollouts) == P * G
        for rollout in rollouts:
            length = length_of(int(rollout.prompt.id), rollout.sample)
            assert (
                rollout.ids.tolist() == list(range(length)) and len(rollout.logprobs) == len(rollout.versions) == length
            )
            assert (np.diff(rollout.versions) >= 0).all() and rollout.versions[-1] <= step
            assert step - rollout.versions[0] <= carry_over
        trained += [(r.prompt.id, r.sample) for r in rollouts]
    assert sorted(trained) == sorted((str(at), sample) for at in range(steps * P) for sample in range(G))
    assert not run.groups and sorted((r.prompt.id, r.sample) for r in finished) == sorted(trained)


def trained_lengths(carry_over: int, steps: int = 40, slots: int = 32) -> tuple[list[np.ndarray], int]:
    """The lengths that each step trains on, and the windows of all steps, of P = 4 and G = 8."""
    run, lengths, windows = counting(long_tail, 4, 8, carry_over, steps, slots, 4), [], 0
    for step in range(steps):
        lengths.append(np.array([len(r.ids) for r in run.draw(None, step, lambda rollout: None)]))
        windows += run.metrics["carry_over/windows"]
    return lengths, windows


def test_trap49_steps_train_on_no_shorter_answers_than_without_and_take_fewer_windows():
    (plain, plain_windows), (carried, windows) = trained_lengths(0), trained_lengths(2)
    assert np.sort(np.concatenate(plain)).tolist() == np.sort(np.concatenate(carried)).tolist()
    # Beyond the first steps and the last, which have the pipeline to fill and to empty.
    a, b = (np.concatenate(each[6:-6]) for each in (plain, carried))
    error = np.hypot(a.std() / len(a) ** 0.5, b.std() / len(b) ** 0.5)
    assert abs(a.mean() - b.mean()) < 3 * error
    assert windows < 0.6 * plain_windows


def test_a_step_ends_without_a_long_group_and_a_later_one_waits_for_it():
    """The first question's answers are twelve times as long as all others, and steps may be one behind."""
    run = counting(lambda at, sample: 120 if at == 0 else 10, P=2, G=2, carry_over=1, steps=4, slots=4, window=2)
    positions, waited = [], []
    for step in range(4):
        positions.append([int(r.prompt.id) for r in run.draw(None, step, lambda rollout: None)[::2]])
        waited.append(run.metrics["carry_over/windows_waited"])
    assert positions == [[1, 2], [0, 3], [4, 5], [6, 7]]
    assert waited[0] == 0 < waited[1] and waited[2:] == [0, 0]


# No draw shrinks: one program decodes them all.
CONFIG = RolloutSamplingConfig(max_new_tokens=15, slots=8, window=4, prefill_rows=4, bucket=64, carry_over=2)
STEPS, P, G = 3, 2, 3


@pytest.fixture(scope="module")
def small(tiny) -> ModelConfig:
    return dataclasses.replace(tiny, num_layers=1)


@pytest.fixture(scope="module")
def small_params(small, mesh1):
    return core.init(param_specs(small), TRAIN_RULES, mesh1, seed=0)


@pytest.fixture(scope="module")
def ends(tokenizer):
    """The tokenizer with so many ends of sequence that an untrained model meets them: about one token in sixteen."""
    ends = copy.copy(tokenizer)
    ends.eos_ids = tuple(range(2, tokenizer.vocab_size, 16))
    return ends


@pytest.fixture(scope="module")
def policies(small_params):
    """The weights of each step, of three; their logits differ by some tenths."""
    return [loud(jax.tree.map(lambda w, step=step: w * (1 + 0.05 * step), small_params)) for step in range(STEPS)]


def prompt(position: int) -> Prompt:
    ids = np.random.default_rng(position).integers(3, 500, 3 + position).tolist()
    return Prompt(f"q{position}", "?", "1", "maths", ids=tuple(ids))


@pytest.fixture(scope="module")
def engine(small, ends, mesh1) -> Engine:
    return Engine(small, CONFIG, ends, mesh1)


def draw_all(engine, mesh, weights) -> list[list[Rollout]]:
    run = CarriedGroups(engine, CONFIG, prompt, P, G, STEPS, seed=5)
    with jax.set_mesh(mesh):
        return [run.draw(params, step, lambda rollout: None) for step, params in enumerate(weights)]


@pytest.fixture(scope="module")
def drawn(engine, mesh1, policies) -> list[list[Rollout]]:
    return draw_all(engine, mesh1, policies)


def test_each_token_has_the_log_prob_of_the_policy_that_drew_it(drawn, small, mesh1, policies):
    assert any(len(set(r.versions.tolist())) > 1 for rollouts in drawn for r in rollouts)
    rollouts = [r for rollouts in drawn for r in rollouts]
    batch = to_device(pad_rollouts(rollouts, np.zeros(len(rollouts)), 64, STEPS), mesh1)
    logprobs = jax.jit(lambda params: batch_logprobs(params, small, batch, Truncation(), 64)[0])
    with jax.set_mesh(mesh1):
        under = np.stack([logprobs(params) for params in policies])
    for row, rollout in enumerate(rollouts):
        at = len(rollout.prompt.ids) - 1 + np.arange(len(rollout.ids))
        np.testing.assert_allclose(rollout.logprobs, under[rollout.versions, row, at], atol=2e-4)
        others = under[(rollout.versions + 1) % STEPS, row, at]
        assert np.abs(rollout.logprobs - others).max() > 1e-2


def test_a_completion_that_was_interrupted_is_the_one_that_was_not_under_the_same_weights(engine, mesh1, policies):
    rollouts = [r for rollouts in draw_all(engine, mesh1, policies[:1] * STEPS) for r in rollouts]
    begun = {r.prompt.id: int(min(o.versions[0] for o in rollouts if o.prompt.id == r.prompt.id)) for r in rollouts}
    assert any(len(set(r.versions.tolist())) > 1 for r in rollouts)
    with jax.set_mesh(mesh1):
        for step in set(begun.values()):
            prompts = [prompt(i) for i in range(STEPS * P) if begun[f"q{i}"] == step]
            for whole in engine.generate(policies[0], prompts, G, (5, step, 0)):
                [mine] = [r for r in rollouts if (r.prompt.id, r.sample) == (whole.prompt.id, whole.sample)]
                assert mine.ids.tolist() == whole.ids.tolist() and mine.finish == whole.finish
                assert mine.text == whole.text
                np.testing.assert_allclose(mine.logprobs, whole.logprobs, atol=1e-5)


def test_eight_devices_carry_over_what_one_does(drawn, small, ends, mesh8, policies):
    shardings = core.shardings(param_specs(small), TRAIN_RULES, mesh8)
    sharded = draw_all(
        Engine(small, CONFIG, ends, mesh8), mesh8, [jax.device_put(params, shardings) for params in policies]
    )
    for a, b in zip(drawn, sharded, strict=True):
        assert [(r.prompt.id, r.sample, r.ids.tolist(), r.versions.tolist()) for r in a] == [
            (r.prompt.id, r.sample, r.ids.tolist(), r.versions.tolist()) for r in b
        ]


def parse(**changes) -> RLConfig:
    tree = merged(ZERO, mesh={"data": 1}, checkpoint__every=1, sampling=dataclasses.asdict(CONFIG))
    return config.parse(RLConfig, merged(tree, **changes))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, small, small_params, ends, mesh1):
    """The config of a run of four steps, the workdir of one, and that of one that broke off after the second step."""
    folder = tmp_path_factory.mktemp("carried")
    save = checkpoint.Checkpoints.save

    def save_and_break(self, finished, trees):
        save(self, finished, trees)
        if finished == 2:
            assert trees["pending"]["ids"].size > 1, "nothing was under way"
            self.close()
            raise InterruptedError

    save_model(folder / "base", small_params, small, ends)
    questions = [{"prompt": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(20)]
    jsonl.write(folder / "questions.jsonl", questions)
    cfg = parse(
        base=str(folder / "base"),
        num_steps=4,
        data={"tasks": (), "path": str(folder / "questions.jsonl"), "template": "plain", "held_out_share": 0.0},
        grpo={"prompts_per_step": P, "group_size": G, "minibatches": 1, "beta": 0.0, "importance_cap": 2.0},
    )
    with pytest.MonkeyPatch.context() as patch, jax.set_mesh(mesh1):
        patch.setattr(rl, "GraderPool", Graders)
        patch.setattr(loop, "load_tokenizer", lambda *_: ends)
        for name in ("whole", "broken"):
            (folder / name).mkdir()
        rl.run(cfg, folder / "whole", mesh1, folder / "base")
        with patch.context() as breaking, pytest.raises(InterruptedError):
            breaking.setattr(checkpoint.Checkpoints, "save", save_and_break)
            rl.run(cfg, folder / "broken", mesh1, folder / "base")
        rl.run(cfg, folder / "broken", mesh1, folder / "base")
    return cfg, folder / "whole", folder / "broken"


def test_trap33_a_run_that_broke_off_with_rollouts_under_way_ends_as_one_that_did_not(runs, mesh1):
    _, whole, broken = runs
    assert [timeless(row) for row in rows(whole / "metrics.jsonl")] == [
        timeless(row) for row in rows(broken / "metrics.jsonl")
    ]
    assert same(*(load_model(workdir / "model", mesh1)[0] for workdir in (whole, broken)))
    for step in range(4):
        name = f"rollouts/step_{step:06d}.jsonl"
        assert (whole / name).read_bytes() == (broken / name).read_bytes()


def test_a_run_s_files_and_metrics_say_which_policy_drew_a_token(runs):
    _, whole, _ = runs
    for step, row in enumerate(rows(whole / "metrics.jsonl")):
        samples = rows(whole / f"rollouts/step_{step:06d}.jsonl")
        tokens = [(version, count) for sample in samples for version, count in sample["versions"]]
        stale = sum(count for version, count in tokens if version < step)
        assert row["carry_over/share"] == pytest.approx(stale / sum(s["num_tokens"] for s in samples), rel=1e-5)
        assert row["carry_over/steps/max"] == max(step - version for version, _ in tokens) <= 2
        # The trainer's log-probs are the sampler's for this step's tokens alone.
        assert row["sampler_gap/max"] < 3e-5
        assert (row["sampler_gap/stale"] > 1e-4) == (stale > 0)
    assert rows(whole / "metrics.jsonl")[-1]["carry_over/groups_pending"] == 0


def test_a_step_with_carried_groups_is_replayed(runs, ends, mesh1, monkeypatch):
    from r1jax.core import sharding

    cfg, whole, _ = runs
    monkeypatch.setattr(sharding, "make_mesh", lambda cfg: mesh1)
    monkeypatch.setattr(loop, "load_tokenizer", lambda *_: ends)
    replayed = replay.replay(cfg, whole, 3, False, None)
    assert "sampler_gap/stale" in replayed and replayed.items() <= rows(whole / "metrics.jsonl")[3].items()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "grpo.importance_cap=0: tokens that an earlier policy drew .* set grpo.importance_cap"),
        ({"grpo__importance_cap": 2.0, "grpo__dynamic_sampling_rounds": 1}, "how long grading takes"),
        ({"sampling__carry_over": -1}, "carry_over"),
    ],
)
def test_settings_that_do_not_go_with_carried_groups_are_refused(changes, message):
    with pytest.raises(config.ConfigError, match=message):
        parse(**{"base": "base"} | changes)


def test_without_it_nothing_is_under_way_and_no_token_is_stale(drawn):
    cfg = parse(base="base", sampling__carry_over=0)
    assert rl.make_carried_groups(cfg, None, None, None) is None
    rollout = dataclasses.replace(drawn[0][0], versions=None)
    assert pad_rollouts([rollout], np.ones(1), 64).stale is None


def test_only_rl_has_the_key():
    with pytest.raises(config.ConfigError, match="carry_over"):
        config.parse(EvaluateConfig, {"stage": "evaluate", "sampling": {"carry_over": 1}})
