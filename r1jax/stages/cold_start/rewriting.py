"""R1-Zero's outputs brought to the readable form, by rule or by a teacher; each keeping its answer.

By rule the thought is cleaned, and a summary made of the answer.
"""

import dataclasses
import re
from collections.abc import Sequence

import regex  # it knows classes of characters, which re does not

from r1jax.core.shares import from_process_0
from r1jax.data.types import Prompt
from r1jax.graders.math import math_grader
from r1jax.graders.math.final_answer import final_answer, stated_answer
from r1jax.inference.sampler import Sampler
from r1jax.io.provenance import fingerprint
from r1jax.rewards.grader_pool import GraderPool
from r1jax.stages.cold_start.candidates import WRONG, Candidate
from r1jax.stages.cold_start.sample_requests import Request, SampleCollector
from r1jax.text.chat import Response
from r1jax.text.cold_start_prompts import REWRITE, SUMMARY, fill, in_language
from r1jax.text.reflection_and_scripts import scripts

CHANGED, UNANSWERED = "answer changed by rewriting", "not rewritten: no answer from the teacher"

_CONTROLS = regex.compile(r"(?V1)[[\p{Cc}\p{Zl}\p{Zp}\ufeff\u200b]--[\n\t]]")
_SENTENCES = re.compile(r"(?<=[.!?])[ \t]+|(?<=[。！？])[ \t]*(?=[^\s”’」』）)])")
# What may begin a sentence in a small letter and is a word, not a variable or the left side of an equation.
_SMALL_WORD = re.compile(r"[a-z]{2,}(?=[ ,:'’](?![ ]*[-+*/=<>^%]))")
_NAMES = re.compile(r"(?:sin|cos|tan|log|ln|exp|gcd|lcm|max|min|mod|lim)\b")
_BARE = {"latin": 3, "han": 4}  # words and characters of what is no more than an answer
_BOX = "\\boxed{{answer}}"


def clean(thought: str, language: str) -> str:
    """A thought with careful punctuation and without repeated lines; its content is left alone.

    Control characters and blanks at the ends of lines go, and so does a line or sentence that repeats the one
    just before it. At most one empty line separates two lines. Outside code, English sentences
    begin with a capital, unless with what may be a variable, and the last one ends in a full stop.
    """
    text = _CONTROLS.sub("", thought.replace("\r\n", "\n").replace("\r", "\n"))
    is_code = "```" in text
    lines: list[str] = []
    for line in (line.rstrip() for line in text.strip().split("\n")):
        before = next((each for each in reversed(lines) if each), None)
        if is_code or not line:
            if line or (lines and lines[-1]):
                lines.append(line)
        elif (better := _clean_line(line, language)) != before:
            lines.append(better)
    text = "\n".join(lines).strip()
    if not is_code and re.search(r"[\w%)\]）]$", text):
        text += "。" if language == "zh" else "."
    return text


def _clean_line(line: str, language: str) -> str:
    """A line with a sentence after another, none twice in a row; the blanks before and between them stay."""
    pieces, start = [], 0
    for gap in [*_SENTENCES.finditer(line), None]:
        sentence = line[start : gap.start() if gap else len(line)]
        if language == "en" and _SMALL_WORD.match(sentence) and not _NAMES.match(sentence):
            sentence = sentence[0].upper() + sentence[1:]
        if not pieces or sentence != pieces[-2]:
            pieces += [sentence, gap[0] if gap else ""]
        start = gap.end() if gap else len(line)
    return "".join(pieces).rstrip()


def summary_of(final: str, language: str, boxed: bool = True) -> str:
    r"""R1-Zero's answer as a sentence in the question's language, the answer in a box where `boxed`.

    A final part that is a sentence, holds more than the answer or has several, stays as it is. In other languages than
    English and Chinese the box stands alone.
    """
    answer = final_answer(Response("", final, (), True))
    if answer is None or (scripts(final) and re.search(r"[.!?。！？]\s*$", final)):
        return final.strip()
    core = stated_answer(answer) if scripts(answer) else answer  # an exclamation mark of 5! is no punctuation
    if not _is_bare(core):
        return final.strip()
    form = SUMMARY.get(language, _BOX)
    return fill(form if boxed else form.replace(_BOX, "{answer}"), answer=core.strip(" $").rstrip(".。"))


def _is_bare(answer: str) -> bool:
    count = scripts(answer)
    return "\n" not in answer and len(answer) <= 200 and all(count[script] <= most for script, most in _BARE.items())


def by_rule(candidates: Sequence[Candidate], pool: GraderPool, boxed: bool) -> list[Candidate]:
    """Each candidate in the readable form, graded again."""
    better = []
    for each in map(_with_check, candidates):
        better.append(
            dataclasses.replace(
                each,
                thought=clean(each.thought, each.language),
                summary=summary_of(each.summary, each.language, boxed),
                provenance={**each.provenance, "rewritten_by": "rule"},
            )
        )
    graded = pool.score([each.rollout() for each in better])
    return [
        dataclasses.replace(each, fault="" if rollout.parts["accuracy"] == 1.0 else CHANGED)
        for each, rollout in zip(better, graded, strict=True)
    ]


def by_teacher(
    candidates: Sequence[Candidate], collector: SampleCollector, teacher: Sampler, chat: bool
) -> list[Candidate]:
    """Each candidate as the teacher rewrites it; all processes take part, and process 0 has the candidates."""
    candidates = [_with_check(each) for each in candidates]
    prompts = from_process_0([_rewriting(each) for each in candidates])
    request = Request("rewrite", "", lambda prompt: prompt.text, chat, tags=True)
    replies = {each.prompt.id: each for each in collector.collect(request, prompts, 1, teacher)}
    better = []
    for each, prompt in zip(candidates, prompts, strict=False):  # the other processes have none
        reply = replies.get(prompt.id)
        if reply is None:
            better.append(dataclasses.replace(each, fault=UNANSWERED))
            continue
        fault = CHANGED if reply.fault == WRONG else reply.fault
        provenance = {**each.provenance, "rewritten_by": dict(teacher.stamp)}
        better.append(
            dataclasses.replace(each, thought=reply.thought, summary=reply.summary, provenance=provenance, fault=fault)
        )
    return better


def _with_check(each: Candidate) -> Candidate:
    """The candidate with its right answer as the reference: its first grader may need more than a record keeps."""
    answer = final_answer(Response("", each.summary, (), True)) or each.summary
    try:
        math_grader.check({"answer": answer})
        grader = "maths"
    except ValueError:
        grader = "exact"
    check = Prompt(each.id, each.prompt.question, answer, f"{grader}:rewrite")
    return dataclasses.replace(each, check=check)


def _rewriting(each: Candidate) -> Prompt:
    """The prompt to the teacher. Its id changes with its text, so that no reply to another text counts for it."""
    form = in_language(REWRITE, each.language)
    text = fill(form, prompt=each.prompt.question, thought=each.thought, answer=each.check.answer)
    metadata = {"language": each.language}
    return dataclasses.replace(each.check, id=f"{each.id}:{fingerprint(text)}", text=text, metadata=metadata)
