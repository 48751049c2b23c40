"""Hugging Face tokenizers: a folder's `tokenizer.json` and the small files around it."""

import datetime
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers

from r1jax.config import nearest
from r1jax.io import files
from r1jax.text import tokenizer_config
from r1jax.text.chat_template import Message, TemplateLimitError, render_template
from r1jax.text.tokenizer_config import ADDED, CONFIG, GENERATION, MORE_TEMPLATES, SPECIAL, TEMPLATE, TokenizerConfig

# Names under which the families met here end a turn or a document. The model's own files say the same, but seldom all
# of it: a base model's omit the end of a turn, a chat model's the end of a document.
END_NAMES = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<｜end▁of▁sentence｜>",
    "</s>",
)


class HuggingFaceTokenizer:
    """A `tokenizer.json` with its configuration; see `r1jax.text.tokenizer.Tokenizer` for what it promises.

    It begins a text with the beginning of sequence if the post-processor of `tokenizer.json` does, or if
    `add_bos_token` of `tokenizer_config.json` says so. (DeepSeek-V3 has the second alone. The class that it names, in
    transformers 4, heeds it; transformers 5 does not.) An end of sequence is never added.

    `eos_ids` begins with what ends the assistant's turn in the model's chat template, or else with `eos_token`; then
    come the ids of `generation_config.json` and `config.json`, then special tokens of a known name (`END_NAMES`).
    """

    FILE = "tokenizer.json"
    # Read, kept and written byte for byte, but for `auto_map`. `config.json` is the model's: read, not kept.
    FILES = (FILE, CONFIG, GENERATION, SPECIAL, ADDED, TEMPLATE)

    def __init__(self, contents: Mapping[str, bytes], model_config: Mapping[str, Any] | None = None, where: str = ""):
        """Builds the tokenizer from the contents of its files.

        Args:
            contents: by file name, of `FILES` or `additional_chat_templates/NAME.jinja`; all but that of
                `tokenizer.json` may be missing.
            model_config: the model's `config.json`, for its `eos_token_id`.
            where: their folder, for errors that come later.

        Raises:
            ValueError: a file cannot be read, or none names an end of sequence.
        """
        self._files, self._where = tokenizer_config.without_code(contents), where
        self._config = tokenizer_config.read(contents)
        self._special_tokens = self._config.special_tokens
        with tokenizer_config.rust_errors(f"{self.FILE} cannot be read"):
            self._tokenizer = tokenizers.Tokenizer.from_buffer(contents[self.FILE])
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            self._tokenizer.encode("a")  # a broken part may say so only when it is used
        self._add_tokens(self._config)
        self._check_named(self._config.adds_bos)

        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        if not vocabulary:
            raise ValueError(f"{self.FILE} has no tokens")
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {token.content: i for i, token in added.items() if token.special}
        self.vocab_size = max(vocabulary.values()) + 1
        self.silent_ids = frozenset(self._special.values())
        names = [f"<0x{byte:02X}>" for byte in range(256)]
        self.byte_ids = frozenset(vocabulary[name] for name in names if name in vocabulary)
        if "<0x41>" in vocabulary and self._tokenizer.decode([vocabulary["<0x41>"]]) != "A":
            self.byte_ids = frozenset()  # In a byte-level vocabulary a token of such a name is text like any other.
        self._bos = self._find_bos(self._config.adds_bos)

        first = [self._template_end(), self._id(self._special_tokens.get("eos_token"))]
        stated, models = self._config.eos_ids, tokenizer_config.eos_ids("config.json", model_config or {})
        known = map(self._special.get, END_NAMES)
        self.eos_ids = tuple(dict.fromkeys(i for i in (*first, *stated, *models, *known) if i is not None))
        if not set(models) <= {*first, *stated} or GENERATION not in contents:
            # What only config.json says must be saved too; and transformers is to stop where this project does.
            generation = tokenizer_config.json_object(contents, GENERATION) | {"eos_token_id": list(self.eos_ids)}
            self._files[GENERATION] = json.dumps(generation, indent=2).encode()
        if not self.eos_ids:
            raise ValueError(
                "no end of sequence: name one as eos_token in tokenizer_config.json, "
                "or as eos_token_id in generation_config.json"
            )
        pad = self._id(self._special_tokens.get("pad_token"))
        self.pad_id = self.eos_ids[0] if pad is None else pad

    @classmethod
    def load(cls, folder: pathlib.Path) -> "HuggingFaceTokenizer":
        """Reads a model folder.

        Raises:
            ValueError: a file of it cannot be used; the message names the folder.
        """
        more = sorted(f"{MORE_TEMPLATES}/{path.name}" for path in (folder / MORE_TEMPLATES).glob("*.jinja"))
        try:
            contents = {
                name: files.read_bytes(folder / name, files.MAX_TOKENIZER, folder)
                for name in (*cls.FILES, *more)
                if files.exists(folder / name, folder)
            }
            path = folder / "config.json"
            return cls(contents, files.read_object(path) if files.exists(path) else {}, str(folder))
        except ValueError as error:
            raise ValueError(f"tokenizer in {folder}: {error}") from error

    def encode(self, text: str) -> list[int]:
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        if self._bos is None:
            return ids
        # A rendered chat template begins with the token's text already.
        own = next((i for i, id_ in enumerate(ids) if id_ != self._bos), len(ids))
        return [self._bos, *ids[own:]]

    def decode(self, ids: Sequence[int]) -> str:
        visible_ids = [int(i) for i in ids if 0 <= i < self.vocab_size and i not in self.silent_ids]
        return self._tokenizer.decode(visible_ids, skip_special_tokens=False)

    def render_chat(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        now: datetime.datetime | None = None,
        **variables: Any,
    ) -> str:
        if not self._config.templates:
            raise ValueError(
                "the model has no chat template: put its Jinja source beside tokenizer.json as chat_template.jinja, "
                "or under chat_template in tokenizer_config.json; or ask without chat"
            )
        templates = self._config.templates
        name = "tool_use" if variables.get("tools") and "tool_use" in templates else "default"
        if name not in templates:
            raise ValueError(f"none of the model's chat templates is the default: {', '.join(templates)}")
        place = pathlib.PurePath(self._where, self._config.template_files[name])
        words = set(re.findall(r"[A-Za-z_]\w*", templates[name]))
        if unread := sorted(variables.keys() - words - {"tools", "documents"}):
            raise ValueError(
                f"{place}: the chat template reads no variable {unread[0]!r}; nearest: {nearest(unread[0], words)}"
            )
        arguments = {"tools": None, "documents": None, **self._special_tokens, **variables}
        arguments |= {"messages": list(messages), "add_generation_prompt": add_generation_prompt}
        try:
            return render_template(templates[name], arguments, now)
        except ValueError as error:
            kind = TemplateLimitError if isinstance(error, TemplateLimitError) else ValueError
            raise kind(f"{place}: {error}") from error

    @property
    def has_chat_template(self) -> bool:
        return bool(self._config.templates)

    def save(self, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self._files.items():
            files.write_bytes(folder / name, content)

    def _add_tokens(self, config: TokenizerConfig) -> None:
        """Adds the tokens that tokenizer.json lacks, as transformers does.

        Raises:
            ValueError: they declare an id that the token cannot have: transformers would give it another one.
        """
        added = self._tokenizer.get_added_tokens_decoder().values()
        present = {repr(token) for token in added}
        special = {token.content for token in added if token.special} | set(config.special_tokens.values())
        for token in config.added_tokens.values():
            token.special = token.special or token.content in special
        # In the order of their ids, as a new token gets the next one; and at once, since each call builds a trie.
        with tokenizer_config.rust_errors(f"{config.added_in} declares tokens that cannot be added"):
            self._tokenizer.add_tokens([token for token in config.added_tokens.values() if repr(token) not in present])
        for i, token in config.added_tokens.items():
            actual = self._tokenizer.token_to_id(token.content)
            if actual != i:
                raise ValueError(
                    f"{config.added_in} gives the token {token.content!r} the id {i}, and by "
                    f"{self.FILE} it has {actual}"
                )

    def _check_named(self, adds_bos: bool) -> None:
        """Raises ValueError where a token that ends or begins texts is named and has no id."""
        for key in ("eos_token", "bos_token") if adds_bos else ("eos_token",):
            token = self._special_tokens.get(key)
            if token is not None and self._id(token) is None:
                raise ValueError(
                    f"{key} is {token!r}, which has no id: name a token of tokenizer.json, or declare "
                    f"this one under added_tokens_decoder in tokenizer_config.json"
                )

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self._tokenizer.token_to_id(token)

    def _find_bos(self, configured: bool) -> int | None:
        """The id that begins every text, None if there is none."""
        bos = self._id(self._special_tokens.get("bos_token"))
        return bos if configured or bos in self._tokenizer.encode("").ids else None

    def _template_end(self) -> int | None:
        """The special token that follows an assistant's content in the chat template, None if none does."""
        answer = "ANSWER"
        try:
            text = self.render_chat(
                [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": answer}], False
            )
        except TemplateLimitError:
            raise
        except ValueError:  # No template, or one that wants other messages than these.
            return None
        _, separator, rest = text.rpartition(answer)
        ends = [token for token in self._special if separator and rest.lstrip().startswith(token)]
        return self._special[max(ends, key=len)] if ends else None
