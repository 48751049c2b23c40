"""Ctrl-C in real processes: once, a run ends after its step with its state saved; twice, it ends at once."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from resume_test import assert_same_states, finish, lines, log_of, saved, start, state_of
from tiny_run import BASE, merged, write_config

from r1jax.config import exit_status

STEPS = 12
RUN = merged(BASE, num_steps=STEPS, checkpoint__every=0, log_every=1)


def text_of(workdir: pathlib.Path) -> str:
    return log_of(workdir).read_text()


def test_trap55_ctrl_c_ends_a_run_after_its_step_saved_and_resumed_it_is_the_same_run(tmp_path):
    spec, stopped, whole = write_config(tmp_path / "base.py", RUN), tmp_path / "stopped", tmp_path / "whole"
    process, limit = start(spec, stopped), time.monotonic() + 300
    while not (stopped / "checkpoints").is_dir():  # the first step, which compiles it, is still to come
        assert process.poll() is None and time.monotonic() < limit, text_of(stopped)
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(300) == 130
    done = lines(stopped / "metrics.jsonl")
    assert 0 < done < STEPS and saved(stopped, done)
    assert "Traceback" not in text_of(stopped)
    assert text_of(stopped).splitlines()[-1] == f"stopped; step {done}/{STEPS} is saved, and the same command goes on"
    finish(spec, stopped)
    assert f"resuming at step {done}" in text_of(stopped)
    assert_same_states(state_of(stopped, STEPS), state_of(finish(spec, whole), STEPS))


def test_trap55_a_second_ctrl_c_ends_it_at_once_without_a_trace():
    code = "import time\nfrom r1jax.core import stopping\nwith stopping.after_the_step():\n"
    code += "    print('ready', flush=True)\n    while True:\n        time.sleep(0.05)\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert "stopping after the step under way" in process.stderr.readline()
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and error == ""


@pytest.mark.parametrize(("message", "said"), [((), "stopped\n"), (("stopped; step 3",), "stopped; step 3\n")])
def test_ctrl_c_is_one_line_in_every_command(message, said, capsys, monkeypatch):
    monkeypatch.delenv("R1JAX_DEBUG", raising=False)

    def interrupted():
        raise KeyboardInterrupt(*message)

    assert exit_status(interrupted) == 130
    assert capsys.readouterr().err == said
