"""Metrics: rows that survive a crash, values that JSON has, console lines with the time left, the profiler's window."""

import json
import types

import pytest

from r1jax.io.console import clock
from r1jax.io.jsonl import keep_rows_before
from r1jax.training.metrics import MetricsWriter


def steps(path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("cut", [0, 1, 2, 9, 13])
def test_trap35_a_line_cut_by_a_crash_is_mended_and_redone_steps_appear_once(tmp_path, cut):
    path = tmp_path / "metrics.jsonl"
    whole = "".join(json.dumps({"step": i, "loss": i / 2}) + "\n" for i in range(5))
    path.write_text(whole[: len(whole) - cut])
    writer = MetricsWriter(tmp_path, start=3, total=6, show={})
    for step in (3, 4, 5):
        writer.write(step, {"loss": step / 2})
    writer.close()
    assert steps(path) == list(range(6))
    assert [json.loads(line)["loss"] for line in path.read_text().splitlines()] == [i / 2 for i in range(6)]


def test_trap35_a_whole_row_whose_newline_was_cut_is_not_glued_to_the_next(tmp_path):
    path = tmp_path / "evals.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\nnonsense\n{"step": 2}')
    keep_rows_before(path, 2)
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n'
    keep_rows_before(tmp_path / "absent.jsonl", 2)
    assert not (tmp_path / "absent.jsonl").exists()


def test_trap35_values_that_json_lacks_become_null(tmp_path):
    writer = MetricsWriter(tmp_path, 0, 1, {})
    writer.write(0, {"a": float("nan"), "b": float("inf"), "c": 0.1234567891, "d": -0.0})
    writer.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    row = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert row == {"step": 0, "a": None, "b": None, "c": 0.123457, "d": 0.0}


def test_a_row_is_on_disk_as_soon_as_it_is_written(tmp_path):
    writer = MetricsWriter(tmp_path, 0, 2, {})
    writer.write(0, {"a": 1.0})
    assert steps(tmp_path / "metrics.jsonl") == [0]
    writer.close()


def test_the_console_names_what_is_asked_for_and_the_time_left(tmp_path, capsys):
    writer = MetricsWriter(tmp_path, 0, 4, {"loss": ".2f", "absent": ".1f"}, every=2)
    for step in range(4):
        writer.write(step, {"loss": 1.234, "secret": 5.0})
    writer.close()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 2/4", "step 4/4"]
    assert all("loss 1.23" in line and "secret" not in line and "absent" not in line for line in lines)
    assert lines[-1].endswith("0s left")
    assert (clock(9.6), clock(75), clock(3600 + 120 + 3)) == ("10s", "1m15s", "1h02m")


def test_the_first_step_of_a_process_is_left_out_of_the_time_left(tmp_path, monkeypatch, capsys):
    """It compiles: 40 s of it and 2 s a step are 8 s for the four that are left, also after a resume."""
    for start in (0, 3):
        times = iter([100.0, 140.0, 142.0])
        with monkeypatch.context() as patch:
            watch = types.SimpleNamespace(monotonic=lambda times=times: next(times))
            patch.setattr("r1jax.training.metrics.time", watch)  # its own alone: others note progress by the clock
            writer = MetricsWriter(tmp_path, start, start + 6, {})
            writer.write(start, {})
            writer.write(start + 1, {})
        writer.close()
        first, second = capsys.readouterr().out.splitlines()
        assert first.endswith("  40.00 s with compilation") and second.endswith("  2.00 s/step, 8s left")


def test_the_profiler_window_is_three_steps(tmp_path, monkeypatch):
    import jax

    log = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: log.append(("start", folder)))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: log.append(("stop",)))
    writer = MetricsWriter(tmp_path, 0, 9, {}, every=100, profile_at=2)
    for step in range(9):
        log.append(step)
        writer.write(step, {})
    writer.close()
    # The trace opens after step 1 and closes after step 4: steps 2, 3 and 4 are in it.
    assert log == [0, 1, ("start", str(tmp_path / "profile")), 2, 3, 4, ("stop",), 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("at", "start", "calls"),
    [(0, 0, ["start", "stop"]), (1, 0, ["start", "stop"]), (3, 0, ["start", "stop"]), (1, 2, []), (-1, 0, [])],
)
def test_a_profiler_window_opens_and_closes_once_or_not_at_all(tmp_path, monkeypatch, at, start, calls):
    """From the first step on, cut off by the end of the run, resumed inside, or never."""
    seen = []
    monkeypatch.setattr("jax.profiler.start_trace", lambda folder: seen.append("start"))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: seen.append("stop"))
    writer = MetricsWriter(tmp_path, start, 5, {}, profile_at=at)
    for step in range(start, 5):
        writer.write(step, {})
    writer.close()
    assert seen == calls
