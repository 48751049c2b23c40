"""DROP's F1 and exact match (arXiv 1903.00161, section 5), best over all references.

Answers are bags of words: lower case, no articles, no punctuation, numbers by value. Two bags whose numbers do not
agree have F1 0. Of several spans each finds its best partner, one to one, and what is left over counts as 0.

The authors' evaluator differs in numbers: it removes all punctuation from what Python does not read as one, so that
$12.25 is 1225 to it, 4:30 is 430 and -5 is 5. Here a number keeps what makes it one (`exact.without_punctuation`).
"""

import decimal
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.exact import without_punctuation
from r1jax.graders.math.final_answer import MAX_ANSWER, final_answer

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d{1,3})?")
_NUMERAL = re.compile(r"[-+]?\d+(?:[.:/^]\d+)+")  # a time, a fraction, a date, a power: by its digits
_ANSWER = re.compile(
    r"(?:^|\n|\*\*)\s{0,9}(?:final\s)?answer\s{0,3}(?:\*\*)?\s{0,3}[:：]|\banswer is\b:?", re.IGNORECASE
)
_LISTED = re.compile(r"\s*(?:(?<!\d),|,(?!\d{3}(?!\d))|;|\n|\band\b)\s*")  # not the comma of 1,000
_MOST_SPANS = 50


def check(row: Mapping[str, Any]) -> None:
    """Raises ValueError for a row without a reference that has a word or a number in it."""
    if not any(any(map(normalized, spans)) for spans in references(row)):
        raise ValueError("DROP needs `answers`, a list of accepted ones (each a text, or a list of spans), or `answer`")


def references(row: Mapping[str, Any]) -> list[list[str]]:
    """The accepted answers of a row, each a list of spans."""
    answers = row.get("answers") or [row.get("answer") or ""]
    return [[each] if isinstance(each, str) else list(each) for each in answers]


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """F1, 0.0 to 1.0, of what follows the last "Answer:", or stands in a box or answer tags, or of all there is."""
    text = final_answer(rollout.response)
    if text is None:
        return Grade(0.0, "no_answer")
    if len(text) > MAX_ANSWER:
        return Grade(0.0, "too_complex")
    found = list(_ANSWER.finditer(text))
    answer = text[found[-1].end() :].strip().split("\n")[0].strip("* ") if found else text
    if not normalized(answer):
        return Grade(0.0, "no_answer")
    row = {"answer": rollout.prompt.answer, **rollout.prompt.metadata}
    scores = []
    for spans in references(row):
        # A response is one text; it is a list only where the reference is.
        given = [part for part in _LISTED.split(answer) if part][:_MOST_SPANS] if len(spans) > 1 else [answer]
        scores.append((f1(given, spans), exact(given, spans)))
    best, same = max(score for score, _ in scores), any(same for _, same in scores)
    verdict = "right" if best == 1 else "partly_right" if best else "wrong"
    return Grade(best, verdict, normalized(answer)[:200], {"exact": float(same)})


def exact(given: Sequence[str], reference: Sequence[str]) -> bool:
    """Whether the spans are the same ones."""
    ours, theirs = [normalized(span) for span in given], [normalized(span) for span in reference]
    return set(ours) == set(theirs) and len(ours) == len(theirs)


def f1(given: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of spans, to two decimals, as the authors' evaluator rounds it."""
    import scipy.optimize

    ours, theirs = [set(normalized(span).split()) for span in given], [set(normalized(s).split()) for s in reference]
    scores = np.array([[_bag_f1(mine, other) for mine in ours] for other in theirs])
    rows, columns = scipy.optimize.linear_sum_assignment(-scores)
    return round(float(scores[rows, columns].sum()) / max(len(ours), len(theirs)), 2)


def _bag_f1(given: set[str], reference: set[str]) -> float:
    numbers = {word for word in reference if _is_number(word)}
    if numbers and not numbers & {word for word in given if _is_number(word)}:
        return 0.0
    shared = len(given & reference)
    precision, recall = shared / len(given) if given else 1.0, shared / len(reference) if reference else 1.0
    return 2 * precision * recall / (precision + recall) if shared or not (given or reference) else 0.0


def normalized(text: str) -> str:
    """An answer's words in one spelling, split at white space and hyphens."""
    words = without_punctuation(text.lower(), lambda run: " " if "-" in run else "").split()
    return " ".join(_value(word) if _NUMBER.fullmatch(word) else word for word in words if word not in _ARTICLES)


def _value(number: str) -> str:
    """A number in one spelling: the shortest of its floating-point number where that is exactly it."""
    exact, near = decimal.Decimal(number), float(number)
    if decimal.Decimal(repr(near)) == exact:
        return str(near + 0.0)  # no -0.0
    return str(exact.normalize(decimal.Context(prec=len(number))))


def _is_number(word: str) -> bool:
    return bool(_NUMBER.fullmatch(word) or _NUMERAL.fullmatch(word))
