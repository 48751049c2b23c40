"""Buckets, by fsspec's local stand-ins: inputs fetched once for each content, and runs whose workdir is in one."""

import json
import os
import pathlib
import shutil
import sys
import time

import fsspec
import numpy as np
import pytest
from tiny_run import BASE, merged, rows, timeless, write_config

from r1jax.config import ConfigError
from r1jax.core import processes, shared_files
from r1jax.io import buckets, hub, mirror, ownership
from r1jax.models.io import is_model, load_model
from r1jax.serve import cards
from r1jax.tools import train
from r1jax.training import loop

RUN = merged(BASE, num_steps=4, checkpoint__every=2, optimizer__learning_rate=1e-3)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.setenv("R1JAX_BUCKET_CACHE", str(tmp_path / "cache"))
    buckets.fetched.cache_clear()
    yield tmp_path / "cache"
    buckets.fetched.cache_clear()


@pytest.fixture
def bucket():
    """Puts objects into a bucket in memory, whose address is memory://bucket."""
    memory = fsspec.filesystem("memory")

    def put(**objects: str) -> None:
        for name, text in objects.items():
            memory.pipe_file(f"/bucket/{name}", text.encode())
        buckets.fetched.cache_clear()

    yield put
    memory.rm("/bucket", recursive=True)


def test_an_object_is_fetched_once_and_anew_when_it_changes(bucket, monkeypatch):
    bucket(questions="one")
    first = buckets.fetched("memory://bucket/questions")
    assert first.read_text() == "one" and first.parts[-2:] == ("bucket", "questions")
    with monkeypatch.context() as patch:
        patch.setattr(buckets, "download", None)
        buckets.fetched.cache_clear()
        assert buckets.fetched("memory://bucket/questions") == first
    bucket(questions="two")
    second = buckets.fetched("memory://bucket/questions")
    assert second != first and second.read_text() == "two"


def test_a_fetch_that_is_cut_short_is_never_taken_for_whole(bucket, monkeypatch):
    bucket(**{"m/config.json": "{}", "m/model.safetensors": "weights", "m/notes.txt": "-"})
    memory = type(fsspec.filesystem("memory"))
    get = memory.get_file

    def stops(self, path, place, **more):
        if path.endswith("safetensors"):
            pathlib.Path(place).write_text("wei")  # fewer bytes than there are
        else:
            get(self, path, place, **more)

    with monkeypatch.context() as patch:
        patch.setattr(memory, "get_file", stops)
        with pytest.raises(ConnectionError, match=r"model\.safetensors had 7 bytes and now has 3"):
            hub.model_path("memory://bucket/m")
    folder = hub.model_path("memory://bucket/m/")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_text() == "weights"


def test_errors_name_the_address_and_the_remedy(bucket, monkeypatch):
    bucket(a="a")
    with pytest.raises(FileNotFoundError, match="reading memory://bucket/b: there is no such object"):
        buckets.fetched("memory://bucket/b")
    with pytest.raises(FileNotFoundError, match=r"holds no file of a model; it has: x"):
        bucket(**{"m/x": "x"})
        hub.model_path("memory://bucket/m")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "gcsfs", None)
        with pytest.raises(ValueError, match=r"gs://b/x needs a package that is not installed: pip install -e '\.\[bu"):
            buckets.stored("gs://b/x")
    with pytest.raises(ValueError, match="nosuch://b/x: no kind of bucket"):
        buckets.stored("nosuch://b/x")
    denied = pytest.raises(PermissionError, match="gcloud auth application-default login")
    with denied, buckets.errors_named("gs://b/x", "reading"):
        raise OSError("Anonymous caller does not have storage.objects.list access, 401")
    for text, why in (("s3://b/run", "gs:// alone"), ("gs://b", "like gs://bucket/run")):
        with pytest.raises(ConfigError, match=why):
            buckets.workdir_of(text, 0)


def test_a_path_of_a_mirror_says_which_address_it_is():
    folder = buckets.workdir_of("gs://bucket/a/run", 3)
    assert buckets.address_of(folder / "model") == "gs://bucket/a/run/model"
    assert buckets.address_of(folder.parent / "base-1") == "gs://bucket/a/base-1"
    assert str(buckets.place_of(folder / "checkpoints")) == "gs://bucket/a/run/checkpoints"
    assert buckets.address_of(pathlib.Path("runs/a")) == "" and not buckets.is_address("hf://owner/name")


def files_in(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_mirror_sends_what_changed_and_what_is_gone(tmp_path, monkeypatch):
    address, there = f"file://{tmp_path}/bucket/run", tmp_path / "bucket" / "run"
    (there / "checkpoints" / "2").mkdir(parents=True)
    (there / "checkpoints" / "2" / "array").write_text("Orbax's")
    (there / "metrics.jsonl").write_text("1\n")
    folder = buckets.workdir_of(address, 0)
    folder.mkdir(parents=True)
    (folder / "left").write_text("by a run that was killed")
    with mirror.opened(folder, True, pytest.fail):
        assert files_in(folder) == {"metrics.jsonl": b"1\n"}
        assert json.loads((there / ownership.FILE).read_text())["pid"] == os.getpid()
        with (folder / "metrics.jsonl").open("a") as file:
            file.write("2\n")
        (folder / "rollouts").mkdir()
        (folder / "rollouts" / "step").write_text("r")
        (folder / "half.part").write_text("-")
        mirror.push(folder / "anything")
        assert (there / "metrics.jsonl").read_text() == "1\n2\n" and (there / "rollouts" / "step").read_text() == "r"
        (folder / "rollouts" / "step").unlink()
    assert files_in(there) == {"metrics.jsonl": b"1\n2\n", "checkpoints/2/array": b"Orbax's"}
    with pytest.raises(RuntimeError), mirror.opened(folder, True, pytest.fail):
        (folder / "faults").write_text("kept")
        raise RuntimeError
    assert (there / "faults").read_text() == "kept"


def test_an_address_in_use_is_refused_and_one_left_behind_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(mirror, "_GONE_S", 20.0)
    monkeypatch.setattr(mirror, "_RENEW_S", 0.1)
    address, there = f"file://{tmp_path}/bucket/run", tmp_path / "bucket" / "run"
    first, second = buckets.workdir_of(address, 0), buckets.workdir_of(address, 1)
    with mirror.opened(first, True, lambda reason: None):
        refused = pytest.raises(ConfigError, match=f"in use by a run of process {os.getpid()} on ")
        with refused, mirror.opened(second, True, pytest.fail):
            pass
    assert not (there / ownership.FILE).exists()
    monkeypatch.setattr(mirror, "_GONE_S", 0.3)
    other = '{"host": "elsewhere", "pid": 1, "token": "t", "renewal": 3}'
    (there / ownership.FILE).write_text(other)
    losses: list[str] = []
    with mirror.opened(second, True, losses.append):
        assert json.loads((there / ownership.FILE).read_text())["pid"] == os.getpid()
        (there / ownership.FILE).write_text(other)  # as if it had taken this run for dead
        limit = time.monotonic() + 60
        while not losses and time.monotonic() < limit:
            time.sleep(0.01)
    assert "was taken over by a run of process 1 on elsewhere" in losses[0]
    assert (there / ownership.FILE).read_text() == other


def test_files_of_one_process_reach_the_others_by_way_of_the_bucket(tmp_path, monkeypatch):
    folders = [buckets.workdir_of(f"file://{tmp_path}/bucket/run", i) for i in range(2)]
    monkeypatch.setattr(processes, "is_multiprocess", lambda: True)
    monkeypatch.setattr(processes, "barrier", lambda: None)  # the calls come in the order that it would give them

    def call(hand_over, process: int, *names: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(processes, "index", lambda: process)
            hand_over([folders[process] / name for name in names])

    with mirror.opened(folders[0], True, pytest.fail), mirror.opened(folders[1], False, pytest.fail):
        (folders[1] / "part").write_text("of 1")
        (folders[0] / "part").write_text("left by a killed run")
        call(shared_files.to_first, 1, "part", "nothing")
        call(shared_files.to_first, 0, "part", "nothing")
        assert (folders[0] / "part").read_text() == "of 1"
        (folders[0] / "part").unlink()
        (folders[0] / "log").write_text("whole")
        call(shared_files.from_first, 0, "log", "part")
        call(shared_files.from_first, 1, "log", "part")
        assert files_in(folders[1]) == {"log": b"whole"}


def run(spec: str, workdir: str, *overrides: str) -> int:
    return train.main([f"--config={spec}", f"--workdir={workdir}", *(f"--config.{each}" for each in overrides)])


def weights(folder: pathlib.Path, mesh) -> list[np.ndarray]:
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(load_model(folder, mesh)[0])]


@pytest.mark.usefixtures("in_this_process")
def test_a_run_in_a_bucket_killed_and_resumed_elsewhere_equals_a_local_one(tmp_path, cache, monkeypatch, mesh1):
    spec = write_config(tmp_path / "run.py", RUN)
    assert run(spec, str(tmp_path / "local")) == 0
    address, there = f"file://{tmp_path}/bucket/run", tmp_path / "bucket" / "run"
    write, push = loop.MetricsWriter.write, mirror.Mirror.push

    def die_at_3(self, step, row):
        write(self, step, row)
        if step == 3:
            while not (there / "checkpoints" / "2").exists():
                time.sleep(0.01)
            monkeypatch.setattr(mirror.Mirror, "push", lambda self, paths=None: None)  # as if the machine were gone
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(loop.MetricsWriter, "write", die_at_3)
        with pytest.raises(RuntimeError, match="killed"):
            run(spec, address)
    monkeypatch.setattr(mirror.Mirror, "push", push)
    # The state after two steps is there, and so are its rows, but not the later ones.
    assert [path.name for path in (there / "checkpoints").iterdir() if path.name.isdecimal()] == ["2"]
    assert [row["step"] for row in rows(there / "metrics.jsonl")] == [0, 1]
    shutil.rmtree(cache)  # another machine
    assert run(spec, address) == 0
    for log in ("metrics.jsonl",):
        assert [timeless(row) for row in rows(there / log)] == [timeless(row) for row in rows(tmp_path / "local" / log)]
    local, fetched = tmp_path / "local" / "model", hub.model_path(f"{address}/model")
    for a, b in zip(weights(local, mesh1), weights(fetched, mesh1), strict=True):
        np.testing.assert_array_equal(a, b)
    names = {path for path in files_in(tmp_path / "local") if not path.startswith(("checkpoints", "model/params"))}
    assert {path for path in files_in(there) if not path.startswith(("checkpoints", "model/params"))} == names


@pytest.mark.usefixtures("in_this_process")
def test_data_and_a_base_in_a_bucket_are_used_and_changed_data_refused(tmp_path, bucket, capsys):
    lines = [json.dumps({"prompt": f"{i} + 1?", "response": f"<think>one more</think> {i + 1}"}) for i in range(40)]
    bucket(**{"data.jsonl": "\n".join(lines) + "\n"})
    base = write_config(tmp_path / "base.py", merged(BASE, num_steps=1))
    assert run(base, f"file://{tmp_path}/bucket/base") == 0
    path, card = cards.find(f"file://{tmp_path}/bucket/base/")  # of `r1jax serve`
    assert path.parts[-2:] == ("base", "model") and card.id == "base" and is_model(path)
    data = {"path": "memory://bucket/data.jsonl", "template": "plain", "held_out_share": 0.0}
    tree = merged(BASE, num_steps=2, data=data, base=f"file://{tmp_path}/bucket/base/model")
    for key in ("model", "vocab_size", "tokenizer_documents", "corpus"):
        del tree[key]
    spec = write_config(tmp_path / "sft.py", tree)
    workdir = str(tmp_path / "sft")
    assert run(spec, workdir) == 0
    assert json.loads((tmp_path / "sft" / "config.json").read_text())["data"]["path"] == data["path"]
    capsys.readouterr()
    bucket(**{"data.jsonl": "\n".join(lines[1:]) + "\n"})
    assert run(spec, workdir, "num_steps=3") == 2
    assert "another content of memory://bucket/data.jsonl" in capsys.readouterr().err
    assert run(spec, str(tmp_path / "none"), "data.path=memory://bucket/none.jsonl") == 2
    assert "config.data.path: reading memory://bucket/none.jsonl: there is no such" in capsys.readouterr().err
