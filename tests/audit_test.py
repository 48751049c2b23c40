"""The audit: what is planted in data, and in graders, it finds."""

import json
import pathlib
import re
from concurrent.futures import Future

import planted
import pytest

from r1jax.audit import dataset_audit
from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.rewards.workers import WorkersFailed
from r1jax.sandbox import runner
from r1jax.sandbox.config import CodeConfig
from r1jax.tools import audit


def write(path: pathlib.Path, rows: list[dict]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def run(workdir: pathlib.Path, *arguments: str) -> tuple[int, list[dict], list[dict]]:
    """The exit status, the summaries and the failures."""
    status = audit.main(["--workdir", str(workdir), "--workers", "1", *arguments])
    summary, failures = workdir / "summary.json", workdir / "failures.jsonl"
    if not summary.exists():
        return status, [], []
    return status, json.loads(summary.read_text()), [json.loads(line) for line in failures.read_text().splitlines()]


def test_planted_faults_of_mathematics_are_all_found(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    samples = [
        {"text": r"\boxed{41}", "correct": True},
        {"text": r"\boxed{41}", "correct": False},
        {"text": r"\boxed{40}", "correct": True},
    ]
    rows = [
        {"id": "fine", "prompt": "?", "answer": "41", "samples": samples, "tags": ["x"]},
        {"id": "tuple", "prompt": "?", "answer": "(1, 2)"},
        {"id": "unreadable", "prompt": "?", "answer": r"\frac{"},
    ]
    status, [summary], failures = run(tmp_path / "out", "--data", write(tmp_path / "set/test.jsonl", rows))
    assert status == 0
    assert (summary["data"], summary["grader"], summary["rows"]) == ("set/test", "maths", 3)
    assert summary["version"] == grader_table.version("maths")
    assert summary["unreadable"]["count"] == 1 and "reference answer" in summary["unreadable"]["first"][0]
    assert summary["own"] == {"passed": 2, "tried": 2}
    assert summary["perturbed"].pop("modified")["tried"] == 2  # whether it passes is the grader's matter
    failures = [failure for failure in failures if failure.get("kind") != "modified"]
    assert summary["perturbed"] == {
        "sign": {"passed": 0, "tried": 2},
        "digit": {"passed": 0, "tried": 4},
        "option": {"passed": 0, "tried": 2},
    }
    assert summary["recorded"] == {"n": 3, "agreed": 1, "false_positives": 1, "false_negatives": 1}
    assert summary["timeouts"] == 0 and summary["gradings"] == 15 and summary["per_second"] > 0
    assert [(each["id"], each["check"]) for each in failures] == [
        ("unreadable", "readable"),
        ("fine", "recorded"),
        ("fine", "recorded"),
    ]
    assert failures[1] == {
        "data": "set/test",
        "id": "fine",
        "check": "recorded",
        "kind": "samples",
        "graded": r"\boxed{41}",
        "gold": "41",
        "should_be_right": False,
        "verdict": "right",
        "score": 1.0,
        "error": "",
    }
    assert "33.33% of 3 (+1 −1)" in (tmp_path / "out/table.md").read_text(encoding="utf-8")
    assert "set/test" in capsys.readouterr().out


def test_a_grader_that_lets_a_wrong_answer_pass_is_told_by_row_and_answer(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grader_table, "grade", planted.lenient)
    data = write(tmp_path / "set/test.jsonl", [{"id": "a", "prompt": "?", "answer": "41"}])
    status, [summary], [failure] = run(tmp_path / "out", "--data", data, "--strict")
    assert status == 1
    assert summary["perturbed"]["sign"] == {"passed": 1, "tried": 1}
    assert (failure["check"], failure["kind"], failure["graded"]) == ("perturbed", "sign", r"\boxed{-41}")


def test_a_reference_that_fails_itself_is_found(tmp_path: pathlib.Path) -> None:
    right = {"prompt": "?", "answer": "(7 - 1) * 4", "nums": [1, 4, 7], "target": 24}
    rows = [{"id": "right", **right}, {"id": "wrong", **right, "target": 25}]
    status, [summary], failures = run(tmp_path, "--data", write(tmp_path / "set/test.jsonl", rows), "--strict")
    assert status == 1 and summary["grader"] == "countdown"
    assert summary["own"] == {"passed": 1, "tried": 2}
    assert [(each["id"], each["check"], each["kind"]) for each in failures] == [
        ("wrong", "own", "box"),
        ("wrong", "own", "tags"),
    ]
    assert {kind: each["passed"] for kind, each in summary["perturbed"].items()} == {
        "operator": 0,
        "number": 0,
        "dropped": 0,
        "repeated": 0,
    }


def test_trap18_a_grading_that_hangs_is_a_time_out_and_the_rest_goes_on(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grader_table, "grade", planted.hanging)
    rows = [{"prompt": "?", "answer": answer} for answer in ("east", "7", "west")]
    _, [summary], failures = run(tmp_path, "--data", write(tmp_path / "set/test.jsonl", rows), "--timeout", "3")
    assert summary["timeouts"] == 1 and summary["own"] == {"passed": 2, "tried": 3}
    own, sign = failures
    assert (own["id"], own["check"], own["verdict"], own["score"]) == ("test-2", "own", "timeout", 0.0)
    assert "not done within 3 processor seconds" in own["error"] and sign["kind"] == "sign"


def test_graders_that_are_gone_are_an_error_and_no_wrong_answer() -> None:
    class Gone:
        def submit(self, *_: object, timeout_s: float) -> Future:
            future = Future()
            future.set_exception(WorkersFailed("no worker can be started"))
            return future

    row = {"id": "a-0", "prompt": "?", "answer": "5", "grader": "maths"}
    with pytest.raises(WorkersFailed, match="no worker can be started"):
        dataset_audit.audit_rows("a", [row], Gone(), GraderConfig())


def test_entries_of_a_task_are_graded_by_its_own_scorer(tmp_path: pathlib.Path) -> None:
    arguments = ["--task", "chain_sum", "countdown", "--limit", "3", "--strict"]
    status, [summary, countdown], failures = run(tmp_path, *arguments)
    assert (status, failures) == (0, [])
    assert (summary["data"], summary["rows"]) == ("reasoning_gym:chain_sum", 3)
    assert summary["own"] == {"passed": 3, "tried": 3} and summary["perturbed"]["sign"]["tried"] == 3
    assert countdown["perturbed"]["repeated"] == {"passed": 0, "tried": 3}


def test_a_reference_program_passes_and_what_is_made_of_it_does_not(tmp_path: pathlib.Path) -> None:
    try:
        runner.check_available(CodeConfig())
    except runner.SandboxError as error:
        pytest.skip(str(error))
    tests = "def check(candidate):\n    assert candidate(1, 2) == 3\n"
    prompt = "def f(a, b):\n    '''Sum.'''\n"
    row = {"prompt": prompt, "answer": "    return a + b\n", "test": tests, "entry_point": "f"}
    weak = {"prompt": "Add.", "answer": "def g(a):\n    return a + 1", "test_list": ["assert g(0) in (1, -1)"]}
    status, [summary], failures = run(
        tmp_path, "--data", write(tmp_path / "set/test.jsonl", [row, weak]), "--strict", "--timeout", "5"
    )
    assert status == 0, "tests too weak to tell a subtle mutant are no fault of the grader"
    assert summary["grader"] == "code" and summary["own"] == {"passed": 2, "tried": 2}
    assert summary["perturbed"]["gross mutant"] == {"passed": 0, "tried": 4}
    assert [(each["id"], each["kind"]) for each in failures] == [("test-2", "subtle mutant")]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "nothing to audit: give --data FILE or --task NAME"),
        (["--data", "{}/tset.jsonl"], "nearest in .*: test.jsonl"),
        (["--data", "{}/broken.jsonl"], r"broken\.jsonl:2: not JSON"),
        (["--data", "{}/test.jsonl", "--grader", "math"], "no grader named 'math'; nearest: maths"),
        (["--task", "chain_sums"], "no task 'chain_sums'; nearest: chain_sum"),
        (["--data", "{}/test.jsonl", "--workers", "0"], "workers=0 must be at least 1"),
        (["--data", "{}/test.jsonl", "--timeout", "0"], "time_s"),
        (["--data", "{}/test.jsonl", "--limit", "0"], "--limit=0"),
    ],
)
def test_what_cannot_be_audited_is_told_in_one_line(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    write(tmp_path / "test.jsonl", [{"prompt": "?", "answer": "1"}])
    (tmp_path / "broken.jsonl").write_text('{"prompt": "?", "answer": "1"}\n{"prompt"\n')
    assert run(tmp_path / "out", *(argument.replace("{}", str(tmp_path)) for argument in arguments))[0] == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(message, error), error


def test_versions_are_short_stable_and_name_what_grades() -> None:
    maths = grader_table.version("maths")
    assert maths == grader_table.version("maths") and len(maths) < 120 and "mpmath 1." in maths
    assert "reasoning-gym" in grader_table.version("reasoning_gym") and "python 3." in grader_table.version("code")
