"""Grading a file: every row comes back in its place with its own keys, a score, or the reason why it has none."""

import functools
import io
import json
import pathlib
import re
from typing import Any

import planted
import pytest

from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.graders.grade_row import final_text
from r1jax.sandbox import runner as sandbox
from r1jax.sandbox.config import CodeConfig
from r1jax.tools import grade

SUM = {"prompt": "1 + 1?", "answer": "2"}


def lines_of(rows: list[dict[str, Any] | str]) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def graded(tmp_path: pathlib.Path, rows: list[dict[str, Any] | str], *arguments: str) -> tuple[int, list[dict]]:
    """The exit status and the rows that were written."""
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text(lines_of(rows), encoding="utf-8")
    status = grade.main([str(file), "--out", str(out), "--workers", "1", *arguments])
    return status, [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.exists() else []


def test_rows_keep_their_keys_and_their_order_and_get_score_verdict_and_final_answer(tmp_path: pathlib.Path) -> None:
    rows = [
        {**SUM, "id": 7, "response": rf"\boxed{{{i}}}", "model": {"name": "é"}, "tags": [i, None]} for i in range(5)
    ]
    status, found = graded(tmp_path, rows)
    assert status == 0
    assert found == [
        {**row, "score": float(i == 2), "verdict": "right" if i == 2 else "wrong", "final_answer": str(i)}
        for i, row in enumerate(rows)
    ]
    assert list(found[0]) == [*rows[0], "score", "verdict", "final_answer"]


def test_grading_its_own_output_again_changes_nothing(tmp_path: pathlib.Path) -> None:
    _, first = graded(tmp_path, [{**SUM, "response": "2"}, {**SUM, "response": 3}])
    assert graded(tmp_path, first) == (0, first)
    mended = [first[0], {**first[1], "response": "3"}]
    _, again = graded(tmp_path, mended)
    assert again[1] == {**SUM, "response": "3", "score": 0.0, "verdict": "wrong", "final_answer": "3"}


@pytest.mark.parametrize(
    "row, reason",
    [
        ('{"prompt": "torn', "not JSON"),
        ("[1, 2]", "a list, should be an object"),
        ('{"prompt": NaN}', "NaN is not JSON"),
        ('{"prompt": "1?", "answer": "1", "response": "\\ud83d"}', "surrogates not allowed"),
        ("[" * 100_000, "nested too deeply"),
        (SUM, f"no 'response'; the row has: {', '.join(SUM)}"),
        ({**SUM, "response": None}, "'response' is None, should be a string"),
        ({"answer": "2", "response": "2"}, "no 'prompt'"),
        ({"prompt": "1 + 1?", "response": "2"}, "no 'answer'"),
        ({**SUM, "answer": [2], "response": "2"}, "'answer' is [2], should be a string"),
        ({**SUM, "answer": r"\frac{", "response": "2"}, "cannot be read as mathematics"),
        ({**SUM, "grader": "math", "response": "2"}, "no grader named 'math'; nearest: maths"),
        ({**SUM, "grader": ["maths"], "response": "2"}, "unhashable"),
        ({**SUM, "grader": "choice", "response": "2"}, "answer '2' is no choice"),
        ({**SUM, "grader": "code", "response": "2"}, "no tests"),
        ({**SUM, "grader": "open", "response": "2"}, "an open request has no right answer"),
        ({**SUM, "grader": "patch", "instance_id": "x", "response": "2"}, "a patch is tested by a harness elsewhere"),
    ],
)
def test_a_row_that_cannot_be_graded_has_no_score_and_a_reason_and_the_others_have_theirs(
    tmp_path: pathlib.Path, row: dict[str, Any] | str, reason: str
) -> None:
    status, found = graded(tmp_path, [{**SUM, "response": "2"}, row, {**SUM, "response": "3"}])
    assert status == 0
    assert [each["score"] for each in found] == [1.0, None, 0.0]
    assert reason in found[1]["error"] and "error" not in found[0]
    kept = {key: value for key, value in found[1].items() if key not in grade._ADDED}
    assert kept == ({"line": row} if isinstance(row, str) else row)


def test_broken_utf8_and_blank_lines_stop_nothing(tmp_path: pathlib.Path) -> None:
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    good = json.dumps({**SUM, "response": "2"}).encode()
    file.write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\n  \n\xff\xfe\n" + good)
    assert grade.main([str(file), "--out", str(out)]) == 0
    found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [each["score"] for each in found] == [1.0, None, 1.0] and "not UTF-8" in found[1]["error"]


def test_each_row_has_its_own_grader_and_one_named_for_all_takes_its_place(tmp_path: pathlib.Path) -> None:
    countdown = {"prompt": "Make 24.", "answer": "", "nums": [1, 4, 7], "target": 24}
    rows = [
        {**SUM, "response": "2.0"},
        {**countdown, "response": "<answer>(7 - 1) * 4</answer>"},
        {**countdown, "response": "<answer>7 * 4</answer>"},
        {**SUM, "grader": "exact", "response": "2.5"},
    ]
    _, found = graded(tmp_path, rows)
    assert [each["score"] for each in found] == [1.0, 1.0, 0.0, 0.0]
    _, found = graded(tmp_path, rows, "--grader", "exact")
    assert [each["score"] for each in found] == [0.0, None, None, 0.0], "exact wants a reference and reads 2.0 as words"


def test_the_table_has_a_line_for_each_grader(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "in.jsonl"
    rows = [{**SUM, "response": text} for text in ("2", "2", "3", "")]
    rows += [{"prompt": "?", "answer": "B", "grader": "choice", "response": "B"}, "torn", {**SUM, "grader": "open"}]
    file.write_text(lines_of(rows))
    assert grade.main([str(file)]) == 0
    printed = capsys.readouterr().out
    cells = [re.split(r"\s*[│┃]\s*", line.strip("│┃ ")) for line in printed.splitlines() if line[:1] in "│┃"]
    assert cells == [
        list(grade.COLUMNS),
        ["maths", "4", "2", "2", "0", "0.500", "right 2, wrong 1, no_answer 1"],
        ["choice", "1", "1", "0", "0", "1.000", "right 1"],
        ["open", "1", "0", "0", "1", "–", "ungradable 1"],
        ["(none)", "1", "0", "0", "1", "–", "ungradable 1"],
    ]
    assert "first of those not gradable: not JSON" in printed
    assert list(tmp_path.iterdir()) == [file], "without --out nothing is written"


def test_standard_input_is_read_as_a_file_is(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = lines_of([{**SUM, "response": "2"}, "torn"]).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    out = tmp_path / "out.jsonl"
    assert grade.main(["-", "--out", str(out)]) == 0
    assert [json.loads(line)["score"] for line in out.read_text().splitlines()] == [1.0, None]


def test_trap18_a_grader_that_hangs_costs_its_row_alone_its_score(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grader_table, "grade", planted.hanging)
    rows = [{"prompt": "?", "answer": answer, "response": rf"\boxed{{{answer}}}"} for answer in ("5", "7", "9")]
    status, found = graded(tmp_path, rows, "--timeout", "3")
    assert status == 0
    assert [each["score"] for each in found] == [1.0, None, 1.0]
    assert found[1]["verdict"] == "timeout" and "not done within 3 processor seconds" in found[1]["error"]
    assert found[1]["final_answer"] is None


@pytest.mark.parametrize(
    "fault, verdict, reason", [("crash", "crash", "exit code -11"), ("grow", "memory", "more than 512 MiB")]
)
def test_a_grader_that_dies_or_grows_leaves_no_score(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, fault: str, verdict: str, reason: str
) -> None:
    monkeypatch.setattr(grader_table, "grade", getattr(planted, fault))
    monkeypatch.setattr(grade, "GraderConfig", functools.partial(GraderConfig, memory_mb=512))
    status, [row] = graded(tmp_path, [{**SUM, "response": "2"}])
    assert (status, row["score"], row["verdict"]) == (0, None, verdict) and reason in row["error"]


def test_a_reference_on_which_reading_hangs_leaves_no_score(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grader_table, "check_row", planted.hang)
    status, [row] = graded(tmp_path, [{**SUM, "response": "2"}], "--timeout", "1")
    assert (status, row["score"], row["verdict"]) == (0, None, "timeout")


def test_programs_run_in_the_sandbox_and_count_by_their_share_only_where_it_is_asked_for(
    tmp_path: pathlib.Path,
) -> None:
    try:
        sandbox.check_available(CodeConfig())
    except sandbox.SandboxError as error:
        pytest.skip(str(error))
    task = {"prompt": "Add one.", "answer": "", "test_list": ["assert g(0) == 1", "assert g(2) == 3"]}
    programs = ["def g(a):\n    return a + 1", "def g(a):\n    return 1", "def g(a):\n    while True:\n        pass"]
    rows = [{**task, "response": f"Like this:\n```python\n{program}\n```\n"} for program in programs]
    _, found = graded(tmp_path, rows, "--timeout", "2")
    assert [each["score"] for each in found] == [1.0, 0.0, 0.0]
    assert [each["verdict"] for each in found] == ["right", "wrong", "timeout"]
    assert [each["final_answer"] for each in found] == programs
    _, found = graded(tmp_path, rows[:2], "--partial-credit")
    assert [each["score"] for each in found] == [1.0, 0.5]


def test_where_programs_are_to_run_a_missing_sandbox_is_the_whole_files_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def unavailable(cfg: CodeConfig) -> None:
        raise sandbox.SandboxError("no bubblewrap: apt install bubblewrap")

    monkeypatch.setattr(grade, "check_available", unavailable)
    assert graded(tmp_path, [{**SUM, "response": "2"}])[0] == 0
    (tmp_path / "out.jsonl").unlink()
    row = {"prompt": "Add one.", "answer": "", "test_list": ["assert g(0) == 1"], "response": "x"}
    assert graded(tmp_path, [row]) == (2, [])
    assert capsys.readouterr().err == "error: no bubblewrap: apt install bubblewrap\n"


@pytest.mark.parametrize(
    "name, gold, text, final",
    [
        ("maths", "1/2", r"so \boxed{\frac{2}{4}}", r"\frac{2}{4}"),
        ("maths", "1/2", "<think> 3 </think> <answer> 0.5 </answer>", "0.5"),
        ("maths", "42", "The answer is $42$.", "42"),
        ("maths", "42", "First 40, and then 2 more: the answer is 42, as it should be.", "42"),
        ("maths", "B", "The answer is (C).", "C"),
        ("maths", "Evelyn", "So the answer is Mary.", "Mary"),
        ("choice", "B", "Answer: C, as 9 is a square", "C"),
        ("exact", "Paris", "The answer is Lyon.", "Lyon"),
        ("countdown", "", "<answer>(7 - 1) * 4</answer>", "(7 - 1) * 4"),
        ("ifeval", "", "<think> hm </think> Dear Sir,", "Dear Sir,"),
        ("maths", "1", r"\boxed{1} or \boxed{2}", None),
        ("maths", "1", "<think> 1, I think", None),
        ("code", "", "no program", None),
    ],
)
def test_the_final_answer_is_what_a_person_would_quote(name: str, gold: str, text: str, final: str | None) -> None:
    prompt = Prompt("id", "?", gold, f"{name}:file")
    rollout = Rollout.of_text(prompt, text)
    given = grader_table.grade(rollout, None) if name == "choice" else Grade(0.0, "wrong")
    assert final_text(rollout, given) == final


def test_a_response_in_the_cold_starts_form_is_read_by_its_marker(tmp_path: pathlib.Path) -> None:
    row = {**SUM, "response": r"|mark| \boxed{3}, no |mark| 2"}
    assert graded(tmp_path, [row], "--marker", "|mark|")[1][0]["score"] == 1.0
    assert graded(tmp_path, [row])[1][0]["score"] == 0.0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["{}/inn.jsonl"], "nearest in .*: in.jsonl"),
        (["{}/empty.jsonl"], "empty.jsonl holds no row"),
        (["{}/in.jsonl", "--grader", "math"], "no grader named 'math'; nearest: maths"),
        (["{}/in.jsonl", "--workers", "0"], "workers=0 must be at least 1"),
        (["{}/in.jsonl", "--timeout", "0"], "time_s"),
        (["{}/in.jsonl", "--out", "{}"], "is a folder, should be a file"),
    ],
)
def test_what_cannot_be_graded_at_all_is_one_line_and_status_2(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    (tmp_path / "in.jsonl").write_text(lines_of([{**SUM, "response": "2"}]))
    (tmp_path / "empty.jsonl").write_text("\n")
    assert grade.main([argument.replace("{}", str(tmp_path)) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and re.search(message, error), error


def test_help_has_an_example_that_runs_and_names_every_grader(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        grade.main(["--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and all(name in printed for name in grader_table.GRADERS)
    rows = [line.strip() for line in printed.splitlines() if line.startswith('    {"prompt"')]
    status, found = graded(tmp_path, list(rows))
    assert (status, [each["score"] for each in found]) == (0, [1.0, 0.0])
    assert [each["final_answer"] for each in found] == ["0.5", "A"]
