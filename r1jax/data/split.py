"""Which questions are kept for evaluation: a property of the question itself, whatever the seed or the file."""

import hashlib


def is_held_out(question: str, share: float) -> bool:
    """True for a share of all questions, by a hash of the text.

    Training prompts, held-out prompts and pretraining text all ask here, so no question is ever on both sides.
    """
    digest = hashlib.sha256(question.strip().encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
