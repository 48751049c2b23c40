"""Overlap of two texts, normalized: white space, case and the width of letters make no difference."""

from collections.abc import Iterator, Sequence

import regex  # it knows scripts, which re does not

from r1jax.io.provenance import sha256
from r1jax.text.chat import plain

# A Han character or a kana, which have no blanks between words; else letters and digits that stand together; else one
# symbol.
_TOKEN = regex.compile(
    r"(?V1)[\p{Han}\p{Hiragana}\p{Katakana}]|[[\p{L}\p{M}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}]]++|\S"
)


def tokens(text: str) -> list[str]:
    """The words and symbols of a text, in lower case: `2 x+1` is 2, x, +, 1. Each Han character and kana is a word."""
    return _TOKEN.findall(plain(text).casefold())


def words(tokens: Sequence[str]) -> list[str]:
    """The tokens that are no symbols."""
    return [token for token in tokens if token[0].isalnum()]


def ngrams(pieces: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """The runs of n neighbours, in order; none of fewer than n."""
    return zip(*(pieces[start:] for start in range(n)), strict=False)


def digest(text: str) -> bytes:
    """The same for texts of the same tokens, whatever white space stands between or inside them."""
    return sha256("".join(tokens(text)))[:16]


def similarity(a: frozenset, b: frozenset) -> float:
    """What two sets share of all that is in either (Jaccard), 0 to 1; 1 for two empty ones."""
    return len(a & b) / len(a | b) if a or b else 1.0
