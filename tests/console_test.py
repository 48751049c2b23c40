"""Console output: progress with its rate and time left, in whole lines, from process 0 alone."""

import sys
import time
import types

import pytest

from r1jax.io.console import ProgressPrinter, clock, reporter, say, under_way


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """The time, which tests set."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_progress_is_printed_every_few_seconds_with_rate_and_time_left(now, capsys):
    progress = ProgressPrinter("filters", "samples", every=10.0)
    for now[0], done in ((101.0, 5), (110.0, 20), (119.0, 30), (120.0, 40), (140.0, 1000)):
        progress(done, 1000, lambda done=done: f"note {done}")
    assert capsys.readouterr().out.splitlines() == [
        "filters: 20 of 1,000 samples, 2.00/s, 8m10s left, note 20",
        "filters: 40 of 1,000 samples, 2.00/s, 8m00s left, note 40",
        "filters: 1,000 of 1,000 samples, 25.0/s, 0s left, note 1000",
    ]


def test_the_rate_is_of_this_process_alone(now, capsys):
    progress = ProgressPrinter("aime", "samples", start=600, every=0.0)
    now[0] = 110.0
    progress(600, 640)  # nothing yet: no rate
    progress(620, 640)
    assert capsys.readouterr().out == "aime: 620 of 640 samples, 2.00/s, 10s left\n"


def test_short_work_says_nothing(now, capsys):
    progress, report = ProgressPrinter("filters", "samples"), reporter("reading m")
    now[0] = 104.0
    progress(3, 3)
    report(8, 8)
    assert capsys.readouterr().out == ""


def test_notes_are_made_only_for_lines_that_are_printed(now):
    progress = ProgressPrinter("filters", "samples")
    progress(1, 2, lambda: pytest.fail("no line, and yet a note"))


def test_progress_goes_to_the_stream_asked_for_in_whole_lines(now, capsys):
    progress = ProgressPrinter("a\x1b[2J\r", "rows", every=0.0, file=sys.stderr)
    now[0] = 101.0
    progress(1, 2)
    out, err = capsys.readouterr()
    assert out == "" and err.endswith(": 1 of 2 rows, 1.00/s, 1s left\n")
    assert err.count("\n") == 1 and "\x1b" not in err and "\r" not in err


def test_process_0_alone_speaks(monkeypatch, capsys):
    for index in (0, 1):
        monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(process_index=lambda index=index: index))
        say(f"process {index}")
    monkeypatch.delitem(sys.modules, "jax")
    say("without JAX")
    assert capsys.readouterr().out == "process 0\nwithout JAX\n"


def test_durations():
    assert (clock(9.6), clock(75), clock(3600 + 120 + 3)) == ("10s", "1m15s", "1h02m")


def test_a_long_part_of_a_step_says_how_far_it_is_and_a_short_one_nothing(capsys):
    with under_way("sampling", lambda: "1 of 2 samples", every=0.02):
        time.sleep(0.2)
    lines = capsys.readouterr().out.splitlines()
    assert 1 <= len(lines) <= 10 and set(lines) == {"  sampling: 1 of 2 samples, 0s"}
    with under_way("updating"):
        pass
    with pytest.raises(KeyError), under_way("updating", every=0.01):
        raise KeyError
    time.sleep(0.05)
    assert capsys.readouterr().out == ""  # and its thread has ended
