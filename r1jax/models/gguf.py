"""Models in a .gguf file (llama.cpp's format): read as the Hugging Face model that the file was made from."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import gguf
import jax
import ml_dtypes
import numpy as np

from r1jax.config import nearest
from r1jax.io.gguf_reader import contents, open_gguf
from r1jax.models import weight_map
from r1jax.models.config import RopeScaling
from r1jax.models.hf_config import ARCHITECTURES as HF_ARCHITECTURES
from r1jax.models.hf_config import config_from_hf
from r1jax.models.layers import rope_frequencies
from r1jax.models.weight_map import Index
from r1jax.models.weights import Checkpoint

ARCHITECTURES = ("llama", "qwen2", "qwen3")
# config.json's keys by the file's, which begin with the architecture.
_KEYS = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "context_length": "max_position_embeddings",
}
_ROPE_KEYS = {
    "rope.scaling.factor": "factor",
    "rope.scaling.original_context_length": "original_max_position_embeddings",
    "rope.scaling.yarn_beta_fast": "beta_fast",
    "rope.scaling.yarn_beta_slow": "beta_slow",
}
_TOKENS = {
    "tokenizer.ggml.bos_token_id": "bos_token_id",
    "tokenizer.ggml.eos_token_id": "eos_token_id",
    "tokenizer.ggml.padding_token_id": "pad_token_id",
}
# Long, and slow to unpack.
_VOCABULARY = tuple(f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "scores", "merges"))
# Keys that change the numbers, where they are other than this.
_ONLY = {
    "expert_count": 0,
    "attention.sliding_window": 0,
    "rope.scaling.attn_factor": 1,
    "rope.scaling.yarn_ext_factor": 1,
    "rope.scaling.yarn_attn_factor": 1,
    "rope.scaling.yarn_log_multiplier": 0,
    "rope.scale_linear": 1,
}
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_PLAIN = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16)}
_ROPE_FACTORS = "rope_freqs.weight"


class _Stored(NamedTuple):
    kind: gguf.GGMLQuantizationType
    offset: int  # bytes from the beginning of the file
    shape: tuple[int, ...]


class GGUFFile:
    """The tensors of a .gguf file, see `weights.Source`. Quantised ones come out in float32."""

    def __init__(self, path: pathlib.Path, reader: gguf.GGUFReader):
        self.where = str(path)
        self._stored = {
            tensor.name: _Stored(tensor.tensor_type, tensor.data_offset, tuple(tensor.shape[::-1].tolist()))
            for tensor in reader.tensors
        }
        self.tensors = {
            name: jax.ShapeDtypeStruct(stored.shape, _PLAIN.get(stored.kind.name, np.float32))
            for name, stored in self._stored.items()
        }

    def read(self, name: str, index: Index) -> np.ndarray:
        kind, offset, shape = self._stored[name]
        if kind.name in _PLAIN:
            return np.memmap(self.where, _PLAIN[kind.name], "r", offset, shape)[index]
        # A row is made of blocks: those that the slice touches are dequantised.
        size, size_in_bytes = gguf.GGML_QUANT_SIZES[kind]
        *rows, columns = index
        first, last = columns.start // size, -(-columns.stop // size)
        stored = np.memmap(self.where, np.uint8, "r", offset, gguf.quants.quant_shape_to_byte_shape(shape, kind))
        blocks = np.ascontiguousarray(stored[(*rows, slice(first * size_in_bytes, last * size_in_bytes))])
        try:
            with np.errstate(all="ignore"):  # NaN and infinity are an error where the tensor is known
                values = gguf.quants.dequantize(blocks, kind)
        except NotImplementedError as error:
            raise ValueError(f"{self.where}: {name} is quantised as {kind.name}: {error}") from error
        return values[..., columns.start - first * size : columns.stop - first * size]


def open_file(path: pathlib.Path) -> Checkpoint:
    """Opens a file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is broken or cut short, or holds a model that is not supported.
    """
    reader = open_gguf(path)
    source = GGUFFile(path, reader)
    fields = {key: contents(path, reader, key) for key in reader.fields if key not in _VOCABULARY}
    try:
        config = _hf_config(fields, source)
        cfg = config_from_hf(config)
        if _ROPE_FACTORS in source.tensors:
            if source.tensors[_ROPE_FACTORS].shape != (cfg.head_dim // 2,):
                raise ValueError(
                    f"{_ROPE_FACTORS} is {list(source.tensors[_ROPE_FACTORS].shape)}, should be [{cfg.head_dim // 2}]"
                )
            factors = source.read(_ROPE_FACTORS, (slice(0, cfg.head_dim // 2),))
            cfg = dataclasses.replace(cfg, rope_scaling=_llama3_scaling(factors, cfg.rope_theta))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    # llama.cpp rotates neighbours in this architecture alone, and its converter has reordered the heads' rows for it.
    interleaved = fields["general.architecture"] == "llama"
    weight_map.check_count(cfg, source.tensors, str(path))
    pieces = [dataclasses.replace(piece, name=_name(piece.name)) for piece in weight_map.pieces(cfg, interleaved)]
    weight_map.check(pieces, source.tensors, str(path), ignored=(_ROPE_FACTORS,))
    return Checkpoint(cfg, config, source, pieces)


def _name(hf_name: str) -> str:
    """`model.layers.3.self_attn.q_proj.weight` -> `blk.3.attn_q.weight`."""
    block, tensor, kind = re.fullmatch(r"(?:model\.layers\.(\d+)\.)?(.+)\.(\w+)", hf_name).groups()
    return f"{'' if block is None else f'blk.{block}.'}{_NAMES[tensor]}.{kind}"


def _hf_config(fields: Mapping[str, Any], source: GGUFFile) -> dict[str, Any]:
    """The file's metadata under the keys of config.json."""
    family = fields.get("general.architecture")
    if not isinstance(family, str) or family not in ARCHITECTURES:
        close = nearest(str(family), ARCHITECTURES)
        raise ValueError(f"general.architecture={family!r} is not supported; nearest: {close}")
    if fields.get("split.count", 1) not in (0, 1):
        raise ValueError("one of several files of a model; join them with llama.cpp's gguf-split --merge")
    metadata = {
        key.removeprefix(f"{family}."): _decimal(value) for key, value in fields.items() if key.startswith(f"{family}.")
    }
    for key in (*_KEYS, *_ROPE_KEYS):
        if type(metadata.get(key, 0)) not in (int, float):
            value_text = repr(metadata[key])[:200]
            raise ValueError(f"{family}.{key}={value_text} is not supported; supported: one number for all layers")
    width = metadata.get(
        "attention.key_length", metadata.get("embedding_length", 0) // (metadata.get("attention.head_count") or 1)
    )
    only = _ONLY | {"rope.dimension_count": width, "attention.value_length": width}
    for key, value in metadata.items():
        if value != only.get(key, value):
            raise ValueError(f"{family}.{key}={repr(value)[:200]} is not supported; supported: {only[key]}")
    config = {name: metadata[key] for key, name in _KEYS.items() if key in metadata}
    if metadata.get("rope.scaling.type", "none") != "none":
        config["rope_scaling"] = {"rope_type": metadata["rope.scaling.type"]} | {
            name: metadata[key] for key, name in _ROPE_KEYS.items() if key in metadata
        }
    table = source.tensors.get("token_embd.weight")
    return {
        "architectures": [HF_ARCHITECTURES[family]],
        "num_key_value_heads": config.get("num_attention_heads"),
        **config,
        **{name: fields[key] for key, name in _TOKENS.items() if key in fields},
        "model_type": family,
        "vocab_size": table.shape[0] if table and table.shape else metadata.get("vocab_size"),
        "tie_word_embeddings": "output.weight" not in source.tensors,
    }


def _decimal(value: Any) -> Any:
    """A float32 as the decimal number that it was rounded from: 1e-5, not 9.999999747378752e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _llama3_scaling(factors: np.ndarray, theta: float) -> RopeScaling:
    """The scaling that gives a file's table of divisors of the rotary frequencies, which is all that it keeps of it.

    Raises:
        ValueError: it is not that of Llama 3.1, 3.2 or 3.3.
    """
    scaling = RopeScaling("llama3", float(factors.max()), 8192)
    expected = rope_frequencies(len(factors), theta, None) / rope_frequencies(len(factors), theta, scaling)
    if not np.allclose(factors, expected, rtol=1e-3):
        raise ValueError(
            f"{_ROPE_FACTORS} holds rotary factors other than those of Llama 3.1 (original length 8192, "
            f"factors 1 and 4): read the model's own safetensors instead"
        )
    return scaling
