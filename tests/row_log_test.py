"""The log of a record: its rows stay on disk, and what a kill left is what a log without it would have."""

import json
import os
import pathlib
import tracemalloc

import pytest

from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.evaluation.collect import collect
from r1jax.evaluation.record import Record, read_samples
from r1jax.io import jsonl
from r1jax.io.row_log import RowLog


def opened(path: pathlib.Path, counts=lambda row: True) -> RowLog:
    return RowLog(path, lambda row: "text" in row, lambda row: row.get("score"), counts)


def row(id_: str, text: str = "é\u2028", score: float | None = None, sample: int = 0) -> dict:
    return {"id": id_, "sample": sample, "text": text, "score": score}


def test_rows_come_back_as_they_were_given_now_and_after_a_restart(tmp_path):
    path, rows = tmp_path / "log.jsonl", [row(f"q{i}", "é\u2028" * i, i / 4, i % 2) for i in range(8)]
    log = opened(path)
    for each in rows:
        log.append(each)
    for each in log, opened(path):
        assert dict(each) == {(row["id"], row["sample"]): row for row in rows}
        assert (len(each), each.corrupted, each.counted, each.total) == (8, 0, 8, 7.0)
        assert ("q1", 1) in each and ("q1", 0) not in each and each.get(("q9", 0)) is None
    assert path.read_bytes() == b"".join(map(jsonl.line_of, rows))


def test_the_last_row_of_a_key_counts_and_one_that_is_not_wanted_hides_it(tmp_path):
    path = tmp_path / "log.jsonl"
    log = opened(path)
    for score in (0.5, None, 1.0, 0.25):
        log.append(row("a", score=score))
    log.append(row("b", score=1.0))
    assert log["a", 0]["score"] == 0.25 and (log.counted, log.total) == (2, 1.25)
    again = opened(path, lambda each: each["score"] != 0.25)
    assert list(again) == [("b", 0)] and again.refused == 1 and (again.counted, again.total) == (1, 1.0)


def test_rows_that_are_added_to_another_file_are_found_beside_those_that_were_there(tmp_path):
    path, part = tmp_path / "log.jsonl", tmp_path / "log.1.jsonl"
    opened(path).append(row("a"))
    log = RowLog(path, lambda each: "text" in each, lambda each: each["score"], added=part)
    log.append(row("b", "of a part"))
    opened(path).append(row("c"))  # as process 0 adds meanwhile
    assert dict(log) == {("a", 0): row("a"), ("b", 0): row("b", "of a part")}
    assert set(opened(path)) == {("a", 0), ("c", 0)} and set(opened(part)) == {("b", 0)}


@pytest.mark.parametrize("cut", range(1, 9))
def test_trap71_a_line_that_a_kill_cut_off_is_none_and_the_next_begins_a_new_one(tmp_path, cut):
    path = tmp_path / "log.jsonl"
    log = opened(path)
    for id_ in "abc":
        log.append(row(id_))
    log.close()
    os.truncate(path, path.stat().st_size - cut)
    again = opened(path)
    ends = cut == 1  # of the last line the break alone is missing, and it is whole
    assert set(again) == {("a", 0), ("b", 0), *([("c", 0)] if ends else [])} and again.corrupted == (not ends)
    again.append(row("d", "new"))
    assert again["d", 0]["text"] == "new" and again["b", 0] == row("b")
    assert opened(path)["d", 0] == again["d", 0]
    assert len(read_samples(path)[0]) == 0  # no samples: the lines are of another kind
    assert [json.loads(line)["id"] for line in path.read_bytes().splitlines()[:2]] == ["a", "b"]


def test_a_record_takes_no_memory_for_texts_and_opens_each_file_once(tmp_path, monkeypatch):
    """20 MB of texts drawn, graded and read again."""
    prompts = [Prompt(f"q{i}", "?", "1", "maths:x") for i in range(100)]
    count, text = 20, "x" * 10_000

    def draw(prompts, k, seed, finished, skip):
        for prompt in prompts:
            for sample in range(k):
                if (prompt.id, sample) not in skip:
                    finished(Rollout.of_text(prompt, f"{text}{sample}", sample, tokens=5))

    def grade(rollout):
        return lambda: Grade(float(rollout.sample % 2), "correct")

    opens, system_open = [], os.open
    monkeypatch.setattr(
        os, "open", lambda path, *more, **named: opens.append(path) or system_open(path, *more, **named)
    )
    tracemalloc.start()
    record = collect("x", tmp_path, {}, "g", prompts, count, (0,), draw, grade)
    again = collect("x", tmp_path, {}, "g", prompts, count, (0,), lambda *some: None, grade)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(record.samples) == len(again.samples) == 2000 and record.grades.total == again.grades.total == 1000
    assert again.samples["q7", 3]["text"] == f"{text}3"
    assert peak < 8e6, peak
    assert sum(str(path).endswith(("samples.jsonl", "grades.jsonl")) for path in opens) <= 4  # twice two
    assert record.outcomes(prompts, count) == again.outcomes(prompts, count)
    assert isinstance(again, Record)
