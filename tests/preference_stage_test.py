"""Training a reward model: a planted preference is learned, a resumed run is the same, what is saved scores so too."""

import json
import math
import pathlib
import random

import jax
import numpy as np
import pytest
from made_once import made_once
from multiprocess_test import together
from tiny_run import merged, rows, timeless
from transformer_test import CLOSE

from r1jax import config, config_files
from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.data.preference_pairs import Preferences
from r1jax.data.tasks import is_held_out
from r1jax.data.types import Prompt, Rollout
from r1jax.inference import reward_scoring
from r1jax.inference.model_identity import model_hash
from r1jax.inference.reward_scoring import RewardModel
from r1jax.io import jsonl
from r1jax.models.io import is_model, load_model, save_model
from r1jax.models.reward import HEAD
from r1jax.stages import reward_model_training
from r1jax.stages.judge_pairs import JudgePairsConfig
from r1jax.stages.reward_model_training import PreferenceConfig, batch_at, reader
from r1jax.stages.workdir import owned
from r1jax.training import loop, state

# What Orbax leaves behind of a read that it broke off.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PAGE = pathlib.Path(__file__).resolve().parent.parent / "configs" / "preference.py"
PAIRWISE = {
    "stage": "preference",
    "kind": "pairwise",
    "base": "",
    "data": {"path": "", "held_out_share": 0.3},
    "reading": {"sees": "summary", "template": "dialogue", "max_tokens": 48},
    "batch_size": 16,
    "epochs": 0,
    "num_steps": 30,
    "batch_bucket": 48,
    "optimizer": {"learning_rate": 1e-2, "warmup_steps": 3},
    "evaluation": {"every": 15},
}
WORDS = ("sum", "total", "apples", "two", "seven", "first", "the", "is", "then", "so")


def response(rng: random.Random, good: bool) -> str:
    """A thought that means nothing, and a summary of four words, one of them "please" where it is a good one."""
    words = rng.choices(WORDS, k=4)
    words[rng.randrange(4)] = "please" if good else "kindly"
    return f"<think> {rng.choice(WORDS)} please kindly </think> <answer> {' '.join(words)} </answer>"


@pytest.fixture(scope="module", autouse=True)
def shared_programs():
    """Runs with the same model, optimizer and number of steps share their update; with the same model, the scorer."""
    makers = (state, "make_optimizer"), (loop, "make_update")
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (*makers, (reward_model_training, "make_loss"), (reward_model_training, "Scorer")):
            patch.setattr(module, name, made_once(getattr(module, name)))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny, tiny_params, tokenizer) -> pathlib.Path:
    """A base, and files of judged responses."""
    folder = tmp_path_factory.mktemp("preference")
    save_model(folder / "base", tiny_params, tiny, tokenizer)
    rng = random.Random(0)
    jsonl.write(
        folder / "pairs.jsonl",
        ({"prompt": f"Ask {i}.", "chosen": response(rng, True), "rejected": response(rng, False)} for i in range(150)),
    )
    jsonl.write(
        folder / "labels.jsonl",
        ({"prompt": f"Ask {i}.", "response": response(rng, i % 2 > 0), "safe": i % 2 > 0} for i in range(150)),
    )
    return folder


def cfg(folder: pathlib.Path, **changes) -> PreferenceConfig:
    tree = merged(PAIRWISE, base=str(folder / "base"), data__path=str(folder / "pairs.jsonl"))
    return config.parse(PreferenceConfig, merged(tree, **changes))


def labelled(folder: pathlib.Path, **changes) -> PreferenceConfig:
    return cfg(folder, **{"kind": "pointwise", "data__path": str(folder / "labels.jsonl")} | changes)


def run(cfg: PreferenceConfig, workdir: pathlib.Path, mesh) -> pathlib.Path:
    with jax.set_mesh(mesh), owned(workdir):
        return reward_model_training.run(cfg, workdir, mesh, pathlib.Path(cfg.base))


@pytest.fixture(scope="module")
def finished(folder, mesh1) -> pathlib.Path:
    run(cfg(folder), folder / "pairwise", mesh1)
    return folder / "pairwise"


def rollout(prompt: str, text: str, marker: str = "") -> Rollout:
    return Rollout.of_text(Prompt("q", prompt, "", "open:x", marker=marker), text)


def test_a_planted_preference_is_learned_and_shows_on_prompts_never_seen(finished):
    before, during, after = rows(finished / "evals.jsonl")
    assert [row["step"] for row in (before, during, after)] == [0, 15, 30]
    assert before["n"] == sum(is_held_out(f"Ask {i}.", 0.3) for i in range(150))
    assert 0.2 < before["accuracy"] < 0.8 and after["accuracy"] > 0.95
    assert after["loss"] < 0.1 < 0.4 < before["loss"]
    assert 0.3 < after["longer_wins"] < 0.7  # nor is it length that was learned
    metrics = rows(finished / "metrics.jsonl")
    assert len(metrics) == 30 and metrics[-1]["accuracy"] > 0.9 and metrics[-1]["margin"] > 1
    assert sum(row["skipped"] for row in metrics) == 0


def test_held_out_scores_are_kept_example_by_example(finished):
    kept = rows(finished / "evals" / "step_000030.jsonl")
    right = [0.5 * (1 + np.sign(row["scores"][0] - row["scores"][1])) for row in kept]
    assert np.mean(right) == pytest.approx(rows(finished / "evals.jsonl")[-1]["accuracy"])
    assert all(row["safe"] is None and len(row["lengths"]) == 2 for row in kept)


def test_a_labels_model_learns_its_label_from_the_whole_response(folder, mesh1):
    path = run(labelled(folder, reading__sees="response"), folder / "pointwise", mesh1)
    before, *_, after = rows(folder / "pointwise" / "evals.jsonl")
    assert after["accuracy"] > 0.95 and after["auroc"] > 0.97 > 0.75 > before["auroc"]
    assert after["loss"] < 0.3 and 0.3 < after["safe_share"] < 0.7
    rng = random.Random(1)
    texts = [response(rng, i % 2 > 0) for i in range(20)]
    with jax.set_mesh(mesh1):
        scores = RewardModel(path, mesh1).score([rollout("Ask you.", text) for text in texts])
    assert np.mean([(score > 0) == (i % 2 > 0) for i, score in enumerate(scores)]) > 0.9  # 0 is even odds


def test_trap33_stopped_between_and_resumed_it_is_the_same_to_the_last_bit(folder, finished, mesh1, monkeypatch):
    workdir, write = folder / "resumed", loop.MetricsWriter.write

    def stop_at_20(self, step, row):
        if step == 20:
            raise KeyboardInterrupt
        write(self, step, row)

    settings = {"checkpoint": {"every": 10}}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.MetricsWriter, "write", stop_at_20)
        run(cfg(folder, **settings), workdir, mesh1)
    assert not is_model(workdir / "model")
    run(cfg(folder, **settings), workdir, mesh1)
    for name in ("metrics.jsonl", "evals.jsonl"):
        assert [*map(timeless, rows(workdir / name))] == [*map(timeless, rows(finished / name))]
    whole, resumed = (reward_scoring.load(path / "model", mesh1)[0] for path in (finished, workdir))
    assert jax.tree.all(jax.tree.map(np.array_equal, whole, resumed))
    model = model_hash(workdir / "model")
    run(cfg(folder, **settings), workdir, mesh1)  # a finished one stays as it is
    assert model_hash(workdir / "model") == model
    again = reward_scoring.load(workdir / "model", mesh1)[0]
    assert jax.tree.all(jax.tree.map(np.array_equal, whole, again))
    assert [row["step"] for row in rows(workdir / "evals.jsonl")] == [0, 15, 30]


def test_trap27_the_saved_folder_scores_what_training_scored(folder, finished, mesh1, tokenizer):
    """But for the unit: the saved scores of training examples have a standard deviation of 1."""
    lines = {row["prompt"]: row for row in rows(folder / "pairs.jsonl")}
    data = Preferences(cfg(folder).data, "pairwise", 0, reader(cfg(folder).reading, tokenizer, ""))
    with jax.set_mesh(mesh1):
        model = RewardModel(finished / "model", mesh1)

        def scores(examples) -> np.ndarray:
            both = [rollout(e.prompt, lines[e.prompt][key]) for e in examples for key in ("chosen", "rejected")]
            return np.array(model.score(both)).reshape(-1, 2)

        held_out, trained = scores(data.held_out), scores(data.take(0, data.size))
    assert model.reading == cfg(folder).reading
    kept = np.array([row["scores"] for row in rows(finished / "evals" / "step_000030.jsonl")])
    unit = kept.std() / held_out.std()
    assert unit > 1.0
    np.testing.assert_allclose(unit * held_out, kept, rtol=1e-4, atol=1e-4)
    assert trained.std() == pytest.approx(1.0, rel=1e-4)


def test_scores_can_be_left_in_the_losses_own_unit(folder, mesh1):
    short = {"num_steps": 2, "evaluation__every": 0}
    unit, raw = (run(cfg(folder, unit_examples=n, **short), folder / f"unit{n}", mesh1) for n in (64, 0))
    unit, raw = (np.load(path / reward_scoring.HEAD_FILE) for path in (unit, raw))
    np.testing.assert_allclose(unit / raw, (unit / raw)[0], rtol=1e-5)
    assert abs((unit / raw)[0] - 1) > 1e-3
    assert reward_model_training.spread(np.full((3, 2), 0.3, np.float32)) > 0


def test_an_epoch_sees_each_example_once_and_its_last_batch_holds_what_is_left(folder, tokenizer):
    one = cfg(folder, epochs=2, num_steps=0)
    data = Preferences(one.data, one.kind, one.seed, reader(one.reading, tokenizer, ""))
    steps = math.ceil(2 * data.size / 16)
    batches = [batch_at(one, data, step).batch for step in range(steps)]
    counts = [int((batch.weights > 0).sum()) for batch in batches]
    assert sum(counts) == 2 * data.size and counts[:-1] == [16] * (steps - 1)
    assert all(batch.weights.sum() == pytest.approx(1.0) for batch in batches)
    assert {batch.tokens.shape for batch in batches} == {(16, 2, 48)}


def test_one_epoch_runs_for_as_many_steps_as_it_takes(folder, mesh1):
    workdir = folder / "epoch"
    run(cfg(folder, epochs=1, num_steps=0, evaluation__every=0), workdir, mesh1)
    size = 150 - sum(is_held_out(f"Ask {i}.", 0.3) for i in range(150))
    assert len(rows(workdir / "metrics.jsonl")) == math.ceil(size / 16)


@pytest.mark.slow
def test_pieces_and_eight_devices_train_as_one(folder, finished, mesh1, mesh8):
    short = {"num_steps": 2, "evaluation__every": 0}
    run(cfg(folder, **short), folder / "one", mesh1)
    run(cfg(folder, microbatches=2, **short), folder / "eight", mesh8)
    for one, eight in zip(*(rows(folder / name / "metrics.jsonl") for name in ("one", "eight")), strict=True):
        for name in ("loss", "margin", "accuracy", "grad_norm"):
            assert eight[name] == pytest.approx(one[name], rel=2e-3, abs=1e-5)
    one, eight = (rows(folder / name / "evals" / "step_000000.jsonl") for name in ("one", "eight"))
    np.testing.assert_allclose([r["scores"] for r in one], [r["scores"] for r in eight], **CLOSE)


def test_the_head_is_new_whatever_the_base_and_a_function_of_the_seed(folder, finished, mesh1):
    """A reward model's folder is a model folder too: its head is not gone on with."""
    short = {"num_steps": 1, "evaluation__every": 0, "optimizer__learning_rate": 0.0, "unit_examples": 0}
    heads = [
        np.load(run(cfg(folder, base=str(base), seed=seed, **short), folder / name, mesh1) / reward_scoring.HEAD_FILE)
        for name, base, seed in (("a", folder / "base", 0), ("b", finished / "model", 0), ("c", folder / "base", 1))
    ]
    assert np.array_equal(heads[0], heads[1]) and not np.array_equal(heads[0], heads[2])


def test_held_out_examples_can_be_few_or_none(folder, mesh1, capsys):
    run(cfg(folder, num_steps=1, evaluation__examples=7), folder / "few", mesh1)
    assert [row["n"] for row in rows(folder / "few" / "evals.jsonl")] == [7, 7]
    run(cfg(folder, num_steps=1, data__held_out_share=0.0), folder / "none", mesh1)
    assert not (folder / "none" / "evals.jsonl").exists()
    assert "150 examples, 0 held out" in capsys.readouterr().out


def test_the_run_says_what_is_cut_and_what_is_left_out(folder, mesh1, tmp_path, capsys):
    lines = [json.dumps(row) for row in rows(folder / "pairs.jsonl")]
    long = json.dumps({"prompt": "Ask 7.", "chosen": "so " * 90, "rejected": "so"})
    same = json.dumps({"prompt": "Ask 7.", "chosen": "so", "rejected": "so"})
    (tmp_path / "pairs.jsonl").write_text("\n".join([*lines, long, same, "nonsense"]) + "\n")
    given = cfg(folder, num_steps=1, data__path=str(tmp_path / "pairs.jsonl"), data__skip_bad_lines=True)
    run(given, folder / "cut", mesh1)
    out = capsys.readouterr().out
    assert "1 inputs are longer than max_tokens=48 and lost their middle" in out
    assert "1 bad lines left out; 1 pairs that read the same left out" in out


def test_trap34_settings_that_contradict_each_other_are_refused(folder):
    for changes, says in (
        ({"epochs": 1}, "one of them says how long"),
        ({"num_steps": 0}, "one of them says how long"),
        ({"microbatches": 3}, "does not split into microbatches=3"),
        ({"data__pairs_as_labels": True}, "kind=pointwise trains on"),
        ({"kind": "listwise"}, "pairwise"),
        ({"reading__sees": "thought"}, "summary"),
    ):
        with pytest.raises(config.ConfigError, match=says):
            cfg(folder, **changes)


def test_rows_that_do_not_divide_over_the_mesh_are_told_at_the_start(folder):
    mesh = make_mesh(MeshConfig(data=8))
    with pytest.raises(ValueError, match=r"4 rows at a time \(batch_size / microbatches\).*= 8"):
        run(cfg(folder, microbatches=4), folder / "rows", mesh)


def test_a_model_without_a_chat_template_is_told_at_the_start(folder, mesh1):
    with pytest.raises(ValueError, match="no chat template"):
        run(cfg(folder, reading__chat=True), folder / "chat", mesh1)


def test_the_head_stands_beside_the_models_own_weights(finished, tiny, mesh1):
    params, found, *_ = reward_scoring.load(finished / "model", mesh1)
    assert found == tiny and params[HEAD].shape == (tiny.embed_dim,)
    assert load_model(finished / "model", mesh1)[1] == tiny


@pytest.mark.parametrize(
    "size, kind, sees",
    [
        ("mini_helpfulness", "pairwise", "summary"),
        ("mini_harmlessness", "pointwise", "response"),
        ("smollm2", "pairwise", "summary"),
        ("smollm2_harmlessness", "pointwise", "response"),
        ("paper_helpfulness", "pairwise", "summary"),
        ("paper_harmlessness", "pointwise", "response"),
    ],
)
def test_every_size_of_the_page_parses_and_shows_each_kind_what_the_paper_shows_it(size, kind, sees):
    cfg = config.parse(PreferenceConfig, config_files.load(f"{PAGE}:{size}"))
    assert (cfg.kind, cfg.reading.sees) == (kind, sees)
    if size.startswith("paper"):
        assert (cfg.optimizer.learning_rate, cfg.batch_size, cfg.epochs, cfg.num_steps) == (6e-6, 256, 1, 0)
        assert cfg == config.parse(
            PreferenceConfig,
            {
                "stage": "preference",
                "kind": kind,
                "base": "",
                "data": {"path": ""},
                "reading": {"sees": sees, "chat": True, "max_tokens": 8192},
                **{name: config.to_dict(getattr(cfg, name)) for name in ("batch_bucket", "evaluation")},
            },
        )  # the other defaults are the paper's


def test_the_page_of_pairs_has_the_papers_four_rounds_and_margin():
    cfg = config.parse(JudgePairsConfig, config_files.load(f"{PAGE}:pairs"))
    assert (cfg.rounds, cfg.margin) == (4, 1.0)
    with pytest.raises(config.ConfigError, match="no size named 'tiny'; there are: mini_helpfulness"):
        config_files.load(f"{PAGE}:tiny")


TWO_PROCESSES = """
import argparse, json, pathlib
import jax
from r1jax import config
from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.stages import reward_model_training as preference

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--coordinator")
parser.add_argument("--num-processes", type=int)
parser.add_argument("--process-id", type=int)
args = parser.parse_args()
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(args.coordinator, args.num_processes, args.process_id)
cfg = config.parse(preference.PreferenceConfig, json.loads((args.folder / "config.json").read_text()))
mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
with jax.set_mesh(mesh):
    preference.run(cfg, args.folder, mesh, pathlib.Path(cfg.base))
"""


@pytest.mark.slow
def test_two_processes_train_as_one(folder, mesh1):
    given = cfg(folder, num_steps=2, evaluation__every=0)
    run(given, folder / "alone", mesh1)
    (folder / "together").mkdir()
    (folder / "together" / "config.json").write_text(json.dumps(config.to_dict(given)))
    together(["-c", TWO_PROCESSES, str(folder / "together")])
    one, two = (rows(folder / name / "metrics.jsonl") for name in ("alone", "together"))
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=2e-3)
    one, two = (RewardModel(folder / name / "model", mesh1) for name in ("alone", "together"))
    rollouts = [rollout("Ask you.", response(random.Random(i), i % 2 > 0)) for i in range(8)]
    np.testing.assert_allclose(one.score(rollouts), two.score(rollouts), rtol=5e-2, atol=5e-2)
    assert len(rows(folder / "together" / "evals.jsonl")) == 2  # process 0 alone writes
