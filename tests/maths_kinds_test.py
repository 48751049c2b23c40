"""Kinds of wrong answers that passed and of right ones that were refused, by other inputs than those that showed them.

`../shared/faults/graders.jsonl`, where it is there, has the inputs that did.
"""

import json
from pathlib import Path

import pytest

from r1jax.data.types import Prompt, Rollout
from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.graders.math import math_grader

FAULTS = Path(__file__).parents[2] / "shared/faults/graders.jsonl"


def score(answer: str, text: str, grader: str = "maths", metadata: dict | None = None) -> float | None:
    prompt = Prompt(id="p", question="?", answer=answer, source=f"{grader}:test", metadata=metadata or {})
    rollout = Rollout.of_text(prompt, text)
    return grader_table.grade(rollout, GraderConfig()).score


def boxed(answer: str, given: str) -> float | None:
    math_grader.check({"answer": answer})
    return score(answer, rf"\boxed{{{given}}}")


def test_every_row_of_the_shared_faults_of_mathematics_has_its_right_score() -> None:
    if not FAULTS.exists():
        pytest.skip(f"no {FAULTS}")
    rows = [json.loads(line) for line in FAULTS.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["grader"] == "maths"]
    assert [row for row in rows if score(row["answer"], row["response"]) != row["right_score"]] == []


def test_every_row_of_a_hunt_for_wrong_answers_that_pass_and_right_ones_that_do_not_has_its_right_score() -> None:
    rows = [json.loads(line) for line in (Path(__file__).parent / "maths_rows.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) > 200
    assert [row for row in rows if score(row["answer"], row["response"]) != row["right_score"]] == []


def test_a_sentence_that_says_answer_on_its_way_is_no_second_answer() -> None:
    text = "To express the answer as a percentage: 2 / 8 * 100% = 25%\nA: 25"
    assert score("25", text) == 1.0 and score("25", "Answer: 24\nAnswer: 25") == 0.0
    math_grader.check({"answer": "是"})
    assert score("是", "答案是：是") == 1.0 and score("是", "否") == 0.0


# Wrong answers that passed.


def test_trap36_of_several_formulas_in_dollars_all_count() -> None:
    assert boxed(r"\sqrt{5}", r"$\sqrt{2}$, $\sqrt{5}$") == 0.0
    assert score("7", "Hence $n=4$, $n=7$.") == 0.0
    assert boxed("$3$, $-1$", "-1") == 0.0
    assert boxed("$3$, $-1$", "-1, 3") == boxed("$3$ and $-1$", r"\{3, -1\}") == 1.0
    assert boxed(r"\(3\), \(4\)", "$4$, $3$") == 1.0


def test_trap36_letters_side_by_side_are_factors() -> None:
    for answer in ("2pqr", r"2\pi abc", "5xyz", r"\frac{abc}{3}", r"7\triangle ABC"):
        assert boxed(answer, answer[:1]) == boxed(answer, answer) - 1 == 0.0
    assert boxed("2abc", "2cab") == boxed("abcd", "a b c d") == boxed("mgh", "ghm") == 1.0
    assert boxed("2", "2abc") == boxed("2abc", "2abd") == boxed("3kxy", "3kxz") == 0.0
    assert boxed(r"e^{ikx}", r"e^{i k x}") == 1.0 and boxed(r"e^{ikx}", r"e^{ik}") == 0.0


def test_trap36_named_values_are_matched_by_their_names() -> None:
    for answer, right, wrong in [
        ("x=2, y=3", "y=3, x=2", "x=3, y=2"),
        ("a=1, b=2, c=3", "c=3, a=1, b=2", "a=1, b=3, c=2"),
        ("p(n)=n^2, q(n)=n", "q(n)=n, p(n)=n^2", "p(n)=n, q(n)=n^2"),
        (r"\alpha=1, \beta=-1", r"\beta=-1, \alpha=1", r"\beta=1, \alpha=-1"),
        ("AB=5, CD=12", "CD = 12, AB = 5", "AB = 12, CD = 5"),
    ]:
        assert (boxed(answer, right), boxed(answer, wrong)) == (1.0, 0.0)


def test_trap37_blanks_between_digits_are_kept() -> None:
    assert boxed("3 1/4", "31/4") == boxed("31/4", "3 1/4") == boxed("12,45,78", "12,4578") == 0.0
    assert boxed("3 1/4", r"3\frac{1}{4}") == boxed("3 1/4", "13/4") == boxed("12,45,78", "78, 45, 12") == 1.0
    assert boxed("12", "1 2") == 0.0


def test_trap42_small_terms_of_equations_count() -> None:
    for answer, wrong in [
        ("x^{20}-x=0", "x^{20}+x=0"),
        ("y = x^{30} + x", "y = x^{30} + 2x"),
        ("1000000000x + y = 1", "1000000000x = 1"),
        ("x^2+y^2=25", "x^2+y^2+x^{40}=25"),
        ("x^{100}+x", "x^{100}-x"),
        (r"x + 10^{-50}", "x"),
    ]:
        assert boxed(answer, wrong) == 0.0 and boxed(answer, answer) == 1.0
    assert boxed("x^{20}-x=0", "2x^{20}=2x") == boxed("x^2+y^2=25", "25-x^2=y^2") == 1.0


def test_trap36_primes_are_kept() -> None:
    assert boxed("y''+9y=0", "y''+y=0") == boxed("y'=3y", "3y") == boxed("y''=y", "y'=y") == 0.0
    assert boxed(r"f'(x)=2x", "2x") == boxed(r"y^{\prime\prime}+9y=0", "9y+y''=0") == 1.0
    assert boxed("f'(0)+f(0)", "2f(0)") == 0.0


def test_trap36_a_letter_with_an_index_is_a_symbol_of_its_own() -> None:
    assert boxed("I_1+I_2", "I_2+I_1") == boxed("e_1+e_2", "e_2+e_1") == boxed("i_1", "i_1") == 1.0
    assert boxed("I_1+I_2", "I_1") == boxed("e_1", "e") == boxed("a_1+a_2", "2a_1") == boxed("x_1x_2", "x_1^2") == 0.0
    assert boxed("2E", "2e") == boxed("2I", "2i") == 0.0


def test_trap36_a_reference_in_prose_is_read_whole_or_refused() -> None:
    answer = "The minimum is $3$, reached at $x=7$"
    assert boxed(answer, "3") == 1.0 and boxed(answer, "7") == boxed(answer, "3, reached at x=8") == 0.0
    for unread in ("We get $3$ from $x$ and $7$ from $y$", "There are $3$ of $7$", "any prime $p$ but $2$"):
        with pytest.raises(ValueError, match="cannot be read"):
            math_grader.check({"answer": unread})
        assert score(unread, r"\boxed{7}") is None
    math_grader.check({"answer": "We get $3$ from $x$ and then $7$", math_grader.PROSE_KEY: True})
    assert score("We get $3$ from $x$ and then $7$", r"\boxed{7}", metadata={math_grader.PROSE_KEY: True}) == 1.0


@pytest.mark.parametrize(
    "words",
    [
        "twice {}",
        r"\text{less than } {}",
        r"\text{at least } {}",
        r"\text{at most } {}",
        r"\text{half of } {}",
        r"{} \text{ or more}",
        r"{} \text{ is excluded}",
        r"{} \text{ is wrong}",
        r"\text{not } {}",
        "double {}",
        "all but {}",
        r"\text{more than } {}",
        r"\text{up to } {}",
        r"\text{about } {}",
        r"\text{the square of } {}",
        "negative {}",
        "minus {}",
        r"\text{the reciprocal of } {}",
        r"{} \text{ squared}",
        r"{} \text{ more}",
        r"{}\text{ thousand}",
    ],
)
def test_trap36_words_that_change_a_number_are_not_skipped(words: str) -> None:
    said = words.replace("{}", "6")
    assert boxed("6", said) == 0.0
    plain = said.replace(r"\text{", "").replace("}", "")
    assert score("6", f"The answer is {plain}.") == score("6", f"<answer>{plain}</answer>") == 0.0


def test_trap36_words_that_lead_up_to_a_number_are_skipped() -> None:
    for said in (
        "The answer is 6.",
        r"\boxed{\text{The answer is } 6}",
        "So the total number of ways is 6.",
        r"\boxed{\text{exactly } 6}",
        r"\boxed{6 \text{ ways}}",
        "<answer>She has 6 apples left.</answer>",
        r"\boxed{\text{six}}",
        "The maximum is 6.",
    ):
        assert score("6", said) == 1.0
    assert boxed("-6", "negative 6") == boxed("-6", r"\text{minus } 6") == 1.0


def test_trap36_a_symbol_is_no_unit() -> None:
    assert (
        boxed(r"\frac{3}{4} g", r"\frac{3}{4}") == boxed(r"\frac{3}{4} N", r"\frac{3}{4}") == boxed("5 m", "5") == 0.0
    )
    assert boxed(r"\frac{3}{4} g", r"\frac{3g}{4}") == boxed(r"5\text{ m}", "5") == boxed("5", "5 m") == 1.0
    assert boxed("5", "5k") == boxed("5", "5x") == boxed("5", "5 n") == 0.0


def test_units_in_conflict_are_wrong() -> None:
    assert (
        boxed(r"5\text{ cm}", r"5\text{ m}") == boxed(r"5\text{ cents}", r"\$5") == boxed(r"30^\circ", "30 rad") == 0.0
    )
    assert boxed(r"5\text{ cm}", r"5\text{ centimeters}") == boxed(r"\$5", r"5\text{ dollars}") == 1.0
    assert boxed(r"\frac{\pi}{6}", r"\frac{\pi}{6}^\circ") == 0.0


# Right answers that were refused.


@pytest.mark.parametrize(
    "answer, given",
    [
        ("1<x<4", "(1,4)"),
        ("(-3,8)", "-3<t<8"),
        (r"(-\infty,5]", r"5\ge x"),
        ("[2,3)", r"2\le x<3"),
        ("(1,4)", "1<x<4"),
        (r"x\ge 2", r"[2,\infty)"),
        (r"(-\infty,4)\cup(4,\infty)", r"x\ne 4"),
        (r"(0,1)\cup(1,5)", r"0<x<5, x\ne 1"),
        ("(2, 7)", "]2, 7["),
        (r"\mathbb{R}", r"(-\infty,\infty)"),
        ("(3,9)", r"\{x : 3 < x < 9\}"),
    ],
)
def test_inequalities_and_intervals_are_one(answer: str, given: str) -> None:
    assert boxed(answer, given) == 1.0


@pytest.mark.parametrize(
    "answer, given",
    [
        ("b_n=3n", "b_{n}=3n"),
        ("b_n=3n", "3n"),
        (r"\frac{E_{1}+E_{2}}{2}", r"\frac{1}{2}E_1+\frac{1}{2}E_2"),
        ("e_1", "e_{1}"),
        (r"x_{\max}=4k", "4k"),
        (r"x_{\text{max}}", r"x_{max}"),
        ("10^{-7}", "1e-7"),
        ("1e7", "10^{7}"),
        ("1000", "10^3"),
    ],
)
def test_names_with_an_index_and_bare_powers_of_ten(answer: str, given: str) -> None:
    assert boxed(answer, given) == 1.0


@pytest.mark.parametrize(
    "unit",
    [
        r"\text{ nm}",
        r"\text{ sec}",
        r"\ \mu\text{m}",
        r"\ \mathrm{kg\,m^{2}}",
        r"\,\Omega",
        " N",
        r"\ \frac{\mathrm{km}}{\mathrm{h}}",
        r"\text{ times}",
        r"\ \mathrm{m/s}",
        r"\text{ square units}",
        r"\text{ m/s}^2",
        " kPa",
        "元",
        "个",
        r"\text{ ways}",
    ],
)
def test_units_behind_a_number_are_left_out(unit: str) -> None:
    assert boxed("8", f"8{unit}") == 1.0 and boxed("8", f"9{unit}") == 0.0


def test_lists_of_three_digit_numbers_without_blanks() -> None:
    assert boxed("210, 105", "105,210") == boxed("105,210", "210, 105") == boxed("12,345,678", r"\{678,12,345\}") == 1.0
    assert boxed("12,345", "12345") == boxed("105,210", r"\{105, 210\}") == 1.0
    assert boxed("105,210", "105") == boxed("105,210", "105,211") == 0.0


def test_the_name_of_a_tuple() -> None:
    assert boxed("(4,5)", "(x,y)=(4,5)") == boxed("(4,5)", "x=4, y=5") == boxed("(4,5)", "y=5, x=4") == 1.0
    assert boxed("x=4, y=5", "(4,5)") == boxed("(a,b)=(4,5)", "b=5, a=4") == boxed("(4,5)", "P=(4,5)") == 1.0
    assert boxed("(4,5)", "(x,y)=(5,4)") == boxed("(4,5)", "x=5, y=4") == boxed("x=4, y=5", "(5,4)") == 0.0
    assert boxed("(1,2),(3,4)", r"(a,b)\in\{(3,4),(1,2)\}") == 1.0


@pytest.mark.parametrize(
    "answer, given, right",
    [
        (r"2k\pi", r"2n\pi, n\in\mathbb{Z}", 1.0),
        (r"2k\pi, k\in\mathbb{Z}", r"2k\pi", 1.0),
        (r"2k\pi, k\in\mathbb{Z}", r"2m\pi \text{ where } m \text{ is an integer}", 1.0),
        (r"2k\pi, k\in\mathbb{Z}", r"2k\pi, k\in\mathbb{N}", 0.0),
        (r"2k\pi, k\in\mathbb{Z}", r"2k, k\in\mathbb{Z}", 0.0),
        ("f(x)=3x", "f(t)=3t", 1.0),
        ("f(x)=3x", "f(t)=3x", 0.0),
        ("g(x,y)=x-y", "g(a,b)=a-b", 1.0),
        ("g(x,y)=x-y", "g(a,b)=b-a", 0.0),
        ("f(x)=3x", r"f(x)=3x \text{ for all real } x", 1.0),
        ("a_n=n^2", "a_k=k^2", 1.0),
        ("7", r"7 \text{ (only)}", 1.0),
        ("7", "7 only", 1.0),
        ("7", r"7 \text{ if } x>0", 0.0),
        (r"\frac{x+1}{x-2}", r"\frac{x+1}{x-2}, x\ne 2", 1.0),
        ("x+1", "x+1, x>2", 0.0),
        ("c=x+1, x>2", "x+1, x>2", 1.0),
    ],
)
def test_conditions_behind_a_formula_and_bound_names(answer: str, given: str, right: float) -> None:
    assert boxed(answer, given) == right


@pytest.mark.parametrize(
    "answer, given, right",
    [
        (r"\sqrt{xy}", r"\sqrt{x}\sqrt{y}", 1.0),
        (r"\sqrt{\frac{a}{b}}", r"\frac{\sqrt{a}}{\sqrt{b}}", 1.0),
        (r"\sqrt{9a^2b}", r"3a\sqrt{b}", 1.0),
        ("|x|", "x", 0.0),
        (r"\sqrt{x+y}", r"\sqrt{x}+\sqrt{y}", 0.0),
        (r"\frac{\ln 3}{\ln 2.5}", r"\frac{\log 3}{\log 5-\log 2}", 1.0),
        ("x^{0.5}", r"\sqrt{x}", 1.0),
        ("2.5x", r"\frac{5}{2}x", 1.0),
        ("2.5x", "2.4x", 0.0),
        (r"\sin 0.5", r"\sin\frac{1}{2}", 1.0),
    ],
)
def test_roots_of_products_and_decimals_inside_functions(answer: str, given: str, right: float) -> None:
    assert boxed(answer, given) == right


def test_one_box_for_each_of_several_answers() -> None:
    assert (
        score("12, 35", r"They are \boxed{12} and \boxed{35}.") == score("x=1, y=2", r"\boxed{y=2}, \boxed{x=1}") == 1.0
    )
    assert score("12", r"\boxed{12} or \boxed{35}") == score("12, 35", r"\boxed{12}, \boxed{36}") == 0.0
    assert score("12, 35", r"\boxed{12} \boxed{35} \boxed{36}") == score("(1,2)", r"\boxed{1}, \boxed{2}") == 0.0


@pytest.mark.parametrize(
    "answer, given, right",
    [
        ("(3,1),(3,-1)", r"(3,\pm 1)", 1.0),
        (r"(\pm 1, \pm 2)", "(1,2),(1,-2),(-1,2),(-1,-2)", 1.0),
        (r"(\pm 1, \mp 2)", "(1,-2),(-1,2)", 1.0),
        ("(3,1)", r"(3,\pm 1)", 0.0),
        (r"\pm 3", "3, -3", 1.0),
        (r"\pm 3", "3", 0.0),
        (r"(-\infty,0)\cup\{2\}", r"m<0 \text{ or } m=2", 1.0),
        (r"(-\infty,0)\cup\{2\}", r"m<0 \text{ or } m=3", 0.0),
        (r"(-\infty,0)\cup\{2\}", "m<0", 0.0),
        (r"(-\infty,-1)\cup(1,\infty)", "x<-1 or x>1", 1.0),
    ],
)
def test_signs_and_unions(answer: str, given: str, right: float) -> None:
    assert boxed(answer, given) == right


def test_a_line_in_any_form_is_the_same_line() -> None:
    assert (
        boxed(r"y = \frac{2}{3}x - 1", "2x-3y=3")
        == boxed("2x-3y=3", r"y=\frac{2}{3}x-1")
        == boxed("y=2x+3", "2x+3")
        == 1.0
    )
    assert boxed(r"y = \frac{2}{3}x - 1", "2x+3y=3") == boxed("y=2x+3", "y-2x=4") == boxed("x=5", "2x=10") == 0.0


@pytest.mark.parametrize(
    "answer, text",
    [
        (r"\frac{1}{3}", r"\boxed{0.\dot3}"),
        (r"\frac{5}{33}", r"\boxed{0.\dot{1}\dot{5}}"),
        ("8", r"so $\boxed 8$."),
        (r"\binom{n}{2}", r"\boxed{n \choose 2}"),
        (r"\frac{a}{b}", r"\boxed{{a \over b}}"),
        ("9", "Final answer: __9__"),
        (r"\lg 5", r"\boxed{\log_{10} 5}"),
        ("y'+ky=0", r"\boxed{y^{\prime}+ky=0}"),
        ("-2/7", r"\boxed{-2./7}"),
        ("x^2", "<answer>x²</answer>"),
        (r"\frac{\sqrt{2}}{2}", "<answer>sqrt(2)/2</answer>"),
        (r"\frac{\pi}{6}", "<answer>pi/6</answer>"),
        ("x_1", "<answer>x₁</answer>"),
        (r"\frac{1}{2}", r"\boxed\frac12"),
        (r"\begin{pmatrix} 2 \\ 4 \end{pmatrix}", r"\boxed{2\begin{pmatrix}1\\2\end{pmatrix}}"),
        (r"\begin{pmatrix} 2 \\ 4 \end{pmatrix}", r"\boxed{(2,4)}"),
        ("120000", r"\boxed{12\text{万}}"),
        ("3:30 p.m.", r"\boxed{15:30}"),
        (r"\cos 50^\circ", r"\boxed{\sin 40^\circ}"),
        (r"\text{Anna}", "The winner is clearly **Anna**."),
        ("31_8", r"\boxed{31 \text{ (base 8)}}"),
    ],
)
def test_other_spellings(answer: str, text: str) -> None:
    math_grader.check({"answer": answer})
    assert score(answer, text) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "PV=NRT",
        r"1, 3, \ldots, 2n-1",
        "-2./7",
        r"B(x, +0) = \frac{q b}{2\pi\epsilon_0}",
        r"\sum_{k=1}^{n} k^2",
        "x>0, y>0",
        r"f(1) < f(3) < f(2)",
        r"a \equiv 3",
        r"\frac{\partial u}{\partial t} = k",
        r"\{1, 2, \ldots, n\}",
        r"2^{n-1}+(-1)^n",
        r"\frac{dy}{dx} = 2x",
        "Q(1,-1), a=2",
        r"\angle ABC = 30^\circ",
        r"\vec{a}+\vec{b}",
        r"\lfloor x \rfloor",
        "n!",
    ],
)
def test_references_of_these_kinds_are_read_and_right(answer: str) -> None:
    assert boxed(answer, answer) == 1.0


def test_a_sum_is_one_by_its_bounds_and_body_and_not_by_the_letter_that_runs() -> None:
    assert boxed(r"\sum_{k=1}^{n} k^2", r"\sum_{j=1}^{n} j^2") == 1.0
    assert (
        boxed(r"\sum_{k=1}^{n} k^2", r"\sum_{k=0}^{n} k^2") == boxed(r"\sum_{k=1}^{n} k^2", r"\sum_{k=1}^{n} k") == 0.0
    )


def test_a_reference_of_which_something_is_not_read_is_refused_by_what_that_is() -> None:
    for answer, unread in [
        (r"x \heartsuit y", "heartsuit"),
        ("x @ 2", "@"),
        (r"3 + \int_0^1 f", "int"),
        ("5 + ", "the end"),
    ]:
        with pytest.raises(ValueError, match=unread):
            math_grader.check({"answer": answer})
