"""Small files around a `tokenizer.json`, of untrusted authors: read and checked key by key."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import tokenizers

from r1jax.io import files as core_files

TOKEN_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
CONFIG, GENERATION, SPECIAL, ADDED = (
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
TEMPLATE, MORE_TEMPLATES = "chat_template.jinja", "additional_chat_templates"


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """The contents of the files.

    Attributes:
        special_tokens: text by key, of `TOKEN_KEYS`.
        added_tokens: tokens by the id that they are declared to have, in the order of ids.
        added_in: the file that declares these.
        adds_bos: a text begins with `bos_token`, whatever tokenizer.json says.
        templates: chat templates by name; the one that most models have alone is "default".
        template_files: the file of each.
        eos_ids: of generation_config.json.
    """

    special_tokens: Mapping[str, str]
    added_tokens: Mapping[int, tokenizers.AddedToken]
    added_in: str
    adds_bos: bool
    templates: Mapping[str, str]
    template_files: Mapping[str, str]
    eos_ids: tuple[int, ...]


def read(files: Mapping[str, bytes]) -> TokenizerConfig:
    """Reads those of the files that exist.

    Raises:
        ValueError: a file that is broken or contradicts itself; the message begins with its name.
    """
    parsed = {name: json_object(files, name) for name in (SPECIAL, CONFIG, GENERATION)}
    special = _special_tokens(SPECIAL, parsed[SPECIAL]) | _special_tokens(CONFIG, parsed[CONFIG])
    special = {key: token for key, token in special.items() if token}
    config = parsed[CONFIG]
    adds_bos = config.get("add_bos_token")
    if not isinstance(adds_bos, bool | None):
        raise ValueError(f"{CONFIG}: add_bos_token={_value_text(adds_bos)} should be true or false")
    added_in, added = CONFIG, config.get("added_tokens_decoder")
    if added is None:  # as it was before transformers 4.34
        added_in, named = ADDED, special.values()
        listed = json_object(files, ADDED)
        added = {i: {"content": token, "normalized": token not in named} for token, i in listed.items()}
    templates, template_files = _templates(files, config)
    return TokenizerConfig(
        special,
        _added_tokens(added_in, added),
        added_in,
        bool(adds_bos),
        templates,
        template_files,
        eos_ids(GENERATION, parsed[GENERATION]),
    )


def without_code(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files, with `auto_map` taken out of tokenizer_config.json: it names Python files, which stay in their folder.

    With one for the tokenizer goes its class, which those files define; transformers has one that needs no code.
    """
    config = json_object(files, CONFIG)
    if "auto_map" not in config:
        return dict(files)
    if "AutoTokenizer" in json.dumps(config.pop("auto_map")):
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    text = json.dumps(config, indent=2, ensure_ascii=False)
    return {**files, CONFIG: text.encode("utf-8", "surrogatepass")}


@contextlib.contextmanager
def rust_errors(subject: str) -> Iterator[None]:
    """Turns errors of the package `tokenizers` into a ValueError that begins with `subject`.

    Those are bare Exceptions and, where its Rust code panics, BaseExceptions.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise ValueError(f"{subject}: {core_files.one_line(error)}") from error


def json_object(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """A file's JSON object, {} where it is not there; raises ValueError, which begins with its name."""
    return core_files.parse_object(files[name], name) if name in files else {}


def eos_ids(name: str, config: Mapping[str, Any]) -> tuple[int, ...]:
    """`eos_token_id` of a config: one id, a list of them, or nothing. Raises ValueError, which begins with `name`."""
    value = config.get("eos_token_id")
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(i) is int and 0 <= i < 2**31 for i in ids):
        raise ValueError(f"{name}: eos_token_id={_value_text(value)} should be an id or a list of ids")
    return tuple(ids)


def _special_tokens(name: str, config: Mapping[str, Any]) -> dict[str, str | None]:
    tokens = {}
    for key in TOKEN_KEYS:
        if key in config:
            # A token is written as its text or as a record that has it under "content".
            token = config[key].get("content") if isinstance(config[key], dict) else config[key]
            if not isinstance(token, str | None):
                raise ValueError(
                    f"{name}: {key}={_value_text(config[key])} should be a token's text, or an object that has "
                    f"it under content"
                )
            tokens[key] = token
    return tokens


def _added_tokens(name: str, declared: Any) -> dict[int, tokenizers.AddedToken]:
    try:
        tokens = {int(i): tokenizers.AddedToken(**token) for i, token in declared.items()}
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{name} does not declare its tokens as transformers writes them: {core_files.one_line(error)}"
        ) from error
    return dict(sorted(tokens.items()))


def _templates(files: Mapping[str, bytes], config: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Chat templates by name, and their files. A file of templates goes before those in the configuration."""
    templates, where = {}, {}
    for file_name, content in files.items():
        if file_name.endswith(".jinja"):
            name = "default" if file_name == TEMPLATE else pathlib.PurePosixPath(file_name).stem
            where[name] = file_name
            try:
                templates[name] = content.decode("utf-8")
            except ValueError as error:
                raise ValueError(f"{file_name} is not UTF-8: {error}") from error
    if templates:
        return templates, where
    value = config.get("chat_template") or []
    listed = [{"name": "default", "template": value}] if isinstance(value, str) else value
    try:
        templates = {each["name"]: each["template"] for each in listed}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{CONFIG}: chat_template should be a template, or a list of objects with name and template ({error!r})"
        ) from error
    if not all(isinstance(text, str) for pair in templates.items() for text in pair):
        raise ValueError(f"{CONFIG}: chat_template has a name or a template that is no text")
    return templates, dict.fromkeys(templates, CONFIG)


def _value_text(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
