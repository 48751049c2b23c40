"""DROP's F1 and exact match (arXiv 1903.00161, section 5), the best over all references.

Answers are bags of words: lower case, no articles, no punctuation, numbers by value. Two bags whose numbers do not
agree have F1 0. Several spans are aligned one to one for the best sum, and unaligned spans count as 0.

The authors' evaluator differs in numbers: it removes all punctuation from words that Python does not parse as one, so
that $12.25 becomes 1225, 4:30 430 and -5 5. Here numbers are kept intact (`exact_match.remove_punctuation`).
"""

import decimal
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.exact_match import remove_punctuation
from r1jax.graders.math.final_answer import MAX_ANSWER, final_answer

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d{1,3})?")
_NUMERAL = re.compile(r"[-+]?\d+(?:[.:/^]\d+)+")  # a time, a fraction, a date, a power: by its digits
_ANSWER = re.compile(
    r"(?:^|\n|\*\*)\s{0,9}(?:final\s)?answer\s{0,3}(?:\*\*)?\s{0,3}[:：]|\banswer is\b:?", re.IGNORECASE
)
_LIST_SEPARATOR = re.compile(r"\s*(?:(?<!\d),|,(?!\d{3}(?!\d))|;|\n|\band\b)\s*")  # not the comma of 1,000
_MAX_SPANS = 50


def check(row: Mapping[str, Any]) -> None:
    """Raises ValueError for a row whose references have no word and no number."""
    if not any(any(map(normalize, spans)) for spans in references(row)):
        raise ValueError("DROP needs `answers`, a list of accepted ones (each a text, or a list of spans), or `answer`")


def references(row: Mapping[str, Any]) -> list[list[str]]:
    """The reference answers of a row, each a list of spans."""
    answers = row.get("answers") or [row.get("answer") or ""]
    return [[each] if isinstance(each, str) else list(each) for each in answers]


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """F1, 0.0 to 1.0, of the text after the last "Answer:", in a box or answer tags, or else of the whole answer."""
    text = final_answer(rollout.response)
    if text is None:
        return Grade(0.0, "no_answer")
    if len(text) > MAX_ANSWER:
        return Grade(0.0, "too_complex")
    answer_labels = list(_ANSWER.finditer(text))
    answer = text[answer_labels[-1].end() :].strip().split("\n")[0].strip("* ") if answer_labels else text
    if not normalize(answer):
        return Grade(0.0, "no_answer")
    row = {"answer": rollout.prompt.answer, **rollout.prompt.metadata}
    scores = []
    for spans in references(row):
        # A response is one text, and divided into spans only where the reference is a list.
        answer_spans = (
            [part for part in _LIST_SEPARATOR.split(answer) if part][:_MAX_SPANS] if len(spans) > 1 else [answer]
        )
        scores.append((f1(answer_spans, spans), exact(answer_spans, spans)))
    best, is_exact = max(score for score, _ in scores), any(is_exact for _, is_exact in scores)
    verdict = "right" if best == 1 else "partly_right" if best else "wrong"
    return Grade(best, verdict, normalize(answer)[:200], {"exact": float(is_exact)})


def exact(answer_spans: Sequence[str], reference_spans: Sequence[str]) -> bool:
    """Whether the spans are the same, in any order."""
    normalized_answer, normalized_reference = (
        [normalize(span) for span in answer_spans],
        [normalize(span) for span in reference_spans],
    )
    return set(normalized_answer) == set(normalized_reference) and len(normalized_answer) == len(normalized_reference)


def f1(answer_spans: Sequence[str], reference_spans: Sequence[str]) -> float:
    """F1 of spans, rounded to two decimals as by the authors' evaluator."""
    import scipy.optimize

    answer_bags, reference_bags = (
        [set(normalize(span).split()) for span in answer_spans],
        [set(normalize(s).split()) for s in reference_spans],
    )
    scores = np.array(
        [[_bag_f1(answer_bag, reference_bag) for answer_bag in answer_bags] for reference_bag in reference_bags]
    )
    rows, columns = scipy.optimize.linear_sum_assignment(-scores)
    return round(float(scores[rows, columns].sum()) / max(len(answer_bags), len(reference_bags)), 2)


def _bag_f1(answer: set[str], reference: set[str]) -> float:
    numbers = {word for word in reference if _is_number(word)}
    if numbers and not numbers & {word for word in answer if _is_number(word)}:
        return 0.0
    shared = len(answer & reference)
    precision, recall = shared / len(answer) if answer else 1.0, shared / len(reference) if reference else 1.0
    return 2 * precision * recall / (precision + recall) if shared or not (answer or reference) else 0.0


def normalize(text: str) -> str:
    """An answer's words in canonical spelling, split at white space and hyphens."""
    words = remove_punctuation(text.lower(), lambda run: " " if "-" in run else "").split()
    return " ".join(_value(word) if _NUMBER.fullmatch(word) else word for word in words if word not in _ARTICLES)


def _value(number: str) -> str:
    """A number in canonical spelling: the shortest of its floating-point number where that is exact."""
    exact, near = decimal.Decimal(number), float(number)
    if decimal.Decimal(repr(near)) == exact:
        return str(near + 0.0)  # no -0.0
    return str(exact.normalize(decimal.Context(prec=len(number))))


def _is_number(word: str) -> bool:
    return bool(_NUMBER.fullmatch(word) or _NUMERAL.fullmatch(word))
