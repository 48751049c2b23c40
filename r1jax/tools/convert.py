"""Turns models of other makes into r1jax's, and back.

    python -m r1jax.tools.convert SRC DST [--to r1jax|hf] [--dtype bfloat16] [--max-shard-size 5GB] [--overwrite]

SRC is a Hugging Face folder (config.json and safetensors), a .gguf file, or an r1jax model folder. The first two become
an r1jax model folder, the last a Hugging Face folder that `transformers` opens, unless --to says otherwise. Weights
keep their type unless --dtype says otherwise; fp8 becomes bfloat16, and what GGUF quantises float32.

Training reads all three kinds as they are: converting is for handing a model on. The weights go through the memory of
JAX's devices; JAX_PLATFORMS=cpu takes the host's, where a model is too large for an accelerator. DST appears when it is
whole.
Errors are one line; with R1JAX_DEBUG=1 in the environment they keep their trace.
"""

import argparse
import json
import math
import pathlib
import re
import shutil
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from r1jax.config import exit_status, path_given
from r1jax.core import checksums
from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import MeshConfig, all_devices, make_mesh
from r1jax.models import hf
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.text import prompt_form
from r1jax.text.tokenizer import SentencePieceTokenizer, Tokenizer
from r1jax.training import checkpoint
from r1jax.training.metrics import clock, say

GENERATION = "generation_config.json"


def size_in_bytes(text: str) -> int:
    """5GB -> 5_000_000_000. Raises ValueError where it is no size."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)B", text, re.IGNORECASE)
    if not found or not float(found[1]):
        raise ValueError(f"--max-shard-size={text} is not a size; write it like 5GB or 500MB")
    return int(float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " "))


def check_target(source: pathlib.Path, target: pathlib.Path, overwrite: bool) -> None:
    """Raises ValueError where writing `target` would destroy what should stay."""
    source, target = source.resolve(), target.resolve()
    if source == target or target in source.parents:
        raise ValueError(f"{target} holds what is to be converted; choose another folder")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir() or not checkpoint.is_model(target):
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
        FileNotFoundError, ValueError: see `checkpoint.open_model` and `hf.save_folder`.
    """
    model = checkpoint.open_model(source)
    tokenizer = checkpoint.load_tokenizer(source, model.cfg)
    if to is None:
        to = "hf" if (source / checkpoint.MODEL).exists() else "r1jax"
    # Over as many devices as cut the residual stream and the latents evenly.
    ranks = (model.cfg.mla.q_rank, model.cfg.mla.kv_rank) if model.cfg.mla else ()
    devices = all_devices()
    ways = math.gcd(len(devices), model.cfg.embed_dim, *ranks)
    mesh = make_mesh(MeshConfig(data=1, fsdp=-1), devices[:ways])
    params = model.read(mesh, dtype, checkpoint.reporter(f"reading {source}"))
    form = prompt_form.read(source)
    beside = {prompt_form.FILE: form.content()} if form else {}
    partial, old = (target.with_name(target.name + end) for end in (".partial", ".old"))
    shutil.rmtree(partial, ignore_errors=True)
    if to == "r1jax":
        checkpoint.save_model(partial, params, model.cfg, tokenizer, model.hf_config, beside)
    else:
        save_hf(partial, params, model.cfg, tokenizer, model.hf_config, max_shard_bytes, beside)
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    return model.cfg


def save_hf(
    folder: pathlib.Path, params: Params, cfg: ModelConfig, tokenizer: Tokenizer,
    hf_config: Mapping[str, Any] | None, max_shard_bytes: int, beside: Mapping[str, bytes] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Writes a Hugging Face folder: the tokenizer, how to end a text, the weights, config.json and, last, checksums."""
    if isinstance(tokenizer, SentencePieceTokenizer):
        if not tokenizer.export(folder):
            say("no tokenizer.json, as this SentencePiece model changes texts: transformers needs sentencepiece for it")
        elif cfg.attention_bias:
            say("transformers' AutoTokenizer takes the tokenizer of every Qwen2 for Qwen's own and gives other ids: "
                "open this one with transformers.PreTrainedTokenizerFast")  # fmt: skip
    else:
        tokenizer.save(folder)
    ends = {"eos_token_id": list(tokenizer.eos_ids), "pad_token_id": tokenizer.pad_id}
    if not (folder / GENERATION).exists():
        (folder / GENERATION).write_text(json.dumps(ends, indent=2) + "\n")
    report = checkpoint.reporter(f"writing {folder}")
    hf.save_folder(folder, params, cfg, hf_config or ends, max_shard_bytes, report)
    for name, content in beside.items():
        (folder / name).write_bytes(content)
    checksums.write(folder)


def run(args: argparse.Namespace) -> None:
    max_shard_bytes = size_in_bytes(args.max_shard_size)
    check_target(args.source, args.target, args.overwrite)
    began = time.monotonic()
    cfg = convert(args.source, args.target, args.to, args.dtype, max_shard_bytes)
    say(f"{args.target}: {core.count(param_specs(cfg)):,} parameters, {clock(time.monotonic() - began)}")


def main(argv: list[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    parser = argparse.ArgumentParser(prog="r1jax.tools.convert", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("source", metavar="SRC", type=path_given, help="the model to read")
    parser.add_argument("target", metavar="DST", type=path_given, help="the folder to write")
    parser.add_argument("--to", choices=("r1jax", "hf"), help="what to write; by default the other kind")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the weights; by default kept")
    parser.add_argument("--max-shard-size", default="5GB", help="of a safetensors file; by default 5GB")
    parser.add_argument("--overwrite", action="store_true", help="replace the model that DST holds")
    args = parser.parse_args(argv)
    return exit_status(lambda: run(args), f"converting {args.source} to {args.target}")


if __name__ == "__main__":
    sys.exit(main())
