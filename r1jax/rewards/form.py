"""Rewards for the form of a response: its tags and its length. Pure functions of text and token counts."""

from r1jax.data.types import Rollout
from r1jax.text.chat import split_response


def r1_zero_format(rollout: Rollout) -> float:
    """1.0 when the response is one thought, then one answer, nothing else, and ended of its own accord; else 0.0."""
    return float(rollout.finish == "stop" and split_response(rollout.text).well_formed)


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
