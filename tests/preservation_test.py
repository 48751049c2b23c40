"""Which states stay on disk: the newest and the best ones, and with a full disk the last good one."""

import pathlib
import shutil
import subprocess
import sys
from types import SimpleNamespace

import forked
import jax.numpy as jnp
import pytest

from r1jax.io import jsonl
from r1jax.training.checkpoint import CheckpointConfig, Checkpoints
from r1jax.training.preservation import Preservation

PASS = {0: 0.1, 2: 0.5, 4: 0.7, 6: 0.7, 8: None, 10: 0.2}
LOSS = [9.0, 5.0, 1.0, 4.0, 3.0, 8.0, 2.0, 7.0, 6.0, 5.0]  # of the steps that end as the 1st, 2nd, ...


@pytest.fixture
def workdir(tmp_path) -> pathlib.Path:
    """With rows of evaluations and of metrics."""
    jsonl.write(tmp_path / "evals.jsonl", ({"step": step, "pass@1": value} for step, value in PASS.items()))
    jsonl.write(tmp_path / "metrics.jsonl", ({"step": step, "loss": value} for step, value in enumerate(LOSS)))
    return tmp_path


@pytest.mark.parametrize(
    ("cfg", "preserved"),
    [
        (CheckpointConfig(keep=2), [8, 10]),
        (CheckpointConfig(keep=1, keep_best=1), [6, 10]),  # of two as good ones the newer
        (CheckpointConfig(keep=1, keep_best=3), [2, 4, 6, 10]),
        (CheckpointConfig(keep=3, keep_best=1), [6, 7, 8, 10]),
        (CheckpointConfig(keep=1, keep_best=2, best_by="-loss"), [3, 7, 10]),
        (CheckpointConfig(keep=1, keep_best=2, best_by="loss"), [1, 6, 10]),
        (CheckpointConfig(keep=1, keep_best=2, best_by="no such metric"), [10]),
    ],
)
def test_the_newest_stay_and_the_best_by_an_evaluation_or_else_a_metric(workdir, cfg, preserved):
    steps = [1, 2, 3, 4, 6, 7, 8, 10]
    stays = Preservation(cfg, workdir).should_preserve([SimpleNamespace(step=step) for step in steps], context=None)
    assert [step for step, stay in zip(steps, stays, strict=True) if stay] == preserved


def test_the_best_state_outlives_newer_ones_also_when_the_run_goes_on(workdir):
    cfg = CheckpointConfig(every=1, keep=1, keep_best=1, best_by="-loss")
    for steps in ([1, 2, 3, 4, 5], [6, 7, 8]):
        checkpoints = Checkpoints(workdir, cfg, 100)
        for finished in steps:
            checkpoints.save(finished, {"state": {"x": jnp.full(2, float(finished))}})
        checkpoints.close()
        kept_steps = sorted(path.name for path in (workdir / "checkpoints").iterdir())
        assert kept_steps == ["3", str(steps[-1])]


def test_a_metric_without_a_name_is_refused():
    with pytest.raises(ValueError, match=r"best_by='-' should name a metric"):
        CheckpointConfig(best_by="-")


FILL = """
import pathlib, jax
from r1jax import config
from r1jax.core import processes
from r1jax.training.checkpoint import CheckpointConfig, Checkpoints

def run():
    checkpoints = Checkpoints(pathlib.Path("/mnt/run"), CheckpointConfig(every=1), 9)
    for step in range(1, 9):
        checkpoints.save(step, {"state": {"x": jax.random.normal(jax.random.key(step), (300_000,))}})
    checkpoints.close()

processes.run_to_exit(lambda: config.exit_status(run))
"""


@pytest.mark.skipif(not shutil.which("bwrap"), reason="needs bubblewrap for a disk of 3 MB")
def test_trap35_a_full_disk_is_an_error_with_place_and_remedy_and_the_state_before_stays(tmp_path):
    """A state takes 1.1 MB, so the third does not fit beside two; when space is made, the run goes on."""
    again = f"'{sys.executable}' -c \"$0\"; echo status $?; ls /mnt/run/checkpoints"
    command = f"mkdir /mnt/run; {again}; mv /mnt/run/checkpoints/1 '{tmp_path}'; {again}"
    box = ["bwrap", "--bind", "/", "/", "--dev-bind", "/dev", "/dev", "--size", "3300000", "--tmpfs", "/mnt"]
    done = subprocess.run(
        [*box, "bash", "-c", command, FILL], cwd=forked.ROOT, env=forked.environment(1), capture_output=True, text=True
    )
    if "bwrap:" in done.stderr:
        pytest.skip(done.stderr)
    first, second = done.stdout.split("status ")[1:]
    assert first.split() == ["2", "1", "2", "3.orbax-checkpoint-tmp"], done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors[0] == (
        "error: /mnt/run/checkpoints: no space left on device, while saving the state after step 3, which is not "
        "kept; free some space; what is complete stays, and the same command goes on from it"
    )
    assert "3" in second.split(), "what was cut short was not cleared away"
