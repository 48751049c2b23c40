"""Trackers: their files hold the rows of metrics.jsonl and evals.jsonl, also where a run was interrupted."""

import json
import math
import pathlib
import struct
import time

import numpy as np
import pytest
from tiny_run import ZERO, merged, write_config

from r1jax.config import ConfigError
from r1jax.io import jsonl
from r1jax.stages.table import read_config
from r1jax.training import config as training_config
from r1jax.training.config import TrackConfig
from r1jax.training.metrics import MetricsWriter

History = dict[int, dict[str, float]]
TEXT = "<think>1 | 2\n\n</think> **3** 三"


def run(workdir: pathlib.Path, start: int, stop: int, track: TrackConfig, killed: bool = False) -> None:
    """Steps of a run with evaluations and samples; one that is killed does not close what it wrote to."""
    writer = MetricsWriter(workdir, start, 5, {}, track=track, settings={"seed": 1})
    for step in range(start, stop):
        if step % 2 == 0:
            jsonl.write(workdir / "evals" / f"step_{step:06d}.jsonl", [{"question": "1 + 2?", "text": TEXT}] * 3)
            writer.write_evaluation(step, {"pass@1": step / 8, "none": None, "by_source": {"sums": {"n": 4}}})
        writer.write(step, {"loss": 1 / (step + 3), "kl": math.nan if step == 1 else 0.1})
    if not killed:
        writer.close()


def rows_of(workdir: pathlib.Path) -> History:
    """What trackers should hold, from the run's files."""
    history: History = {}
    for row in jsonl.read_log(workdir / "metrics.jsonl")[0]:
        history.setdefault(row.pop("step"), {}).update(row)
    for row in jsonl.read_log(workdir / "evals.jsonl")[0]:
        values = {"evaluation/pass@1": row["pass@1"], "evaluation/none": None, "evaluation/by_source/sums/n": 4}
        history.setdefault(row["step"], {}).update(values)
    nan = {step: {k: math.nan if v is None else v for k, v in row.items()} for step, row in history.items()}
    return {step: {k: float(np.float32(v)) for k, v in row.items()} for step, row in nan.items()}


def assert_same(a: History, b: History) -> None:
    assert a.keys() == b.keys()
    for step in a:
        assert a[step].keys() == b[step].keys()
        np.testing.assert_array_equal(list(a[step].values()), [b[step][name] for name in a[step]])


def event_files(workdir: pathlib.Path) -> tuple[History, dict[str, dict[int, list[list[str]]]], dict[int, float]]:
    """Scalars by step, tables by tag and step, times by step, of all event files; a value that is twice there fails."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader").LegacyEventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    scalars, tables, times = {}, {}, {}
    for path in (workdir / "tensorboard").iterdir():
        for event in loader(str(path)).Load():
            for value in event.summary.value:
                times.setdefault(event.step, event.wall_time)
                if value.metadata.plugin_data.plugin_name == "text":
                    assert event.step not in tables.setdefault(value.tag, {})
                    tables[value.tag][event.step] = make_ndarray(value.tensor).tolist()
                else:
                    assert value.tag not in scalars.setdefault(event.step, {})
                    scalars[event.step][value.tag] = value.simple_value
    return scalars, tables, times


def offline_runs(workdir: pathlib.Path, steps: int) -> tuple[set[str], History]:
    """Ids and history of all offline runs, once they hold so many steps: the service writes after the run has ended."""
    limit = time.monotonic() + 20
    while len((runs := read_offline_runs(workdir))[1]) < steps and time.monotonic() < limit:
        time.sleep(0.1)
    return runs


def read_offline_runs(workdir: pathlib.Path) -> tuple[set[str], History]:
    """Of files that are logs in LevelDB's format; a step that is there twice fails."""
    records = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    ids, history = set(), {}
    for path in (workdir / "wandb").glob("offline-run-*/*.wandb"):
        data, at, content = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            size, kind = struct.unpack("<HB", data[at + 4 : at + 7])
            content += data[at + 7 : at + 7 + size]
            at += 7 + size
            if kind in (1, 4):  # a whole record, or its last piece
                record = records.Record.FromString(content)
                content = b""
                if record.HasField("run"):
                    ids.add(record.run.run_id)
                if record.HasField("history"):
                    row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
                    assert row["_step"] not in history
                    history[row["_step"]] = row
    return ids, history


def test_event_files_of_an_interrupted_run_hold_each_row_of_its_files_once(tmp_path):
    track = TrackConfig(tensorboard=True, samples=2)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir(), broken.mkdir()
    run(whole, 0, 5, track)
    run(broken, 0, 4, track, killed=True)
    _, _, before = event_files(broken)
    assert sorted(before) == [0, 1, 2, 3]  # on disk though nothing was closed
    run(broken, 2, 5, track)  # from the state after two steps
    scalars, tables, times = event_files(broken)
    assert_same(scalars, rows_of(broken))
    assert_same(scalars, event_files(whole)[0])
    assert tables == event_files(whole)[1] and sorted(tables["samples/evals"]) == [0, 2, 4]
    header, *samples = tables["samples/evals"][0]
    assert header[:3] == [b"question", b"answer", b"text"] and len(samples) == 2
    assert "\n".join(line[4:] for line in samples[0][2].decode().split("\n")) == TEXT
    assert all(times[step] == before[step] for step in (0, 1))  # the curve keeps its times


def test_event_files_of_a_tracker_that_is_switched_on_late_are_whole(tmp_path):
    run(tmp_path, 0, 3, TrackConfig())
    assert not (tmp_path / "tensorboard").exists()
    run(tmp_path, 3, 5, TrackConfig(tensorboard=True))
    assert_same(event_files(tmp_path)[0], rows_of(tmp_path))


@pytest.mark.slow
def test_an_offline_run_of_weights_and_biases_that_was_interrupted_holds_each_row_once(tmp_path):
    track = TrackConfig(wandb="offline", samples=1)
    run(tmp_path, 0, 3, track)
    ids, _ = offline_runs(tmp_path, 3)
    run(tmp_path, 2, 5, track)
    again, history = offline_runs(tmp_path, 5)
    assert again == ids and len(ids) == 1
    expected = rows_of(tmp_path)
    named = {step: {name: float(np.float32(row[name])) for name in expected[step]} for step, row in history.items()}
    assert_same(named, expected)
    names = {step: {name.split("/_")[0] for name in row} for step, row in history.items()}
    assert [step for step in sorted(names) if "samples/evals" in names[step]] == [0, 2, 4]
    [table] = {path.read_text() for path in (tmp_path / "wandb").glob("offline-run-*/files/media/table/**/*.json")}
    assert json.loads(table)["data"] == [["1 + 2?", "", TEXT, "", None, None]]


@pytest.mark.parametrize("override", ["track.tensorboard=true", "track.wandb=offline"])
def test_a_library_that_is_missing_is_an_error_before_anything_is_computed(tmp_path, monkeypatch, override):
    spec = write_config(tmp_path / "zero.py", merged(ZERO, base="somewhere"))
    assert read_config(spec, []).track == TrackConfig()
    monkeypatch.setattr(training_config.importlib.util, "find_spec", lambda name: None)
    assert not read_config(spec, []).track.tensorboard  # one that is switched off needs nothing
    with pytest.raises(ConfigError, match=r"config\.track\.\w+ needs the package \w+: pip install -e '\.\[track\]'"):
        read_config(spec, [override])
