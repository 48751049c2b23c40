"""Replay of an RL update from saved rollouts: the same numbers as the run, and other ones where a setting differs."""

import json
import pathlib
import re

import pytest
from evaluate_test import lines
from tiny_run import BASE, ZERO, merged, rows, write_config

from r1jax.tools import replay, train

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    """A run of three steps with states after the second and the third, two updates a step and a reference policy."""
    folder = tmp_path_factory.mktemp("replay")
    base = write_config(folder / "base.py", BASE)
    spec = write_config(
        folder / "zero.py", merged(ZERO, base=base, seed=0, evaluation={"questions": 0 + 1, "samples": 1})
    )
    workdir = folder / "runs" / "zero"
    assert train.main([f"--config={spec}", f"--workdir={workdir}"]) == 0
    return workdir


def replayed(run: pathlib.Path, step: int, *overrides: str, **changes) -> dict:
    settings = {"regrade": False, "out": None} | changes
    return replay.replay(replay.read_run_config(run, overrides), run, step, **settings)


@pytest.fixture(autouse=True)
def one_device(monkeypatch, mesh1):
    from r1jax.core import sharding

    monkeypatch.setattr(sharding, "make_mesh", lambda cfg: mesh1)


@pytest.mark.parametrize("step", [1, 2], ids=["from the base", "from a state"])
def test_a_replayed_update_has_the_metrics_of_the_run(finished, step, tmp_path):
    files = sorted(path for path in finished.rglob("*") if path.is_file())
    recorded = rows(finished / "metrics.jsonl")[step]
    row = replayed(finished, step, regrade=step == 2, out=tmp_path / "out.jsonl")
    assert len(row) > 30 and row.items() <= recorded.items()
    samples = lines(tmp_path / "out.jsonl")
    kept = lines(finished / "rollouts" / f"step_{step:06d}.jsonl")
    assert [(s["id"], s["sample"], s["reward"]) for s in samples] == [(s["id"], s["sample"], s["reward"]) for s in kept]
    assert any(sample["advantage"] for sample in samples)
    assert sorted(path for path in finished.rglob("*") if path.is_file()) == files


def test_another_loss_is_seen_on_the_same_rollouts(finished):
    row, recorded = replayed(finished, 0, "grpo.beta=0.5"), rows(finished / "metrics.jsonl")[0]
    assert row["reward/total"] == recorded["reward/total"] and row["loss"] != recorded["loss"]


def test_another_reward_is_seen_when_the_rollouts_are_graded_again(finished):
    row = replayed(finished, 0, "rewards.random=0.0", regrade=True)
    assert "reward/random" not in row and row["reward/total"] == 0.0


def test_the_command_prints_the_comparison(finished, capsys):
    assert replay.main([str(finished), "--step", "0"]) == 0
    assert "0 of " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--step", "7"], "--step=7 is not among the steps that .* has done: 0 to 2"),
        (["--step", "0", "--config.grpo.betta=1"], "betta"),
    ],
    ids=str,
)
def test_what_cannot_be_replayed_is_one_line(finished, capsys, arguments, message):
    assert replay.main([str(finished), *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_folders_that_are_no_rl_run_and_rollouts_that_are_gone_are_named(finished, tmp_path, capsys):
    assert replay.main([str(tmp_path), "--step", "0"]) == 2
    assert "has no config.json" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(json.dumps({"stage": "supervised"}))
    assert replay.main([str(tmp_path), "--step", "0"]) == 2
    assert "rollouts are of RL alone" in capsys.readouterr().err
