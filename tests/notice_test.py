"""Notices to stop: the state is saved within the grace, the status is 75, and the same command goes on bitwise."""

import os
import pathlib
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import forked
import jax
import pytest
from multiprocess_test import cluster
from resume_test import assert_same_states, lines, state_of
from rl_test import Graders
from tiny_run import BASE, ZERO, merged, rows, timeless, write_config

from r1jax import config, config_files, running
from r1jax.config import ConfigError, Terminated
from r1jax.core import stopping
from r1jax.inference.session import Session
from r1jax.models.io import save_model
from r1jax.stages import rl
from r1jax.training.config import CheckpointConfig


def age_notice(seconds: float) -> None:
    """A notice that came so long ago."""
    stopping.notice()
    stopping._noted_at -= seconds


def test_a_step_is_given_up_when_half_the_grace_of_a_notice_is_over_and_not_for_ctrl_c():
    saves = []

    def save() -> str:
        stopping.saving()
        saves.append(1)
        return "stopped; step 3/9 is saved"

    with stopping.after_the_step(1000.0):
        stopping.on_notice(save)
        stopping.leave_if_late()
        os.kill(os.getpid(), signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the second would kill pytest
        stopping.leave_if_late()
        age_notice(499)
        stopping.leave_if_late()
        assert not saves and stopping.requested() == 75
        age_notice(2)
        with pytest.raises(Terminated, match="step 3/9 is saved"):
            stopping.leave_if_late()
    assert saves == [1]
    with stopping.after_the_step():  # without a limit
        stopping.on_notice(save)
        age_notice(1e6)
        stopping.leave_if_late()
    stopping.leave_if_late()  # in a server, say


@pytest.mark.parametrize("signum", stopping.NOTICES)
def test_a_step_that_outlasts_the_grace_ends_with_75_and_says_so(signum):
    code = "import time\nfrom r1jax.core import stopping\nwith stopping.after_the_step(0.3):\n"
    code += "    print('ready', flush=True)\n    while True:\n        time.sleep(0.05)\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signum)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75
    first, last = error.splitlines()
    assert first.startswith("stopping after the step under way")
    assert "did not end within 0.3 s of the notice (config.checkpoint.grace_s)" in last


@pytest.fixture(scope="module")
def start_rl(tmp_path_factory, tiny, tiny_params, tokenizer, mesh1, shared_engines, shared_updates):
    """Runs a tiny RL run in this process, in a workdir of the given name."""
    folder = tmp_path_factory.mktemp("notice")
    save_model(folder / "base", tiny_params, tiny, tokenizer)
    tree = merged(
        ZERO,
        base="base",
        mesh={"data": 1},
        evaluation__every=0,
        evaluation__truncation={"temperature": 1.0, "top_p": 1.0},
        checkpoint__every=0,
    )
    cfg = config.parse(rl.RLConfig, config_files.load(write_config(folder / "zero.py", tree)))

    def run(name: str) -> pathlib.Path:
        (folder / name).mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as patch, jax.set_mesh(mesh1), stopping.after_the_step(1000.0):
            patch.setattr(rl, "GraderPool", Graders)
            rl.run(cfg, folder / name, mesh1, folder / "base")
        return folder / name

    return run


def test_trap33_a_step_given_up_while_it_samples_is_done_again_with_the_same_bits(start_rl, monkeypatch, capsys):
    """The state before it is saved though none was due, also where the run has just been resumed from it."""
    whole, calls, advance = start_rl("whole"), [], Session.advance

    def advance_and_count(self):
        calls.append(lines(whole.parent / "stopped" / "metrics.jsonl"))
        if calls.count(2) == 2:  # in the second window of the third step
            age_notice(600)
        return advance(self)

    monkeypatch.setattr(Session, "advance", advance_and_count)
    with pytest.raises(Terminated, match="step 2/3 is saved, and the same command goes on"):
        start_rl("stopped")
    calls.clear()
    with pytest.raises(Terminated, match="step 2/3 is saved"):
        start_rl("stopped")
    monkeypatch.undo()
    stopped = start_rl("stopped")
    assert_same_states(state_of(whole, 3), state_of(stopped, 3))
    for name in ("metrics.jsonl", "evals.jsonl"):
        assert [timeless(row) for row in rows(whole / name)] == [timeless(row) for row in rows(stopped / name)]


def test_a_step_whose_updates_have_begun_leaves_what_was_saved_before(start_rl, monkeypatch):
    update = rl.update_on_minibatches

    def update_then_notice(training, compiled, batch, cfg, step, *of_rows):
        done = update(training, compiled, batch, cfg, step, *of_rows)
        if step == 1:
            age_notice(600)
            stopping.leave_if_late()  # say, a later part of the same step
        return done

    monkeypatch.setattr(rl, "update_on_minibatches", update_then_notice)
    with pytest.raises(Terminated, match="before the first step was saved; the same command begins anew"):
        start_rl("updating")


@pytest.mark.parametrize("grace", [-1.0, float("nan"), float("inf")])
def test_a_grace_that_is_no_time_is_refused(grace):
    with pytest.raises((ValueError, ConfigError), match="grace_s"):
        CheckpointConfig(grace_s=grace)


def test_the_grace_that_a_launcher_gives_stands_above_the_configs(monkeypatch):
    cfg = SimpleNamespace(checkpoint=CheckpointConfig(grace_s=25.0))
    monkeypatch.delenv("R1JAX_GRACE_S", raising=False)
    assert running.grace_s(cfg) == 25.0
    monkeypatch.setenv("R1JAX_GRACE_S", "290")
    assert running.grace_s(cfg) == 290.0
    monkeypatch.setenv("R1JAX_GRACE_S", "5m")
    with pytest.raises(ConfigError, match="R1JAX_GRACE_S='5m'"):
        running.grace_s(cfg)


@pytest.mark.slow
def test_trap83_of_two_processes_one_gets_a_notice_both_save_the_same_step_and_end_as_one_run(tmp_path):
    spec = write_config(tmp_path / "base.py", merged(BASE, num_steps=30, checkpoint={"every": 0, "grace_s": 600.0}))

    def run(name: str, stop_after: int = 0) -> list[int]:
        metrics, logs = tmp_path / name / "metrics.jsonl", [tmp_path / f"{name}-{i}.log" for i in range(2)]
        commands = cluster(["train", f"--config={spec}", f"--workdir={tmp_path / name}"])
        processes = [forked.start(command, 1, log) for command, log in zip(commands, logs, strict=True)]
        try:
            while stop_after and lines(metrics) < stop_after:
                assert processes[0].poll() is None, logs[0].read_text()
                time.sleep(0.01)
            if stop_after:
                os.kill(processes[1].pid, signal.SIGTERM)
            return [process.wait(300) for process in processes]
        finally:
            for process in processes:
                process.kill()

    assert run("whole") == [0, 0]
    assert run("stopped", stop_after=2) == [75, 75]
    done = lines(tmp_path / "stopped" / "metrics.jsonl")
    assert done < 30 and (tmp_path / "stopped" / "checkpoints" / str(done)).is_dir()
    assert run("stopped") == [0, 0]
    assert_same_states(state_of(tmp_path / "whole", 30), state_of(tmp_path / "stopped", 30))
