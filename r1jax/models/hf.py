"""Hugging Face model folders: config.json <-> ModelConfig, and the weights in and out.

What a config asks for that would change the numbers, and that r1jax does not compute, is refused by name. The keys'
meaning and defaults are those of transformers 5 and of the models' own code.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from r1jax.config import nearest
from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES
from r1jax.models import safetensors, weight_map, weights
from r1jax.models.config import MLAConfig, ModelConfig, MoEConfig, RopeScaling
from r1jax.models.transformer import param_specs
from r1jax.models.weight_map import Piece
from r1jax.models.weights import Progress, Source

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
}
# What the others may leave out.
_DEFAULTS = {
    "mistral": {"sliding_window": 4096},
    "qwen3": {"head_dim": 128},
    "deepseek_v2": {"topk_method": "greedy"},
    "deepseek_v3": {"num_nextn_predict_layers": 1, "norm_topk_prob": True},
}
# Keys that change the numbers, and all that is supported of them. Absent and null are as good.
_ONLY = {
    "hidden_act": ("silu",),
    "mlp_bias": (False,),
    "partial_rotary_factor": (1.0,),
    "final_logit_softcapping": (),
    "attn_logit_softcapping": (),
    "moe_layer_freq": (1,),
}
_ONLY_IN = {
    "llama": {"attention_bias": (False,)},
    "mistral": {"attention_bias": (False,), "sliding_window": ()},
    "qwen3": {"attention_bias": (False,)},
    # transformers leaves norm_topk_prob of V2 unread; DeepSeek's code then leaves out the scale.
    "deepseek_v2": {
        "attention_bias": (False,), "scoring_func": ("softmax",), "topk_method": ("greedy", "group_limited_greedy"),
        "norm_topk_prob": (False,),
    },
    "deepseek_v3": {"attention_bias": (False,), "scoring_func": ("sigmoid",), "topk_method": ("noaux_tc",)},
}  # fmt: skip
_ROPE_KEYS = ("rope_theta", "rope_scaling", "rope_parameters")


class Checkpoint(NamedTuple):
    """A checkpoint that is open but not read.

    Attributes:
        cfg: the model's shape.
        source: its tensors.
        pieces: their places among our weights; all are there and fit.
    """

    cfg: ModelConfig
    source: Source
    pieces: list[Piece]

    def read(self, mesh: Mesh, dtype: str | None = None, progress: Progress | None = None) -> Params:
        """The weights in their shardings for training, see `weights.read`."""
        specs = param_specs(self.cfg)
        shardings = core.shardings(specs, TRAIN_RULES, mesh)
        return weights.read(self.source, self.pieces, specs, shardings, dtype, progress)


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Raises ValueError, naming the file, where it holds no JSON object."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds {type(value).__name__}, should be an object")
    return value


def open_folder(folder: pathlib.Path) -> Checkpoint:
    """Opens a folder with config.json and safetensors. Of MTP layers it has as many as its files hold.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the config asks for what is not supported, or the tensors do not fit it.
    """
    config = read_json(folder / "config.json")
    try:
        cfg = config_from_hf(config)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from error
    block = (config.get("quantization_config") or {}).get("weight_block_size")
    source = safetensors.SafetensorsFolder(folder, tuple(block) if block else None)
    # transformers drops them on saving and leaves the key as it was.
    if not any(name.startswith(f"model.layers.{cfg.num_layers}.") for name in source.tensors):
        cfg = dataclasses.replace(cfg, mtp_depth=0)
    pieces = weight_map.pieces(cfg, interleaved=_interleaved(cfg, config))
    weight_map.check(pieces, source.tensors, str(folder))
    return Checkpoint(cfg, source, pieces)


def save_folder(
    folder: pathlib.Path, params: Params, cfg: ModelConfig, original: Mapping[str, Any] | None = None,
    dtype: str | None = None, max_shard_bytes: int = 5 * 10**9, progress: Progress | None = None,
) -> None:  # fmt: skip
    """Writes safetensors and, last, the config.json that makes the folder a model, for `transformers` to load.

    Args:
        original: the config.json that the model came with; its other keys are kept.
        dtype: what to write the weights as, but for those whose spec keeps float32; None: as they are.

    Raises:
        ValueError: no Hugging Face family computes what `cfg` does.
    """
    config = config_to_hf(cfg, original)
    specs = param_specs(cfg)
    params = params if dtype is None else jax.tree.map(_Cast, params, core.cast_types(specs, dtype))
    # A tied model's lm_head is left out, the tables that DeepSeek repeats are not.
    pieces = {piece.name: piece for piece in weight_map.pieces(cfg, interleaved=_interleaved(cfg, config))
              if not (piece.copy and piece.name == "lm_head.weight")}  # fmt: skip


def _interleaved(cfg: ModelConfig, config: Mapping[str, Any]) -> bool:
    return cfg.mla is not None and (config["model_type"] == "deepseek_v2" or config.get("rope_interleave") is not False)
