"""Judge protocols of judged benchmarks: pairwise preference, preference by degrees, and factual correctness.

Judges see the summary only, never the thought (arXiv 2501.12948, section 3.1), so that long thoughts gain nothing.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from r1jax.data.types import Grade, Rollout
from r1jax.graders import judge_client as judge_client
from r1jax.graders.config import JudgeConfig
from r1jax.graders.judge_client import MAX_CHARS, Judge, Reply, comparison_texts
from r1jax.io.provenance import fingerprint, short_hash

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


def _grade_preference(judge: Judge, rollout: Rollout) -> Grade:
    """The mean preference for the response over the reference's, in both orders; an empty summary is not sent."""
    final, reference = rollout.response.final, rollout.prompt.metadata["reference_output"]
    detail = {"length": len(final), "reference_length": len(reference), **_truncation_note(final, reference)}
    if not final:
        return Grade(0.0, "no_answer", "", {**detail, "orders": [0.0, 0.0]})
    orders = judge.compare_both_orders(rollout.prompt.question, final, reference)
    if orders is None:
        return Grade(None, "ungradable", "", detail)
    return _comparison_grade(sum(orders) / 2, {**detail, "orders": list(orders)})


def _grade_degrees(judge: Judge, rollout: Rollout) -> Grade:
    """Two games, one in each order, with five verdicts; both are recorded with the response as A."""
    final, reference = rollout.response.final, rollout.prompt.metadata["reference_output"]
    detail = {"length": len(final), "reference_length": len(reference), **_truncation_note(final, reference)}
    if not final:
        return Grade(0.0, "no_answer", "", {**detail, "games": ["B>>A", "B>>A"]})
    question = rollout.prompt.question
    first = judge.ask_verdict(_DEGREES, comparison_texts(question, final, reference), _VERDICTS)
    second = judge.ask_verdict(_DEGREES, comparison_texts(question, reference, final), _VERDICTS) if first else None
    if second is None:
        return Grade(None, "ungradable", "", detail)
    games = [first, _MIRRORED[second]]
    return _comparison_grade(sum(_POINTS[game] for game in games) / 2, {**detail, "games": games})


def compare_degrees(judge: Judge, question: str, first: str, second: str, temperature: float) -> Reply:
    """One request, whose verdict is a key of `DEGREES`; raises as `Judge.reply`."""
    return judge.reply(_DEGREES, comparison_texts(question, first, second), _VERDICTS, temperature)


def _grade_facts(judge: Judge, rollout: Rollout) -> Grade:
    """Whether the response states the reference's facts, by one request."""
    final, prompt = rollout.response.final, rollout.prompt
    if not final:
        return Grade(0.0, "no_answer", "", {"grade": "NOT_ATTEMPTED"})
    texts = [("QUESTION", prompt.question), ("REFERENCE", prompt.answer), ("ANSWER", final)]
    verdict = judge.ask_verdict(_FACTS, texts, list(_FACT_GRADES))
    if verdict is None:
        return Grade(None, "ungradable", "", _truncation_note(final))
    return Grade(*_FACT_GRADES[verdict], "", {"grade": verdict, **_truncation_note(final)})


def _comparison_grade(score: float, detail: Mapping[str, Any]) -> Grade:
    verdict = {1.0: "right", 0.0: "wrong"}.get(score, "partly_right")
    return Grade(score, verdict, "", detail)


def _truncation_note(*texts: str) -> dict[str, bool]:
    """{"cut": True} where the judge sees only the beginning of a text, else {}."""
    return {"cut": True} if any(len(text) > MAX_CHARS for text in texts) else {}


def _require_reference_output(row: Mapping[str, Any]) -> None:
    text = row.get("reference_output")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(
            "no reference_output to compare with: give the benchmark's `baseline`, a file of another model's answers "
            "(samples.jsonl of an evaluation, or arena-hard-auto's model_answer)"
        )


def _require_answer(row: Mapping[str, Any]) -> None:
    if not row["answer"].strip():
        raise ValueError("no reference answer")


class Protocol(NamedTuple):
    """A way of grading with a judge.

    Attributes:
        grade: (judge, rollout) -> Grade; waits for the judge.
        check: raises ValueError for a row against which it cannot grade.
        text: of its instructions, for the version.
    """

    grade: Callable[[Judge, Rollout], Grade]
    check: Callable[[Mapping[str, Any]], None]
    text: str


PROTOCOLS = {
    "preference": Protocol(_grade_preference, _require_reference_output, judge_client.PREFERENCE),
    "degrees": Protocol(_grade_degrees, _require_reference_output, _DEGREES),
    "facts": Protocol(_grade_facts, _require_answer, _FACTS),
}


def version(name: str, cfg: JudgeConfig) -> str:
    """A version of a protocol with a judge, recorded with its grades: instructions, model and address."""
    digest = short_hash(PROTOCOLS[name].text + judge_client.VERDICT_INSTRUCTIONS, 8)
    return f"{name} {digest} {cfg.model} {fingerprint({'base_url': re.sub(r'/+$', '', cfg.base_url)})}"
