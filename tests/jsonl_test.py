"""JSONL files: what is read, what is refused and how it is told, and the order of examples."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from r1jax.io import jsonl
from r1jax.io.row_files import read_questions

DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
GOOD = b'{"prompt": "1 + 1?", "answer": "2"}\n'


def file_of(tmp_path, *lines: bytes) -> pathlib.Path:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [
        {"id": "a", "prompt": "甲 + 乙?\u2028second line\n", "answer": "2", "level": [1, None]},
        {"id": "b", "prompt": "😀", "answer": " x "},
    ]
    path = tmp_path / "new" / "rows.jsonl"
    jsonl.write(path, rows)
    jsonl.append(path, {"id": "c", "prompt": "q", "answer": "3"})
    assert read_questions(path) == ([*rows, {"id": "c", "prompt": "q", "answer": "3"}], 0)
    assert path.read_bytes().count(b"\n") == 3
    assert "甲".encode() in path.read_bytes()


def test_blank_lines_byte_order_marks_and_carriage_returns_do_no_harm(tmp_path):
    path = file_of(tmp_path, b"\xef\xbb\xbf" + GOOD, b"\r\n", b"  \n", GOOD.replace(b"\n", b"\r\n"), GOOD.strip())
    rows, skipped = read_questions(path)
    assert skipped == 0
    assert [row["id"] for row in rows] == ["questions-1", "questions-4", "questions-5"]


def test_numbers_are_answers_and_ids_too(tmp_path):
    path = file_of(tmp_path, b'{"id": 7, "prompt": "q", "answer": 18}\n{"prompt": "q", "answer": 0.5}\n')
    assert [(row["id"], row["answer"]) for row in read_questions(path)[0]] == [("7", "18"), ("questions-2", "0.5")]


def test_only_a_newline_ends_a_line_for_every_reader(tmp_path):
    rows = [{"step": i, "text": f"a{char}b"} for i, char in enumerate("\u2028\u2029\x0b\x0c\x1c\x85\r")]
    path = tmp_path / "log.jsonl"
    for row in rows:
        jsonl.append(path, row)
    assert jsonl.read_log(path) == (rows, 0)
    assert jsonl.read_objects(path, lambda row, line: row) == (rows, 0)
    with path.open("rb") as lines:
        assert list(jsonl.objects(lines, path)) == list(enumerate(rows, 1))
    jsonl.keep_rows_before(path, 5)
    assert jsonl.read_log(path) == (rows[:5], 0)


@pytest.mark.parametrize("cut", range(1, 26))
def test_a_torn_last_line_is_left_out_of_a_log_and_an_error_in_a_finished_file(tmp_path, cut):
    path = tmp_path / "log.jsonl"
    jsonl.write(path, [{"step": 0, "text": "ä"}, {"step": 1, "text": "ö😀"}])
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    torn = 1 < cut < 33  # a row whose newline alone is missing is whole
    assert jsonl.read_log(path)[0] == [{"step": 0, "text": "ä"}, {"step": 1, "text": "ö😀"}][: 1 if torn else 2]
    assert jsonl.read_log(path)[1] == torn
    if torn:
        with pytest.raises(ValueError, match=r"log\.jsonl:2: not (JSON|UTF-8).*\(repair it\)"):
            jsonl.read_objects(path, lambda row, line: row, remedy="repair it")
        with path.open("rb") as lines, pytest.raises(ValueError, match=r"log\.jsonl:2: not (JSON|UTF-8)"):
            list(jsonl.objects(lines, path))
    jsonl.append(path, {"step": 2})  # on a line of its own
    assert jsonl.read_log(path)[0][-1] == {"step": 2}
    jsonl.keep_rows_before(path, 2)
    assert path.read_bytes() == whole[: whole.index(b"\n") + 1] if torn else whole


def test_a_log_that_is_not_there_is_empty_and_rows_of_another_kind_are_counted(tmp_path):
    path = tmp_path / "log.jsonl"
    assert jsonl.read_log(path) == ([], 0)
    jsonl.keep_rows_before(path, 3)
    assert not path.exists()
    path.write_text('{"a": NaN}\n[1]\n\n"text"\n{}\n')
    rows, corrupted = jsonl.read_log(path, lambda row: "a" in row)
    assert len(rows) == 1 and rows[0]["a"] != rows[0]["a"] and corrupted == 3


BAD_LINES = {
    "not JSON": b'{"prompt": "q", "answer": }',
    "not UTF-8": b'{"prompt": "\xff", "answer": "2"}',
    "a list": b'["q", "2"]',
    "no 'answer'": b'{"prompt": "q", "anser": "2"}',
    "'prompt' is 3": b'{"prompt": 3, "answer": "2"}',
    "'prompt' is ''": b'{"prompt": "", "answer": "2"}',
    "'answer' is True": b'{"prompt": "q", "answer": true}',
    "'answer' is None": b'{"prompt": "q", "answer": null}',
    "NaN is not JSON": b'{"prompt": "q", "answer": NaN}',
    "'id' is []": b'{"id": [], "prompt": "q", "answer": "2"}',
    "surrogates not allowed": rb'{"prompt": "\ud83d", "answer": "2"}',
    "nested too deeply": b"[" * 100_000,
    "limit": b'{"prompt": "q", "answer": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("complaint", BAD_LINES)
def test_a_bad_line_is_named_by_file_and_line_and_can_be_skipped(tmp_path, complaint):
    path = file_of(tmp_path, GOOD, b"\n", BAD_LINES[complaint] + b"\n", GOOD)
    with pytest.raises(ValueError) as caught:
        read_questions(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:3: ") and complaint in message and "data.skip_bad_lines=true" in message
    rows, skipped = read_questions(path, skip_bad=True)
    assert [row["id"] for row in rows] == ["questions-1", "questions-4"] and skipped == 1


def test_a_missing_key_is_told_with_the_nearest_one(tmp_path):
    with pytest.raises(ValueError, match="anser"):
        read_questions(file_of(tmp_path, b'{"prompt": "q", "anser": "2"}'))


def test_two_rows_of_one_id_are_an_error_that_names_both_lines(tmp_path):
    row = b'{"id": "a", "prompt": "q", "answer": "2"}\n'
    with pytest.raises(ValueError, match=r":3: id 'a' is already that of line 1"):
        read_questions(file_of(tmp_path, row, GOOD, row))


def test_a_row_that_the_callers_check_refuses_is_a_bad_line(tmp_path):
    def check(row):
        if row["answer"] == "2":
            raise ValueError("two is no answer")

    path = file_of(tmp_path, b'{"prompt": "q", "answer": "3"}\n', GOOD)
    with pytest.raises(ValueError, match=r":2: two is no answer"):
        read_questions(path, check=check)
    assert read_questions(path, skip_bad=True, check=check)[1] == 1


@pytest.mark.parametrize("lines, skip_bad", [([], False), ([b"\n\n"], False), ([b"{\n"], True)])
def test_a_file_without_a_usable_line_is_an_error(tmp_path, lines, skip_bad):
    with pytest.raises(ValueError, match="no usable line"):
        read_questions(file_of(tmp_path, *lines), skip_bad=skip_bad)


def test_a_missing_file_names_the_nearest(tmp_path):
    file_of(tmp_path, GOOD)
    with pytest.raises(FileNotFoundError, match=r"questions\.jsonl"):
        read_questions(tmp_path / "question.jsonl")
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_questions(tmp_path / "none" / "questions.jsonl")


def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_litter(tmp_path):
    path = file_of(tmp_path, GOOD)
    with pytest.raises(TypeError):
        jsonl.write(path, [{"prompt": "q"}, {"prompt": object()}])
    assert path.read_bytes() == GOOD
    assert list(tmp_path.iterdir()) == [path]


def test_trap33_a_line_cut_by_a_kill_does_not_spoil_the_next_one(tmp_path):
    path = file_of(tmp_path, GOOD, b'{"prompt": "hal')
    jsonl.append(path, {"prompt": "q", "answer": "3"})
    rows, skipped = read_questions(path, skip_bad=True)
    assert [row["answer"] for row in rows] == ["2", "3"] and skipped == 1


def test_trap33_what_a_kill_left_half_written_is_gone_once_the_file_is_written_again(tmp_path):
    """The resumed run is another process: it must come upon the other's remains."""
    code = (
        "import os, sys; from r1jax.io import jsonl\n"
        "def rows():\n    yield {}\n    os._exit(9)\n"
        "jsonl.write(sys.argv[1], rows())\n"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "rows.jsonl"], check=False).returncode == 9
    assert os.listdir(tmp_path) not in ([], ["rows.jsonl"])
    jsonl.write(tmp_path / "rows.jsonl", [{"a": 1}])
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_every_epoch_shows_every_example_once_in_an_order_of_its_own():
    size = 50
    epochs = np.array(jsonl.order(seed=3, size=size, start=0, count=4 * size)).reshape(4, size)
    assert (np.sort(epochs) == np.arange(size)).all()
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4
    assert jsonl.order(4, size, 0, size) != epochs[0].tolist()


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_trap33_the_order_at_a_position_does_not_depend_on_where_reading_began(size):
    whole = jsonl.order(5, size, 0, 80)
    assert len(whole) == 80
    for start in range(0, 60, 7):
        for count in (0, 1, 5, 60 - start):
            assert jsonl.order(5, size, start, count) == whole[start : start + count]


@pytest.mark.parametrize("arguments", [(0, 0, 0, 1), (0, 5, -1, 1), (0, 5, 0, -1), (-1, 5, 0, 1)])
def test_an_order_of_nothing_is_refused(arguments):
    with pytest.raises(ValueError, match="cannot order"):
        jsonl.order(*arguments)


def test_reading_and_ordering_need_no_jax():
    code = "import sys, r1jax.io.jsonl, r1jax.data.tasks, r1jax.config; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}")
@pytest.mark.parametrize("name", ["gsm8k/train.jsonl", "math500", "cmath"])
def test_real_files_are_read_whole(name):
    path = DATA / name
    for file in [path] if path.is_file() else sorted(path.glob("*.jsonl")):
        lines = sum(bool(line.strip()) for line in file.open("rb"))
        assert len(read_questions(file)[0]) == lines
