"""Text <-> token ids: one protocol."""

import io
import pathlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import sentencepiece


class Tokenizer(Protocol):
    """What the rest of the project asks of a tokenizer.

    Attributes:
        vocab_size: number of ids.
        eos_ids: every id that ends a sequence.
        pad_id: an id to fill space with; never read as a marker, it may equal an end of sequence.
    """

    vocab_size: int
    eos_ids: tuple[int, ...]
    pad_id: int

    def encode(self, text: str) -> list[int]:
        """Ids of a text, with exactly one beginning-of-sequence token in front where the vocabulary has one."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out. Never raises: broken UTF-8 becomes U+FFFD."""
        ...

    def save(self, folder: pathlib.Path) -> None:
        """Writes the files that `load` reads."""
        ...


class SentencePieceTokenizer:
    """A SentencePiece model with ids for unknown, beginning, end and padding."""

    FILE = "tokenizer.model"

    def __init__(self, model: bytes):
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.vocab_size = self._processor.vocab_size()
        self.eos_ids = (self._processor.eos_id(),)
        self.pad_id = max(self._processor.pad_id(), 0)

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text, add_bos=self._processor.bos_id() >= 0)

    def decode(self, ids: Sequence[int]) -> str:
        # SentencePiece writes the unknown token as " ⁇ ", and refuses ids past the vocabulary, which a model with a
        # padded table can sample.
        unknown = self._processor.unk_id()
        return self._processor.decode([int(i) for i in ids if 0 <= i < self.vocab_size and i != unknown])

    def save(self, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.FILE).write_bytes(self._model)


def train_sentencepiece(texts: Iterable[str], vocab_size: int) -> SentencePieceTokenizer:
    """Trains a BPE model: digits stand alone, bytes catch what the vocabulary lacks, nothing but U+2581 is changed."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=vocab_size, model_type="bpe",
        split_digits=True, byte_fallback=True, character_coverage=1.0, normalization_rule_name="identity",
        remove_extra_whitespaces=False, user_defined_symbols=["\n"], unk_id=0, bos_id=1, eos_id=2, pad_id=3,
        max_sentence_length=65536, num_threads=1, minloglevel=2,
    )  # fmt: skip
    return SentencePieceTokenizer(model.getvalue())


def load(folder: pathlib.Path) -> Tokenizer:
    """Reads the tokenizer of a model folder.

    Raises:
        FileNotFoundError: the folder holds none.
    """
    path = pathlib.Path(folder) / SentencePieceTokenizer.FILE
    if not path.exists():
        raise FileNotFoundError(f"no tokenizer in {folder}: expected {SentencePieceTokenizer.FILE}")
    return SentencePieceTokenizer(path.read_bytes())
