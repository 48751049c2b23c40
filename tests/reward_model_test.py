"""Reward models: the head reads one state, padding and company change nothing, and what was saved is what scores."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mla_test import DEEP
from mla_test import weights as model_weights
from multiprocess_test import together
from transformer_test import CLOSE

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES, replicated
from r1jax.data.types import Prompt, Rollout
from r1jax.inference import reward_scoring
from r1jax.inference.reward_scoring import Reading, RewardModel, ids_of, load, save
from r1jax.models import reward, transformer
from r1jax.models.io import load_model, save_model
from r1jax.models.reward import HEAD, last_token_rewards, rewards

# What Orbax leaves behind of a read that it broke off.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SUMMARY, WHOLE = Reading("summary"), Reading("response")
THOUGHTFUL = "<think> 2 + 2 = 4 </think> <answer> 4 </answer>"


def rollout(text: str, question: str = "2 + 2 = ?", sample: int = 0, marker: str = "") -> Rollout:
    prompt = Prompt("q", question, "4", "maths:x", f"User: {question}. Assistant:", (1, 2), {}, marker)
    return Rollout.of_text(prompt, text, sample, tokens=3)


@pytest.fixture(scope="module")
def params(tiny, mesh1):
    """Scores of about 1 that differ from one text to the next."""
    return with_head(model_weights(tiny, mesh1), mesh1)


def with_head(params, mesh):
    head = np.random.default_rng(1).normal(size=params["embed"].shape[1]) / 8
    return {**params, HEAD: jax.device_put(np.float32(head), replicated(mesh))}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny, params, tokenizer):
    """A reward model's folder for each way of seeing."""
    folder = tmp_path_factory.mktemp("rewards")
    for reading in (SUMMARY, WHOLE):
        save(folder / reading.sees, params, tiny, tokenizer, reading)
    return folder


@pytest.fixture(scope="module")
def whole(folders, mesh1) -> RewardModel:
    return RewardModel(folders / "response", mesh1)


@pytest.fixture(scope="module")
def alone(tiny, params):
    """The score of one sequence of ids, in a row of its own of a length that no bucket here has."""
    run = jax.jit(lambda tokens, lengths: rewards(params, tiny, tokens, lengths))

    def score(ids, width=300, fill=0) -> float:
        row = np.full((1, width), fill, np.int32)
        row[0, : len(ids)] = ids
        return float(run(row, np.array([len(ids)], np.int32))[0])

    return score


# The head.


def test_trap27_the_head_sees_the_last_real_token_and_no_other():
    """Of a function linear in the states, value and gradient say the same; the gradient says it of all of them."""
    rng = np.random.default_rng(0)
    hidden, head = np.float32(rng.normal(size=(3, 5, 4))), np.float32(rng.normal(size=4))
    lengths = np.array([1, 3, 5])
    scores, back = jax.vjp(jax.jit(lambda hidden: last_token_rewards(hidden, head, lengths)), hidden)
    np.testing.assert_allclose(scores, hidden[np.arange(3), lengths - 1] @ head, rtol=1e-5)
    expected = np.zeros((3, 5, 4), np.float32)
    expected[np.arange(3), lengths - 1] = head
    np.testing.assert_array_equal(back(jnp.ones(3))[0], expected)


def test_the_head_is_float32_and_works_in_it_whatever_the_model_computes_in():
    hidden = jnp.full((1, 1, 256), 1.0, jnp.bfloat16)
    head = jnp.full(256, 1.001, jnp.float32)  # 1 in bfloat16
    assert last_token_rewards(hidden, head, np.array([1]))[0] == pytest.approx(256.256, rel=1e-6)


def test_the_head_is_one_more_weight_beside_the_models_and_is_decayed(tiny):
    specs = reward.param_specs(tiny)
    assert specs.pop(HEAD).shape == (tiny.embed_dim,)
    assert specs == transformer.param_specs(tiny)
    assert core.decay_mask(reward.param_specs(tiny))[HEAD]
    assert core.cast({HEAD: np.ones(32)}, {HEAD: reward.param_specs(tiny)[HEAD]}, "bfloat16")[HEAD].dtype == np.float32


def test_trap27_what_stands_in_the_padding_moves_no_score_with_latents_and_experts_either(mesh1):
    params = with_head(model_weights(DEEP, mesh1), mesh1)
    assert set(reward.UNUSED) <= params.keys()
    used = {name: weight for name, weight in params.items() if name not in reward.UNUSED}
    run = jax.jit(lambda tokens, lengths: rewards(used, DEEP, tokens, lengths))
    ids = np.random.default_rng(0).integers(0, DEEP.vocab_size, (4, 9)).astype(np.int32)
    first, second = (run(np.pad(ids, ((0, 0), (0, 7)), constant_values=fill), np.full(4, 9)) for fill in (0, 7))
    np.testing.assert_array_equal(first, second)
    assert np.ptp(first) > 0.1


# The folder.


def test_saved_and_opened_it_is_the_same_on_any_mesh(folders, tiny, params, tokenizer, mesh8):
    found, cfg, text, reading = load(folders / "summary", mesh8)
    assert (cfg, reading) == (tiny, SUMMARY) and text.encode("1 + 1") == tokenizer.encode("1 + 1")
    assert jax.tree.all(jax.tree.map(np.array_equal, found, params))
    wanted = core.shardings(reward.param_specs(tiny), TRAIN_RULES, mesh8)
    assert jax.tree.all(jax.tree.map(lambda x, s: x.sharding.is_equivalent_to(s, x.ndim), found, wanted))


def test_it_is_a_model_folder_too(folders, mesh1, tiny):
    assert load_model(folders / "summary", mesh1)[1] == tiny


def test_a_model_without_a_head_is_told_from_one_with(tmp_path, tiny, params, tokenizer, mesh1):
    model = {name: weight for name, weight in params.items() if name != HEAD}
    save_model(tmp_path / "plain", model, tiny, tokenizer)
    with pytest.raises(FileNotFoundError, match=r"plain is a model without a reward head: it has no reward\.json"):
        RewardModel(tmp_path / "plain", mesh1)
    (tmp_path / "other").mkdir()
    with pytest.raises(FileNotFoundError, match="other is no reward model"):
        load(tmp_path / "other", mesh1)


def test_a_folder_that_is_not_there_is_named_with_the_nearest(tmp_path, mesh1):
    (tmp_path / "helpful").mkdir()
    with pytest.raises(FileNotFoundError, match=r"helpfull; nearest in .*: helpful"):
        RewardModel(tmp_path / "helpfull", mesh1)


@pytest.fixture
def copied(tmp_path, tiny, params, tokenizer):
    save(tmp_path / "model", params, tiny, tokenizer, SUMMARY)
    return tmp_path / "model"


def test_a_reading_that_is_not_understood_names_its_file(copied, mesh1):
    for change, says in (
        ({"sees": "thought"}, "summary"),
        ({"version": 2}, "version"),
        ({"max": 3}, "max_tokens"),
        ({"template": "r2"}, "r1_zero"),
    ):
        (copied / "reward.json").write_text(json.dumps({"sees": "summary", **change}))
        with pytest.raises(ValueError, match=rf"reward\.json.*{says}"):
            load(copied, mesh1)


def test_a_head_that_is_missing_broken_or_another_models_is_named(copied, mesh1):
    path = copied / "reward_head.npy"
    whole = path.read_bytes()
    path.write_bytes(bytes([*whole[:-1], whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"is damaged: reward_head\.npy is not as it was written"):
        load(copied, mesh1)
    (copied / "checksums.txt").unlink()  # as in a folder of an earlier version
    for spoil, error in (
        (lambda: np.save(path, np.zeros(7, np.float32)), "shape \\(7,\\), should be float32 of shape \\(32,\\)"),
        (lambda: path.write_bytes(path.read_bytes()[:20]), "cannot be read"),
        (lambda: path.unlink(), "reward_head"),
    ):
        spoil()
        with pytest.raises((ValueError, FileNotFoundError), match=error):
            load(copied, mesh1)


@pytest.mark.parametrize("at", ["orbax.checkpoint.StandardCheckpointer", "r1jax.core.checksums.write"])
def test_trap35_a_save_that_was_killed_leaves_no_reward_model(at, copied, tiny, params, tokenizer, mesh1, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(at, killed)
        save(copied, params, tiny, tokenizer, SUMMARY)
    with pytest.raises(FileNotFoundError, match=r"not a model folder: it has no model\.json"):
        load(copied, mesh1)


# Scoring.

TEXTS = [THOUGHTFUL, "", "1 + 1 = 2 " * 12, "It is 4.", "4", "</s> <s>", THOUGHTFUL + "!", "no " * 9]


def test_trap27_scores_are_those_of_the_ids_alone_whatever_the_batch_and_the_bucket(whole, alone, tokenizer):
    rollouts = [rollout(text, sample=i) for i, text in enumerate(TEXTS)]
    expected = [alone(ids_of(WHOLE, tokenizer, "2 + 2 = ?", text)[0]) for text in TEXTS]
    np.testing.assert_allclose(whole.score(rollouts), expected, **CLOSE)
    np.testing.assert_allclose(whole.score(rollouts[::-1]), expected[::-1], **CLOSE)
    np.testing.assert_allclose([whole.score([each])[0] for each in rollouts[:3]], expected[:3], **CLOSE)
    assert np.ptp(expected) > 0.1 and whole.score([]) == []


def test_trap27_pad_and_end_ids_inside_a_text_are_tokens_like_others(alone, tokenizer):
    for id_ in (0, tokenizer.pad_id, tokenizer.eos_ids[0]):
        ids = [1, 20, id_, 30, id_]
        bare = alone(ids, width=5)
        assert alone(ids) == pytest.approx(bare, abs=2e-5) == alone(ids, fill=id_)
        assert all(abs(alone(ids[:n]) - bare) > 1e-3 for n in range(1, 5))


def test_trap27_the_last_real_token_moves_the_score(alone):
    scores = [alone([1, 20, 30, last]) for last in range(2, 12)]
    assert len({round(score, 4) for score in scores}) == 10


def test_the_thought_moves_a_score_only_where_it_is_seen(folders, whole, mesh1):
    pair = [rollout(THOUGHTFUL), rollout(THOUGHTFUL.replace("2 + 2 = 4", "3 + 1 = 9"))]
    a, b = RewardModel(folders / "summary", mesh1).score(pair)
    assert a == b
    a, b = whole.score(pair)
    assert abs(a - b) > 1e-3


def test_a_thought_that_the_prompt_opened_is_hidden_too(folders, mesh1):
    whole = rollout(THOUGHTFUL)
    opened = dataclasses.replace(whole.prompt, text=whole.prompt.text + " <think>")
    rest = dataclasses.replace(whole, prompt=opened, text=THOUGHTFUL.removeprefix("<think>"))
    a, b = RewardModel(folders / "summary", mesh1).score([whole, rest])
    assert a == b


def test_eight_devices_score_as_one(folders, whole, mesh8):
    rollouts = [rollout(text, sample=i) for i, text in enumerate(TEXTS)]
    with jax.set_mesh(mesh8):
        scores = RewardModel(folders / "response", mesh8).score(rollouts)
    np.testing.assert_allclose(scores, whole.score(rollouts), **CLOSE)


def test_many_rollouts_go_in_few_shapes(folders, mesh1, monkeypatch):
    """Lengths are powers of two and so are rows; a device gets no more tokens at a time than it takes."""
    monkeypatch.setattr(reward_scoring, "TOKENS", 256)
    model, shapes = RewardModel(folders / "response", mesh1), []
    monkeypatch.setattr(model._scorer, "program", lambda _, tokens, lengths: shapes.append(tokens.shape) or lengths)
    rng = np.random.default_rng(0)
    texts = ["4 " * int(n) for n in rng.integers(0, 200, 50)]
    lengths = [len(ids_of(WHOLE, model._tokenizer, "2 + 2 = ?", text)[0]) for text in texts]
    assert model.score([rollout(text) for text in texts]) == lengths  # each comes back to its own place
    assert set(shapes) == {(4, 64), (2, 128), (1, 256), (1, 512)}


def test_inputs_that_are_cut_are_counted_and_told(tmp_path, tiny, params, tokenizer, mesh1, capsys):
    save(tmp_path / "model", params, tiny, tokenizer, Reading("response", max_tokens=64))
    model = RewardModel(tmp_path / "model", mesh1)
    model.score([rollout("4 " * 200), rollout("4"), rollout("5 " * 100)])
    assert model.cut == 2
    assert "model: 2 of 3 inputs are longer than max_tokens=64 and lost their middle" in capsys.readouterr().out
    model.score([rollout("4")])
    assert model.cut == 2 and not capsys.readouterr().out


def test_a_score_that_is_no_number_is_none(tmp_path, tiny, params, tokenizer, mesh1):
    save(tmp_path / "model", {**params, HEAD: params[HEAD].at[0].set(np.nan)}, tiny, tokenizer, WHOLE)
    assert RewardModel(tmp_path / "model", mesh1).score([rollout("4")]) == [None]


def test_a_model_without_a_chat_template_is_refused_at_the_start(tmp_path, tiny, params, tokenizer, mesh1):
    save(tmp_path / "model", params, tiny, tokenizer, Reading("response", chat=True))
    with pytest.raises(ValueError, match="no chat template"):
        RewardModel(tmp_path / "model", mesh1)


TWO_PROCESSES = """
import argparse, json, pathlib, sys
import jax
from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.inference.reward_scoring import RewardModel, load, save
sys.path.insert(0, "tests")

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--coordinator")
parser.add_argument("--num-processes", type=int)
parser.add_argument("--process-id", type=int)
args = parser.parse_args()
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(args.coordinator, args.num_processes, args.process_id)
from reward_model_test import TEXTS, rollout
mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
with jax.set_mesh(mesh):
    save(args.folder / "again", *load(args.folder / "response", mesh))
    scores = RewardModel(args.folder / "again", mesh).score([rollout(text) for text in TEXTS])
(args.folder / f"scores-{args.process_id}.json").write_text(json.dumps(scores))
"""


@pytest.mark.slow
def test_two_processes_save_open_and_score_as_one(tmp_path, tiny, params, tokenizer, whole):
    save(tmp_path / "response", params, tiny, tokenizer, WHOLE)
    together(["-c", TWO_PROCESSES, str(tmp_path)])
    first, second = (json.loads((tmp_path / f"scores-{i}.json").read_text()) for i in range(2))
    assert first == second
    np.testing.assert_allclose(first, whole.score([rollout(text) for text in TEXTS]), **CLOSE)
