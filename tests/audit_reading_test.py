"""What a grader keeps of a reference, compared with it: what is lost is found, and another spelling is no loss."""

import functools
import json
import pathlib

import planted
import pytest

from r1jax.audit.cases import prepare
from r1jax.audit.reading import compare
from r1jax.graders.math import math_grader
from r1jax.tools import audit

MISREAD = pathlib.Path(__file__).with_name("misread_references.jsonl")


@pytest.mark.parametrize(
    "reference, kept",
    [
        # LaTeX's dress
        (r"\frac12", r"\frac{1}{2}"),
        (r"\dfrac{270}7", "270/7"),
        (r"\frac{x-1}{x+1}", "(x-1)/(x+1)"),
        (r"\frac{1}{2}x", "1/2 x"),
        (r"\sqrt3", r"\sqrt{3}"),
        (r"\left[0,1\right)", "[0,1)"),
        (r"x^{-2}", "x^(-2)"),
        ("x²", "x^{2}"),
        ("x ≤ 5", r"x \leq 5"),
        ("½", r"\frac{1}{2}"),
        (r"(\text{E})", "E"),
        (r"\text{A, D}", "A, D"),
        (r"\mathbf{2340}", "2340"),
        (r"\displaystyle\boxed{5}.", "5"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1, 2)"),
        (r"\begin{pmatrix} 1 & -1 \\ 1 & \phantom -1 \end{pmatrix}", r"\begin{pmatrix}1&-1\\1&1\end{pmatrix}"),
        (r"\{1,2\}", r"\left\{1, 2\right\}"),
        ("f'(x)", r"f^{\prime}(x)"),
        ("x \\geq -3, x \neq 0", r"x \ge -3, x \ne 0"),  # a line break for the \n of \neq
        # numbers
        ("1,234", "1234"),
        (r"10,\!000", "10000"),
        ("10{,}000", "10,000"),
        ("1 000 000", "1000000"),
        ("5.50", "5.5"),
        (".5", "0.5"),
        ("1e-5", "10^{-5}"),
        (r"1.5\times 10^{-5}", "1.5e-5"),
        (r"0.\dot{3}", r"0.\overline{3}"),
        (r"0.\dot{1}4285\dot{7}", r"0.\overline{142857}"),
        ("negative 5", "-5"),
        ("10%", "10 percent"),
        (r"0.56 = 56\%", "0.56"),
        ("(12,102]", "(12, 102]"),  # no thousands
        ("[-36,104]", "[-36, 104]"),
        (r"\$\dfrac23 \approx \$0.67", r"\frac{2}{3}"),
        (r"\mbox{four}", "4"),
        # units, counted things, lead-in words
        (r"90^\circ", "90"),
        (r"15\mbox{ cm}^2", "15"),
        (r"5 \text{ m}", "5"),
        (r"8\sqrt{3} \text { square inches}", r"8\sqrt{3}"),
        ("9 miles per hour", "9"),
        (r"575\text{ students}", "575"),
        (r"14 \text{ right triangles}", "14"),
        (r"\$5.50", "5.5"),
        ("12元", "12"),
        ("The answer is 5.", "5"),
        ("The Cooper wedding", "cooper wedding"),
        # signs that say nothing, and separators
        (r"2\cdot x", "2x"),
        ("(2)(3)", r"2\times 3"),
        ("+5", "5"),
        ("x=2 or x=3", "x=2, x=3"),
        ("1 ; 2", "1, 2"),
        ("$x=2$ and $y=3$", "x=2; y=3"),
        ("less than 5", "<5"),
        # written out
        (r"\{1\pm\sqrt{5},-2\}", r"\{1+\sqrt{5}, 1-\sqrt{5}, -2\}"),
        (r"x \in [-2,7]", "x = [-2, 7]"),
        (r"\frac13<x \le 7", r"x = (\frac{1}{3}, 7]"),
        (r"7 > x \ge 0", r"x = [0, 7)"),
        (r"x \geq -3, x \ne 0", r"x = [-3, \infty), x = (-\infty, 0) \cup (0, \infty)"),
        ("5 < x", r"x = (5, \infty)"),
        ("Q(2,-2)", "Q = (2, -2)"),
        # that a name is an integer or real
        (r"2k\pi, k \in \mathbb{Z}", r"2k\pi"),
        (r"2n\pi where n is an integer", r"2n\pi"),
        ("kπ (k为整数)", r"k\pi"),
    ],
)
def test_another_spelling_of_a_reference_loses_nothing(reference: str, kept: str) -> None:
    for one, other in ((reference, kept), (reference, reference)):
        found = compare(one, other)
        assert (found.lost, found.added) == ((), ())


@pytest.mark.parametrize(
    "reference, kept, lost, added",
    [
        ("2abc", "2", "a b c", ""),
        ("2 abc", "2", "a b c", ""),
        ("2 1/4", "21/4", "1 2", "21"),
        (r"2\frac14", "21/4", "1 2", "21"),
        ("1.5", "15", "1.5", "15"),
        ("1 2", "12", "1 2", "12"),
        ("x-10^{-9}", "x+10^{-9}", "-", "+"),
        ("x=2, y=3", "2, 3", "= = x y", ""),
        ("f'(x)", "f(x)", "'", ""),
        ("5!", "5", "!", ""),
        ("5%", "5", "%", ""),
        ("x^2", "x2", "^", ""),
        ("3s^2", "3", "2 ^ s", ""),
        ("5 m", "5", "m", ""),  # a bare letter is no unit
        ("a_2", "a", "2 _", ""),
        ("2B", "2b", "B", "b"),
        (r"x \ge 2", "x=2", r"\ge", "="),
        (r"x+1, x \ne 0", "x+1", r", 0 \ne x", ""),
        (r"5, n \in \mathbb{N}", "5", r", N \in n", ""),
        (r"2k\pi, k \in \mathbb{Z}^+", r"2k\pi", r"+ , Z \in ^ k", ""),
        (r"(1,2)\cup(3,4)", "(1,2)", r"( ) , 3 4 \cup", ""),
        ("[0,1]", "(0,1)", "[ ]", "( )"),
        (r"\{1,2\}", "1,2", r"\{ \}", ""),
        ("2(x+1)", "2x+1", "( )", ""),
        ("(-3)^2", "-3^2", "( )", ""),
        (r"\frac{1}{2x}", "1/2x", "( )", ""),
        (r"\cos 58^\circ", r"\cos 58", r"\circ", ""),  # of an angle that is still to be taken
        (r"0.\overline{3}", "0.3", r"0 3 \overline", "0.3"),
        (r"\sqrt[3]{2}", r"\sqrt{2}", "3", ""),
        ("3:1", "31", "1 3 :", "31"),
        ("5 less", "5", "e l s s", ""),
        ("5 squared", "5", "a d e q r s u", ""),
        (r"5 \text{ dozen}", "5", "d e n o z", ""),
        ("not even", "even", "n o t", ""),
        ("5", "5x", "", "x"),
        ("a + b + c", "+ b + c", "+ a", ""),  # no article
        (r"1 \pm 2", "1 + 2", r"\pm", "+"),
        ("0<x<7", "x = [0, 7)", "(", "["),  # the nearest spelling says the least
        ("x \neq 0", "x eq 0", r"\ne", "e q"),
        ("5", None, "5", ""),
    ],
)
def test_every_number_letter_and_sign_that_is_lost_or_added_is_named(
    reference: str, kept: str | None, lost: str, added: str
) -> None:
    found = compare(reference, kept)
    assert (sorted(found.lost), sorted(found.added)) == (sorted(lost.split()), sorted(added.split()))


def run(workdir: pathlib.Path, *arguments: str) -> tuple[int, dict, list[dict]]:
    """The exit status, the summary and the failures of an audit of the references that are misread."""
    status = audit.main(["--workdir", str(workdir), "--workers", "1", "--data", str(MISREAD), *arguments])
    failures = [json.loads(line) for line in (workdir / "failures.jsonl").read_text().splitlines()]
    return status, json.loads((workdir / "summary.json").read_text())[0], failures


def read_by(monkeypatch: pytest.MonkeyPatch, reader: object) -> None:
    monkeypatch.setattr(audit, "audit_rows", functools.partial(audit.audit_rows, reader=reader))


def test_the_planted_misreadings_are_what_the_file_says() -> None:
    rows = planted.misread_references()
    assert len(rows) == 15 and {row["misreading"] for row in rows} == set(planted.MISREADINGS)
    for row in rows:
        assert planted.MISREADINGS[row["misreading"]](row["answer"]) == row["kept"] != row["answer"]


def test_trap18_of_15_references_misread_on_both_sides_alike_at_least_13_are_found(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit.grader_table, "grade", planted.misreads)
    read_by(monkeypatch, planted.misreading)
    status, summary, failures = run(tmp_path, "--strict", "--grader", "exact")  # which accepts any reference
    assert status == 1 and summary["unreadable"]["count"] == 0
    assert summary["own"] == {"passed": 15, "tried": 15}, "the grader agrees with itself, whatever it cuts"
    assert len({failure["id"] for failure in failures}) >= 13
    perturbed = {failure["id"] for failure in failures if failure["check"] == "perturbed"}
    assert len(perturbed) >= 13, "without a word of the grader about what it keeps"
    lost = {failure["id"] for failure in failures if failure["check"] == "reading" and failure["kind"] == "lost"}
    assert len(lost) >= 13 and summary["reading"]["lost"] == len(lost)
    assert summary["reading"]["tried"] == 15 and summary["reading"]["misread"] >= 13
    blanks = next(failure for failure in failures if failure["gold"] == "2 1/4" and failure["kind"] == "lost")
    assert blanks == {
        "data": "tests/misread_references",
        "id": "misread-4",
        "check": "reading",
        "kind": "lost",
        "gold": "2 1/4",
        "kept": "21/4",
        "tokens": ["1", "2"],
    }
    assert f"| {summary['reading']['misread']} of 15 |" in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_the_same_references_read_in_full_give_no_finding_of_what_is_lost(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_by(monkeypatch, planted.reads_all)
    _, summary, failures = run(tmp_path, "--grader", "exact")
    assert summary["reading"] == {"tried": 15, "misread": 0, "lost": 0, "added": 0}
    assert not [failure for failure in failures if failure["check"] == "reading"]


@pytest.mark.skipif(not hasattr(math_grader, "reading"), reason="the grader of mathematics does not say what it reads")
def test_the_grader_of_mathematics_loses_nothing_of_the_references_that_it_accepts(tmp_path: pathlib.Path) -> None:
    _, summary, failures = run(tmp_path)
    assert summary["reading"]["tried"] == 15 - summary["unreadable"]["count"]
    assert not [failure for failure in failures if failure["check"] == "reading"]


def test_a_reference_of_which_nothing_is_kept_is_a_finding(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_by(monkeypatch, planted.reads_nothing)
    status, summary, failures = run(tmp_path, "--strict", "--limit", "2", "--grader", "exact")
    assert status == 1 and summary["reading"]["misread"] == 2
    assert [failure["kept"] for failure in failures if failure["check"] == "reading"] == [None, None]


def test_a_row_that_says_that_its_last_formula_alone_counts_is_not_compared() -> None:
    row = {"prompt": "?", "answer": "The period is $2$", "answer_is_prose": True, "grader": "exact"}
    assert prepare(row, reader=planted.reads_nothing).reading is None
    assert prepare(row | {"answer_is_prose": False}, reader=planted.reads_nothing).reading is not None
