"""Two processes with four devices each take the step that one process with eight devices takes."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from tiny_run import BASE, ZERO, merged, rows, timeless, write_config

from r1jax import train
from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.training.checkpoint import load_model

ROOT = pathlib.Path(__file__).resolve().parent.parent
RL = merged(
    ZERO, num_steps=1, mesh={"data": 2, "fsdp": 2, "tensor": 2}, grpo__reference_every=1,
    evaluation__truncation={"temperature": 1.0, "top_p": 1.0},  # as in training: one compilation fewer
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[pathlib.Path, pathlib.Path]:
    """The workdirs of one process's run and of two processes' together, from a base that the two made."""
    folder = tmp_path_factory.mktemp("multiprocess")
    base = write_config(folder / "base.py", merged(BASE, mesh={"data": 8}))
    spec = write_config(folder / "zero.py", merged(RL, base=base))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    command = [sys.executable, "-m", "r1jax.train", f"--config={spec}", f"--workdir={folder / 'two'}",
               f"--coordinator=localhost:{port}", "--num-processes=2"]  # fmt: skip
    processes = [
        subprocess.Popen([*command, f"--process-id={i}"], cwd=ROOT, env=environment, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for i in range(2)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "set_up_jax", lambda args: None)  # this process is set up
        assert train.main([f"--config={spec}", f"--workdir={folder / 'one'}"]) == 0
    return folder / "one", folder / "two"


def test_two_processes_sample_the_same_tokens(runs) -> None:
    one, two = runs
    for step in (0, 1):
        file = f"evals/step_{step:06d}.jsonl"
        assert rows(one / file) == rows(two / file)
    a, b = rows(one / "metrics.jsonl")[0], rows(two / "metrics.jsonl")[0]
    assert a["length/mean"] == b["length/mean"] and a["reward/total"] == b["reward/total"]


def test_two_processes_update_as_one(runs) -> None:
    one, two = runs
    [a], [b] = rows(one / "metrics.jsonl"), rows(two / "metrics.jsonl")  # one row: process 0 alone writes
    # Float32 sums in another order; `kl` is a difference of nearly equal log-probs, around 1e-4, with their rounding.
    assert timeless(a) == pytest.approx(timeless(b), rel=1e-4, abs=2e-6)
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    before = load_model(next(one.parent.glob("base-*")) / "model", mesh)[0]
    params = [load_model(run / "model", mesh)[0] for run in runs]
    # Adam divides a gradient by its own size: where that is mere rounding, so is the update's sign. Two updates of at
    # most the learning rate 1e-3 each bound those; all the others must agree.
    for old, x, y in zip(*map(jax.tree.leaves, (before, *params)), strict=True):
        close = np.isclose(x, y, rtol=0, atol=2e-5)
        assert close.mean() > 0.999 and np.abs(x - y).max() <= 4e-3
        assert np.abs(x - old).max() > 1e-4
