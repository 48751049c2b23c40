"""What judged benchmarks ask of a judge: which answer is better, by how much, or whether the facts are right.

Judges see the summary only, never the thought (arXiv 2501.12948, section 3.1), so that length of thinking buys nothing.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from r1jax.config import fingerprint
from r1jax.data.types import Grade, Rollout
from r1jax.graders import judge_client as judges
from r1jax.graders.config import JudgeConfig
from r1jax.graders.judge_client import MOST_LETTERS, Judge, Reply, pair

_DEGREES = """You compare two answers to a user's request. First think how you would answer it yourself. Then look
for mistakes in both answers, and weigh how helpful, relevant and concise each is, and what it leaves out. Length alone
is no merit, and neither is the order in which you see the answers.
A>>B: A is much better; A>B: it is better; A=B: they are about even; B>A, B>>A: the other way round."""
# How much better the first answer is, in degrees.
DEGREES = {"A>>B": 2, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -2}
_VERDICTS = tuple(DEGREES)
_MIRRORED = dict(zip(_VERDICTS, reversed(_VERDICTS), strict=True))
_POINTS = {"A>>B": 1.0, "A>B": 1.0, "A=B": 0.5, "B>A": 0.0, "B>>A": 0.0}
_FACTS = """You say whether an answer to a question of fact is right, given the reference answer.

CORRECT: it holds all that the reference says of what is asked, and contradicts none of it. Hedges, spelling, other
words for the same and further true details do no harm; a number has to agree to the reference's last digit.
INCORRECT: anything in it contradicts the reference, hedged or not.
NOT_ATTEMPTED: the reference's content is not there in full, and nothing contradicts it."""
_FACT_GRADES = {"CORRECT": (1.0, "right"), "INCORRECT": (0.0, "wrong"), "NOT_ATTEMPTED": (0.0, "no_answer")}


def _prefer(judge: Judge, rollout: Rollout) -> Grade:
    """The mean preference for the response over the reference's, in both orders; an empty one loses unasked."""
    final, reference = rollout.response.final, rollout.prompt.metadata["reference_output"]
    detail = {"length": len(final), "reference_length": len(reference), **_cut(final, reference)}
    if not final:
        return Grade(0.0, "no_answer", "", {**detail, "orders": [0.0, 0.0]})
    orders = judge.prefer(rollout.prompt.question, final, reference)
    if orders is None:
        return Grade(None, "ungradable", "", detail)
    return _compared(sum(orders) / 2, {**detail, "orders": list(orders)})


def _compare_by_degrees(judge: Judge, rollout: Rollout) -> Grade:
    """Two games with places changed, five verdicts, each told from the response's side: A is the response."""
    final, reference = rollout.response.final, rollout.prompt.metadata["reference_output"]
    detail = {"length": len(final), "reference_length": len(reference), **_cut(final, reference)}
    if not final:
        return Grade(0.0, "no_answer", "", {**detail, "games": ["B>>A", "B>>A"]})
    question = rollout.prompt.question
    first = judge.ask(_DEGREES, pair(question, final, reference), _VERDICTS)
    second = judge.ask(_DEGREES, pair(question, reference, final), _VERDICTS) if first else None
    if second is None:
        return Grade(None, "ungradable", "", detail)
    games = [first, _MIRRORED[second]]
    return _compared(sum(_POINTS[game] for game in games) / 2, {**detail, "games": games})


def degree(judge: Judge, question: str, first: str, second: str, temperature: float) -> Reply:
    """One request, whose verdict is a key of `DEGREES`; raises as `Judge.reply` does."""
    return judge.reply(_DEGREES, pair(question, first, second), _VERDICTS, temperature)


def _check_facts(judge: Judge, rollout: Rollout) -> Grade:
    """Whether the response says what the reference does, one request."""
    final, prompt = rollout.response.final, rollout.prompt
    if not final:
        return Grade(0.0, "no_answer", "", {"grade": "NOT_ATTEMPTED"})
    texts = [("QUESTION", prompt.question), ("REFERENCE", prompt.answer), ("ANSWER", final)]
    found = judge.ask(_FACTS, texts, list(_FACT_GRADES))
    if found is None:
        return Grade(None, "ungradable", "", _cut(final))
    return Grade(*_FACT_GRADES[found], "", {"grade": found, **_cut(final)})


def _compared(score: float, detail: Mapping[str, Any]) -> Grade:
    verdict = {1.0: "right", 0.0: "wrong"}.get(score, "partly_right")
    return Grade(score, verdict, "", detail)


def _cut(*texts: str) -> dict[str, bool]:
    """Whether the judge saw less than all of a text."""
    return {"cut": True} if any(len(text) > MOST_LETTERS for text in texts) else {}


def _check_reference(row: Mapping[str, Any]) -> None:
    text = row.get("reference_output")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(
            "no reference_output to compare with: give the benchmark's `baseline`, a file of another model's answers "
            "(samples.jsonl of an evaluation, or arena-hard-auto's model_answer)"
        )


def _check_answer(row: Mapping[str, Any]) -> None:
    if not row["answer"].strip():
        raise ValueError("no reference answer")


class Protocol(NamedTuple):
    """How a judge is asked.

    Attributes:
        grade: (judge, rollout) -> Grade; may wait for the judge.
        check: raises ValueError for a row that it could not grade against.
        text: of its instructions, for the stamp.
    """

    grade: Callable[[Judge, Rollout], Grade]
    check: Callable[[Mapping[str, Any]], None]
    text: str


PROTOCOLS = {
    "preference": Protocol(_prefer, _check_reference, judges.PREFERENCE),
    "degrees": Protocol(_compare_by_degrees, _check_reference, _DEGREES),
    "facts": Protocol(_check_facts, _check_answer, _FACTS),
}


def version(name: str, cfg: JudgeConfig) -> str:
    """What a judgement depends on: the protocol's words, the judge and where it is."""
    words = hashlib.sha256((PROTOCOLS[name].text + judges.FENCES).encode()).hexdigest()[:8]
    return f"{name} {words} {cfg.model} {fingerprint({'base_url': re.sub(r'/+$', '', cfg.base_url)})}"
