"""Benchmarks during RL and fine-tuning: on their schedule, with the numbers of an evaluation of the saved model."""

import json
import pathlib

import pytest
from evaluate_test import SUMS, lines
from evaluate_test import run as evaluate
from tiny_run import BASE, ZERO, merged, write_config

from r1jax.evaluation.config import BenchmarkSchedule
from r1jax.tools import train

pytestmark = pytest.mark.usefixtures("in_this_process")
SAMPLING = {"max_new_tokens": 24, "slots": 8, "bucket": 192, "truncation": {"temperature": 0.6, "top_p": 0.95}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("scheduled")
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SUMS))
    return folder


def schedule(folder: pathlib.Path, every: int) -> dict:
    names = (f"gsm8k={folder}/sums.jsonl",)
    return {"names": names, "every": every, "samples": 3, "sampling": SAMPLING, "graders": {"workers": 1}}


def rows_of(workdir: pathlib.Path) -> list[dict]:
    return lines(workdir / "benchmarks.jsonl")


def figures_of_the_model(folder: pathlib.Path, workdir: pathlib.Path) -> dict:
    """The figures of an evaluation of a run's saved model, with the run's seed."""
    finished = workdir.with_name(f"{workdir.name}-evaluated")
    assert evaluate(finished, folder, "--config.seed=0", model=workdir / "model") == 0
    return json.loads((finished / "gsm8k" / "result.json").read_text())


def check_last_row(folder: pathlib.Path, workdir: pathlib.Path) -> None:
    row, result = rows_of(workdir)[-1], figures_of_the_model(folder, workdir)
    assert (row["benchmark"], row["n"], row["k"]) == ("gsm8k", 5, 3)
    for name, figure in result["figures"].items():
        assert (row[name], row[f"{name}_stderr"]) == (figure["value"], figure["stderr"])
    assert row["length"] == result["length"]["mean"]
    samples = workdir / "benchmarks" / f"step_{row['step']:06d}" / "gsm8k" / "samples.jsonl"
    evaluated = workdir.with_name(f"{workdir.name}-evaluated") / "gsm8k" / "samples.jsonl"
    assert {(s["id"], s["sample"]): s["text"] for s in lines(samples)} == {
        (s["id"], s["sample"]): s["text"] for s in lines(evaluated)
    }


def test_rl_evaluates_benchmarks_as_an_evaluation_of_the_model_does(folder):
    base = write_config(folder / "base.py", BASE)
    changes = {"num_steps": 2, "data__template": "r1_zero", "evaluation__benchmarks": schedule(folder, 1)}
    tree = merged(ZERO, base=base, seed=0, **changes)
    spec, workdir = write_config(folder / "zero.py", tree), folder / "runs" / "zero"
    assert train.main([f"--config={spec}", f"--workdir={workdir}"]) == 0
    assert [row["step"] for row in rows_of(workdir)] == [0, 1, 2]
    check_last_row(folder, workdir)
    before = rows_of(workdir)
    assert train.main([f"--config={spec}", f"--workdir={workdir}"]) == 0  # a finished run adds no row
    assert rows_of(workdir) == before


def test_fine_tuning_evaluates_benchmarks_before_and_after(folder):
    tree = merged(BASE, num_steps=2, evaluation={"benchmarks": schedule(folder, 0)})
    spec, workdir = write_config(folder / "sft.py", tree), folder / "runs" / "sft"
    assert train.main([f"--config={spec}", f"--workdir={workdir}"]) == 0
    assert [row["step"] for row in rows_of(workdir)] == [0, 2]
    check_last_row(folder, workdir)


def test_a_benchmark_that_does_not_exist_is_an_error_before_the_first_step(folder, capsys):
    tree = merged(BASE, num_steps=2, evaluation={"benchmarks": {"names": ("gsm9k",)}})
    spec, workdir = write_config(folder / "wrong.py", tree), folder / "runs" / "wrong"
    assert train.main([f"--config={spec}", f"--workdir={workdir}"]) == 2
    assert "gsm9k" in capsys.readouterr().err and not (workdir / "metrics.jsonl").exists()


def test_the_schedule():
    def due(every: int) -> list[int]:
        return [step for step in range(7) if BenchmarkSchedule(("gsm8k",), every).is_due(step)]

    assert (due(0), due(3), due(1)) == ([0], [0, 3, 6], list(range(7)))
    assert not BenchmarkSchedule(every=1).is_due(0)
