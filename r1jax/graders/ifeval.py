"""IFEval's score of a response: whether every instruction of its prompt is followed (arXiv 2311.07911, section 2.3)."""

from collections.abc import Mapping
from typing import Any

from r1jax.config import nearest
from r1jax.data.types import Grade, Rollout
from r1jax.graders.config import GraderConfig
from r1jax.graders.ifeval_instructions import CHECKS, LANGUAGES, base_language

_MAX_CHARS = 400_000


def check(row: Mapping[str, Any]) -> None:
    """Refuses a row whose instructions cannot be checked.

    Raises:
        ValueError: no such kind of instruction, or no such language; names the nearest; or it lacks what it needs.
    """
    ids, kwargs = row.get("instruction_id_list"), row.get("kwargs")
    if not isinstance(ids, list) or not isinstance(kwargs, list) or len(ids) != len(kwargs) or not ids:
        raise ValueError("IFEval needs instruction_id_list and kwargs, two lists of one length")
    for id_, given in zip(ids, kwargs, strict=True):
        if id_ not in CHECKS:
            raise ValueError(f"no instruction {id_!r}; nearest: {nearest(str(id_), CHECKS)}")
        missing = [name for name in CHECKS[id_][0] if (given or {}).get(name) is None]
        if missing:
            raise ValueError(f"instruction {id_} lacks {', '.join(missing)}")
        language = str(given["language"]) if id_ == "language:response_language" else "en"
        if base_language(language) not in LANGUAGES:
            raise ValueError(f"no language {language!r}; nearest: {nearest(language, LANGUAGES)}")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 when the summary follows every instruction, strictly.

    Returns:
        a grade whose detail has, for each instruction, whether it was followed, strictly and loosely: for the latter a
        first line, a last line and asterisks may be left out.
    """
    text, row = rollout.response.final, rollout.prompt.metadata
    pairs = list(zip(row["instruction_id_list"], row["kwargs"], strict=True))
    if not text.strip():
        nothing = [False] * len(pairs)
        return Grade(0.0, "no_answer", "", {"followed": nothing, "loose": nothing})
    if len(text) > _MAX_CHARS:
        return Grade(0.0, "too_complex")
    followed = [CHECKS[id_][1](text, kwargs or {}) for id_, kwargs in pairs]
    variants = _variants(text)
    loose = [strict or any(CHECKS[id_][1](variant, kwargs or {}) for variant in variants if variant.strip())
             for strict, (id_, kwargs) in zip(followed, pairs, strict=True)]  # fmt: skip
    right = all(followed)
    return Grade(float(right), "right" if right else "wrong", "", {"followed": followed, "loose": loose})


def _variants(text: str) -> list[str]:
    """The text without its first line, its last one, or both; and each of these and itself without asterisks."""
    lines = text.split("\n")
    cuts = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return list(dict.fromkeys([*cuts[1:], *(cut.replace("*", "") for cut in cuts)]))
