"""The minimal example: its defaults are those of `zero:mini`, and its first step is the full loop's first step."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest
from tiny_run import rows

from r1jax.core.config import MeshConfig
from r1jax.core.sharding import make_mesh
from r1jax.models.io import load_model
from r1jax.stages import rl
from r1jax.stages.bases import find_base
from r1jax.stages.table import read_config

EXAMPLE = pathlib.Path(__file__).resolve().parent.parent / "examples" / "grpo_minimal.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("grpo_minimal", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_examples_settings_are_those_of_the_main_job(example) -> None:
    settings, cfg = example.Settings(), read_config("zero:mini", [])
    for name in ("base", "seed", "data", "sampling", "grpo", "optimizer"):
        assert getattr(settings, name) == getattr(cfg, name), name
    assert (settings.steps, settings.chunk, settings.bucket) == (cfg.num_steps, cfg.logprob_chunk, cfg.batch_bucket)
    assert cfg.rewards.accuracy == cfg.rewards.format == 1.0


@pytest.mark.usefixtures("shared_engines")
def test_the_examples_first_step_is_the_full_loops(example, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    changes = (
        "num_steps=1",
        "grpo.prompts_per_step=4",
        "grpo.group_size=4",
        "sampling.max_new_tokens=48",
        "sampling.slots=16",
    )
    quick = ("microbatches=1", "data.held_out_share=0", "rewards.graders.workers=1")  # without an evaluation
    cfg = read_config("zero:mini", [*changes, *quick])
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        base = find_base(cfg.base, tmp_path, mesh)
        folder = rl.run(cfg, tmp_path / "full", mesh, base)
        start, _, _ = load_model(base, mesh)
        trained, _, _ = load_model(folder, mesh)
    [full] = rows(tmp_path / "full" / "metrics.jsonl")
    settings = example.Settings(
        base=str(base), steps=1, data=cfg.data, sampling=cfg.sampling, grpo=cfg.grpo, optimizer=cfg.optimizer
    )
    params, [row] = example.train(settings)

    # The same samples with the same rewards, so the same advantages; the loss's sums only in another order.
    assert row["reward"] == pytest.approx(full["reward/total"], rel=1e-5)
    assert row["tokens"] == pytest.approx(full["length/mean"], rel=1e-5)  # the file has six digits
    assert full["reward/total"] > 0 and full["groups/no_signal"] < 1
    for name in ("loss", "entropy", "kl"):
        assert row[name] == pytest.approx(full[name], rel=1e-4, abs=1e-6), name
    # Adam's first step moves a weight by its rate in the gradient's sign: only gradients near 0 may differ in it.
    moved, difference, size = [], [], 0
    for before, minimal, full_loop in zip(*map(jax.tree.leaves, (start, params, trained)), strict=True):
        moved.append(np.abs(np.asarray(full_loop) - np.asarray(before)).sum())
        difference.append(np.abs(np.asarray(full_loop) - np.asarray(minimal)).sum())
        size += before.size
    assert sum(moved) / size > 1e-6
    assert sum(difference) < 1e-3 * sum(moved)
    assert "step 1/1  reward" in capsys.readouterr().out
    assert (tmp_path / "runs/minimal/model/model.json").exists()
