"""The watchdog: a run that waits is reported as a hang, one that computes as slow, with the stacks of all processes."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
from free_port import free_port

from r1jax.config import ConfigError, parse
from r1jax.core import processes, watchdog
from r1jax.core.config import WatchdogConfig
from r1jax.core.watchdog import Watchdog
from r1jax.io import progress
from r1jax.io.console import ProgressPrinter, say, under_way


@pytest.fixture
def used(monkeypatch) -> list[float]:
    """What the processor seconds are measured to be: the last of the list."""
    seconds = [100.0]
    monkeypatch.setattr(watchdog, "processor_seconds", lambda: seconds[-1])
    return seconds


@pytest.fixture
def ended(monkeypatch) -> list[tuple[int, str]]:
    """Exit statuses and messages with which the watchdog ends the run."""
    calls = []
    monkeypatch.setattr(processes, "stop_all", lambda status, message: calls.append((status, message)))
    monkeypatch.setattr(progress, "_saved", False)
    return calls


def pass_time(dog: Watchdog, seconds: float) -> None:
    dog._looked_at -= seconds
    dog.look()


def test_a_part_that_waits_is_a_hang_and_its_stacks_are_written(tmp_path, used, capsys):
    dog = Watchdog(WatchdogConfig(silent_s=600.0), tmp_path)
    release = threading.Event()
    waiting = threading.Thread(target=lambda: release.wait(60), name="a waiting thread")
    waiting.start()
    with under_way("grading", lambda: "3 of 8 samples"):
        dog.look()
        pass_time(dog, 599.0)
        assert capsys.readouterr().out == ""
        used.append(101.0)
        pass_time(dog, 2.0)
    release.set()
    waiting.join()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("watchdog: no progress for 10m01s; it waits and does not compute: probably a hang; ")
    assert "in which it used 1.0 processor seconds; in the part grading, 3 of 8 samples" in lines[1]
    [path] = (tmp_path / "stacks").iterdir()
    text = path.read_text()
    assert str(path).rpartition("_")[0] in lines[0].replace("process_*", "process_0") and "in the part grading" in text
    first, *_ = text.partition("\n\n")[2].splitlines()
    assert first == "thread MainThread:" and "thread a waiting thread:" in text and "release.wait(60)" in text


def test_a_part_that_computes_is_slow(tmp_path, used, capsys):
    dog = Watchdog(WatchdogConfig(silent_s=600.0), tmp_path)
    with under_way("updating"):
        dog.look()
        used.append(100.0 + 590.0)
        pass_time(dog, 601.0)
    assert "no progress for 10m01s; it computes: slow, and no hang" in capsys.readouterr().out


def test_a_report_comes_again_after_twice_the_time_and_progress_ends_it(tmp_path, used, capsys):
    dog = Watchdog(WatchdogConfig(silent_s=600.0), tmp_path)
    dog.look()
    for _ in range(25):  # 25 minutes
        pass_time(dog, 60.0)
    reports = [line for line in capsys.readouterr().out.splitlines() if line.startswith("watchdog")]
    assert ["10m00s" in reports[0], "20m00s" in reports[1], len(reports)] == [True, True, 2]
    progress.made("step 3 of 9")
    pass_time(dog, 5.0)
    assert capsys.readouterr().out.startswith("watchdog: the work goes on, after 20m00s or more without progress")


def test_lines_steps_counts_and_windows_are_progress_and_repeated_lines_of_one_part_are_not(tmp_path, used):
    dog, drawn = Watchdog(WatchdogConfig(), tmp_path), 3
    printer = ProgressPrinter("filters", "samples")

    def silent_after(action) -> bool:
        pass_time(dog, 100.0)
        action()
        pass_time(dog, 1.0)
        return dog.state["silent_s"] > 50

    with under_way("sampling", lambda: f"{drawn} of 8 samples"):
        dog.look()
        assert silent_after(lambda: None)
        assert not silent_after(lambda: say("a line"))
        assert not silent_after(lambda: printer(1, 8))
        assert silent_after(lambda: printer(0, 8))
        assert silent_after(lambda: say("  sampling: 3 of 8 samples, 5m00s", is_progress=False))
        drawn = 4
        assert not silent_after(lambda: None)
        assert dog.state["part"] == "sampling, 4 of 8 samples"


def test_the_time_in_which_the_process_was_stopped_itself_does_not_count(tmp_path, used):
    dog = Watchdog(WatchdogConfig(silent_s=600.0), tmp_path)
    dog.look()
    dog._looked_at -= 3600.0
    dog.look(most_s=10.0)
    assert dog.state["silent_s"] < 11.0


def test_giving_up_ends_the_run_with_75_only_where_a_state_was_saved(tmp_path, used, ended, capsys):
    cfg = WatchdogConfig(silent_s=0.0, give_up_s=900.0)
    for saves in (False, True):
        dog = Watchdog(cfg, tmp_path)
        if saves:
            progress.saved()
        dog.look()
        pass_time(dog, 899.0)
        assert len(ended) == saves
        pass_time(dog, 2.0)
    (first, without), (second, with_state) = ended
    assert (first, second) == (1, 75)
    assert "nothing was saved since this process began" in without and "goes on from what is saved" in with_state
    assert (tmp_path / "stacks").is_dir() and "no progress for 15m" in capsys.readouterr().out


def test_the_run_is_silent_only_where_all_of_its_processes_are(tmp_path, used, monkeypatch, capsys):
    dog = Watchdog(WatchdogConfig(silent_s=600.0), tmp_path)
    other = {"silent_s": 5.0, "processor_s": 4.0, "part": "grading", "note": "step 3 of 9"}
    monkeypatch.setattr(processes, "signs", lambda: {1: other})
    dog.look()
    pass_time(dog, 700.0)
    assert capsys.readouterr().out == ""
    other |= {"silent_s": 650.0, "processor_s": 1.0}
    pass_time(dog, 10.0)
    lines = capsys.readouterr().out.splitlines()
    assert "no progress for 10m50s; it waits" in lines[0] and lines[2].startswith("  process 1: no progress for 10m50s")
    assert lines[2].endswith("in the part grading; the last that went on: step 3 of 9")


def test_processor_seconds_are_those_of_the_process_and_its_children():
    before = watchdog.processor_seconds()
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        limit = time.monotonic() + 60
        while watchdog.processor_seconds() - before < 0.2:
            assert time.monotonic() < limit
            time.sleep(0.05)
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("wrong", [{"silent_s": -1.0}, {"give_up_s": float("nan")}, {"lost_s": 5.0}, {"lost_s": 91.0}])
def test_limits_that_are_no_times_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        parse(WatchdogConfig, wrong)


# Waits for the file `end` in a workdir; with a coordinator's port as one of two processes.
WAITS = """
import pathlib, sys, time
from r1jax.core import processes, watchdog
from r1jax.core.config import WatchdogConfig
from r1jax.io.console import under_way
workdir, port, index = pathlib.Path(sys.argv[1]), *sys.argv[2:]
if port:
    processes.join(f"localhost:{port}", 2, int(index))
with watchdog.watching(WatchdogConfig(silent_s=1.0), workdir), under_way("waiting for a file"):
    print("ready", flush=True)
    while not (workdir / "end").exists():
        time.sleep(0.1)
processes.finish()
"""


def start(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])}
    command = [sys.executable, "-c", WAITS, *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition) -> None:
    limit = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_process_reports_its_hang_and_on_sigusr2_prints_its_stacks_and_goes_on(tmp_path):
    process = start(str(tmp_path), "", "0")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR2)
    wait_until(lambda: list(tmp_path.glob("stacks/process_0_*.txt")))
    (tmp_path / "end").touch()
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0 and "probably a hang" in out and "in the part waiting for a file" in out
    assert "most recent call first" in error  # of faulthandler, which needs no interpreter lock


@pytest.mark.slow
def test_of_two_processes_both_write_their_stacks(tmp_path):
    port = str(free_port())
    both = [start(str(tmp_path), port, str(index)) for index in range(2)]
    try:
        wait_until(lambda: all(list(tmp_path.glob(f"stacks/process_{index}_*.txt")) for index in range(2)))
        (tmp_path / "end").touch()
        outputs = [process.communicate(timeout=120) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], outputs
    names = {path.name.partition("_")[2].partition("_")[2] for path in (tmp_path / "stacks").iterdir()}
    for index in range(2):
        written = {path.name for path in (tmp_path / "stacks").glob(f"process_{index}_*")}
        assert any(f"process_{index}_{name}" in written for name in names)
    assert "process 1: no progress for" in outputs[0][0] and "watchdog" not in outputs[1][0]
