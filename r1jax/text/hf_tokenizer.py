"""Hugging Face tokenizers: a folder's `tokenizer.json` and the small files around it."""

import datetime
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers

from r1jax.text.chat_template import Message, render_template

# Names under which the families met here end a turn or a document. The model's own files say the same, but seldom all
# of it: a base model's omit the end of a turn, a chat model's the end of a document.
END_NAMES = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<｜end▁of▁sentence｜>", "</s>",
)  # fmt: skip
TEMPLATE, MORE_TEMPLATES = "chat_template.jinja", "additional_chat_templates"
TOKEN_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class HuggingFaceTokenizer:
    """A `tokenizer.json` with its configuration; see `r1jax.text.tokenizer.Tokenizer` for what it promises.

    It begins a text with the beginning of sequence if the post-processor of `tokenizer.json` does, or if
    `add_bos_token` of `tokenizer_config.json` says so. (DeepSeek-V3 has the second alone. The class that it names, in
    transformers 4, heeds it; transformers 5 does not.) An end of sequence is never added.

    `eos_ids` begins with what ends the assistant's turn in the model's chat template, or else with `eos_token`; then
    come the ids of `generation_config.json` and `config.json`, then special tokens of a known name (`END_NAMES`).
    """

    FILE = "tokenizer.json"
    # Read, kept and written byte for byte, but for what a folder without the model's own code cannot mean (`auto_map`).
    # `config.json` is the model's: read, not kept.
    FILES = (FILE, "tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "added_tokens.json",
             TEMPLATE)  # fmt: skip

    def __init__(self, files: Mapping[str, bytes], model_config: Mapping[str, Any] | None = None):
        """Builds the tokenizer from the contents of its files.

        Args:
            files: by name, of `FILES` or `additional_chat_templates/NAME.jinja`; only `tokenizer.json` must be there.
            model_config: the model's `config.json`, for its `eos_token_id`.

        Raises:
            ValueError: a file cannot be read, or none names an end of sequence.
        """
        self._files = dict(files)
        self._tokenizer = _parse(self.FILE, files, tokenizers.Tokenizer.from_buffer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        described = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            described |= _parse(name, files, _object)
        self._leave_out_code()
        # A token is written as its text or as a record that has it under "content".
        named = {key: value.get("content") if isinstance(value := described.get(key), dict) else value
                 for key in TOKEN_KEYS}  # fmt: skip
        self._special_tokens = {key: value for key, value in named.items() if value}
        self._add_tokens(described)
        self._check_named(bool(described.get("add_bos_token")))

        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {token.content: i for i, token in added.items() if token.special}
        self.vocab_size = max(vocabulary.values()) + 1
        self.silent_ids = frozenset(self._special.values())
        names = [f"<0x{byte:02X}>" for byte in range(256)]
        self.byte_ids = frozenset(vocabulary[name] for name in names if name in vocabulary)
        if "<0x41>" in vocabulary and self._tokenizer.decode([vocabulary["<0x41>"]]) != "A":
            self.byte_ids = frozenset()  # In a byte-level vocabulary a token of such a name is text like any other.
        self._bos = self._find_bos(bool(described.get("add_bos_token")))
        self._templates = self._find_templates(described)

        generation = _parse("generation_config.json", files, _object)
        first = [self._template_end(), self._id(self._special_tokens.get("eos_token"))]
        stated, models, known = _ids(generation), _ids(model_config or {}), map(self._special.get, END_NAMES)
        self.eos_ids = tuple(dict.fromkeys(i for i in (*first, *stated, *models, *known) if i is not None))
        if not set(models) <= {*first, *stated} or "generation_config.json" not in files:
            # What only config.json says must be saved too; and transformers is to stop where this project does.
            generation["eos_token_id"] = list(self.eos_ids)
            self._files["generation_config.json"] = json.dumps(generation, indent=2).encode()
        if not self.eos_ids:
            raise ValueError("no end of sequence: name one as eos_token in tokenizer_config.json, "
                             "or as eos_token_id in generation_config.json")  # fmt: skip
        pad = self._id(self._special_tokens.get("pad_token"))
        self.pad_id = self.eos_ids[0] if pad is None else pad

    @classmethod
    def load(cls, folder: pathlib.Path) -> "HuggingFaceTokenizer":
        """Reads a model folder.

        Raises:
            ValueError: a file of it cannot be used; the message names the folder.
        """
        more = sorted(f"{MORE_TEMPLATES}/{path.name}" for path in (folder / MORE_TEMPLATES).glob("*.jinja"))
        files = {name: (folder / name).read_bytes() for name in (*cls.FILES, *more) if (folder / name).exists()}
        path = folder / "config.json"
        try:
            return cls(files, _parse(path.name, {path.name: path.read_bytes()} if path.exists() else {}, _object))
        except ValueError as error:
            raise ValueError(f"tokenizer in {folder}: {error}") from error
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"tokenizer in {folder}: a file of it is not of the form that transformers writes "
                             f"({type(error).__name__}: {error})") from error  # fmt: skip

    def encode(self, text: str) -> list[int]:
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        if self._bos is None:
            return ids
        # A rendered chat template begins with the token's text already.
        own = next((i for i, id_ in enumerate(ids) if id_ != self._bos), len(ids))
        return [self._bos, *ids[own:]]

    def decode(self, ids: Sequence[int]) -> str:
        shown = [int(i) for i in ids if 0 <= i < self.vocab_size and i not in self.silent_ids]
        return self._tokenizer.decode(shown, skip_special_tokens=False)

    def render_chat(
        self, messages: Sequence[Message], add_generation_prompt: bool = True,
        now: datetime.datetime | None = None, **variables: Any,
    ) -> str:  # fmt: skip
        if not self._templates:
            raise ValueError(
                "the model has no chat template: put its Jinja source beside tokenizer.json as chat_template.jinja, "
                "or under chat_template in tokenizer_config.json; or do without chat"
            )
        name = "tool_use" if variables.get("tools") and "tool_use" in self._templates else "default"
        if name not in self._templates:
            raise ValueError(f"none of the model's chat templates is the default: {', '.join(self._templates)}")
        given = {"tools": None, "documents": None, **self._special_tokens, **variables}
        given |= {"messages": list(messages), "add_generation_prompt": add_generation_prompt}
        return render_template(self._templates[name], given, now)

    def save(self, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self._files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)

    def _leave_out_code(self) -> None:
        """Takes `auto_map` out of tokenizer_config.json: it names Python files of the model's folder, which stay there.

        With one for the tokenizer goes its class, which those files define; transformers has one that needs no code.
        """
        config = _parse("tokenizer_config.json", self._files, _object)
        if "auto_map" in config:
            if "AutoTokenizer" in config.pop("auto_map"):
                config["tokenizer_class"] = "PreTrainedTokenizerFast"
            text = json.dumps(config, indent=2, ensure_ascii=False)
            self._files["tokenizer_config.json"] = text.encode("utf-8", "surrogatepass")

    def _add_tokens(self, described: Mapping[str, Any]) -> None:
        """Adds the tokens that only tokenizer_config.json declares, or added_tokens.json where that declares none.

        Raises:
            ValueError: they declare an id that the token cannot have: transformers would give it another one.
        """
        source, declared = "tokenizer_config.json", described.get("added_tokens_decoder")
        if declared is None:
            source, listed = "added_tokens.json", _parse("added_tokens.json", self._files, _object)
            named = self._special_tokens.values()
            declared = {i: {"content": token, "normalized": token not in named} for token, i in listed.items()}
        tokens = {int(i): tokenizers.AddedToken(**token) for i, token in declared.items()}
        added = self._tokenizer.get_added_tokens_decoder().values()
        present = {repr(token) for token in added}
        special = {token.content for token in added if token.special} | set(self._special_tokens.values())
        for token in tokens.values():
            token.special = token.special or token.content in special
        # In the order of their ids, as a new token gets the next one; and at once, since each call builds a trie.
        self._tokenizer.add_tokens([token for _, token in sorted(tokens.items()) if repr(token) not in present])
        for i, token in sorted(tokens.items()):
            actual = self._tokenizer.token_to_id(token.content)
            if actual != i:
                raise ValueError(f"{source} gives the token {token.content!r} the id {i}, and by tokenizer.json it has "
                                 f"{actual}")  # fmt: skip

    def _check_named(self, adds_bos: bool) -> None:
        """Raises ValueError where a token that ends or begins texts is named and has no id."""
        for key in ("eos_token", "bos_token") if adds_bos else ("eos_token",):
            token = self._special_tokens.get(key)
            if token is not None and self._id(token) is None:
                raise ValueError(f"{key} is {token!r}, which has no id: name a token of tokenizer.json, or declare "
                                 f"this one under added_tokens_decoder in tokenizer_config.json")  # fmt: skip

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self._tokenizer.token_to_id(token)

    def _find_bos(self, configured: bool) -> int | None:
        """The id that begins every text, None if there is none."""
        bos = self._id(self._special_tokens.get("bos_token"))
        return bos if configured or bos in self._tokenizer.encode("").ids else None

    def _find_templates(self, described: Mapping[str, Any]) -> dict[str, str]:
        """Chat templates by name; the one that most models have alone is "default". Files go before the config's."""
        files = {"default" if name == TEMPLATE else pathlib.PurePosixPath(name).stem: content
                 for name, content in self._files.items() if name.endswith(".jinja")}  # fmt: skip
        if files:
            return {name: content.decode("utf-8") for name, content in files.items()}
        template = described.get("chat_template") or []
        return {"default": template} if isinstance(template, str) else {t["name"]: t["template"] for t in template}

    def _template_end(self) -> int | None:
        """The special token that follows an assistant's content in the chat template, None if none does."""
        answer = "ANSWER"
        try:
            text = self.render_chat(
                [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": answer}], False
            )
        except ValueError:  # No template, or one that wants other messages than these.
            return None
        _, found, rest = text.rpartition(answer)
        ends = [token for token in self._special if found and rest.lstrip().startswith(token)]
        return self._special[max(ends, key=len)] if ends else None


def _ids(config: Mapping[str, Any]) -> list[int]:
    """`eos_token_id`, which is one id, a list of them, or nothing."""
    ids = config.get("eos_token_id")
    return ids if isinstance(ids, list) else [] if ids is None else [ids]


def _object(content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, should be an object")
    return found


def _parse(name: str, files: Mapping[str, bytes], parse: Any) -> Any:
    """A file's contents parsed, {} if it is not there; a ValueError that names it if it cannot be."""
    try:
        return parse(files[name]) if name in files else {}
    except Exception as error:  # The Rust package raises bare Exceptions.
        raise ValueError(f"{name} cannot be read: {error}") from error
