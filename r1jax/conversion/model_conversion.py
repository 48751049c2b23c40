"""Conversion of models between r1jax's folders and Hugging Face's, with tokenizer, prompt format and checksums."""

import json
import math
import pathlib
import shutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from r1jax.core import checksums
from r1jax.core.params import Params
from r1jax.core.sharding import MeshConfig, all_devices, make_mesh
from r1jax.io.console import reporter, say
from r1jax.io.files import write_bytes, write_text
from r1jax.models import hf
from r1jax.models.config import ModelConfig
from r1jax.models.io import MODEL, is_model, load_tokenizer, open_model, save_model
from r1jax.text import prompt_format
from r1jax.text.tokenizer import SentencePieceTokenizer, Tokenizer

GENERATION = "generation_config.json"


def check_target(source: pathlib.Path, target: pathlib.Path, overwrite: bool) -> None:
    """Raises ValueError where writing `target` would overwrite other files."""
    source, target = source.resolve(), target.resolve()
    if source == target or target in source.parents:
        raise ValueError(f"{target} holds what is to be converted; choose another folder")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir() or not is_model(target):
        raise ValueError(f"{target} exists and is no model; choose another folder")
    if not overwrite:
        raise ValueError(f"{target} holds a model; choose another folder, or replace it with --overwrite")


def convert(
    source: pathlib.Path, target: pathlib.Path, to: str | None, dtype: str | None, max_shard_bytes: int
) -> ModelConfig:
    """Writes the model `source` as `target`, by way of a folder beside it that is renamed when it is whole.

    Args:
        to: "r1jax" or "hf"; None: whichever `source` is not.
        dtype: what to write the weights as; None: as they are.

    Raises:
        FileNotFoundError, ValueError: see `open_model` and `hf.save_folder`.
    """
    model = open_model(source)
    tokenizer = load_tokenizer(source, model.cfg)
    if to is None:
        to = "hf" if (source / MODEL).exists() else "r1jax"
    # Over as many devices as cut the residual stream and the latents evenly.
    ranks = (model.cfg.mla.q_rank, model.cfg.mla.kv_rank) if model.cfg.mla else ()
    devices = all_devices()
    ways = math.gcd(len(devices), model.cfg.embed_dim, *ranks)
    mesh = make_mesh(MeshConfig(data=1, fsdp=-1), devices[:ways])
    params = model.read(mesh, dtype, reporter(f"reading {source}"))
    form = prompt_format.read(source)
    beside = {prompt_format.FILE: form.content()} if form else {}
    partial, old = (target.with_name(target.name + end) for end in (".partial", ".old"))
    shutil.rmtree(partial, ignore_errors=True)
    if to == "r1jax":
        save_model(partial, params, model.cfg, tokenizer, model.hf_config, beside)
    else:
        save_hf(partial, params, model.cfg, tokenizer, model.hf_config, max_shard_bytes, beside)
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    return model.cfg


def save_hf(
    folder: pathlib.Path,
    params: Params,
    cfg: ModelConfig,
    tokenizer: Tokenizer,
    hf_config: Mapping[str, Any] | None,
    max_shard_bytes: int,
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Writes a Hugging Face folder: tokenizer, end-of-text ids, weights, config.json and, last, checksums."""
    if isinstance(tokenizer, SentencePieceTokenizer):
        if not tokenizer.export(folder):
            say("no tokenizer.json, as this SentencePiece model changes texts: transformers needs sentencepiece for it")
        elif cfg.attention_bias:
            say(
                "transformers' AutoTokenizer takes the tokenizer of every Qwen2 for Qwen's own and gives other ids: "
                "open this one with transformers.PreTrainedTokenizerFast"
            )
    else:
        tokenizer.save(folder)
    ends = {"eos_token_id": list(tokenizer.eos_ids), "pad_token_id": tokenizer.pad_id}
    if not (folder / GENERATION).exists():
        write_text(folder / GENERATION, json.dumps(ends, indent=2) + "\n")
    report = reporter(f"writing {folder}")
    hf.save_folder(folder, params, cfg, hf_config or ends, max_shard_bytes, report)
    for name, content in beside.items():
        write_bytes(folder / name, content)
    checksums.write(folder)
