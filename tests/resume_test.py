"""A run that is killed, anywhere, and resumed ends bitwise equal to one that was not: real processes, real SIGKILLs."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import forked
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tiny_run import BASE, ZERO, merged, rows, timeless, write_config

STEPS, BASE_STEPS = 7, 5
RL = merged(
    ZERO,
    num_steps=STEPS,
    checkpoint__every=3,
    grpo__reference_every=3,
    grpo__dynamic_sampling_rounds=1,
    grpo__inner_epochs=2,
    evaluation__every=2,
)


def start(spec: str, workdir: pathlib.Path, *overrides: str) -> forked.Process:
    """The training entry on two devices, in a process of its own."""
    return forked.start(arguments_of(spec, workdir, *overrides), 2, log_of(workdir))


def arguments_of(spec: str, workdir: pathlib.Path, *overrides: str) -> list[str]:
    return ["train", f"--config={spec}", f"--workdir={workdir}", *(f"--config.{each}" for each in overrides)]


def log_of(workdir: pathlib.Path) -> pathlib.Path:
    workdir.parent.mkdir(exist_ok=True)
    return workdir.parent / f"{workdir.name}.log"


def finish(spec: str, workdir: pathlib.Path, *overrides: str) -> pathlib.Path:
    """Runs to the end."""
    assert start(spec, workdir, *overrides).wait(300) == 0, log_of(workdir).read_text()
    return workdir


def finish_afresh(spec: str, workdir: pathlib.Path) -> pathlib.Path:
    """Runs to the end in a process that is started as a user starts it."""
    command = [sys.executable, "-m", "r1jax", *arguments_of(spec, workdir)]
    with log_of(workdir).open("a") as log:
        done = subprocess.run(command, cwd=forked.ROOT, env=forked.environment(2), stdout=log, stderr=log, timeout=300)
    assert done.returncode == 0, log_of(workdir).read_text()
    return workdir


def kill_when(process: forked.Process, happens: Callable[[], bool]) -> None:
    """SIGKILL to the process and its graders, at the first moment that something is seen."""
    limit = time.monotonic() + 300
    while not happens():
        assert process.poll() is None and time.monotonic() < limit, "the run ended before it could be killed"
        time.sleep(0.0005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(300)


def saving(workdir: pathlib.Path, step: int) -> bool:
    """Whether the state of this step is being written: Orbax writes to another name and renames."""
    folder = workdir / "checkpoints"
    return folder.is_dir() and any(
        name.startswith(f"{step}.") and any((folder / name).iterdir()) for name in os.listdir(folder)
    )


def saved(workdir: pathlib.Path, step: int) -> bool:
    return (workdir / "checkpoints" / str(step)).exists()


def lines(path: pathlib.Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def state_of(workdir: pathlib.Path, step: int) -> dict:
    """Every array of a saved state, by its path."""
    trees, sharding = {}, jax.sharding.SingleDeviceSharding(jax.devices()[0])
    for item in sorted(p.name for p in (workdir / "checkpoints" / str(step)).iterdir() if p.is_dir()):
        with ocp.StandardCheckpointer() as checkpointer:
            folder = workdir / "checkpoints" / str(step) / item
            abstract = checkpointer.metadata(folder).item_metadata.tree
            target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), abstract)
            trees[item] = checkpointer.restore(folder, target)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(trees)}


def assert_same_states(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name]), name


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[pathlib.Path, pathlib.Path]:
    """The workdirs of an RL run that nothing disturbed, and of one killed between saves, then during a save."""
    folder = tmp_path_factory.mktemp("resume")
    base = write_config(folder / "base.py", merged(BASE, num_steps=BASE_STEPS, checkpoint={"every": 2, "keep": 2}))
    spec = write_config(folder / "zero.py", merged(RL, base=base))
    whole, killed = finish_afresh(spec, folder / "runs" / "whole"), folder / "runs" / "killed"
    # The state after 3 steps is there, the fourth is done and not saved.
    kill_when(start(spec, killed), lambda: saved(killed, 3) and lines(killed / "metrics.jsonl") >= 4)
    assert not saved(killed, 6)
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "loss"')  # as if the kill had come in the middle of a line
    with (killed / "evals.jsonl").open("a") as file:
        file.write('{"step": 4, ')
    kill_when(start(spec, killed), lambda: saving(killed, 6))
    assert saved(killed, 3) and not saved(killed, 6)
    return whole, finish(spec, killed)


def test_trap33_killed_and_resumed_equals_uninterrupted_weights_moments_and_reference(runs) -> None:
    whole, killed = (state_of(workdir, STEPS) for workdir in runs)
    assert any(".mu" in name or "['mu']" in name for name in whole) and any("reference" in name for name in whole)
    assert_same_states(whole, killed)
    # The comparison means something: training moved the weights, and the reference was replaced on the way.
    earlier = state_of(runs[0], 6)
    moved = [name for name in whole if not np.array_equal(whole[name], earlier[name])]
    assert any("params" in name for name in moved) and any("reference" in name for name in moved)


def test_trap33_killed_and_resumed_equals_uninterrupted_metrics_evaluations_and_samples(runs) -> None:
    whole, killed = runs
    for name in ("metrics.jsonl", "evals.jsonl"):
        assert [timeless(row) for row in rows(whole / name)] == [timeless(row) for row in rows(killed / name)]
    assert [row["step"] for row in rows(killed / "metrics.jsonl")] == list(range(STEPS))
    assert [row["step"] for row in rows(killed / "evals.jsonl")] == [0, 2, 4, 6, STEPS]
    samples = {p.name: p.read_bytes() for p in (whole / "evals").iterdir()}
    assert len(samples) == 5 and samples == {p.name: p.read_bytes() for p in (killed / "evals").iterdir()}


def test_trap33_the_supervised_loop_too(runs) -> None:
    [whole] = runs[0].parent.glob("base-*")  # the undisturbed run made its base so
    killed, spec = runs[0].parent / "killed-base", str(runs[0].parent.parent / "base.py")
    kill_when(start(spec, killed), lambda: saving(killed, 4))
    assert saved(killed, 2) and not saved(killed, 4)
    finish(spec, killed)
    assert_same_states(state_of(whole, BASE_STEPS), state_of(killed, BASE_STEPS))
    assert [timeless(r) for r in rows(whole / "metrics.jsonl")] == [timeless(r) for r in rows(killed / "metrics.jsonl")]
    assert (whole / "model/tokenizer.model").read_bytes() == (killed / "model/tokenizer.model").read_bytes()


@pytest.mark.slow
def test_trap38_a_run_goes_on_for_longer_by_other_means(runs) -> None:
    """As after an out-of-memory: less at a time, weights cut over the devices, more saves; Adam and reference stay."""
    folder = runs[0].parent
    spec = str(folder.parent / "zero.py")
    whole = finish(spec, folder / "longer", f"num_steps={STEPS + 1}")
    grown = folder / "grown"
    shutil.copytree(runs[1], grown)
    less = ["microbatches=2", "sampling.slots=4", "sampling.window=2", "logprob_chunk=16", "checkpoint.every=1"]
    finish(spec, grown, f"num_steps={STEPS + 1}", "mesh.data=1", "mesh.fsdp=2", *less)
    log = (folder / "grown.log").read_text()
    assert f"resuming at step {STEPS}" in log and "microbatches 1 -> 2" in log and "mesh.fsdp 1 -> 2" in log
    [changes] = rows(grown / "config_changes.jsonl")
    assert changes["changed"]["num_steps"] == [str(STEPS), str(STEPS + 1)]
    # The last step is that of a run that was to be so long from the beginning, but for rounding.
    a, b = (rows(workdir / "metrics.jsonl")[-1] for workdir in (whole, grown))
    assert a["step"] == b["step"] == STEPS and a["length/mean"] == b["length/mean"]
    for name in ("loss", "grad_norm", "kl", "entropy", "learning_rate"):
        assert a[name] == pytest.approx(b[name], rel=1e-3, abs=1e-6), name
    assert [row["step"] for row in rows(grown / "evals.jsonl")] == [row["step"] for row in rows(whole / "evals.jsonl")]
    ours, theirs = state_of(grown, STEPS + 1), state_of(whole, STEPS + 1)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-5, err_msg=name)
