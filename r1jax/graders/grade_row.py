"""Grade of one response with the text of its final answer, as a grader process runs it."""

from collections.abc import Callable

from r1jax.data.types import Grade, Rollout
from r1jax.graders import repository_patch
from r1jax.graders.code import program_extraction, stdio_tests
from r1jax.graders.config import GraderConfig
from r1jax.graders.grader_table import PROGRAMS
from r1jax.graders.math import notation
from r1jax.graders.math.final_answer import MAX_ANSWER, final_answer, stated_answer, stated_formula


def grade_row(
    grade: Callable[[Rollout, GraderConfig], Grade], rollout: Rollout, cfg: GraderConfig
) -> tuple[Grade, str | None]:
    """The grade, and the final answer as a person would quote it; None where the response gives none."""
    graded = grade(rollout, cfg)
    return graded, None if graded.verdict == "no_answer" else final_text(rollout, graded)


def final_text(rollout: Rollout, grade: Grade) -> str | None:
    """The final answer in the response's own spelling, without the sentence around it.

    A choice is its letter; a program, or a patch, the block that is graded; an answer that no rule takes apart is the
    whole final part. `Grade.answer` is no such text: it spells alike what means the same (0.5 is 1/2 there).
    """
    response, name = rollout.response, rollout.prompt.grader
    if name in PROGRAMS:
        language = stdio_tests.language_of_tag(str(rollout.prompt.metadata.get("language") or "")) or "python"
        program = program_extraction.extract_program(response.final, language)
        return program[1] if program else None
    if name == "patch":
        return repository_patch.extract(response.final) or None
    if name in ("open", "ifeval"):
        return response.final or None
    if name == "choice" and grade.answer:
        return grade.answer
    text = final_answer(response)
    if text is None or len(text) > MAX_ANSWER or text not in (response.final, *response.answers):
        return text  # nothing, or too long to be read, or all of a box
    words = stated_answer(text) or text
    if name != "maths":
        return words
    gold = notation.normalize(rollout.prompt.answer)
    if letter := notation.choice_letter(gold):
        return (
            notation.choice_letter(words) or notation.choice_letter(words.upper()) or (letter if grade.score else words)
        )
    return words if notation.is_literal(gold) else stated_formula(notation.normalize(text)) or words
