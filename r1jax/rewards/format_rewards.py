"""Rewards for the form of a response: tags, length, repetitions. Pure functions of text and token counts."""

import regex

from r1jax.data.types import Rollout
from r1jax.text.chat import TAGS, opening_tag

# A Han character or a kana; else what stands together without a blank, 16 characters of it at most, so that a loop
# without blanks has pieces too.
_PIECE = regex.compile(r"(?V1)[\p{Han}\p{Hiragana}\p{Katakana}]|[\S--[\p{Han}\p{Hiragana}\p{Katakana}]]{1,16}")


def well_formed(rollout: Rollout) -> float:
    """1.0 when the response is one thought, then one answer, nothing else, and ended of its own accord; else 0.0.

    The form is that of the tags, or of the cold start where the prompt has a marker, see `r1jax.text.chat`. A request
    too simple for a thought (`is_bare`) may do without.
    """
    return float(rollout.finish == "stop" and (rollout.response.well_formed or is_bare(rollout)))


def is_bare(rollout: Rollout) -> bool:
    """Whether the response is an answer alone and may be: the question's row says `"thought": "optional"`.

    Where the prompt has opened the thought, the answer follows the tag that closes it at once.
    """
    final, marker = rollout.response.final, rollout.prompt.marker
    alone = rollout.text.strip()
    if not marker and opening_tag(rollout.prompt.text):
        alone = alone.removeprefix("</think>").strip()
    return bool(
        rollout.prompt.metadata.get("thought") == "optional" and final and final == alone
        and not any(tag in final for tag in (*TAGS, marker) if tag)
    )  # fmt: skip


def repetition_penalty(text: str, ngram: int) -> float:
    """-1 + (distinct n-grams) / (all n-grams) of a text's words: 0 when none comes twice, near -1 in a loop.

    A word is what stands between blanks; each Han character and kana is one too. A loop is caught whatever its period,
    once it has gone on for one period and `ngram` words more: a text that says p words over and over for m words scores
    -1 + p / (m - ngram + 1). Sentences that begin alike, tables and equations stated twice cost nothing while fewer
    than `ngram` words agree. Not seen: a loop that counts, "step 7: ...", in a period shorter than `ngram` words.

    Args:
        ngram: words that make a repeated piece, at least 1.

    Returns:
        -1 to 0; 0 for a text of fewer words than `ngram`. Time is linear in the text's length.
    """
    pieces = _PIECE.findall(text)
    total = len(pieces) - ngram + 1
    if total < 1:
        return 0.0
    return len({hash(tuple(pieces[start : start + ngram])) for start in range(total)}) / total - 1.0


def soft_overlong_penalty(num_tokens: int, max_tokens: int, buffer: int) -> float:
    """The length penalty of DAPO (arXiv 2503.14476, eq. 13), in tokens, never in characters.

    0 up to `max_tokens - buffer` tokens, then falling linearly to -1 at `max_tokens`, and no lower. A buffer of 0
    turns it off.

    Raises:
        ValueError: the buffer is negative or exceeds `max_tokens`.
    """
    if not 0 <= buffer <= max_tokens:
        raise ValueError(f"overlong_buffer must lie between 0 and max_tokens = {max_tokens}, got {buffer}")
    if buffer == 0:
        return 0.0
    return -min(max((num_tokens - (max_tokens - buffer)) / buffer, 0.0), 1.0)
