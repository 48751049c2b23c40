"""The audit: what it plants near a reference is wrong, and what is planted in data it finds."""

import json
import pathlib
import re
from concurrent.futures import Future
from fractions import Fraction

import planted
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.rewards.workers import WorkersFailed
from r1jax.sandbox import programs
from r1jax.sandbox.config import CodeConfig
from r1jax.tools import audit, audit_cases
from r1jax.tools.audit_cases import countdown_perturbations
from r1jax.tools.audit_maths import maths_perturbations, number

SETTINGS = settings(derandomize=True, max_examples=100, deadline=None)


def perturbed(reference: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind, text in maths_perturbations(reference):
        found.setdefault(kind, []).append(text)
    return found


@pytest.mark.parametrize(
    "reference, sign",
    [
        ("5", "-5"),
        ("-5", "5"),
        ("+5", "-5"),
        ("1,234.50", "-1,234.50"),
        (r"\$5", r"-\$5"),
        (r"\frac{14}{3}", r"-\frac{14}{3}"),
        ("p - q", "-p - q"),
        ("-x^2 + 1", "x^2 + 1"),
        ("x = 5", "x = -5"),
        ("f(x) = 2x", "f(x) = -2x"),
        ("x^2 + y^2 = 1", "-x^2 + y^2 = 1"),
        (r"\approx 8.24", r"\approx -8.24"),
        (r"x \in [-2,7]", r"x \in [2,7]"),
        (r"\left( 0, \pi \right)", r"\left( 0,- \pi \right)"),
        (r"(0,9) \cup (9,36)", r"(0,-9) \cup (9,36)"),
        (r"\begin{pmatrix} 0 & 1 \\ 2 & 0 \end{pmatrix}", r"\begin{pmatrix} 0 & 1 \\ -2 & 0 \end{pmatrix}"),
        (r"18\text{ dollars}", r"-18\text{ dollars}"),
    ],
)
def test_the_sign_changes_of_the_first_term_that_is_not_zero(reference: str, sign: str) -> None:
    assert [text.replace(" ", "") for text in perturbed(reference)["sign"]] == [sign.replace(" ", "")]


@pytest.mark.parametrize("reference", ["0", "-0.00", r"0\%", r"\pm 2", r"\text{Evelyn}", "Monday", "是", "(0, 0)", ""])
def test_what_has_no_sign_or_either_sign_keeps_it(reference: str) -> None:
    assert "sign" not in perturbed(reference)


@pytest.mark.parametrize(
    "reference, digits",
    [
        ("5", ["6"]),
        ("19", ["29", "18"]),
        ("1.50", ["2.50", "1.51"]),
        (r"\frac{0}{5}", [r"\frac{1}{5}"]),  # 0/6 is 0 too
        ("x_1 = 5", ["x_1 = 6"]),
        ("f(2) = 5", ["f(2) = 6"]),
        ("x^2 + y^2 = 1", ["x^3 + y^2 = 1", "x^2 + y^2 = 2"]),
        (r"15\mbox{ cm}^2", [r"25\mbox{ cm}^2", r"16\mbox{ cm}^2"]),
        ("52_8", ["62_8", "52_9"]),
        (r"\log_2 x", [r"\log_3 x"]),
        (r"\pi", []),
    ],
)
def test_the_first_and_the_last_digit_of_the_value_change(reference: str, digits: list[str]) -> None:
    assert perturbed(reference).get("digit", []) == digits


@pytest.mark.parametrize(
    "reference, options",
    [
        ("3, 5, 7", ["5, 7", "3, 5"]),
        (r"\{1, 2\}", [r"\{ 2\}", r"\{1\}"]),
        (r"\left( 3, \frac{\pi}{2} \right)", [r"\left( \frac{\pi}{2} \right)", r"\left( 3\right)"]),
        ("(3,4]", ["(4]", "(3]"]),
        (r"(-\infty, 2) \cup (3, \infty)", [r"(3, \infty)", r"(-\infty, 2)"]),
        (r"2 \text{ or } 3", ["3", "2"]),
        (r"7, -2, \text{ and } -5", [r"-2, \text{ and } -5", "7, -2"]),
        (r"\begin{bmatrix}1\\2\end{bmatrix}", [r"\begin{bmatrix}2\end{bmatrix}", r"\begin{bmatrix}1\end{bmatrix}"]),
        ("(3, 3, 4)", ["(3, 3)"]),  # of two that are alike neither is dropped: a set would not miss it
        (r"\pm 2", ["2"]),
        (r"1 \pm \sqrt{2}", [r"1 + \sqrt{2}"]),
        ("1,234", []),
        (r"\text{(E)},", []),
        (r"11,\! 111", []),
        (r"\frac12 \text{ or } 0.5", []),  # one value, said twice
        ("f(2, 3)", []),
        ("(x+1)(x, y)", []),
    ],
)  # fmt: skip
def test_an_element_is_left_out_of_a_list_set_tuple_union_or_column(reference: str, options: list[str]) -> None:
    found = perturbed(reference).get("option", [])
    assert [text.replace(" ", "") for text in found] == [text.replace(" ", "") for text in options]


@pytest.mark.parametrize(
    "reference, options",
    [
        ("$x=2$ and $y=3$", ["$x=2$", "$y=3$"]),
        ("$(1,2)$和$(3,4)$", []),  # pairs are not evaluated
        ("$1$、$2$和$3$", ["$1$", "$1$、$2$", "$2$和$3$"]),
        (r"$\frac12$ or $0.5$", []),
        ("$5$ for $x=2$", []),  # not a list
        (r"\$5 and \$6", [r"\$5", r"\$6"]),  # currencies
    ],
)
def test_an_element_is_left_out_of_several_formulas_in_dollars(reference: str, options: list[str]) -> None:
    found = perturbed(reference).get("option", [])
    assert sorted(text.strip() for text in found) == options


@pytest.mark.parametrize(
    "reference, swapped",
    [
        ("x=2, y=3", ["x=3, y=2"]),
        ("AB=9, CD=4", ["AB=4, CD=9"]),
        ("x_1 = a, x_2 = 2a", ["x_1 = 2a, x_2 = a"]),
        ("$x=2$ and $y=3$", ["$x=3$ and $y=2$"]),
        ("x=1, y=1, z=2", ["x=2, y=1, z=1"]),
        (r"x=\frac12, y=0.5", []),  # the same value
        (r"x=\frac{a}{2}, y=0.5a", []),
        ("x=2,y=3 or x=3,y=2", []),  # two solutions
        (r"x=\clubsuit, y=3", []),  # not evaluated
        ("x=2", []),
        (r"a=\frac{1}{2}, Q(2,-2)", []),
    ],
)
def test_two_named_values_that_differ_change_places(reference: str, swapped: list[str]) -> None:
    assert perturbed(reference).get("names swapped", []) == swapped


@pytest.mark.parametrize(
    "reference, negated",
    [
        ("even", ["not even"]),
        (r"\text{even}", [r"\text{not even}"]),
        ("They are equal", ["They are not equal"]),
        ("Mrs. Hilt", ["not Mrs. Hilt"]),
        ("Yes", ["No"]),
        ("小明", ["不是小明"]),
        ("neither", []),
        ("They are not equal", []),
        ("不是", []),
        ("Navin and 5", []),
        ("LQSX", []),  # perhaps a product, or points
        ("sin x", []),
        ("xy", []),
        ("C", []),
    ],
)
def test_words_are_negated_unless_they_are_already(reference: str, negated: list[str]) -> None:
    assert perturbed(reference).get("negated", []) == negated


@pytest.mark.parametrize(
    "reference, modified",
    [
        ("5", [r"\text{less than }5", r"\text{twice }5"]),
        (r"\frac12", [r"\text{less than }\frac12", r"\text{twice }\frac12"]),
        ("0", [r"\text{less than }0"]),  # twice nothing is nothing
        ("less than 5", ["5"]),
        (r"\text{negative }5", []),  # not cut out of its braces
        ("negative 5", ["5"]),
        ("negative 0", []),
        ("x", []),
        ("(1, 2)", []),
    ],
)
def test_a_number_is_said_with_a_word_that_changes_it(reference: str, modified: list[str]) -> None:
    assert perturbed(reference).get("modified", []) == modified


@pytest.mark.parametrize(
    "reference, glued",
    [("2 1/4", ["21/4"]), ("2.5", ["25"]), ("-0.25", ["-025"]), ("0.0", []), ("25", []), ("1,234", []), ("x.5", [])],
)
def test_a_blank_or_a_point_between_digits_is_left_out_of_a_number(reference: str, glued: list[str]) -> None:
    assert perturbed(reference).get("glued", []) == glued


@pytest.mark.parametrize("gold, letter", [("C", "D"), ("(D)", "(A)"), (r"\text{(E)}", r"\text{(A)}"), ("B.", "C.")])
def test_a_choice_becomes_another(gold: str, letter: str) -> None:
    assert maths_perturbations(gold) == [("letter", letter)]


@pytest.mark.parametrize(
    "text, value",
    [
        ("-7", Fraction(-7)),
        ("1,234.5", Fraction(2469, 2)),
        (r"11,\! 111", Fraction(11111)),
        (r"\frac12", Fraction(1, 2)),
        (r"-1\frac{1}{2}", Fraction(-3, 2)),
        ("1 1/2", Fraction(3, 2)),
        ("-3/4", Fraction(-3, 4)),
        (r"\$ 3.00", Fraction(3)),
        (r"90^\circ", Fraction(90)),
        ("1/0", None),
        ("1 000", None),
        ("2x", None),
        ("9" * 5000, None),
    ],
)
def test_numbers_are_read_exactly(text: str, value: Fraction | None) -> None:
    assert number(text) == value


INTEGERS = st.integers(-(10**12), 10**12).map(str)
DECIMALS = st.decimals(-(10**6), 10**6, places=3).map(lambda value: f"{value:f}")
FRACTIONS = st.tuples(st.sampled_from(["", "-"]), st.integers(0, 999), st.integers(1, 999))
LATEX = FRACTIONS.map(lambda parts: rf"{parts[0]}\frac{{{parts[1]}}}{{{parts[2]}}}")


@SETTINGS
@given(INTEGERS | DECIMALS | LATEX | FRACTIONS.map(lambda parts: f"{parts[0]}{parts[1]}/{parts[2]}"))
def test_no_perturbed_number_has_the_value_of_its_reference(reference: str) -> None:
    value = number(reference)
    assert value is not None
    for _, text in maths_perturbations(reference):
        assert text != reference and number(text) != value


@SETTINGS
@given(st.lists(st.sampled_from([*r"01x,;-+=()[]{}\&_^ ", r"\pm", r"\cup", r"\frac", r"\text{ or }", r"\left("])))
def test_whatever_a_reference_is_perturbing_it_never_raises_nor_gives_it_back(pieces: list[str]) -> None:
    reference = "".join(pieces)
    for _, text in maths_perturbations(reference):
        assert text != reference


def test_an_expression_is_perturbed_only_into_wrong_ones() -> None:
    found = countdown_perturbations("2 * 2")
    assert ("operator", "2 + 2") not in found  # has the value
    assert ("operator", "2 - 2") in found and ("operator", "2 / 2") in found
    assert [kind for kind, _ in found].count("number") == 2 and ("number", "3 * 2") in found
    assert ("dropped", "2") in found and ("repeated", "2 * 2 + 2 - 2") in found


def test_where_numbers_may_be_left_out_only_another_value_is_wrong() -> None:
    found = countdown_perturbations("5 * 1", use_all=False)
    assert ("dropped", "5") not in found and ("dropped", "1") in found
    assert "repeated" not in dict(found) and ("operator", "5 / 1") not in found


@pytest.mark.parametrize("reference", ["", "2 +", "2 ** 9 ** 9", "f(2)", "(" * 500 + "2" + ")" * 500, "2.5 * 2", "x"])
def test_what_is_no_plain_expression_is_left_alone(reference: str) -> None:
    assert countdown_perturbations(reference) == []


def exact(expression: str) -> Fraction | None:
    try:
        return eval(re.sub(r"(\d+)", r"Fraction(\1)", expression))
    except ZeroDivisionError:
        return None


@SETTINGS
@given(st.lists(st.integers(1, 99), min_size=2, max_size=5), st.data())
def test_every_perturbed_expression_breaks_the_rules_of_countdown(numbers: list[int], data: st.DataObject) -> None:
    text = str(numbers[0])
    for each in numbers[1:]:
        text = f"({text}) {data.draw(st.sampled_from('+-*/'))} {each}"
    target = exact(text)
    assume(target is not None)
    for kind, wrong in countdown_perturbations(text):
        used = sorted(map(int, re.findall(r"\d+", wrong)))
        if used == sorted(numbers):
            assert kind == "operator" and exact(wrong) != target


def test_a_body_that_continues_its_prompt_is_mutated_with_its_own_head_alone() -> None:
    prompt = "def helper():\n    return 1\n\n\ndef f(x):\n"
    row = {"prompt": prompt, "answer": "    return x + helper()\n", "entry_point": "f"}
    found = audit_cases.mutated(row)
    assert {kind for kind, _ in found} == {"gross mutant", "subtle mutant"}
    for _, program in found:
        assert "return 1" in program and "return x + helper()" not in program
    assert [kind for kind, _ in audit_cases.mutated(row, 1)] == ["gross mutant", "subtle mutant"]
    assert audit_cases.mutated(row, 0) == [] and audit_cases.mutated({**row, "answer": "    return ("}) == []


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
        ("unreadable", "readable"), ("fine", "recorded"), ("fine", "recorded"),
    ]  # fmt: skip
    assert failures[1] == {
        "data": "set/test", "id": "fine", "check": "recorded", "kind": "samples", "graded": r"\boxed{41}", "gold": "41",
        "should_be_right": False, "verdict": "right", "score": 1.0, "error": "",
    }  # fmt: skip
    assert "33.33% of 3 (+1 −1)" in (tmp_path / "out/table.md").read_text(encoding="utf-8")
    assert "set/test" in capsys.readouterr().out


def test_a_grader_that_lets_a_wrong_answer_pass_is_told_by_row_and_answer(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit.grader_table, "grade", planted.lenient)
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
        ("wrong", "own", "box"), ("wrong", "own", "tags"),
    ]  # fmt: skip
    assert {kind: each["passed"] for kind, each in summary["perturbed"].items()} == {
        "operator": 0, "number": 0, "dropped": 0, "repeated": 0,
    }  # fmt: skip


def test_trap18_a_grading_that_hangs_is_a_time_out_and_the_rest_goes_on(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit.grader_table, "grade", planted.hanging)
    rows = [{"prompt": "?", "answer": answer} for answer in ("east", "7", "west")]
    _, [summary], failures = run(tmp_path, "--data", write(tmp_path / "set/test.jsonl", rows), "--timeout", "3")
    assert summary["timeouts"] == 1 and summary["own"] == {"passed": 2, "tried": 3}
    own, sign = failures
    assert (own["id"], own["check"], own["verdict"], own["score"]) == ("test-2", "own", "timeout", 0.0)
    assert "not done within 3.0 s" in own["error"] and sign["kind"] == "sign"


def test_graders_that_are_gone_are_an_error_and_no_wrong_answer() -> None:
    class Gone:
        def submit(self, *_: object, timeout_s: float) -> Future:
            future = Future()
            future.set_exception(WorkersFailed("no worker can be started"))
            return future

    row = {"id": "a-0", "prompt": "?", "answer": "5", "grader": "maths"}
    with pytest.raises(WorkersFailed, match="no worker can be started"):
        audit.audit_rows("a", [row], Gone(), GraderConfig())


def test_entries_of_a_task_are_graded_by_its_own_scorer(tmp_path: pathlib.Path) -> None:
    arguments = ["--task", "chain_sum", "countdown", "--limit", "3", "--strict"]
    status, [summary, countdown], failures = run(tmp_path, *arguments)
    assert (status, failures) == (0, [])
    assert (summary["data"], summary["rows"]) == ("reasoning_gym:chain_sum", 3)
    assert summary["own"] == {"passed": 3, "tried": 3} and summary["perturbed"]["sign"]["tried"] == 3
    assert countdown["perturbed"]["repeated"] == {"passed": 0, "tried": 3}


def test_a_reference_program_passes_and_what_is_made_of_it_does_not(tmp_path: pathlib.Path) -> None:
    try:
        programs.check_available(CodeConfig())
    except programs.SandboxError as error:
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
