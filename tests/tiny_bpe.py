"""A byte-level BPE tokenizer of the kind that real models have, small enough to be trained in a test."""

import json
import pathlib
from typing import Any

import gguf
from nasty import BY_HAND
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

NAMES = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|bos|>")  # ids 0 to 3
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|bos|>", "eos_token": "<|endoftext|>"}


def train(*, adds_bos: bool = False) -> Tokenizer:
    """The bytes, `NAMES` as special tokens and some two hundred merges; `adds_bos` by its post-processor."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        BY_HAND,
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=list(NAMES),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if adds_bos:
        bos = NAMES.index("<|bos|>")
        tokenizer.post_processor = processors.TemplateProcessing("<|bos|> $A", special_tokens=[("<|bos|>", bos)])
    return tokenizer


def write_folder(folder: pathlib.Path, tokenizer: Tokenizer, **files: dict[str, Any]) -> pathlib.Path:
    """A model folder: `tokenizer.json`, and a JSON file for each of `files` (`tokenizer_config={...}`)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), "utf-8")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    return folder


def write_gguf(
    path: pathlib.Path, tokenizer: Tokenizer, pre: str = "gpt-2", model: str = "gpt2", template: Any = TEMPLATE
) -> pathlib.Path:
    """The tokenizer in a .gguf file, with a user-defined token and two unused slots behind its own."""
    content = json.loads(tokenizer.to_str())
    tokens = sorted(content["model"]["vocab"], key=content["model"]["vocab"].get)
    kinds = [gguf.TokenType.CONTROL if token in NAMES else gguf.TokenType.NORMAL for token in tokens]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*tokens, "<tool>", "[PAD1]", "[PAD2]"])
    writer.add_token_types([*kinds, gguf.TokenType.USER_DEFINED, gguf.TokenType.UNUSED, gguf.TokenType.UNUSED])
    writer.add_token_merges([" ".join(merge) for merge in content["model"]["merges"]])
    writer.add_bos_token_id(3)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path
