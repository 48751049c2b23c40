r"""Mathematics grader: whether the final answer equals the reference, of which every character is parsed.

`final_answer` extracts the answer, `statement` separates a formula from its conditions, `formula_structure` parses
lists and relations, `numerals` plain numbers, `expression_parser` the rest. A reference is parsed whole, or
its row is refused when it is loaded. A part of an answer that cannot be parsed makes the answer wrong.

**Unevaluated arithmetic is no answer.** "85 + 61" has the value 146, and a policy trained on such questions learns
within ten steps to repeat the question and stop. So where the reference is a plain number, the answer must be one, or
end in one ("85 + 61 = 146"). Elsewhere no part of the answer may be arithmetic with the value of a plain number (2*3,
2^{10}, \sqrt{16}, 5!, \frac{84}{2}), unless the reference has the same kind of it; and no function (\log, \binom, \gcd
...) may occur that the reference does not have.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.math import equivalence, notation
from r1jax.graders.math.equivalence import TooComplexError
from r1jax.graders.math.final_answer import MAX_ANSWER, distinct_answers, stated_answer, stated_formula
from r1jax.graders.math.formula_structure import Listed, spelled, structure
from r1jax.graders.math.numerals import number
from r1jax.graders.math.statement import Statement, parse_statement
from r1jax.graders.math.vote_key import vote_key

_ALL_IN_DOLLARS = re.compile(r"\$([^$]+)\$")
PROSE_KEY = "answer_is_prose"  # key of a row whose reference is a sentence that states its last formula or number


def check(row: Mapping[str, Any]) -> None:
    """Checks that a row's reference answer can be parsed whole; to be called when data is loaded.

    Raises:
        ValueError: a part of it cannot be parsed, or it is too long or too complex.
    """
    answer = row["answer"]
    try:
        _reference(answer, bool(row.get(PROSE_KEY)))
    except (ValueError, TooComplexError) as error:
        raise ValueError(
            f"reference answer {answer[:200]!r} cannot be read as mathematics: {error or 'too complex'}; repair it, "
            f"leave the line out, or set {PROSE_KEY!r} where it is a sentence that states its last formula"
        ) from None


def reading(answer: str) -> str | None:
    """All of a reference that answers are compared with, in plain spelling; None where it cannot be parsed.

    Units, words that introduce the value and full stops are left out.
    """
    try:
        gold = _reference(answer, False)
    except (ValueError, TooComplexError):
        return None
    if isinstance(gold, str):
        return gold
    spelled_formula = spelled(structure(gold.formula))
    without_unit = (
        spelled_formula if structure(gold.formula) != (gold.formula,) else equivalence.without_unit(gold.formula)
    )
    return ", ".join(
        [without_unit, *(f"{name} in {domain}" for name, domain in gold.domains), *sorted(gold.conditions)]
    )


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 where the final answer equals the reference, 0.0 where it does not or is missing.

    Returns:
        a score of None only where the reference answer cannot be parsed, which `check` refuses at load time.
    """
    try:
        gold = _reference(rollout.prompt.answer, bool(rollout.prompt.metadata.get(PROSE_KEY)))
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
    answer = notation.normalize(stated_answer(answer) if isinstance(gold, str) else answer)
    try:
        right = _matches(gold, answer)
    except TooComplexError:
        return Grade(0.0, "too_complex")
    if right is None:
        return Grade(0.0, "malformed")
    return Grade(float(right), "right" if right else "wrong", vote_key(gold, answer))


def _takes_several(gold: Statement | str) -> bool:
    """Whether a reference is a list of answers, each of which may be in a box of its own."""
    if isinstance(gold, str):
        return False
    parsed = structure(gold.formula)
    return isinstance(parsed, Listed) and parsed.opening in ("", r"\{") and len(parsed.elements) > 1


@functools.lru_cache(maxsize=4096)
def _reference(answer: str, is_prose: bool) -> Statement | str:
    """A parsed reference answer: a statement; for a choice or words, text.

    Raises:
        ValueError: a part of it cannot be parsed.
        TooComplexError: it is too long, too deep or too large.
    """
    if len(answer) > MAX_ANSWER:
        raise TooComplexError
    in_dollars = _ALL_IN_DOLLARS.fullmatch(answer.strip())
    answer = in_dollars[1] if in_dollars else answer
    gold = " ".join(notation.normalize(" ".join(notation.restore_commands(answer).split())).split()).rstrip(" .,;")
    if not gold:
        raise ValueError("it is empty")
    if number(gold):
        return Statement(gold)
    if notation.choice_letter(gold) or notation.is_literal(gold):
        return gold
    if is_prose:
        gold = stated_formula(gold) or ""
    if notation.is_too_complex(gold):
        raise TooComplexError
    parsed = parse_statement(gold)
    equivalence.check_readable(parsed.formula)
    return parsed


def _matches(gold: Statement | str, answer: str) -> bool | None:
    """Whether a normalised answer equals the reference; None where no answer can be parsed.

    Args:
        answer: where the reference is a choice or words, the result of `stated_answer`.
    """
    if isinstance(gold, str):
        if letter := notation.choice_letter(gold):
            return letter in (notation.choice_letter(answer), notation.choice_letter(answer.upper()))
        return notation.normalize_words(gold) == notation.normalize_words(answer)
    for candidate in _statements(answer):
        if notation.is_too_complex(candidate.formula):
            raise TooComplexError
        try:
            return equivalence.same(gold, candidate)
        except ValueError:  # it cannot be parsed
            continue
    return None


def _statements(answer: str) -> Any:
    """The candidate statements of an answer: all of it, then the formula that its sentence states."""
    line = answer if "\n" not in answer.strip() or r"\begin" in answer else None
    if line is not None and len(line) <= notation.MAX_FORMULA:
        whole = parse_statement(line)
        # What is too complex is not parsed; `_matches` refuses it.
        if notation.is_too_complex(whole.formula) or equivalence.is_readable(whole.formula):
            yield whole
    formula = stated_formula(answer)
    if formula:
        yield parse_statement(formula)
