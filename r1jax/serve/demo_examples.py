"""Examples of the demonstration page: held-out questions of the mini world, of every kind and in both languages."""

import dataclasses
import itertools
import random

from r1jax.data.miniworld import requests
from r1jax.data.miniworld.problems import Problem

HELD_OUT_SHARE = 0.1  # as in every config file of the mini world: no stage trains on these questions
# Kind, language and number, in the order in which they take turns.
_PROBLEMS = (
    ("chain", "en", 4),
    ("gcd", "zh", 3),
    ("relatives", "en", 3),
    ("chain", "zh", 4),
    ("gcd", "en", 3),
    ("relatives", "zh", 3),
)
# Kind and number in each language.
_REQUESTS = {"translation": 2, "fact": 2, "greeting": 1, "self": 1, "secret": 1, "writing": 1}


@dataclasses.dataclass(frozen=True)
class Example:
    """A question that the page offers.

    Attributes:
        id: unique among the examples.
        question: as the model gets it.
        reference: the right answer; "": an open request, which has none.
        grader: name of its grader, a key of `r1jax.graders.grader_table.GRADERS`.
        label: a short text for a button.
        language: of the question, "en" or "zh".
        kind: of problem or request, as the mini world names them.
    """

    id: str
    question: str
    reference: str
    grader: str
    label: str
    language: str = ""
    kind: str = ""


def held_out_examples(seed: int = 0) -> list[Example]:
    """A few dozen held-out questions; kinds and languages alternate, so that any few in a row differ."""
    problems = _in_turn([_problems(kind, language, count, seed) for kind, language, count in _PROBLEMS])
    general = _in_turn(
        [_requests(kind, language, count) for kind, count in _REQUESTS.items() for language in requests.LANGUAGES]
    )
    examples = []
    while problems or general:
        examples += [*problems[:2], *general[:1]]
        del problems[:2], general[:1]
    return examples


def _in_turn(groups: list[list[Example]]) -> list[Example]:
    """The first of each group, then the second of each."""
    return [example for each in itertools.zip_longest(*groups) for example in each if example]


def _problems(kind: str, language: str, count: int, seed: int) -> list[Example]:
    examples: dict[str, Example] = {}
    for index in itertools.count():
        question = requests.question(random.Random(f"demo/{seed}/{index}"), HELD_OUT_SHARE, held_out=True)
        problem = question.problem
        if (problem.kind, question.language) == (kind, language) and _takes_steps(problem):
            example = Example(
                f"{kind}-{language}-{index}",
                question.text,
                str(problem.answer),
                "maths",
                _label(problem, question.text),
                language,
                kind,
            )
            examples.setdefault(question.text, example)
        if len(examples) == count:
            return list(examples.values())


def _takes_steps(problem: Problem) -> bool:
    """Whether a problem is worth a thought: a sum of at least three terms, a divisor other than 1."""
    return len(problem.parts) >= 5 if problem.kind == "chain" else problem.answer > 1


def _label(problem: Problem, question: str) -> str:
    if question == problem.question and problem.kind != "relatives":
        parts = " ".join(map(str, problem.parts))
        return parts if problem.kind == "chain" else f"GCD of {parts.replace(' ', ' and ')}"
    return question


def _requests(kind: str, language: str, count: int) -> list[Example]:
    held_out = requests.requests_of(HELD_OUT_SHARE, True)
    matches = [request for request in held_out if (request.kind, request.language) == (kind, language)]
    return [
        Example(
            f"{kind}-{language}-{index}",
            request.question,
            request.answer if request.grader == "exact" else "",
            request.grader,
            request.question,
            language,
            kind,
        )
        for index, request in enumerate(matches[:count])
    ]
