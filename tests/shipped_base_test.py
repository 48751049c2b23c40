"""The base models that ship: they are those that configs/base.py makes, and R1-Zero works on them."""

import json
import math
import pathlib

import pytest

from r1jax.models.io import SHIPPED
from r1jax.stages import bases, supervised
from r1jax.tools import train, write_miniworld

ROOT = pathlib.Path(__file__).parent.parent


def zero_mini(workdir: pathlib.Path, *overrides: str, part: str = "mini") -> list[dict]:
    """The evaluations of a short R1-Zero run from a part of configs/base.py."""
    config = f"--config={ROOT / 'configs' / 'zero.py'}:mini"
    base = f"--config.base={ROOT / 'configs' / 'base.py'}:{part}"
    assert train.main([config, base, f"--workdir={workdir}", "--config.mesh.data=8", *overrides]) == 0
    return [json.loads(line) for line in (workdir / "evals.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("part", ["mini", "world", "puzzles", "student_qwen2", "student_llama"])
def test_shipped_base_is_that_of_its_config(part, tmp_path, mesh1, monkeypatch):
    def trains(*_):
        raise AssertionError(f"configs/base.py:{part} no longer names the shipped base: make it anew, or rename it")

    monkeypatch.setattr(supervised, "run", trains)
    monkeypatch.chdir(ROOT)  # the world's page names the one before it from there
    folder = bases.find_base(f"{ROOT / 'configs' / 'base.py'}:{part}", tmp_path, mesh1)
    assert folder.parent == SHIPPED
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 5e6


@pytest.mark.slow
def test_r1_zero_learns_in_a_few_steps(tmp_path):
    before, after = zero_mini(tmp_path, "--config.num_steps=20", "--config.evaluation.every=0")
    assert before["format"] < 0.2
    assert after["format"] > 0.8
    assert after["pass@1"] > before["pass@1"] + 0.2


@pytest.mark.slow
def test_trap28_random_rewards_do_not_raise_accuracy(tmp_path):
    before, after = zero_mini(
        tmp_path,
        "--config.num_steps=20",
        "--config.evaluation.every=0",
        "--config.rewards.accuracy=0",
        "--config.rewards.format=0",
        "--config.rewards.random=1",
    )
    assert after["pass@1"] < before["pass@1"] + 3 * math.hypot(before["stderr"], after["stderr"])


@pytest.mark.slow
def test_r1_zero_on_the_world_comes_to_mix_languages_in_getting_more_right(tmp_path, monkeypatch):
    """What the language reward is there to mend (arXiv 2501.12948, section 2.3.2)."""
    monkeypatch.chdir(ROOT)
    assert write_miniworld.main([str(tmp_path / "world")]) == 0
    before, after = zero_mini(
        tmp_path / "zero",
        "--config.num_steps=25",
        "--config.evaluation.every=0",
        "--config.grpo.prompts_per_step=12",
        f"--config.data.path={tmp_path / 'world' / 'reasoning.jsonl'}",
        "--config.rewards.graders.timeout_s=120",
        part="world",
    )
    assert after["pass@1"] > before["pass@1"] + 0.1
    assert before["mixed_language"] < 0.3 < 0.6 < after["mixed_language"]
