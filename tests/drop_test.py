"""DROP's F1 by hand, and on the cases of its authors' own tests."""

import json
import pathlib

import pytest

from r1jax.data.types import Prompt, Rollout
from r1jax.graders import drop_f1
from r1jax.graders.config import GraderConfig

DATA = pathlib.Path(__file__).parents[2] / "shared/data/drop/dev_sample.jsonl"


def grade(text: str, *answers):
    row = {"answers": list(answers)}
    prompt = Prompt("q", "How many?", "", "drop:test", metadata=row)
    return drop_f1.grade(Rollout.of_text(prompt, text), GraderConfig())


@pytest.mark.parametrize(
    "given, reference, f1",
    [
        (["jerry rice"], ["jerry rice"], 1.0),
        (["5"], ["5.0"], 1.0),
        (["yards"], ["12 yards"], 0.0),  # a number that is not there
        (["12 yards"], ["12"], 0.67),
        (["the"], ["a"], 1.0),  # articles are nothing, and nothing is nothing
        (["red blue"], ["blue"], 0.67),
        (["John Elton"], ["Elton John"], 1.0),  # bags
        (["Green Bay Packers"], ["the Green-Bay packers!"], 1.0),
        (["a", "b"], ["b", "c"], 0.5),
        (["lions"], ["lions", "bears"], 0.5),  # what is missing counts as 0
        (["lions", "bears", "cubs"], ["bears", "lions"], 0.67),
        (["2 field goals"], ["3 field goals"], 0.0),
        (["2,000"], ["2000"], 1.0),
    ],
)
def test_f1_by_hand(given, reference, f1):
    assert drop_f1.f1(given, reference) == pytest.approx(f1, abs=0.005)


def test_spans_are_aligned_once_each():
    # Both would like the first; the best pairing as a whole counts: 2/3 + 1 over 2.
    assert drop_f1.f1(["red lion", "red"], ["red", "red lion cub"]) == pytest.approx((0.8 + 1.0) / 2, abs=0.005)


@pytest.mark.parametrize(
    "text, score",
    [
        ("Let me see.\nAnswer: Pakistanis and Filipinos", 1.0),
        ("Answer: 3\n\nAnswer: Pakistani and Filipino", 1.0),
        ("**Answer:** Pakistani and Filipino.", 1.0),
        ("The answer is Pakistanis and Filipinos", 1.0),
        ("\\boxed{Pakistanis and Filipinos}", 1.0),
        ("<think>Answer: Pakistanis and Filipinos</think>", 0.0),
        ("Answer: Pakistanis", 0.5),
        ("Answer:", 0.0),
        ("", 0.0),
        ("Answer: nobody", 0.0),
    ],
)
def test_the_last_answer_is_scored_against_the_best_reference(text, score):
    found = grade(text, "Pakistanis and Filipinos", "Pakistani and Filipino")
    assert found.score == pytest.approx(score, abs=0.01)
    assert found.detail is None or found.detail["exact"] == float(score == 1.0)


def test_answers_are_split_into_spans_only_where_the_reference_is_a_list():
    assert grade("Answer: lions, bears and cubs", ["cubs", "lions", "bears"]).score == 1.0
    assert grade("Answer: lions", ["cubs", "lions"]).score == 0.5
    assert grade("Answer: 1,000", "1000").score == 1.0


@pytest.mark.parametrize(
    "text, reference",
    [
        ("Answer: $12.25", "12.25"),
        ("Answer: 12.25.", "12.25"),
        ("The answer is 10.5.", "10.5"),
        ("Answer: (10.5)", "10.5"),
        ("Answer: $1,225.50", "1225.5"),
        ("Answer: €1,225", "1225"),
        ("Answer: £5", "$5"),
        ("Answer: 1{,}225", "1,225"),
        ("\\boxed{\\$12.25}", "12.25"),
        ("Answer: 50.5%", "50.5"),
        ("Answer: 12\\%", "12%"),
        ("Answer: $.50", "0.5"),
        ("Answer: -5", "−5"),
        ("Answer: -$5", "-5"),
        ("Answer: -.7.", "-0.7"),
        ("Answer: 10–12", "10-12"),
        ("Answer: 10 - 12", "10-12"),
        ("Answer: 10 -12", "10-12"),
        ("Answer: 43 yard", "43-yard"),
        ("Answer: 1, 2, 3", "1,2,3"),
        ("Answer: 12/25/2004.", "12/25/2004"),
        ("Answer: 4:30 p.m.", "4:30 pm"),
        ("Answer: 1990’s", "1990s"),
        ("Answer: $1.5 million.", "1.5 million"),
        ("Answer: No.5", "No. 5"),
        ("Answer: 1 / 2", "1/2"),
        ("Answer: 3.0", "3"),
    ],
)
def test_punctuation_around_a_number_is_ignored(text, reference):
    assert grade(text, reference)[:2] == (1.0, "right")


@pytest.mark.parametrize(
    "answer, reference",
    [
        ("$12.25", "1225"),
        ("12.25.", "1225"),
        ("10.5.", "105"),
        ("1,225.50", "122550"),
        ("50.5%", "505"),
        ("$.50", "50"),
        ("-5", "5"),
        ("−5", "5"),
        ("4:30", "430"),
        ("5:30 pm", "4:30 pm"),
        ("1/2", "12"),
        ("12/25", "1225"),
        ("10^2", "102"),
        ("12,25", "1225"),
        ("1,2,3", "123"),
        ("5...6", "56"),
        ("$5/$6", "56"),
        ("5'10\"", "510"),
        ("1.5m", "15m"),
        ("12345678901234567891", "12345678901234567892"),
        ("1e-5", "1e5"),
    ],
)
def test_punctuation_within_a_number_is_part_of_it(answer, reference):
    assert grade(f"Answer: {answer}", reference).score == 0.0
    assert grade(f"Answer: {reference}", answer).score == 0.0


def test_a_thousands_separator_does_not_split_a_list():
    assert grade("Answer: 1,225 and 10", ["10", "1225"]).score == 1.0
    assert grade("Answer: 12,25", ["25", "12"]).score == 1.0


def test_references_fed_back_are_right():
    if not DATA.exists():
        pytest.skip(f"{DATA} is not there")
    for line in DATA.read_text("utf-8").splitlines():
        for reference in drop_f1.references(json.loads(line)):
            assert drop_f1.f1(reference, reference) == 1.0 and drop_f1.exact(reference, reference)
            if len(reference) == 1:
                assert grade(f"Answer: {reference[0]}", *reference).score == 1.0


def test_rows_without_a_reference_are_refused():
    drop_f1.check({"answers": ["5"]})
    drop_f1.check({"answer": "five"})
    for row in ({}, {"answer": ""}, {"answers": ["the", "!"]}):
        with pytest.raises(ValueError, match="DROP needs"):
            drop_f1.check(row)
