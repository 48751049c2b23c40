"""Runs in gs://, a stand-in of it: killed and resumed on another machine, and of two processes on two machines."""

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from free_port import free_port
from tiny_run import BASE, ZERO, merged, rows, timeless, write_config
from xla_flags import xla_flags

from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.models.io import load_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("gcsfs") is None, reason="needs gcsfs: pip install -e '.[buckets]'"),
]
ROOT = pathlib.Path(__file__).resolve().parent.parent


class Server:
    """The bucket gs://bucket, and processes that use it."""

    def __init__(self, port: int):
        self._address = f"http://127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "STORAGE_EMULATOR_HOST": self._address,  # of gcsfs and of google-cloud-storage, which Orbax asks
            "TENSORSTORE_GCS_HTTP_URL": self._address,
            "GOOGLE_CLOUD_PROJECT": "none",
            "GCE_METADATA_ROOT": "127.0.0.1:1",  # where TensorStore looks for credentials
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # a kind of bucket, found out by gRPC
        }

    def train(self, machine: pathlib.Path, devices: int, *arguments: str) -> subprocess.Popen:
        """`r1jax train` on a machine, which is a folder with the log and, as its home, the cache."""
        machine.mkdir(exist_ok=True)
        environment = {**self._environment, "XLA_FLAGS": xla_flags(devices), "HOME": str(machine)}
        with (machine / "log").open("a") as log:
            command = [sys.executable, "-m", "r1jax", "train", *arguments]
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def names(self, prefix: str) -> list[str]:
        """The objects whose names begin so."""
        with urllib.request.urlopen(f"{self._address}/storage/v1/b/bucket/o?prefix={prefix}") as answer:
            return [item["name"] for item in json.load(answer)["items"]]

    def copy(self, prefix: str, folder: pathlib.Path) -> pathlib.Path:
        """A folder with the objects below a prefix."""
        for name in self.names(f"{prefix}/"):
            path = folder / name.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            place = f"{self._address}/storage/v1/b/bucket/o/{urllib.parse.quote(name, safe='')}?alt=media"
            with urllib.request.urlopen(place) as answer:
                path.write_bytes(answer.read())
        return folder


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    port = free_port()
    process = subprocess.Popen([sys.executable, ROOT / "tests" / "bucket_server.py", str(port)])
    try:
        yield Server(port)
    finally:
        process.kill()
        process.wait()


def ended(process: subprocess.Popen, machine: pathlib.Path) -> None:
    assert process.wait(500) == 0, (machine / "log").read_text()


def weights(folder: pathlib.Path) -> list[np.ndarray]:
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    return [np.asarray(leaf) for leaf in jax.tree.leaves(load_model(folder, mesh)[0])]


def test_killed_anywhere_and_resumed_on_another_machine_it_equals_a_local_run(server, tmp_path):
    spec = write_config(tmp_path / "run.py", merged(BASE, num_steps=60, checkpoint__every=4))
    local = server.train(tmp_path / "local", 2, f"--config={spec}", f"--workdir={tmp_path / 'runs' / 'local'}")
    ended(local, tmp_path / "local")
    command = f"--config={spec}", "--workdir=gs://bucket/runs/a"
    for i, last in enumerate((4, 24)):
        process, limit = server.train(tmp_path / f"machine{i}", 2, *command), time.monotonic() + 400
        while not server.names(f"runs/a/checkpoints/{last}/commit_success.txt"):
            assert process.poll() is None and time.monotonic() < limit, (tmp_path / f"machine{i}" / "log").read_text()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(rows(server.copy("runs/a", tmp_path / f"bucket{i}") / "metrics.jsonl")) >= last
    ended(server.train(tmp_path / "last", 2, *command), tmp_path / "last")
    assert "resuming at step" in (tmp_path / "last" / "log").read_text()
    run = server.copy("runs/a", tmp_path / "bucket")
    a, b = rows(run / "metrics.jsonl"), rows(tmp_path / "runs" / "local" / "metrics.jsonl")
    assert list(map(timeless, a)) == list(map(timeless, b))
    for x, y in zip(weights(tmp_path / "runs" / "local" / "model"), weights(run / "model"), strict=True):
        np.testing.assert_array_equal(x, y)


def test_two_machines_with_a_mirror_each_leave_the_files_of_one_process(server, tmp_path):
    changes = {"mesh": {"data": 2, "fsdp": 2}, "num_steps": 2, "checkpoint__every": 1, "checkpoint__keep_best": 1}
    base = write_config(tmp_path / "base.py", merged(BASE, mesh={"data": 4}))
    spec = write_config(tmp_path / "zero.py", merged(ZERO, base=base, **changes))
    address, machines = f"--coordinator=localhost:{free_port()}", [tmp_path / "machine0", tmp_path / "machine1"]
    together = [f"--config={spec}", "--workdir=gs://bucket/two/run", address, "--num-processes=2"]
    two = [server.train(machine, 2, *together, f"--process-id={i}") for i, machine in enumerate(machines)]
    ended(two[0], machines[0])
    ended(two[1], machines[1])
    ended(
        server.train(tmp_path / "one", 4, f"--config={spec}", f"--workdir={tmp_path / 'one' / 'run'}"),
        tmp_path / "one",
    )
    run, one = server.copy("two/run", tmp_path / "bucket"), tmp_path / "one" / "run"
    for file in ("rollouts/step_000000.jsonl", "evals/step_000000.jsonl"):
        assert rows(run / file) == rows(one / file)
    a, b = (rows(each / "metrics.jsonl") for each in (run, one))
    assert len(a) == len(b) == 2 and timeless(a[0]) == pytest.approx(timeless(b[0]), rel=1e-3, abs=1e-5)
    assert not [path for path in run.rglob(".step_*")]  # parts, which process 0 joins
    for x, y in zip(weights(run / "model"), weights(one / "model"), strict=True):
        assert np.isclose(x, y, rtol=0, atol=1e-3).mean() > 0.99
