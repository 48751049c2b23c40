"""Whole files: written in one step, so that no reader and no kill finds half of one."""

import json
import os

import pytest

from r1jax.io import files, jsonl


def test_a_file_is_replaced_at_the_end_of_the_block_and_not_before(tmp_path):
    path = tmp_path / "new" / "file.bin"
    with files.replacing(path) as file:
        file.write(b"first")
        assert not path.exists()
    with files.replacing(path) as file:
        file.write(b"second")
        assert path.read_bytes() == b"first"
    assert path.read_bytes() == b"second" and os.listdir(path.parent) == ["file.bin"]


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "rows.jsonl"
    jsonl.write(path, [{"a": 1}])
    with pytest.raises(TypeError):
        jsonl.write(path, [{"a": 2}, {"a": {1, 2}}])
    with pytest.raises(RuntimeError), files.replacing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert jsonl.read_log(path) == ([{"a": 1}], 0) and os.listdir(tmp_path) == ["rows.jsonl"]


def test_contents_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: events.append(os.fstat(descriptor).st_size))
    files.write_text(tmp_path / "a.txt", "ä\r\n")
    assert events == [4] and (tmp_path / "a.txt").read_bytes() == "ä\r\n".encode()


def test_what_a_kill_left_is_written_over(tmp_path):
    (tmp_path / "a.json.part").write_bytes(b"half of a longer file")
    files.write_json(tmp_path / "a.json", {"ä": (1, None)})
    assert os.listdir(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n "ä": [\n  1,\n  null\n ]\n}\n'
    assert files.read_json(tmp_path / "a.json") == {"ä": [1, None]}


def test_json_that_cannot_be_read_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([1])[:-1])
    with pytest.raises(ValueError, match=r"a\.json is not JSON"):
        files.read_json(tmp_path / "a.json")
