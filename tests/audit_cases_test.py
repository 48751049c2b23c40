"""The answers that the audit plants near a reference: each kind is wrong, and none has the reference's value."""

import re
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from r1jax.audit import cases as audit_cases
from r1jax.audit.cases import countdown_perturbations
from r1jax.audit.maths_cases import maths_perturbations, number

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
)
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
