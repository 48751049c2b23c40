r"""Accuracy on mathematics: whether the final answer equals the reference, of which every character is accounted for.

What the final answer is, `answer` says; what stands around a formula, `statement`; what it is made of, `structure`;
plain numbers are `numerals`, what is left is an `expression`. A reference is read whole, or its row is refused when
it is loaded. What is not understood of an answer makes it wrong, and never a part of it right.

**Work left undone is no answer.** "85 + 61" has the value 146, and a policy that is asked for it learns within ten
steps to say the question again and stop. So where the reference is a plain number, the answer must be one, or end in
one ("85 + 61 = 146"). Elsewhere no part of the answer may be arithmetic that comes to a plain number (2*3, 2^{10},
\sqrt{16}, 5!, \frac{84}{2}), unless the reference has the same kind of it; and no function (\log, \binom, \gcd ...) may
occur that the reference does without.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.math import comparison, notation
from r1jax.graders.math.comparison import TooComplexError
from r1jax.graders.math.final_answer import MAX_ANSWER, claim, distinct_answers, said
from r1jax.graders.math.numerals import number
from r1jax.graders.math.statement import Statement, statement
from r1jax.graders.math.structure import Listed, spelled, structure
from r1jax.graders.math.vote_key import spelling

_ALL_IN_DOLLARS = re.compile(r"\$([^$]+)\$")
PROSE = "answer_is_prose"  # a row's key: its reference is a sentence, which states its last formula or number


def check(row: Mapping[str, Any]) -> None:
    """Refuses a row whose reference answer could never be matched, or not whole; to be called when data is loaded.

    Raises:
        ValueError: something in it cannot be read as mathematics, or it is too long or too complex.
    """
    answer = row["answer"]
    try:
        _reference(answer, bool(row.get(PROSE)))
    except (ValueError, TooComplexError) as error:
        raise ValueError(
            f"reference answer {answer[:200]!r} cannot be read as mathematics: {error or 'too complex'}; mend it, "
            f"leave the line out, or set {PROSE!r} where it is a sentence that states its last formula"
        ) from None


def reading(answer: str) -> str | None:
    """All of a reference that answers are compared with, in plain spelling; None where it cannot be read.

    Units, words that lead up to the value and full stops are not in it.
    """
    try:
        gold = _reference(answer, False)
    except (ValueError, TooComplexError):
        return None
    if isinstance(gold, str):
        return gold
    shown = spelled(structure(gold.formula))
    plain = shown if structure(gold.formula) != (gold.formula,) else comparison.without_unit(gold.formula)
    return ", ".join([plain, *(f"{name} in {domain}" for name, domain in gold.domains), *sorted(gold.conditions)])


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 when the final answer equals the reference, 0.0 when it does not or is missing.

    Returns:
        a score of None only where the reference answer cannot be read, which `check` refuses at load time.
    """
    try:
        gold = _reference(rollout.prompt.answer, bool(rollout.prompt.metadata.get(PROSE)))
    except (ValueError, TooComplexError):
        return Grade(None, "ungradable")
    answers = distinct_answers(rollout.response)
    if len(answers) > 1 and not _takes_several(gold):
        answers = []  # candidates, of which one may be right
    if not answers:
        return Grade(0.0, "no_answer")
    answer = ", ".join(answers)
    if len(answer) > MAX_ANSWER:
        return Grade(0.0, "too_complex")
    answer = notation.tidy(said(answer) if isinstance(gold, str) else answer)
    try:
        right = _is_right(gold, answer)
    except TooComplexError:
        return Grade(0.0, "too_complex")
    if right is None:
        return Grade(0.0, "malformed")
    return Grade(float(right), "right" if right else "wrong", spelling(gold, answer))


def _takes_several(gold: Statement | str) -> bool:
    """Whether a reference is a list of answers, each of which may stand in a box of its own."""
    if isinstance(gold, str):
        return False
    formula = structure(gold.formula)
    return isinstance(formula, Listed) and formula.opening in ("", r"\{") and len(formula.elements) > 1


@functools.lru_cache(maxsize=4096)
def _reference(answer: str, is_prose: bool) -> Statement | str:
    """A reference answer: a statement, or text for a choice and for words.

    Raises:
        ValueError: something in it cannot be read.
        TooComplexError: it is too long, too deep or too large.
    """
    if len(answer) > MAX_ANSWER:
        raise TooComplexError
    whole = _ALL_IN_DOLLARS.fullmatch(answer.strip())
    answer = whole[1] if whole else answer
    gold = " ".join(notation.tidy(" ".join(notation.with_commands(answer).split())).split()).rstrip(" .,;")
    if not gold:
        raise ValueError("it is empty")
    if number(gold):
        return Statement(gold)
    if notation.choice(gold) or notation.is_literal(gold):
        return gold
    if is_prose:
        gold = claim(gold) or ""
    if notation.too_complex(gold):
        raise TooComplexError
    found = statement(gold)
    comparison.check_readable(found.formula)
    return found


def _is_right(gold: Statement | str, answer: str) -> bool | None:
    """Whether an answer, tidied, is right; None where none is found in it.

    Args:
        answer: for a choice or words what the answer says, `said`.
    """
    if isinstance(gold, str):
        if letter := notation.choice(gold):
            return letter in (notation.choice(answer), notation.choice(answer.upper()))
        return notation.literal(gold) == notation.literal(answer)
    for candidate in _statements(answer):
        if notation.too_complex(candidate.formula):
            raise TooComplexError
        try:
            return comparison.same(gold, candidate)
        except ValueError:  # it cannot be read
            continue
    return None


def _statements(answer: str) -> Any:
    """What an answer may state: all of it, or what its sentence comes down to."""
    line = answer if "\n" not in answer.strip() or r"\begin" in answer else None
    if line is not None and len(line) <= notation.MAX_FORMULA:
        whole = statement(line)
        # What is too complex is not even read; `_is_right` refuses it.
        if notation.too_complex(whole.formula) or comparison.is_readable(whole.formula):
            yield whole
    formula = claim(answer)
    if formula:
        yield statement(formula)
