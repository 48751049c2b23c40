"""Text while it is sampled: what can be shown of the ids so far, never half a character."""

from collections.abc import Sequence
from typing import Protocol

BROKEN = "\ufffd"


class Decoder(Protocol):
    """The part of a tokenizer that a stream needs.

    Attributes:
        vocab_size: number of ids; `decode` leaves out what is not below it.
        silent_ids: ids that stand for no text, the special tokens.
        byte_ids: ids that stand for one byte of a character outside the vocabulary.
    """

    vocab_size: int
    silent_ids: frozenset[int]
    byte_ids: frozenset[int]

    def decode(self, ids: Sequence[int]) -> str: ...


class TextStream:
    """Turns ids into text as they come; all pieces joined, `flush()` last, are `decode` of all ids, for any ids.

    An unfinished character decodes to U+FFFD, so text that ends in one is held back until what follows decides. Held
    back too is a run of byte tokens, to its end: some decoders judge a run as a whole. `decode` sees the last few ids
    only, so a sane text costs time linear in its length; a rare character waits for one more token.
    """

    def __init__(self, tokenizer: Decoder):
        self._tokenizer = tokenizer
        self._emitted: list[int] = []  # Ids whose text is out, just enough that what follows is no beginning of a text.
        self._held: list[int] = []

    def push(self, ids: Sequence[int]) -> str:
        """The text that these ids settle."""
        known = self._tokenizer
        return "".join(self._step(int(i)) for i in ids if 0 <= i < known.vocab_size and i not in known.silent_ids)

    def flush(self) -> str:
        """What is held back, an unfinished character as U+FFFD. The stream then begins anew."""
        rest = self._continuation(self._emitted, self._held)
        self._emitted, self._held = [], []
        return rest

    def _step(self, id_: int) -> str:
        self._held.append(id_)
        if id_ in self._tokenizer.byte_ids:
            return ""
        text = self._continuation(self._emitted, self._held)
        if self._tokenizer.byte_ids or not text.endswith(BROKEN):
            # Whole characters: where bytes have tokens of their own, every other token is of whole ones.
            self._emitted, self._held = self._context(), []
            return text
        # Unfinished, or broken for good? If two parts decode apart as they do together, no character spans the cut.
        # A character has four bytes at most, so a cut, where there is one, is among the last few. What was broken is
        # no context for what follows: alone with it, it might make a character.
        for cut in range(len(self._held) - 1, max(0, len(self._held) - 5), -1):
            head, rest = (self._continuation(self._emitted, part) for part in (self._held[:cut], self._held[cut:]))
            if head + rest == text:
                del self._held[:cut]
                return head
        return ""

    def _context(self) -> list[int]:
        """The last ids that have a text: one or two where the beginning of a text is no matter."""
        ids = self._emitted + self._held
        return next((ids[-n:] for n in (1, 2) if self._tokenizer.decode(ids[-n:])), ids)

    def _continuation(self, context: list[int], ids: list[int]) -> str:
        """The text of `ids` where it follows `context`."""
        return self._tokenizer.decode(context + ids)[len(self._tokenizer.decode(context)) :]
