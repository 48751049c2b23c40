"""What makes a chain of thought readable, as far as rules can tell (arXiv 2501.12948, section 2.3.1)."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

from r1jax.data.types import Prompt, Rollout
from r1jax.rewards.format_rewards import repetition_penalty
from r1jax.rewards.language_consistency import consistency
from r1jax.stages.cold_start.candidates import INCOMPLETE, Candidate
from r1jax.stages.cold_start.config import ReadableConfig
from r1jax.text.chat import join_response, split_response
from r1jax.text.traits import words

DUPLICATE, ENOUGH = "says what another one says", "more than per_question"


def fault(question: str, thought: str, summary: str, language: str, marker: str, cfg: ReadableConfig) -> str:
    """What speaks against a thought and its summary, in a few words, the first that is found; "": nothing does.

    Args:
        language: to be written in; "": it cannot be told, and is not looked at.
        marker: of the form that they are to be joined in, see `join_response`.
    """
    if not thought.strip() or not summary.strip():
        return INCOMPLETE
    if marker and (marker in thought or marker in summary):
        return "holds the marker"
    parts = split_response(join_response(thought, summary, marker), marker)
    if not parts.well_formed or (parts.thought, parts.final) != (thought.strip(), summary.strip()):
        return "does not fit the form"
    if "\ufffd" in thought + summary:
        return "broken characters"
    if len(thought) < cfg.min_chars:
        return "thought too short"
    if len(thought) > cfg.max_chars:
        return "thought too long"
    if len(summary) > cfg.max_summary_chars:
        return "summary too long"
    if -repetition_penalty(thought, cfg.repetition_ngram) > cfg.repetition:
        return "repeats itself"
    if language and not words(thought):
        return "no words in the thought"
    if language and not all(_is_in(language, question, text, cfg) for text in (thought, summary)):
        return "not in the question's language"
    return ""


def _is_in(language: str, question: str, text: str, cfg: ReadableConfig) -> bool:
    """Whether a text is in a language, as far as one can tell; one without words is in any."""
    marker = "\0"  # which no text has: else the text could pass for a form of its own
    prompt = Prompt("", question, "", "", marker=marker)
    rollout = Rollout.of_text(prompt, join_response(text, "-", marker))
    return not words(text) or consistency(rollout, language) >= cfg.language


def choose(candidates: Sequence[Candidate], marker: str, cfg: ReadableConfig) -> list[Candidate]:
    """The same candidates in the same order, each that is not to be kept with its fault.

    Of those that answer the same question with the same thought, white space aside, the first is kept.
    """
    chosen, seen, of_question = [], set(), Counter()
    for each in candidates:
        question = each.prompt.question
        found = each.fault or fault(question, each.thought, each.summary, each.language, marker, cfg)
        key = (" ".join(question.split()), " ".join(each.thought.split()))
        if not found and key in seen:
            found = DUPLICATE
        if not found and cfg.per_question and of_question[key[0]] >= cfg.per_question:
            found = ENOUGH
        if not found:
            seen.add(key)
            of_question[key[0]] += 1
        chosen.append(dataclasses.replace(each, fault=found))
    return chosen
