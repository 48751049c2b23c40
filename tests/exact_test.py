"""Exact-match grader: words without punctuation, and numbers with their signs and points."""

import pytest

from r1jax.data.types import Prompt, Rollout
from r1jax.graders import exact_match
from r1jax.graders.config import GraderConfig


def grade(text: str, answer: str) -> float:
    prompt = Prompt("q", "How much?", answer, "exact:test")
    return exact_match.grade(Rollout.of_text(prompt, text), GraderConfig()).score


@pytest.mark.parametrize(
    "text, answer",
    [
        ("The Eiffel Tower!", "eiffel-tower"),
        ("“Paris”.", "paris"),
        ("１２．２５", "12.25"),
        ("12.25.", "12.25"),
        ("($12.25)", "$12.25"),
        ("1,225", "1225"),
        ("1,225.50.", "1225.50"),
        ("1{,}225", "1,225"),
        ("−5", "-5"),
        ("-$5", "-5"),
        ("4:30.", "4:30"),
        ("1 / 2", "1/2"),
        ("½", "1/2"),
        ("2½", "2 1/2"),
        ("10²", "10^2"),
        ("10-12", "10–12"),
        ("No.5", "no. 5"),
        ("the 1990’s", "1990s"),
        ("m²", "m2"),
    ],
)
def test_punctuation_around_words_and_numbers_is_ignored(text, answer):
    assert grade(text, answer) == 1.0


@pytest.mark.parametrize(
    "one, other",
    [
        ("12.25", "12 25"),
        ("12.25", "1225"),
        ("12.25", "12,25"),
        ("-5", "5"),
        ("4:30", "4 30"),
        ("1/2", "1 2"),
        ("10²", "102"),
        ("10^2", "10 2"),
        ("2½", "21/2"),
        ("1,22", "122"),
        ("12345,678", "12345678"),
        ("1e-5", "1e5"),
        (".5", "5"),
    ],
)
def test_punctuation_within_a_number_is_part_of_it(one, other):
    assert grade(one, other) == grade(other, one) == 0.0


@pytest.mark.parametrize("text", ["(.5)", "5...6", "a.b", "$5/$6", "(12.)5", "x.", ".", "", "- 5", "$-5", "5%%5"])
def test_digits_never_run_together(text):
    digits = [c for c in text if c.isdigit()]
    assert "".join(digits) not in exact_match.remove_punctuation(text, lambda run: "") or len(digits) < 2


def test_a_reference_without_a_letter_or_a_digit_is_refused():
    exact_match.check({"answer": "5"})
    for answer in ("", "!", "-", "the"):
        with pytest.raises(ValueError, match="no letter and no digit"):
            exact_match.check({"answer": answer})
