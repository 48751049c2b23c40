"""Letters dropped and renamed: the formula is never equal to the reference, and bound names are left alone."""

import cmath
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1jax.audit.formulas import evaluate, letters_changed

SETTINGS = settings(derandomize=True, max_examples=200, deadline=None)


@pytest.mark.parametrize(
    "formula, value",
    [
        ("2+3*4", 14),
        ("2^3^2", 512),
        (r"\frac12", 0.5),
        (r"\frac{270}7", 270 / 7),
        (r"-\dfrac{1}{2} \cdot \sqrt{9}", -1.5),
        (r"\sqrt[3]{8}", 2),
        (r"2\left(1+i\right)^2", 4j),
        (r"e^{i\pi}", -1),
        (r"\sin \frac{\pi}{6}", 0.5),
        (r"\cos^2 \pi", 1),
        ("2/4", 0.5),
        ("2-(-3)", 5),
        ("10^{-3}", 0.001),
        ("1/0", None),
        ("2 3", None),
        ("2(", None),
        ("2,3", None),
        (r"\int x", None),
        ("9^9999", None),
        ("(" * 290, None),
        ("1" * 301, None),
        ("", None),
    ],
)
def test_the_evaluator_knows_plain_formulas_and_leaves_the_rest(formula: str, value: complex | None) -> None:
    found = evaluate(formula)
    assert (found is None) if value is None else (found is not None and cmath.isclose(found, value, abs_tol=1e-12))


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("(a+b)^2", "a^2+2ab+b^2", True),
        (r"\frac{a}{b}", "a/b", True),
        ("x_1", "x_{1}", True),
        ("f'", r"f^{\prime}", True),
        (r"\tan x", r"\frac{\sin x}{\cos x}", True),
        ("x_1", "x_2", False),
        ("f'", "f", False),
        ("a", "A", False),
    ],
)
def test_formulas_that_are_equal_have_one_value_at_every_point(one: str, other: str, same: bool) -> None:
    assert all(cmath.isclose(evaluate(one, point), evaluate(other, point)) == same for point in (1, 2))


def changed(reference: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"letter dropped": [], "letter renamed": []}
    for kind, text in letters_changed(reference):
        found[kind].append(text)
    return found


@pytest.mark.parametrize(
    "reference, dropped, renamed",
    [
        ("2abc", ["2bc", "2ab"], ["2tbc", "2atc", "2abt"]),
        (r"\frac{v_0}{10}", [r"\frac{v}{10}"], [r"\frac{t_0}{10}"]),
        ("f'(x)", ["f(x)", "(x)"], ["t'(x)", "f'(t)"]),
        ("-2+7i", ["-2+7"], ["-2+7t"]),
        ("p - q", [], ["t - q", "p - t"]),  # terms, no factors
        ("(-a,0)", [], ["(-t,0)"]),
        ("y = mx+t", ["y = x+t", "y = m+t"], ["y = ux+t", "y = mx+u", "y = mu+t"]),
        ("f(x) = 2x+a", [], ["f(x) = 2x+t"]),  # x is bound
        ("x^2+2y^2=1", ["x^2+2=1"], ["t^2+2y^2=1", "x^2+2t^2=1"]),
        (r"3s^2\text{ cm}", ["3" + r"\text{ cm}"], [r"3t^2\text{ cm}"]),
    ],
)
def test_an_index_a_prime_or_a_factor_is_dropped_and_letters_are_renamed(
    reference: str, dropped: list[str], renamed: list[str]
) -> None:
    found = changed(reference)
    assert (found["letter dropped"], found["letter renamed"]) == (dropped, renamed)


@pytest.mark.parametrize(
    "reference",
    [
        "x=5",
        "1/3<x<7",
        r"x \in [1,2)",
        r"-80\leq g(x)\leq 82",
        r"2k\pi+\frac{\pi}{3}",
        r"3n, n \in \mathbb{Z}",
        "2n+1 for any integer n",
        "(t, 2t)",  # the parameter of a line
        "AB=9, CD=4",
        "5 m",
        "5 cm",
        "25cm^2",
        "152A_{11}",  # digits
        "4210_{5}",
        r"\text{Evelyn}",
        "Rug and Book",
        r"\sin",
        "6th",
        "0x",  # nothing depends on x
        "a-a",
        "",
    ],
)
def test_bound_names_units_digits_and_words_are_left_alone(reference: str) -> None:
    assert list(letters_changed(reference)) == []


TERMS = st.lists(
    st.tuples(st.sampled_from("+-"), st.integers(1, 9), st.sampled_from(["a", "b", "ab", "a^2", "b_1", "c'"])),
    min_size=1,
    max_size=4,
)


@SETTINGS
@given(TERMS)
def test_a_changed_formula_has_another_value(terms: list[tuple[str, int, str]]) -> None:
    reference = "".join(f"{sign}{factor}{letters}" for sign, factor, letters in terms)
    value = evaluate(reference, point=7)
    for _, text in letters_changed(reference):
        other = evaluate(text, point=7)  # a point that the audit does not look at
        assert text != reference and other is not None and not math.isclose(abs(other - value), 0, abs_tol=1e-9)


@SETTINGS
@given(st.lists(st.sampled_from([*r"01abx'_^=<,;()[]{}\&$ ", r"\frac", r"\sqrt", r"\pi", r"\sin", r"\text{ or }"])))
def test_whatever_a_reference_is_its_letters_are_changed_without_raising(pieces: list[str]) -> None:
    reference = "".join(pieces)
    assert all(text != reference for _, text in letters_changed(reference))
