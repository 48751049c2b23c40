"""Kinds of wrong answers that passed, by other inputs than those that showed them.

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
