"""One owner of a workdir: a second run is refused while the first lives, and what a dead one left is no obstacle."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from tiny_run import BASE, merged, write_config

from r1jax import running
from r1jax.config import ConfigError
from r1jax.io import ownership
from r1jax.io.ownership import FILE, owned
from r1jax.stages import base_keys, bases
from r1jax.stages.workdir import claim
from r1jax.tools import train

ELSEWHERE = {"pid": 7, "host": "other", "machine": "another boot", "since": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def quick(monkeypatch):
    """Owners that renew their file ten times a second, and are gone after a third of one."""
    monkeypatch.setattr(ownership, "_RENEW_S", 0.1)
    monkeypatch.setattr(ownership, "_GONE_S", 0.35)


@pytest.fixture
def lockless(monkeypatch):
    """A file system without locks."""

    def flock(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(ownership.fcntl, "flock", flock)


def refused(folder) -> str:
    with pytest.raises(ConfigError) as error, owned(folder):
        pass
    return str(error.value)


def test_trap81_a_second_owner_is_refused_by_the_firsts_process_host_and_time(tmp_path):
    with owned(tmp_path / "run"):
        owner = json.loads((tmp_path / "run" / FILE).read_text())
        message = refused(tmp_path / "run")
        assert f"process {os.getpid()} on {owner['host']} since {owner['since']}" in message
        assert str(tmp_path / "run") in message and "--workdir" in message
        refused(tmp_path / "run")  # the one who was refused took nothing from the owner
    with owned(tmp_path / "run"):
        pass
    assert not list((tmp_path / "run").iterdir())


def test_trap81_what_a_killed_process_left_is_taken_at_once(tmp_path):
    code = "import pathlib, sys, time\nfrom r1jax.io.ownership import owned\nwith owned(pathlib.Path(sys.argv[1])):\n"
    code += "    print(1, flush=True)\n    time.sleep(60)\n"
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout.readline()
    assert f"process {process.pid} on" in refused(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / FILE).exists()
    began = time.monotonic()
    with owned(tmp_path):
        assert time.monotonic() - began < 1
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()


def test_trap81_of_another_host_that_keeps_its_locks_to_itself_the_files_time_tells(tmp_path, quick, capsys):
    (tmp_path / FILE).write_text(json.dumps(ELSEWHERE))
    over = threading.Event()

    def renew():
        while not over.wait(0.1):
            os.utime(tmp_path / FILE)

    thread = threading.Thread(target=renew)
    thread.start()
    assert "process 7 on other since 2026" in refused(tmp_path)
    over.set()
    thread.join()
    with owned(tmp_path):
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()
    assert "to see whether process 7 on other" in capsys.readouterr().out


def test_trap81_without_locks_an_owner_that_renews_its_file_is_left_it(tmp_path, quick, lockless):
    with owned(tmp_path):
        assert f"process {os.getpid()}" in refused(tmp_path)
    (tmp_path / FILE).write_text(json.dumps({**ELSEWHERE, "machine": ownership.machine()}))
    with owned(tmp_path):
        pass


def test_a_file_that_its_owner_deletes_while_another_opens_it_is_not_taken(tmp_path, monkeypatch):
    (tmp_path / FILE).touch()
    monkeypatch.setattr(ownership, "_check_free", lambda path, file: path.unlink())
    assert ownership._take(tmp_path / FILE) is None


@pytest.mark.usefixtures("in_this_process")
def test_trap81_every_stage_and_a_base_on_its_way_hold_their_workdirs(tmp_path, monkeypatch, capsys, mesh1):
    pairs = {"stage": "judge_pairs", "data": {"sources": ("nowhere.jsonl",)}}
    specs = [write_config(tmp_path / "base.py", BASE), write_config(tmp_path / "pairs.py", pairs)]
    held = []
    monkeypatch.setattr(running, "run_stage", lambda cfg, workdir, mesh: held.append(refused(workdir)))
    monkeypatch.setattr(running, "write_report", lambda workdir: None)
    for i, spec in enumerate(specs):
        workdir = tmp_path / f"run{i}"
        assert train.main([f"--config={spec}", f"--workdir={workdir}"]) == 0 and len(held) == i + 1
        with owned(workdir):
            capsys.readouterr()
            assert train.main([f"--config={spec}", f"--workdir={workdir}"]) == 2 and len(held) == i + 1
        assert f"is in use by process {os.getpid()}" in capsys.readouterr().err
    with owned(tmp_path / base_keys.base_name(specs[0])), pytest.raises(ConfigError, match="is in use by process"):
        bases.find_base(specs[0], tmp_path, mesh1)


def test_a_workdir_whose_metrics_are_gone_is_still_its_states(tmp_path):
    """The guard against another config looks at both: either may have been deleted."""
    tree = merged(BASE, num_steps=4)
    cfgs = [train.read_config(write_config(tmp_path / "base.py", merged(tree, seed=seed)), []) for seed in (0, 1)]
    claim(tmp_path, cfgs[0])
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp").mkdir()
    claim(tmp_path, cfgs[1])  # nothing is there yet
    (tmp_path / "checkpoints" / "2").mkdir()
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(ConfigError, match="seed: 1 -> 0"):
        claim(tmp_path, cfgs[0])
