"""The tokenizer inside a .gguf file, written out as the Hugging Face files that it was made from."""

import json
import pathlib
from typing import Any

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from r1jax.io.gguf_reader import contents, open_gguf
from r1jax.text.tokenizer_config import rust_errors

# How text is cut before the merges, by llama.cpp's name for the rule (`tokenizer.ggml.pre`); the rules are those of the
# models' own tokenizer.json. A converter that did not know the model wrote "default" or nothing: GPT-2's rule.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace("{1,3}", "")
SPLITS = {
    "default": (_GPT2,),
    "gpt-2": (_GPT2,),
    "smollm": (r"\p{N}", _GPT2),
    "llama-bpe": (_LLAMA3,),
    "qwen2": (_QWEN2,),
    "deepseek-r1-qwen": (_QWEN2,),  # R1's distillates of Qwen2.5: its tokenizer with other special tokens
    "deepseek-v3": (
        r"\p{N}{1,3}",
        "[一-龥\u3040-ゟ゠-ヿ]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}
_NAMED = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


class UnsupportedTokenizerError(ValueError):
    """The file holds a tokenizer of a kind that cannot be built from its metadata."""


def read_files(path: pathlib.Path) -> dict[str, bytes]:
    """The `tokenizer.json`, `tokenizer_config.json` and `generation_config.json` that a .gguf file's metadata describe.

    Slots that the converter filled up to the embedding's size (token type "unused") are no tokens, as in the original.

    Raises:
        UnsupportedTokenizerError: a tokenizer other than byte-level BPE, or cut by a rule not in `SPLITS`.
        ValueError: the metadata contradict themselves.
    """
    reader = open_gguf(path)

    def field(name: str, kind: type, default: Any = None) -> Any:
        value = contents(path, reader, name, default)
        if value is not default and type(value) is not kind:
            raise ValueError(f"{path}: {name} is of type {type(value).__name__}, should be {kind.__name__}")
        return value

    def several(name: str, kind: type) -> list[Any]:
        values = field(name, list, [])
        if wrong := [value for value in values if type(value) is not kind]:
            raise ValueError(f"{path}: {name} holds {wrong[0]!r}, should hold {kind.__name__}")
        return values

    def token(name: str) -> int | None:
        i = field(f"tokenizer.ggml.{name}_token_id", int)
        if i is not None and not 0 <= i < len(tokens):
            raise ValueError(f"{path}: tokenizer.ggml.{name}_token_id={i}, and there are {len(tokens)} tokens")
        return i

    model, pre = field("tokenizer.ggml.model", str), field("tokenizer.ggml.pre", str, "default")
    if model != "gpt2" or pre not in SPLITS:
        raise UnsupportedTokenizerError(
            f"{path} holds a tokenizer of model {model!r}, pre-tokenizer {pre!r}; supported is model 'gpt2' with "
            f"{', '.join(SPLITS)}. Put the model's own tokenizer.json beside the file: it is taken instead"
        )
    tokens = several("tokenizer.ggml.tokens", str)
    types = several("tokenizer.ggml.token_type", int) or [gguf.TokenType.NORMAL] * len(tokens)
    if not tokens or len(types) != len(tokens):
        raise ValueError(f"{path}: {len(tokens)} tokenizer.ggml.tokens and {len(types)} types of them")
    bos = token("bos")
    # llama.cpp's default, for files that do not say.
    add_bos = bos is not None and field("tokenizer.ggml.add_bos_token", bool, pre == "llama-bpe")
    merges = [tuple(merge.split(" ")) for merge in several("tokenizer.ggml.merges", str)]
    with rust_errors(f"{path}: tokens and merges do not fit together"):
        tokenizer = Tokenizer(
            BPE(
                vocab={text: i for i, text in enumerate(tokens) if types[i] != gguf.TokenType.UNUSED},
                merges=merges,
                ignore_merges=pre == "llama-bpe",
            )
        )
    if SPLITS[pre] == (_QWEN2,):
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS[pre]]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if add_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{tokens[bos]} $A", pair=f"{tokens[bos]} $A {tokens[bos]} $B", special_tokens=[(tokens[bos], bos)]
        )
    tokenizer.add_tokens(
        [
            AddedToken(text, normalized=False, special=kind == gguf.TokenType.CONTROL)
            for text, kind in zip(tokens, types, strict=True)
            if kind in (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED)
        ]
    )

    named = {key: token(name) for key, name in _NAMED.items()}
    config = {
        # The class of transformers that takes tokenizer.json as it stands.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": bool(add_bos),
        "clean_up_tokenization_spaces": False,
        **{key: tokens[i] for key, i in named.items() if i is not None},
    }
    templates = {"default": field("tokenizer.chat_template", str)} | {
        name: field(f"tokenizer.chat_template.{name}", str) for name in several("tokenizer.chat_templates", str)
    }
    templates = [{"name": name, "template": template} for name, template in templates.items() if template]
    if templates:
        alone = len(templates) == 1 and templates[0]["name"] == "default"
        config["chat_template"] = templates[0]["template"] if alone else templates
    ends = [token(name) for name in ("eos", "eot", "eom")]
    generation = {"eos_token_id": [i for i in dict.fromkeys(ends) if i is not None]}
    return {
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": json.dumps(config, indent=2, ensure_ascii=False).encode(),
        "generation_config.json": json.dumps(generation, indent=2).encode(),
    }
