"""Processes of one run end together, after an error in one of them or a signal to one."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import pytest
from free_port import free_port
from xla_flags import xla_flags

from r1jax import config
from r1jax.config import ConfigError, Terminated
from r1jax.core import checksums, orbax, processes, stopping
from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.evaluation.collect import collect
from r1jax.evaluation.record import Record
from r1jax.training.checkpoint import CheckpointConfig, Checkpoints

# Process 1 fails where the other waits in a collective, or is sent SIGTERM while both do steps or are within one; then
# process 0 fails while the other waits for it.
CODE = """
import sys, threading, time
import jax
from r1jax import config
from r1jax.config import ConfigError
from r1jax.core import checksums, orbax, processes, stopping
port, index, case = sys.argv[1:]

def run():
    processes.join(f"localhost:{port}", 2, int(index))
    with stopping.sigterm_as_ctrl_c(), stopping.after_the_step(4.0 if case == "late" else 0.0):
        stopping.requested()
        print("ready", flush=True)
        step = 0
        while case == "signal":
            step, status = step + 1, stopping.requested()
            if status:
                stopping.stop(status, f"stopped; step {step}")
        stopping.on_notice(lambda: f"given up in window {step}")
        while case == "late":
            step, _ = step + 1, time.sleep(0.001)
            stopping.leave_if_late()
        processes.give_signs(8.0, dict, str)
        while case == "killed":
            time.sleep(0.1)
        if case == "collective":
            for _ in range(10**6):
                stopping.requested()
                time.sleep(0.05)
        if index == case:
            threading.Thread(target=time.sleep, args=(600,)).start()  # as a failed save leaves behind
            raise ConfigError("no file nowhere.py")
        stopping.requested() if case == "1" else processes.barrier()

def together():
    try:
        run()
    except BaseException as error:
        processes.report_error(error)
        raise

processes.run_to_exit(lambda: config.exit_status(together))
"""


def run_two_processes(case: str, killed: int | None = None) -> tuple[list[int], list[str], float]:
    """Exit statuses, standard errors, and seconds from when both were ready to the end of both.

    Args:
        killed: the process that is killed then.
    """
    port = free_port()
    environment = {**os.environ, "XLA_FLAGS": xla_flags(1)}
    launched = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, str(port), str(index), case],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for index in range(2)
    ]
    try:
        for process in launched:
            for line in iter(process.stdout.readline, ""):
                if line == "ready\n":
                    break
        began = time.monotonic()
        if case in ("signal", "late"):
            launched[1].send_signal(signal.SIGTERM)
        if killed is not None:
            launched[killed].kill()
        errors = [process.communicate(timeout=120)[1] for process in launched]
        return [process.returncode for process in launched], errors, time.monotonic() - began
    finally:
        for process in launched:
            process.kill()


def test_trap82_an_error_in_one_process_ends_both_at_once_with_its_message_and_status():
    statuses, errors, seconds = run_two_processes("1")
    assert statuses == [2, 2], errors
    assert errors[0].splitlines()[-1] == "error: process 1 failed: no file nowhere.py"
    assert errors[1].splitlines()[-1] == "error: no file nowhere.py"
    assert "stack trace" not in "".join(errors) and "Traceback" not in "".join(errors)
    assert seconds < 20  # a second or so; five minutes before


def test_trap82_an_error_in_the_process_that_others_wait_for_ends_them():
    statuses, errors, seconds = run_two_processes("0")
    assert statuses == [2, 2] and seconds < 20
    assert errors[1].splitlines()[-1] == "error: process 0 failed: no file nowhere.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "killed", "words"),
    [
        ("killed", 0, "error: process 0 failed: it cannot be reached any more: it was killed"),
        ("killed", 1, "error: process 1 failed: it gave no sign of life for 8 s: it was killed"),
        ("collective", 1, "error: process 1 gave no sign of life any more: it was killed"),
        ("collective", 0, ""),
    ],
)
def test_a_process_that_is_killed_ends_the_other_within_a_minute_and_its_last_line_says_so(case, killed, words):
    """In a collective the other process has an error of its own first."""
    statuses, errors, seconds = run_two_processes(case, killed)
    assert statuses[killed] == -signal.SIGKILL and seconds < 60
    assert statuses[1 - killed] == 1, errors
    assert errors[1 - killed].splitlines()[-1].startswith(words or "error: process 0 failed: it cannot be reached")


JOIN = """
import sys
from r1jax import config
from r1jax.core import processes
processes.run_to_exit(lambda: config.exit_status(lambda: processes.join(sys.argv[1], 2, int(sys.argv[2]))))
"""


@pytest.mark.parametrize(("index", "is_taken"), [(0, True), (1, True), (0, False)])
def test_a_process_that_cannot_listen_or_waits_in_vain_says_so_in_one_line(index, is_taken):
    """The port is another program's; or process 0 waits for another one that does not come."""
    with socket.socket() as socket_:
        socket_.bind(("", free_port()))
        port = socket_.getsockname()[1]
        if is_taken:
            socket_.listen()
        else:
            socket_.close()
        ended = subprocess.run(
            [sys.executable, "-c", JOIN, f"localhost:{port}", str(index)],
            env={**os.environ, "R1JAX_JOIN_S": "2"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 2, ended.stderr
    last = ended.stderr.splitlines()[-1]
    refused = index == 0 and is_taken
    assert last.startswith("error: process 0 cannot listen on port" if refused else "error: the processes did not all")
    assert "Traceback" not in ended.stderr


def test_trap83_sigterm_to_one_of_two_processes_ends_both_after_one_step():
    statuses, errors, seconds = run_two_processes("signal")
    assert statuses == [75, 75], errors
    last = {each.splitlines()[-1] for each in errors}
    assert len(last) == 1 and last.pop().startswith("stopped; step ")
    assert "stopping after the step under way" in errors[1] and "Traceback" not in "".join(errors)
    assert seconds < 20


def test_trap83_of_two_processes_both_give_up_the_step_in_the_same_window_once_half_the_grace_is_over():
    statuses, errors, _ = run_two_processes("late")
    assert statuses == [75, 75], errors
    last = {each.splitlines()[-1] for each in errors}
    assert len(last) == 1 and last.pop().startswith("given up in window "), errors


def test_trap83_sigterm_is_noted_like_ctrl_c_and_saves_the_state(tmp_path, capfd):
    with stopping.sigterm_as_ctrl_c():
        with stopping.after_the_step():
            assert stopping.requested() == 0
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # as a launcher sends it to a group and to its leader
            assert stopping.requested() == 75
            checkpoints = Checkpoints(tmp_path, CheckpointConfig(every=0), 9)
            with pytest.raises(Terminated, match="step 3/9 is saved"):
                checkpoints.save(3, {"state": {"x": jnp.ones(2)}})
        assert (tmp_path / "checkpoints" / "3").is_dir()
        with pytest.raises(Terminated):  # without a step to wait for
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
    assert capfd.readouterr().err.count("stopping after the step") == 1


def test_the_error_of_a_save_is_raised_at_the_next_step_and_not_at_the_next_save(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, CheckpointConfig(every=1000), 2000)

    def no_space(folder):
        raise OSError("No space left on device")

    monkeypatch.setattr(checksums, "write", no_space)
    checkpoints.save(1000, {"state": {"x": jnp.ones(2)}})
    checkpoints._finishing.join()
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(1001, {"state": {"x": jnp.ones(2)}})


def test_an_error_while_samples_are_drawn_does_not_wait_for_their_grades(tmp_path):
    """The other processes wait for it, and Ctrl-C is to stop at once; 40 grades would take eight seconds."""
    prompts = [Prompt(f"p{i}", "?", "1", "maths:x") for i in range(40)]

    def draw(prompts, k, seed, finished, have):
        for prompt in prompts:
            finished(Rollout.of_text(prompt, "1", tokens=3))
        raise KeyboardInterrupt

    def slow() -> Grade:
        time.sleep(0.2)
        return Grade(1.0, "correct")

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        collect("x", tmp_path, {}, "grader", prompts, 1, (0,), draw, lambda rollout: slow)
    assert time.monotonic() - began < 4
    assert len(Record(tmp_path, {}, "grader").samples) == 40


def test_orbax_raises_the_error_of_a_failed_save_without_waiting_for_other_processes(monkeypatch):
    monkeypatch.setattr(processes, "barrier", pytest.fail)
    with pytest.raises(OSError, match="No space left"):
        try:
            raise OSError("No space left on device")
        finally:  # as Orbax does it
            orbax.barrier(key="", timeout_ms=0)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("x"), 2),
        (OSError("x"), 2),
        (RuntimeError("x"), 1),
        (KeyboardInterrupt(), 130),
        (Terminated(), 75),
    ],
)
def test_a_process_that_fails_exits_at_once_with_the_errors_status(error, status, monkeypatch, capsys):
    """By os._exit: waiting threads and exit hooks would delay it."""
    monkeypatch.setattr(processes, "_exiting", threading.Lock())
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
