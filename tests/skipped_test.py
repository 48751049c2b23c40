"""Updates whose gradient is not finite: told where they happen, an error when too many, and never a saved model."""

import math
import pathlib

import jax
import numpy as np
import pytest
from tiny_run import ZERO, merged, rows

from r1jax import config
from r1jax.core import params as core
from r1jax.core.params import ParamSpec
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.batching import Batch
from r1jax.io import jsonl
from r1jax.models.io import is_model, save_model
from r1jax.stages import reward_model_training, rl, supervised
from r1jax.stages.reward_model_training import PreferenceConfig
from r1jax.stages.rl import RLConfig
from r1jax.stages.supervised import SupervisedConfig
from r1jax.training import state
from r1jax.training.metrics import MetricsWriter
from r1jax.training.skipped import SkippedUpdates, applied
from r1jax.training.state import OptimizerConfig

SPECS = {"w": ParamSpec((4,), (None,))}


def batch() -> Batch:
    ints = np.zeros((2, 4), np.int32)
    return Batch(ints, ints, ints, ints, np.ones((2, 4), np.float32), np.full(2, np.nan, np.float32))


def after(updates: int, taken: int, mesh, weight: float = 1.0) -> state.TrainState:
    """A state after so many updates, of which so many were not skipped."""
    tx = state.make_optimizer(OptimizerConfig(), SPECS, 100)
    params = jax.tree.map(lambda w: w + weight, core.init(SPECS, TRAIN_RULES, mesh, 0))
    made = state.create(params, SPECS, tx, mesh)
    counted = jax.tree.map(lambda x: x + taken if x.dtype == np.int32 else x, made.opt_state)
    return state.TrainState(made.step + updates, made.params, counted)


def test_so_many_in_a_row_are_too_many_and_the_last_batch_is_kept(tmp_path):
    skipped = SkippedUpdates(tmp_path, OptimizerConfig(learning_rate=0.5, max_skipped=3), 0)
    assert skipped.count([1, 1, 0, 1], math.nan) == {"skipped_in_a_row": 1.0} and not skipped.too_many
    assert skipped.count([0, 0, 0, 0], 1.0) == {}
    assert skipped.count([0, 1, 1, 1], math.nan) == {"skipped_in_a_row": 3.0} and skipped.too_many
    error = str(skipped.error(6, batch()))
    for words in (
        "step 7",
        "the last 3 updates",
        "no model",
        str(tmp_path / "skipped"),
        "a lower optimizer.learning_rate (it is 0.5)",
        "optimizer.max_skipped=3",
    ):
        assert words in error
    kept = np.load(tmp_path / "skipped" / "step_000006.npz")
    assert sorted(kept) == ["advantages", "positions", "segments", "targets", "tokens", "weights"]
    assert np.isnan(kept["advantages"]).all()
    never = SkippedUpdates(tmp_path, OptimizerConfig(max_skipped=0), 0)
    never.count([1] * 1000, math.nan)
    assert not never.too_many


def test_trap33_a_resumed_run_counts_on_from_the_row_before(tmp_path):
    """In a step of several updates the mean alone would not say how many were the last ones."""
    counts = [{}, {"skipped_in_a_row": 2.0}, {"skipped_in_a_row": 7.0}]
    jsonl.write(tmp_path / "metrics.jsonl", ({"step": i, "loss": None, **each} for i, each in enumerate(counts)))
    cfg = OptimizerConfig(max_skipped=4)
    assert SkippedUpdates(tmp_path, cfg, 2).count([1, 1], math.nan) == {"skipped_in_a_row": 4.0}
    assert SkippedUpdates(tmp_path, cfg, 1).count([1, 1], math.nan) == {"skipped_in_a_row": 2.0}
    assert SkippedUpdates(tmp_path, cfg, 0).count([1, 1], math.nan) == {"skipped_in_a_row": 2.0}


def test_what_may_become_a_model(tmp_path, mesh1, capsys):
    def check(in_a_row: int, loss: float, updates: int, taken: int, weight: float = 1.0) -> str:
        skipped = SkippedUpdates(tmp_path, OptimizerConfig(), 0)
        skipped.count([1] * in_a_row, loss)
        try:
            with jax.set_mesh(mesh1):
                skipped.check_end(after(updates, taken, mesh1, weight), mesh1)
        except ValueError as error:
            assert "no model is saved" in str(error) and "learning_rate" in str(error)
            return str(error)
        return capsys.readouterr().out

    assert check(0, 1.0, 10, 10) == ""
    assert "2 of 10 updates were skipped" in check(0, 1.0, 10, 8)
    assert "2 of 10 updates were skipped" in check(2, 1.0, 10, 8)  # the gradient overflowed; the model gives numbers
    assert "last 2 of 10 updates were skipped" in check(2, math.nan, 10, 8)  # it gives none
    assert "last 5 of 10 updates were skipped" in check(5, 1.0, 10, 5)
    assert "last 10 of 10 updates were skipped" in check(10, 1.0, 10, 0)
    for weight in (math.nan, math.inf, 1e25):  # finite, and what they are multiplied to is not
        assert "the weights' norm after the last step" in check(0, 1.0, 10, 10, weight)


def test_the_optimiser_counts_updates_that_were_not_skipped(mesh1):
    with jax.set_mesh(mesh1):
        assert applied(after(10, 7, mesh1)) == 7


def test_each_step_with_a_skipped_update_has_a_line(tmp_path, capsys):
    writer = MetricsWriter(tmp_path, 0, 100, {"loss": ".2f"}, every=50)
    for step in range(5):
        writer.write(step, {"loss": math.nan, "skipped": 0.5 * (step == 3), "skipped_in_a_row": 4.0 * (step == 3)})
    writer.close()
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("step 4/100  loss nan  50% of its updates skipped: gradient not finite, 4 in a row; ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny, tiny_params, tokenizer) -> pathlib.Path:
    """A base, and data for each loop."""
    folder = tmp_path_factory.mktemp("skipped")
    save_model(folder / "base", tiny_params, tiny, tokenizer)
    jsonl.write(
        folder / "pairs.jsonl", ({"prompt": f"Ask {i}.", "chosen": "yes please", "rejected": "no"} for i in range(40))
    )
    return folder


SUPERVISED = {"stage": "supervised", "batch_size": 4, "seq_len": 32, "documents_per_step": 4, "optimizer": {}}
PREFERENCE = {
    "stage": "preference",
    "kind": "pairwise",
    "data": {"path": "pairs.jsonl", "held_out_share": 0.0},
    "reading": {"sees": "summary", "template": "dialogue", "max_tokens": 48},
    "batch_size": 4,
    "epochs": 0,
    "batch_bucket": 48,
}
RL = merged(ZERO, evaluation={"questions": 1, "samples": 1}, grpo__beta=0.0, grpo__minibatches=1)


@pytest.mark.parametrize(
    ("module", "cls", "tree"),
    [
        (supervised, SupervisedConfig, SUPERVISED),
        (reward_model_training, PreferenceConfig, PREFERENCE),
        pytest.param(rl, RLConfig, RL, marks=pytest.mark.slow),
    ],
)
def test_a_learning_rate_of_1e25_ends_every_loop_with_an_error_and_no_model(
    folder, mesh1, monkeypatch, capsys, module, cls, tree
):
    """The first update is taken; none of the model that it leaves has a finite gradient."""
    monkeypatch.chdir(folder)
    tree = merged(tree, base="base", num_steps=5, optimizer__learning_rate=1e25, optimizer__max_skipped=3)
    workdir = folder / tree["stage"]
    workdir.mkdir()

    def fails(**changes) -> str:
        with jax.set_mesh(mesh1), pytest.raises(ValueError, match="no model is saved") as error:
            module.run(config.parse(cls, merged(tree, **changes)), workdir, mesh1, folder / "base")
        assert not is_model(workdir / "model")
        return str(error.value)

    assert "step 4: the last 3 updates were all skipped" in (error := fails()) and "(it is 1e+25)" in error
    lines = [line for line in capsys.readouterr().out.splitlines() if "skipped: gradient not finite" in line]
    assert [line.partition("finite, ")[2].partition(" in")[0] for line in lines] == ["1", "2", "3"]
    assert [row.get("skipped_in_a_row", 0) for row in rows(workdir / "metrics.jsonl")] == [0, 1, 2, 3]
    kept = np.load(workdir / "skipped" / "step_000003.npz")
    assert kept["tokens"].any() and kept["weights"].any() and "ref_logprobs" not in kept
    if module is rl:
        assert len(rows(workdir / "skipped" / "step_000003.jsonl")) == 16 == len(kept["tokens"])
    # Gone through with, it is an error at the end; what is saved then is the state alone, and without a reference.
    assert "norm" in fails(optimizer__max_skipped=0)
    assert not [path for path in (workdir / "checkpoints").glob("*/reference")]
    assert [path for path in (workdir / "checkpoints").glob("5/state")]
