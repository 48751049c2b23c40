"""Several processes end together: what one fails of is everybody's end, and so is a signal to one of them."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
from xla_flags import xla_flags

from r1jax import config
from r1jax.config import ConfigError, Terminated
from r1jax.core import processes
from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.evaluation.collect import collect
from r1jax.evaluation.record import Record
from r1jax.training import checkpoint, stopping
from r1jax.training.checkpoint import CheckpointConfig, Checkpoints

# Process 1 fails where the other waits in a collective, or is sent SIGTERM while both do steps; then process 0 fails
# while the other waits for it.
CODE = """
import sys, threading, time
import jax
from r1jax import config
from r1jax.config import ConfigError
from r1jax.core import processes
from r1jax.training import stopping
port, index, case = sys.argv[1:]

def run():
    processes.join(f"localhost:{port}", 2, int(index))
    with stopping.sigterm_as_ctrl_c(), stopping.after_the_step():
        stopping.asked()
        print("ready", flush=True)
        step = 0
        while case == "signal":
            step, status = step + 1, stopping.asked()
            if status:
                stopping.stop(status, f"stopped; step {step}")
        if index == case:
            threading.Thread(target=time.sleep, args=(600,)).start()  # as a failed save leaves behind
            raise ConfigError("no file nowhere.py")
        stopping.asked() if case == "1" else processes.meet()

def together():
    try:
        run()
    except BaseException as error:
        processes.announce(error)
        raise

processes.run_to_exit(lambda: config.exit_status(together))
"""


def two(case: str) -> tuple[list[int], list[str], float]:
    """Exit statuses, what they said, and the seconds that they took from when both were ready."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "XLA_FLAGS": xla_flags(1)}
    pair = [
        subprocess.Popen([sys.executable, "-c", CODE, str(port), str(index), case], env=environment, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE) for index in range(2)
    ]  # fmt: skip
    try:
        for process in pair:
            for line in iter(process.stdout.readline, ""):
                if line == "ready\n":
                    break
        began = time.monotonic()
        if case == "signal":
            pair[1].send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=120)[1] for process in pair]
        return [process.returncode for process in pair], said, time.monotonic() - began
    finally:
        for process in pair:
            process.kill()


def test_trap82_an_error_in_one_process_ends_both_at_once_with_its_message_and_status():
    statuses, said, seconds = two("1")
    assert statuses == [2, 2], said
    assert said[0].splitlines()[-1] == "error: process 1 failed: no file nowhere.py"
    assert said[1].splitlines()[-1] == "error: no file nowhere.py"
    assert "stack trace" not in "".join(said) and "Traceback" not in "".join(said)
    assert seconds < 20  # a second or so; five minutes before


def test_trap82_an_error_in_the_process_that_others_wait_for_ends_them():
    statuses, said, seconds = two("0")
    assert statuses == [2, 2] and seconds < 20
    assert said[1].splitlines()[-1] == "error: process 0 failed: no file nowhere.py"


def test_trap83_sigterm_to_one_of_two_processes_ends_both_after_one_step():
    statuses, said, seconds = two("signal")
    assert statuses == [143, 143], said
    last = {each.splitlines()[-1] for each in said}
    assert len(last) == 1 and last.pop().startswith("stopped; step ")
    assert "stopping after the step under way" in said[1] and "Traceback" not in "".join(said)
    assert seconds < 20


def test_trap83_sigterm_is_noted_like_ctrl_c_and_saves_the_state(tmp_path, capfd):
    with stopping.sigterm_as_ctrl_c():
        with stopping.after_the_step():
            assert stopping.asked() == 0
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # as a launcher sends it to a group and to its leader
            assert stopping.asked() == 143
            checkpoints = Checkpoints(tmp_path, CheckpointConfig(every=0), 9)
            with pytest.raises(Terminated, match="step 3/9 is saved"):
                checkpoints.save(3, {"state": {"x": jnp.ones(2)}})
        assert (tmp_path / "checkpoints" / "3").is_dir()
        with pytest.raises(Terminated):  # without a step to wait for
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
    assert capfd.readouterr().err.count("stopping after the step") == 1


def test_what_a_save_failed_of_is_raised_at_the_next_step_and_not_at_the_next_save(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, CheckpointConfig(every=1000), 2000)

    def no_space(folder):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint.checksums, "write", no_space)
    checkpoints.save(1000, {"state": {"x": jnp.ones(2)}})
    checkpoints._finishing.join()
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(1001, {"state": {"x": jnp.ones(2)}})


def test_an_error_while_samples_are_drawn_does_not_wait_for_their_grades(tmp_path):
    """The other processes wait for it, and Ctrl-C is to stop at once; 40 grades would take eight seconds."""
    prompts = [Prompt(f"p{i}", "?", "1", "maths:x") for i in range(40)]

    def draw(prompts, k, seed, finished, have):
        for prompt in prompts:
            finished(Rollout(prompt, 0, np.zeros(3, np.int32), np.zeros(0, np.float32), "1", "stop"))
        raise KeyboardInterrupt

    def slow() -> Grade:
        time.sleep(0.2)
        return Grade(1.0, "correct")

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        collect("x", tmp_path, {}, "grader", prompts, 1, (0,), draw, lambda rollout: slow)
    assert time.monotonic() - began < 4
    assert len(Record(tmp_path, {}, "grader").samples) == 40


def test_orbax_does_not_wait_for_other_processes_with_what_a_save_failed_of(monkeypatch):
    monkeypatch.setattr(processes, "meet", pytest.fail)
    with pytest.raises(OSError, match="No space left"):
        try:
            raise OSError("No space left on device")
        finally:  # as Orbax does it
            checkpoint._meet(key="", timeout_ms=0)


@pytest.mark.parametrize(("error", "status"), [
    (ConfigError("x"), 2), (OSError("x"), 2), (RuntimeError("x"), 1), (KeyboardInterrupt(), 130), (Terminated(), 143),
])  # fmt: skip
def test_a_process_that_fails_exits_at_once_with_the_errors_status(error, status, monkeypatch, capsys):
    """By os._exit, for threads that wait, and hooks at the exit, would keep it."""
    monkeypatch.setattr(processes, "_ending", threading.Lock())
    exits = []

    def main() -> int:
        raise error

    def leave(status):
        exits.append(status)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit):
        processes.run_to_exit(main)
    assert exits == [status] == [config.status_of(error)]
    assert type(error).__name__ in capsys.readouterr().err
