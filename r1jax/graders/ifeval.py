"""IFEval grader: whether a response follows every instruction of its prompt (arXiv 2311.07911, section 2.3)."""

from collections.abc import Mapping
from typing import Any

from r1jax.config import nearest
from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.ifeval_instructions import CHECKS, LANGUAGES, base_language

_MAX_CHARS = 400_000


def check(row: Mapping[str, Any]) -> None:
    """Checks that a row's instructions can be verified.

    Raises:
        ValueError: an unknown instruction or language, with the nearest known one; or a parameter is missing.
    """
    ids, kwargs = row.get("instruction_id_list"), row.get("kwargs")
    if not isinstance(ids, list) or not isinstance(kwargs, list) or len(ids) != len(kwargs) or not ids:
        raise ValueError("IFEval needs instruction_id_list and kwargs, two lists of one length")
    for instruction, parameters in zip(ids, kwargs, strict=True):
        if instruction not in CHECKS:
            raise ValueError(f"no instruction {instruction!r}; nearest: {nearest(str(instruction), CHECKS)}")
        missing_parameters = [name for name in CHECKS[instruction][0] if (parameters or {}).get(name) is None]
        if missing_parameters:
            raise ValueError(f"instruction {instruction} lacks {', '.join(missing_parameters)}")
        language = str(parameters["language"]) if instruction == "language:response_language" else "en"
        if base_language(language) not in LANGUAGES:
            raise ValueError(f"no language {language!r}; nearest: {nearest(language, LANGUAGES)}")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 where the summary follows every instruction, by the strict criterion.

    Returns:
        a grade whose detail has, for each instruction, whether it was followed by the strict and by the loose
        criterion; the latter is also met by the text without its first line, last line or asterisks.
    """
    text, row = rollout.response.final, rollout.prompt.metadata
    pairs = list(zip(row["instruction_id_list"], row["kwargs"], strict=True))
    if not text.strip():
        all_false = [False] * len(pairs)
        return Grade(0.0, "no_answer", "", {"followed": all_false, "loose": all_false})
    if len(text) > _MAX_CHARS:
        return Grade(0.0, "too_complex")
    followed = [CHECKS[instruction][1](text, kwargs or {}) for instruction, kwargs in pairs]
    variants = _variants(text)
    loose = [
        strict or any(CHECKS[instruction][1](variant, kwargs or {}) for variant in variants if variant.strip())
        for strict, (instruction, kwargs) in zip(followed, pairs, strict=True)
    ]
    right = all(followed)
    return Grade(float(right), "right" if right else "wrong", "", {"followed": followed, "loose": loose})


def _variants(text: str) -> list[str]:
    """The text without its first line, its last line, or both; and each of these and the text without asterisks."""
    lines = text.split("\n")
    cuts = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return list(dict.fromkeys([*cuts[1:], *(cut.replace("*", "") for cut in cuts)]))
