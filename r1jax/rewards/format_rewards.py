"""Format rewards: response format, repetition penalty and length penalty, from text and token counts."""

import regex

from r1jax.data.types import Rollout
from r1jax.text.chat import TAGS, opening_tag

# A Han character or a kana; else up to 16 characters without a blank between them, so that a loop without blanks has
# words too.
_WORD = regex.compile(r"(?V1)[\p{Han}\p{Hiragana}\p{Katakana}]|[\S--[\p{Han}\p{Hiragana}\p{Katakana}]]{1,16}")


def well_formed(rollout: Rollout) -> float:
    """The format reward (section 2.2.2 of the paper), 0.0 or 1.0.

    1.0 for one thought, then one answer, nothing else, in a response that was not truncated. The format is that of the
    tags, or of the cold start where the prompt has a marker, see `r1jax.text.chat`. A bare answer (`is_bare_answer`)
    needs no thought.
    """
    return float(rollout.finish == "stop" and (rollout.response.well_formed or is_bare_answer(rollout)))


def is_bare_answer(rollout: Rollout) -> bool:
    """Whether the response is an answer without a thought, and the question's row has `"thought": "optional"`.

    Where the prompt ends with the opening tag, the response begins with the closing one.
    """
    summary, marker = rollout.response.final, rollout.prompt.marker
    whole = rollout.text.strip()
    if not marker and opening_tag(rollout.prompt.text):
        whole = whole.removeprefix("</think>").strip()
    return bool(
        rollout.prompt.metadata.get("thought") == "optional"
        and summary
        and summary == whole
        and not any(tag in summary for tag in (*TAGS, marker) if tag)
    )


def repetition_penalty(text: str, ngram: int) -> float:
    """-1 + (distinct n-grams) / (all n-grams) of a text's words: 0 without repeats, near -1 in a loop.

    Words are separated by blanks; each Han character and kana is one too. A loop of any period is detected once it has
    run for one period and `ngram` words: a text that repeats p words for m words scores -1 + p / (m - ngram + 1).
    Sentences that begin alike, tables and equations stated twice cost nothing while fewer than `ngram` words agree. Not
    detected: a loop with a counter, "step 7: ...", in a period shorter than `ngram` words.

    Args:
        ngram: words of an n-gram, at least 1.

    Returns:
        -1 to 0; 0 for a text of fewer words than `ngram`. Time is linear in the text's length.
    """
    words = _WORD.findall(text)
    total = len(words) - ngram + 1
    if total < 1:
        return 0.0
    return len({hash(tuple(words[start : start + ngram])) for start in range(total)}) / total - 1.0


def soft_overlong_penalty(num_tokens: int, max_tokens: int, buffer: int) -> float:
    """The length penalty of DAPO (arXiv 2503.14476, eq. 13); all arguments are in tokens.

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
