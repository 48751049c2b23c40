"""Kinds of right answers that were refused, by other inputs than those that showed them."""

import pytest
from maths_kinds_test import boxed, score

from r1jax.graders.math import math_grader


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
