"""What holds of the maths grader for any number, any spelling and any text."""

import contextlib
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from steps import assert_linear, steps

from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.math import math_grader, notation, numerals

_WRITTEN = r"""
    1 2 42 0.5 1,234 x y n \pi \sqrt{ \sqrt{2} \frac{ \frac{1}{2} } { }{ ( ) [ ] \{ \} | + - * / ^ ^{ ^2 ! = < \le , ; .
    $ % \% \text{or} \boxed{ \infty \cup \in \pm \cdot \times \sin \log \left( \right) \begin{pmatrix} & \\
    \end{pmatrix} \ _ ' " # <think> </think> <answer> </answer> answer is: or and not cm 答案是 ， ² × 9^{9^{9^9}} 99!!
"""
_TOKENS = (*_WRITTEN.split(), r"\text{ and ")
_GOLDS = ("42", r"2\sqrt{3}", "x^2+1", "(1,2)", "C", "3, 5, 7", r"\text{Evelyn}", "2x - y = 3", "10!", r"\frac{14}{3}")
_quick = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
_long = settings(_quick, max_examples=3000)


def _grade(text: str, gold: str) -> Grade:
    prompt = Prompt(id="p", question="?", answer=gold, source="maths:test")
    rollout = Rollout.of_text(prompt, text)
    return math_grader.grade(rollout, GraderConfig())


integers = st.integers(-(10**9), 10**9)
decimals = st.builds(lambda value, places: f"{Decimal(value).scaleb(-places):f}", integers, st.integers(1, 5))
fractions = st.fractions(max_denominator=999).filter(lambda f: f.denominator > 1)
latex_fractions = fractions.map(lambda f: f"{'-' * (f < 0)}\\frac{{{abs(f.numerator)}}}{{{f.denominator}}}")
numbers = st.one_of(integers.map(str), decimals, latex_fractions)
tuples = st.lists(numbers, min_size=2, max_size=4).map(lambda elements: f"({', '.join(elements)})")
FORMS = [
    r"\boxed{%s}",
    r"$%s$",
    r"\(%s\)",
    r"\[%s\]",
    "<answer>%s</answer>",
    "<think>5</think> \n<answer>\n%s\n</answer>",
    r"\boxed{ %s }",
    r"\boxed{\left. %s \right.}",
    "The answer is $%s$.",
    r"So \boxed{%s}.",
    r"\boxed{%s.}",
    "**%s**",
    r"\boxed{%s} or, again, \boxed{%s}",
    r"\boxed{x = %s}",
    r"\boxed{\displaystyle %s}",
    r"\boxed{%s\!}",
]


def _spellings(answer: str) -> list[str]:
    """Other ways to write the same."""
    longer = answer.replace("(", r"\left(").replace(")", r"\right)").replace(", ", r",\ ")
    return [answer, longer, answer.replace("frac", "dfrac"), answer.replace("frac", "tfrac"), answer.replace("-", "−")]


@_quick
@given(st.one_of(numbers, tuples), st.sampled_from(FORMS), st.integers(0, 4))
def test_form_and_spelling_do_not_matter(answer: str, form: str, spelling: int) -> None:
    assert _grade(form.replace("%s", _spellings(answer)[spelling]), answer).score == 1.0


@_quick
@given(integers, st.sampled_from(["{:,}", "{:.2f}", "{:,}.0", "+{}", "{} dollars", "${:,}", r"{}\text{{ cm}}", "{}°"]))
def test_integers_are_equal_in_any_dress(value: int, dress: str) -> None:
    assert _grade(rf"\boxed{{{dress.format(abs(value))}}}", str(abs(value))).score == 1.0


@_quick
@given(integers, st.integers(1, 10**6), st.sampled_from(FORMS))
def test_another_number_is_wrong_both_ways(value: int, difference: int, form: str) -> None:
    other = value + difference
    assert _grade(form.replace("%s", str(other)), str(value)).score == 0.0
    assert _grade(form.replace("%s", str(value)), str(other)).score == 0.0


@_quick
@given(st.lists(integers, min_size=2, max_size=4, unique=True), st.sampled_from([", ", " or ", "; ", "\n"]))
def test_candidates_are_wrong_for_each(values: list[int], joint: str) -> None:
    text = joint.join(map(str, values))
    assert {_grade(f"<answer>{text}</answer>", str(value)).score for value in values} == {0.0}


@_quick
@given(integers, integers, st.sampled_from(["+", "-", "*", r"\cdot", r"\times", "^"]))
def test_arithmetic_is_not_its_value(a: int, b: int, operator: str) -> None:
    value = {"+": a + b, "-": a - b, "^": 1}.get(operator, a * b)
    assert _grade(rf"\boxed{{{abs(a)} {operator} {abs(b)}}}", str(value)).score == 0.0


@_quick
@given(numbers, numbers)
def test_plain_numbers_compare_as_their_values(a: str, b: str) -> None:
    def value(text: str) -> Fraction:
        sign = -1 if text.startswith("-") else 1
        over, _, under = text.lstrip("-").removeprefix(r"\frac{").removesuffix("}").partition("}{")
        return sign * (Fraction(over) / int(under or 1))

    assert numerals.number(a).value == value(a)
    assert (_grade(rf"\boxed{{{a}}}", b).score == 1.0) == (value(a) == value(b))


@_quick
@given(numbers, numbers)
def test_plain_numbers_compare_as_math_verify_compares_them(a: str, b: str) -> None:
    """math-verify takes for equal what differs in the seventh decimal; these numbers have five at most."""
    from math_verify import parse, verify

    ours, parsed = _grade(rf"\boxed{{{a}}}", b).score, [parse(f"${x}$", parsing_timeout=None) for x in (b, a)]
    if "frac" in a + b and "." in a + b:  # then it rounds to six decimals
        assert ours == 0.0 or verify(*parsed, timeout_seconds=None)
    else:
        assert (ours == 1.0) == verify(*parsed, timeout_seconds=None)


# Lines of Python, among them those that sympy's modules run as they are first imported: about a second's.
_AT_ONCE = 10_000_000
soup = st.lists(st.sampled_from(_TOKENS), max_size=25).map("".join) | st.lists(st.sampled_from(_TOKENS)).map(" ".join)


def _has_a_score(text: str, gold: str) -> None:
    assert _grade(text, gold).score in (0.0, 1.0)


def _takes_any_text(text: str, gold: str) -> None:
    for wrapped in (text, rf"\boxed{{{text}}}", f"<answer>{text}</answer>"):
        assert steps(_has_a_score, wrapped, gold) < 10 * _AT_ONCE
    with contextlib.suppress(ValueError):
        math_grader.check({"answer": text})
    assert len(notation.normalize(text)) < 10 * len(text) + 10


@_quick
@example(r"\{", "42")
@example(r"\pmx", "42")
@given(st.one_of(soup, st.text(), st.characters().map(lambda c: f"4{c}2")), st.sampled_from(_GOLDS))
def test_any_text_is_graded(text: str, gold: str) -> None:
    _takes_any_text(text, gold)


@pytest.mark.slow
@_long
@given(st.one_of(soup, st.text(), st.characters().map(lambda c: f"4{c}2")), st.sampled_from(_GOLDS))
def test_any_text_is_graded_at_length(text: str, gold: str) -> None:
    _takes_any_text(text, gold)


HOSTILE = {
    "tower": r"9^{9^{9^{9}}}",
    "tower of two": "10^{10^{10}}",
    "power": "2^{1000000000}",
    "stars": "2**(10**9)",
    "factorials": "99!!!!",
    "factorial": "1000000000!",
    "binomial": r"\binom{1000000000}{500000000}",
    "deep brackets": "(" * 200 + "1" + ")" * 200,
    "deep fractions": r"\frac{1}{" * 60 + "1" + "}" * 60,
    "deep roots": r"\sqrt{" * 100 + "2" + "}" * 100,
    "bars": "|" * 300,
    "long sum": "+".join("x" * 5000),
    "digits": "9" * 1_000_000,
    "open brackets": r"\left(" * 100_000,
    "many boxes": r"\boxed{1}" * 20_000,
    "boxes that differ": "".join(rf"\boxed{{{n}}}" for n in range(100_000)),
    "open boxes": r"\boxed{" * 100_000,
    "dollars": "$" * 1_000_000,
    "math that stays open": r"\( " * 6_000,
    "answers": "the answer is " * 1_400,
    "line breaks": "$" + "\n" * 19_000,
    "answer tags": "<answer>" * 100_000,
    "think tags": "<think>" * 100_000,
    "commas": "1," * 190,
    "huge matrix": r"\begin{pmatrix}" + "1 & " * 90 + r"1\end{pmatrix}",
    "sum over a range": r"\sum_{k=1}^{10000} \frac{1}{k}",
    "integral": r"\int_0^1 x^x e^{\sin x} \, dx",
    "brackets that do not close": r"\tan(\left(^\circ\alpha [\pi",
    "spaces": "1" + " " * 1_000_000 + "1",
}


def _is_refused(text: str, gold: str) -> None:
    assert _grade(text, gold).score == 0.0


def _check(answer: str) -> None:
    with contextlib.suppress(ValueError):
        math_grader.check({"answer": answer})


@pytest.mark.parametrize("name", HOSTILE)
def test_trap18_hostile_text_is_refused_at_once(name: str) -> None:
    for gold in _GOLDS[:4]:
        for form in ("%s", r"\boxed{%s}", "<answer>%s</answer>"):
            math_grader.check({"answer": gold})
            assert steps(_is_refused, form.replace("%s", HOSTILE[name]), gold) < _AT_ONCE


@pytest.mark.parametrize("name", HOSTILE)
def test_trap18_a_hostile_reference_is_refused_at_once(name: str) -> None:
    assert steps(_check, HOSTILE[name]) < _AT_ONCE


@pytest.mark.parametrize(
    "piece",
    [
        "$",
        r"\( ",
        "$x ",
        "the answer is ",
        "\n",
        "1 or ",
        "(",
        "9",
        "1,",
        "+x",
        "|",
        " ",
        r"\text{",
        r"\left(",
        r"\frac{1}{",
        r"\boxed{1}",
        "<answer>",
    ],
)
def test_trap18_a_repeated_piece_takes_linear_time(monkeypatch: pytest.MonkeyPatch, piece: str) -> None:
    # With the limit a quadratic search would end within seconds, and only a clock would tell it from a linear one.
    monkeypatch.setattr(math_grader, "MAX_ANSWER", 10**9)
    for gold in ("42", r"2\sqrt{3}", r"\text{Evelyn}"):
        assert_linear(lambda text, gold=gold: _grade(text, gold), piece, large=300_000)


@pytest.mark.parametrize(
    "name",
    [
        "tower",
        "tower of two",
        "power",
        "stars",
        "factorials",
        "factorial",
        "deep brackets",
        "deep fractions",
        "deep roots",
        "long sum",
        "digits",
    ],
)
@pytest.mark.parametrize("gold", ["42", "x^2+1"])
def test_what_is_too_complex_is_called_so(name: str, gold: str) -> None:
    assert _grade(rf"\boxed{{{HOSTILE[name]}}}", gold) == Grade(0.0, "too_complex")
