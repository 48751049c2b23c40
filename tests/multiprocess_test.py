"""Two processes with four devices each take the step that one process with eight devices takes."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import forked
import jax
import numpy as np
import pytest
from free_port import free_port
from handmade import DEEPSEEK, tensors, write_folder
from tiny_run import BASE, SFT, ZERO, merged, rows, timeless, write_config
from xla_flags import xla_flags

from r1jax import running
from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.models.io import load_model, read_hf_config
from r1jax.tools import train

ROOT = pathlib.Path(__file__).resolve().parent.parent
RL = merged(
    ZERO,
    num_steps=1,
    mesh={"data": 2, "fsdp": 2, "tensor": 2},
    grpo__reference_every=1,
    evaluation__truncation={"temperature": 1.0, "top_p": 1.0},  # as in training: one compilation fewer
)


def together(command: list[str]) -> None:
    """Runs a command in two processes, see `both`, to a good end."""
    statuses, outputs = both(command)
    assert statuses == [0, 0], "\n".join(outputs)


def train_together(spec: str, workdir: pathlib.Path, count: int = 2) -> None:
    """Trains in forked processes, two of four devices each or four of two, to a good end."""
    logs = [workdir.parent / f"{workdir.name}-{i}.log" for i in range(count)]
    commands = cluster(["train", f"--config={spec}", f"--workdir={workdir}"], count)
    processes = [forked.start(command, 8 // count, log) for command, log in zip(commands, logs, strict=True)]
    assert wait_for(processes, 900) == [0] * count, "\n".join(log.read_text() for log in logs)


def wait_for(processes: Sequence[forked.Process | subprocess.Popen], seconds: float = 300) -> list[int]:
    """Exit statuses of processes that end together: half a minute after one has failed, the others are killed."""
    limit, failed = time.monotonic() + seconds, False
    try:
        while None in (statuses := [process.poll() for process in processes]) and time.monotonic() < limit:
            if any(statuses) and not failed:
                failed, limit = True, min(limit, time.monotonic() + 30)
            time.sleep(0.02)
    finally:
        for process in processes:
            process.kill()
    return [process.wait(10) for process in processes]


def cluster(command: list[str], count: int = 2) -> list[list[str]]:
    """The command of the coordinator and those of the processes behind it."""
    address = f"--coordinator=localhost:{free_port()}", f"--num-processes={count}"
    return [[*command, *address, f"--process-id={i}"] for i in range(count)]


def both(command: list[str], second: Sequence[str] = ()) -> tuple[list[int], list[str]]:
    """Runs a command in two processes of four devices each: the coordinator and the process behind it.

    Args:
        second: words before the second one's command.

    Returns:
        exit statuses and outputs.
    """
    environment = {**os.environ, "XLA_FLAGS": xla_flags(4)}
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)]
        processes = [
            subprocess.Popen(
                [*(second if i else ()), sys.executable, *words],
                cwd=ROOT,
                env=environment,
                stdout=logs[i],
                stderr=subprocess.STDOUT,
            )
            for i, words in enumerate(cluster(command))
        ]
        statuses = wait_for(processes)
        for log in logs:
            log.seek(0)
        return statuses, [log.read() for log in logs]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[pathlib.Path, pathlib.Path]:
    """The workdirs of one process's run and of two processes' together, from a base that the two made."""
    folder = tmp_path_factory.mktemp("multiprocess")
    base = write_config(folder / "base.py", merged(BASE, mesh={"data": 8}))
    spec = write_config(folder / "zero.py", merged(RL, base=base))
    train_together(spec, folder / "two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "keep_compiled", lambda folder: None)  # this process is set up
        assert train.main([f"--config={spec}", f"--workdir={folder / 'one'}"]) == 0
    return folder / "one", folder / "two"


def test_two_processes_sample_the_same_tokens(runs) -> None:
    one, two = runs
    for step in (0, 1):
        file = f"evals/step_{step:06d}.jsonl"
        assert rows(one / file) == rows(two / file)
    a, b = rows(one / "metrics.jsonl")[0], rows(two / "metrics.jsonl")[0]
    assert a["length/mean"] == b["length/mean"] and a["reward/total"] == b["reward/total"]


def test_each_process_grades_and_keeps_its_share_and_the_files_are_those_of_one(runs) -> None:
    one, two = runs
    file = "rollouts/step_000000.jsonl"
    assert rows(one / file) == rows(two / file) and len(rows(one / file)) == 16
    with np.load(one / "rollout_tokens/step_000000.npz") as a, np.load(two / "rollout_tokens/step_000000.npz") as b:
        assert a["lengths"].tolist() == b["lengths"].tolist() and a["ids"].tolist() == b["ids"].tolist()
    assert not [path for path in two.rglob(".step_*")]  # parts, which process 0 joins


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "count, mesh",
    [(4, {"data": 4, "tensor": 2}), (4, {"data": 2, "context": 2, "tensor": 2}), (2, {"data": 4, "fsdp": 2})],
    ids=["four shares", "two shares of two processes each", "two shares of four blocks"],
)
def test_any_number_of_processes_gives_the_step_of_one(runs, tmp_path, count, mesh) -> None:
    """Dynamic sampling, several minibatches and microbatches, packed rows, an epoch more."""
    base = next(runs[0].parent.glob("base-*")) / "model"
    changes = {
        "mesh": mesh,
        "base": str(base),
        "num_steps": 2,
        "grpo__prompts_per_step": 8,
        "grpo__dynamic_sampling_rounds": 1,
        "grpo__inner_epochs": 2,
        "grpo__aggregation": "token",
        "sampling__slots": 16,
        "microbatches": 2,
    }
    spec = write_config(tmp_path / "zero.py", merged(RL, **changes))
    train_together(spec, tmp_path / "many", count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "keep_compiled", lambda folder: None)
        assert train.main([f"--config={spec}", f"--workdir={tmp_path / 'one'}"]) == 0
    one, many = (rows(tmp_path / name / "metrics.jsonl") for name in ("one", "many"))
    assert len(one) == len(many) == 2
    for a, b in zip(one, many, strict=True):
        assert timeless(a) == pytest.approx(timeless(b), rel=1e-3, abs=1e-5)
    for file in ("rollouts/step_000000.jsonl", "evals/step_000000.jsonl"):
        assert rows(tmp_path / "one" / file) == rows(tmp_path / "many" / file)


@pytest.mark.slow
def test_one_process_on_another_mesh_goes_on_with_a_run_of_two(runs, tmp_path) -> None:
    base = next(runs[0].parent.glob("base-*")) / "model"
    changes = {"base": str(base), "num_steps": 2, "checkpoint__every": 1, "evaluation__every": 0}
    spec = write_config(tmp_path / "zero.py", merged(RL, **changes))
    train_together(spec, tmp_path / "two")
    shutil.copytree(tmp_path / "two", tmp_path / "then_one")
    for newer in ("checkpoints/2", "model"):
        shutil.rmtree(tmp_path / "then_one" / newer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "keep_compiled", lambda folder: None)
        other = ["--config.mesh.data=8", "--config.mesh.fsdp=1", "--config.mesh.tensor=1"]
        assert train.main([f"--config={spec}", f"--workdir={tmp_path / 'then_one'}", *other]) == 0
    two, then_one = (rows(tmp_path / name / "metrics.jsonl") for name in ("two", "then_one"))
    assert [row["step"] for row in then_one] == [0, 1]
    assert timeless(then_one[1]) == pytest.approx(timeless(two[1]), rel=1e-3, abs=1e-5)
    file = "rollouts/step_000001.jsonl"
    assert rows(tmp_path / "two" / file) == rows(tmp_path / "then_one" / file)


@pytest.mark.slow
def test_trap82_what_the_graders_find_wrong_ends_both_in_one_line(runs) -> None:
    """A custom reward's file, which leaders of shares open: process 1 once waited for process 0 for five minutes."""
    spec, workdir = runs[0].parent / "zero.py", runs[0].parent / "typo"
    reward = "--config.rewards.custom=[{'function': 'nowhere.py:reward', 'weight': 1.0}]"
    statuses, outputs = both(["-m", "r1jax", "train", f"--config={spec}", f"--workdir={workdir}", reward])
    assert statuses == [2, 2], "\n".join(outputs)
    for output in outputs:  # each finds it by itself, or reads first what the other has found
        last = re.sub(r"process \d failed: ", "", output.splitlines()[-1])
        assert last.startswith("error: the reward custom/reward") and "no file" in last
    assert not (workdir / "owner.json").exists()


@pytest.mark.slow
def test_trap82_a_save_that_fails_in_one_process_ends_both(runs) -> None:
    """As on a full disk. Orbax waited for the others, who did not come, before it raised the error."""
    spec, workdir = runs[0].parent / "base.py", runs[0].parent / "full"
    command = [
        "-m",
        "r1jax",
        "train",
        f"--config={spec}",
        f"--workdir={workdir}",
        "--config.num_steps=300",
        "--config.checkpoint.every=2",
    ]
    statuses, outputs = both(command, second=["bash", "-c", 'ulimit -f 32; exec "$@"', "bash"])  # KiB a file
    assert statuses == [2, 2], "\n".join(outputs)
    last = [output.splitlines()[-1] for output in outputs]
    assert "error: process 1 failed: " in last[0] and last[1].startswith("error: ") and "Error writing" in last[1]


@pytest.mark.slow
def test_two_processes_read_a_hugging_face_folder_and_train_as_one(tmp_path, tokenizer):
    """Latents, experts and a block that looks ahead, each cut over both processes' devices."""
    values = {name: 0.1 * value if value.ndim > 1 else value for name, value in tensors(DEEPSEEK).items()}
    write_folder(tmp_path / "theirs", DEEPSEEK, values)
    tokenizer.save(tmp_path / "theirs")
    auxiliary = {"balance_weight": 0.01, "bias_rate": 0.01, "mtp_weight": 0.3}
    mesh = {"data": 1, "fsdp": 2, "expert": 2, "tensor": 2}
    spec = write_config(
        tmp_path / "sft.py",
        merged(
            SFT,
            base=str(tmp_path / "theirs"),
            num_steps=2,
            auxiliary=auxiliary,
            mesh=mesh,
            compute={"dtype": "float32"},
        ),
    )
    train_together(spec, tmp_path / "two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "keep_compiled", lambda folder: None)
        assert train.main([f"--config={spec}", f"--workdir={tmp_path / 'one'}"]) == 0
    one, two = (rows(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        assert a["skipped"] == 0 and a["mtp_loss"] > 0
        assert timeless(a) == pytest.approx(timeless(b), rel=1e-4, abs=1e-6)
    assert read_hf_config(tmp_path / "two" / "model") == DEEPSEEK
    mesh1 = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    before, whole, parts = (load_model(tmp_path / name, mesh1)[0] for name in ("theirs", "one/model", "two/model"))
    for old, x, y in zip(*map(jax.tree.leaves, (before, whole, parts)), strict=True):
        assert np.isclose(x, y, rtol=0, atol=1e-3).mean() > 0.99 and np.any(x != old)


@pytest.mark.slow
def test_trap35_two_processes_that_check_a_share_each_find_the_same_damage(runs, tmp_path) -> None:
    workdir = shutil.copytree(runs[1], tmp_path / "two")
    shutil.copytree(next(runs[1].parent.glob("base-*")), tmp_path / next(runs[1].parent.glob("base-*")).name)
    files = sorted(path for path in (workdir / "checkpoints" / "1").rglob("*") if path.is_file())
    for path in files[-2:]:  # one is in the share of each process, whichever
        content = path.read_bytes()
        spec = runs[1].parent / "zero.py"
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        statuses, outputs = both(["-m", "r1jax", "train", f"--config={spec}", f"--workdir={workdir}"])
        assert statuses == [2, 2], outputs
        name = path.relative_to(workdir / "checkpoints/1").as_posix()
        assert "all states in" in outputs[0] and f"{name} is not as it was written" in outputs[0]
        path.write_bytes(content)
