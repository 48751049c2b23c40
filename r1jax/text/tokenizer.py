"""Tokenizers: one protocol, SentencePiece tokenizers, and the loading of any tokenizer from a path."""

import datetime
import io
import json
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import sentencepiece

from r1jax.io import files
from r1jax.text.chat_template import Message
from r1jax.text.gguf_tokenizer import UnsupportedTokenizerError, read_files
from r1jax.text.hf_tokenizer import HuggingFaceTokenizer
from r1jax.text.sentencepiece_json import tokenizer_json
from r1jax.text.tokenizer_config import CONFIG

_MADE_FROM = "r1jax_made_from"  # in tokenizer_config.json: what its tokenizer.json says in other words


class Tokenizer(Protocol):
    """The protocol of tokenizers.

    Attributes:
        vocab_size: number of ids.
        eos_ids: every id that ends a sequence or a turn; the first is the one that a training example ends with.
        pad_id: an id to fill space with; never read as a marker, it may equal an end of sequence.
        silent_ids: ids that stand for no text: special tokens.
        byte_ids: ids that stand for one byte of a character outside the vocabulary; none where every token is bytes.
        has_chat_template: whether `render_chat` has a template to render.
    """

    vocab_size: int
    eos_ids: tuple[int, ...]
    pad_id: int
    silent_ids: frozenset[int]
    byte_ids: frozenset[int]
    has_chat_template: bool

    def encode(self, text: str) -> list[int]:
        """Ids of a text, with exactly one beginning-of-sequence token in front where the model's tokenizer adds one.

        So too where the text, say a rendered chat, begins with that token's name already. `HuggingFaceTokenizer` reads
        the names of special tokens as these tokens, `SentencePieceTokenizer` as text.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out. Never raises: broken UTF-8 becomes U+FFFD, unknown ids nothing."""
        ...

    def render_chat(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        now: datetime.datetime | None = None,
        **variables: Any,
    ) -> str:
        """A conversation in the model's own chat template, to be encoded by `encode`.

        Args:
            messages: `{"role": ..., "content": ...}` and further keys that the template reads.
            add_generation_prompt: end with the opening of the assistant's turn.
            now: the time for a template that asks for it; None: the clock's.
            variables: of the template, for example `tools`, a list of JSON schemas, or `enable_thinking`.

        Raises:
            ValueError: the model has no template, its template refuses the messages, in its own words, or it does not
                read one of the variables, tools aside.
        """
        ...

    def save(self, folder: pathlib.Path) -> None:
        """Writes the files that `load` and transformers' AutoTokenizer read."""
        ...


class SentencePieceTokenizer:
    """A SentencePiece model with ids for unknown, beginning, end and padding.

    transformers reads the saved folder as a LlamaTokenizer. That gives the same ids but for texts that begin with white
    space (SentencePiece puts one more space in front) or that hold the names of special tokens. With `export` they are
    the same but for the latter, and transformers needs no other package.
    """

    FILE = "tokenizer.model"
    has_chat_template = False

    def __init__(self, model: bytes):
        """Raises ValueError where `model` is not SentencePiece's, or has no end of sequence."""
        self._model = model
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError(f"{self.FILE} is no SentencePiece model ({files.one_line(error)})") from error
        if self._processor.eos_id() < 0:
            raise ValueError(f"{self.FILE} has no end of sequence: give the model's tokenizer.json beside it")
        self.vocab_size = self._processor.vocab_size()
        try:
            self._processor.id_to_piece(list(range(self.vocab_size)))
        except ValueError as error:
            raise ValueError(f"{self.FILE} has a token that is not UTF-8 ({files.one_line(error)})") from error
        self.eos_ids = (self._processor.eos_id(),)
        self.pad_id = max(self._processor.pad_id(), 0)
        pieces, ids = self._processor, range(self.vocab_size)
        # The unknown token is silent, though SentencePiece writes " ⁇ " for it.
        self.silent_ids = frozenset(i for i in ids if pieces.is_control(i) or pieces.is_unknown(i))
        self.byte_ids = frozenset(i for i in ids if pieces.is_byte(i))

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text, add_bos=self._processor.bos_id() >= 0)

    def decode(self, ids: Sequence[int]) -> str:
        # SentencePiece refuses ids past the vocabulary, which a model with a padded table can sample.
        return self._processor.decode([int(i) for i in ids if 0 <= i < self.vocab_size and i not in self.silent_ids])

    def render_chat(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        now: datetime.datetime | None = None,
        **variables: Any,
    ) -> str:
        raise ValueError(
            "the model has no chat template, as its tokenizer is a SentencePiece model: ask without "
            "chat, or take a model with a tokenizer.json"
        )

    def save(self, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_bytes(folder / self.FILE, self._model)
        piece = self._processor.id_to_piece
        special = {
            "unk": self._processor.unk_id(),
            "bos": self._processor.bos_id(),
            "eos": self._processor.eos_id(),
            "pad": self._processor.pad_id(),
        }
        config = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": special["bos"] >= 0}
        config |= {f"{name}_token": piece(i) for name, i in special.items() if i >= 0}
        files.write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")

    def export(self, folder: pathlib.Path) -> bool:
        """Writes what `save` does and a tokenizer.json that gives the same ids; False where only the first is possible.

        `load` goes on reading tokenizer.model in such a folder.
        """
        self.save(folder)
        content, path = tokenizer_json(self._model), folder / CONFIG
        if content is None:
            return False
        config = files.read_object(path) | {"tokenizer_class": "PreTrainedTokenizerFast", _MADE_FROM: self.FILE}
        files.write_bytes(folder / HuggingFaceTokenizer.FILE, content)
        files.write_text(path, json.dumps(config, indent=2) + "\n")
        return True


def train_sentencepiece(texts: Iterable[str], vocab_size: int) -> SentencePieceTokenizer:
    """Trains a BPE model: digits stand alone, bytes catch what the vocabulary lacks, nothing but U+2581 is changed."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=vocab_size,
        model_type="bpe",
        split_digits=True,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["\n"],
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        max_sentence_length=65536,
        num_threads=1,
        minloglevel=2,
    )
    return SentencePieceTokenizer(model.getvalue())


def load(path: pathlib.Path) -> Tokenizer:
    """Reads the tokenizer of a model folder (tokenizer.json if there, else tokenizer.model) or of a .gguf file.

    A .gguf file whose tokenizer is of a kind not known here is read with the tokenizer.json that lies beside it.

    Raises:
        FileNotFoundError: the folder holds none, or there is no such file.
        ValueError: it holds one that cannot be used; the message says what was found and what is supported.
    """
    path = pathlib.Path(path)
    if path.suffix == ".gguf":
        try:
            contents = read_files(path)
        except UnsupportedTokenizerError:
            if not files.exists(path.parent / HuggingFaceTokenizer.FILE):
                raise
            path = path.parent
        else:
            return _named(path, lambda: HuggingFaceTokenizer(contents, where=str(path)))
    if files.exists(path / HuggingFaceTokenizer.FILE) and not _is_export(path):
        return HuggingFaceTokenizer.load(path)
    if not files.exists(path / SentencePieceTokenizer.FILE):
        expected = f"{HuggingFaceTokenizer.FILE} or {SentencePieceTokenizer.FILE}"
        raise FileNotFoundError(f"no tokenizer in {path}: expected {expected}")
    content = files.read_bytes(path / SentencePieceTokenizer.FILE, files.MAX_TOKENIZER)
    return _named(path, lambda: SentencePieceTokenizer(content))


def _is_export(folder: pathlib.Path) -> bool:
    """Whether a folder holds all files that `SentencePieceTokenizer.export` wrote."""
    path, model = folder / CONFIG, folder / SentencePieceTokenizer.FILE
    return files.exists(path) and files.exists(model) and files.read_object(path).get(_MADE_FROM) == model.name


def _named(path: pathlib.Path, build: Callable[[], Tokenizer]) -> Tokenizer:
    try:
        return build()
    except ValueError as error:
        raise ValueError(f"tokenizer in {path}: {error}") from error
