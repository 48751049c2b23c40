"""Hugging Face model folders: config.json and the weights in safetensors, read and written."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from r1jax.core.params import Params
from r1jax.io import files
from r1jax.io.files import exists
from r1jax.io.files import read_object as read_json
from r1jax.models import safetensors, weight_map, weights
from r1jax.models.config import ModelConfig
from r1jax.models.hf_config import config_from_hf, config_to_hf, fp8_block
from r1jax.models.weights import Checkpoint, Progress


def open_folder(folder: pathlib.Path) -> Checkpoint:
    """Opens a folder with config.json and safetensors. It has MTP layers only if its files hold the first.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the config asks for what is not supported, or the tensors do not fit it.
    """
    if not any(folder.glob("model*.safetensors")) and (hint := hint_for(folder)):
        raise FileNotFoundError(f"{folder} is not a model folder{hint}")
    config = read_json(folder / "config.json")
    try:
        cfg, block = config_from_hf(config), fp8_block(config)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from error
    source = safetensors.SafetensorsFolder(folder, block)
    # transformers drops them on saving and leaves the key as it was.
    if not any(name.startswith(f"model.layers.{cfg.num_layers}.") for name in source.tensors):
        cfg = dataclasses.replace(cfg, mtp_depth=0)
    weight_map.check_count(cfg, source.tensors, str(folder))
    pieces = weight_map.pieces(cfg, interleaved=_interleaved(cfg, config))
    weight_map.check(pieces, source.tensors, str(folder))
    return Checkpoint(cfg, config, source, pieces)


def hint_for(path: pathlib.Path | str) -> str:
    """For an error about a path that is no model folder: what it is, and how to make a model of it; "": unknown."""
    adapter = pathlib.Path(path) / "adapter_config.json"
    if exists(adapter):
        base = read_json(adapter).get("base_model_name_or_path")
        return (
            f" but an adapter (LoRA) of {base}: merge it into that, peft.AutoPeftModelForCausalLM.from_pretrained("
            f"folder).merge_and_unload().save_pretrained(other_folder), and give the other folder"
        )
    return ""


def save_folder(
    folder: pathlib.Path,
    params: Params,
    cfg: ModelConfig,
    original: Mapping[str, Any] | None = None,
    max_shard_bytes: int = 5 * 10**9,
    progress: Progress | None = None,
) -> None:
    """Writes safetensors and, last, the config.json that makes the folder a model, for `transformers` to load.

    Args:
        original: keys that config.json shall have besides, see `config_to_hf`.

    Raises:
        ValueError: no Hugging Face family computes what `cfg` does.
    """
    config = config_to_hf(cfg, original)
    # A tied model's lm_head is left out; the tables that DeepSeek repeats are not.
    pieces = {
        piece.name: piece
        for piece in weight_map.pieces(cfg, _interleaved(cfg, config))
        if not (piece.copy and piece.name == "lm_head.weight")
    }
    tensors = {
        name: jax.ShapeDtypeStruct(piece.file_shape, weights.at(params, piece.path).dtype)
        for name, piece in pieces.items()
    }
    folder.mkdir(parents=True, exist_ok=True)

    def fetch(name: str) -> np.ndarray:
        return weights.part_on_host(weights.at(params, pieces[name].path), pieces[name])

    safetensors.write(folder, tensors, fetch, max_shard_bytes, progress)
    config["dtype" if "dtype" in config else "torch_dtype"] = str(params["embed"].dtype)
    files.write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")


def _interleaved(cfg: ModelConfig, config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint rotates neighbours together: DeepSeek's do, unless its config.json says otherwise."""
    return cfg.mla is not None and (config["model_type"] == "deepseek_v2" or config.get("rope_interleave") is not False)
