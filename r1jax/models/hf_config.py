"""config.json of Hugging Face's models <-> ModelConfig.

A config's settings that would change the numbers, and that r1jax does not compute, are errors that name the key. The
keys' meaning and defaults are those of transformers 5 and of the models' own code.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from r1jax.config import nearest
from r1jax.models.config import MLAConfig, ModelConfig, MoEConfig, RopeScaling

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
        "attention_bias": (False,),
        "scoring_func": ("softmax",),
        "topk_method": ("greedy", "group_limited_greedy"),
        "norm_topk_prob": (False,),
    },
    "deepseek_v3": {"attention_bias": (False,), "scoring_func": ("sigmoid",), "topk_method": ("noaux_tc",)},
}
_LEFT_OUT = ("quantization_config", "auto_map")
_LARGEST = 2**31 - 1
_REACH = "max_position_embeddings"
_ROPE_KEYS = ("rope_theta", "rope_scaling", "rope_parameters")


def config_from_hf(config: Mapping[str, Any]) -> ModelConfig:
    """The ModelConfig of a config.json.

    Raises:
        ValueError: a key is missing, is of another type, or asks for what is not supported: which, and what is.
    """
    family = config.get("model_type")
    if not isinstance(family, str) or family not in ARCHITECTURES:
        raise ValueError(f"model_type={family!r} is not supported; nearest: {nearest(str(family), ARCHITECTURES)}")
    config = _DEFAULTS.get(family, {}) | dict(config)
    _refuse_unsupported(config)
    width, heads = _whole(config, "hidden_size"), _whole(config, "num_attention_heads")
    mla = moe = None
    if family.startswith("deepseek"):
        mla, moe = _mla(config), _moe(config)
    theta, scaling = _rope_from_hf(config)
    mtp_key = "num_nextn_predict_layers" if "num_nextn_predict_layers" in config else "num_mtp_layers"
    return ModelConfig(
        vocab_size=_whole(config, "vocab_size"),
        embed_dim=width,
        num_layers=_whole(config, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=_whole(config, "num_key_value_heads", heads if family == "llama" else None),
        head_dim=mla.nope_dim + mla.rope_dim if mla else _whole(config, "head_dim", width // (heads or 1)),
        mlp_dim=_whole(config, "intermediate_size"),
        rope_theta=theta,
        norm_eps=_real(config, "rms_norm_eps", 1e-6),
        tie_embeddings=_flag(config, "tie_word_embeddings"),
        dtype="bfloat16" if (config.get("dtype") or config.get("torch_dtype")) == "bfloat16" else "float32",
        attention_bias=family == "qwen2",
        qk_norm=family == "qwen3",
        rope_scaling=scaling,
        mla=mla,
        moe=moe,
        mtp_depth=_whole(config, mtp_key, 0),
    )


def context_length(config: Mapping[str, Any]) -> int | None:
    """Tokens that a model was made for by its config.json, None where that does not say.

    Programs differ on whether `max_position_embeddings` counts before or after positions are stretched: the larger
    number counts.
    """
    length = _whole(config, _REACH, 0)
    _, scaling = _rope_from_hf(config)
    if scaling and scaling.kind in ("yarn", "linear"):
        length = max(length, int(scaling.factor * (scaling.original_length or length)))
    return length or None


def fp8_block(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns of a block of fp8 weights, None where config.json says nothing of any.

    Raises:
        ValueError: what it says is no such thing.
    """
    block = _section(config, "quantization_config").get("weight_block_size")
    if block is None:
        return None
    if not isinstance(block, list) or len(block) != 2 or not all(type(size) is int and size > 0 for size in block):
        raise ValueError(
            f"quantization_config.weight_block_size={_value_text(block)} should be two whole numbers above 0"
        )
    return block[0], block[1]


def _whole(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A whole number, which must be there where there is no default. Null is as good as absent."""
    value = _real(config, key, default)
    if value != int(value) or abs(value) > _LARGEST:
        raise ValueError(f"{key}={_value_text(config[key])} should be a whole number of at most {_LARGEST:,}")
    return int(value)


def _real(config: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = config.get(key)
    if value is None and default is not None:
        return default
    if value is None:
        raise ValueError(f"{key} is missing; nearest there: {nearest(key, config)}")
    # Python reads NaN and Infinity as JSON; and whole numbers of any length, which need not be floats.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e300:
        raise ValueError(f"{key}={_value_text(value)} should be a number")
    return value


def _flag(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key)
    if not isinstance(value, bool | None):
        raise ValueError(f"{key}={_value_text(value)} should be true or false")
    return bool(value)


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{key}={_value_text(value)} should be an object")
    return value


def _value_text(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _refuse_unsupported(config: Mapping[str, Any]) -> None:
    family = config["model_type"]
    for key, supported in (_ONLY | _ONLY_IN.get(family, {})).items():
        if config.get(key) is not None and config[key] not in supported:
            choices = ", ".join(json.dumps(value) for value in supported or (None,))
            raise ValueError(f"{key}={_value_text(config[key])} is not supported in {family}; supported: {choices}")
    types = config.get("layer_types") or []
    slides = _flag(config, "use_sliding_window")
    first_window = _whole(config, "max_window_layers", 0) if slides else math.inf
    others = types if not isinstance(types, list) else [each for each in types if each != "full_attention"]
    if first_window < _whole(config, "num_hidden_layers") or others:
        raise ValueError(
            f"use_sliding_window={slides}, layer_types={_value_text(types)}: layers with a sliding window are "
            f"not supported; supported: full_attention"
        )
    method = _section(config, "quantization_config").get("quant_method")
    if method not in (None, "fp8"):
        raise ValueError(
            f"quantization_config.quant_method={method!r} is not supported; supported: fp8 in blocks, as "
            f"DeepSeek-V3 has it, and weights that are not quantised"
        )


def _mla(config: Mapping[str, Any]) -> MLAConfig:
    return MLAConfig(
        q_rank=_whole(config, "q_lora_rank", 0),
        kv_rank=_whole(config, "kv_lora_rank"),
        nope_dim=_whole(config, "qk_nope_head_dim"),
        rope_dim=_whole(config, "qk_rope_head_dim"),
        v_dim=_whole(config, "v_head_dim"),
    )


def _moe(config: Mapping[str, Any]) -> MoEConfig | None:
    first_dense = _whole(config, "first_k_dense_replace", 0)
    if first_dense >= _whole(config, "num_hidden_layers"):
        return None
    grouped = config.get("topk_method") != "greedy"
    return MoEConfig(
        num_experts=_whole(config, "n_routed_experts"),
        top_k=_whole(config, "num_experts_per_tok"),
        expert_dim=_whole(config, "moe_intermediate_size"),
        num_shared=_whole(config, "n_shared_experts", 0),
        first_dense=first_dense,
        num_groups=_whole(config, "n_group") if grouped else 1,
        top_groups=_whole(config, "topk_group") if grouped else 1,
        scoring="softmax" if config["model_type"] == "deepseek_v2" else "sigmoid",
        normalize=_flag(config, "norm_topk_prob"),
        scale=float(_real(config, "routed_scaling_factor", 1.0)),
    )


def _rope_from_hf(config: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """The rotary base and its stretching, from the keys of transformers 5 (rope_parameters) or from the older ones."""
    rope = _rope_keys(config)
    theta = float(_real(rope, "rope_theta", 10_000.0))
    kind = rope.get("rope_type") or "default"
    if kind not in ("default", "linear", "llama3", "yarn") or any(isinstance(value, dict) for value in rope.values()):
        raise ValueError(
            f"rope_parameters={_value_text(rope)} is not supported; supported: one of the types default, "
            f"linear, llama3 and yarn for all layers"
        )
    if _real(rope, "partial_rotary_factor", 1.0) != 1.0 or rope.get("truncate") is False:
        raise ValueError(
            f"rope_parameters={_value_text(rope)}: partial_rotary_factor other than 1 and truncate=false are refused"
        )
    if kind == "default":
        return theta, None
    if kind == "linear":
        return theta, RopeScaling("linear", float(_real(rope, "factor")))
    key = "original_max_position_embeddings"
    original = _whole(config, key, _whole(rope, key, 0)) or _whole(config, _REACH, 0)
    if not original:
        raise ValueError(f"rope_parameters={_value_text(rope)} lacks {key}")
    if kind == "llama3":
        return theta, RopeScaling(
            "llama3",
            float(_real(rope, "factor")),
            original,
            low_frequency_factor=float(_real(rope, "low_freq_factor")),
            high_frequency_factor=float(_real(rope, "high_freq_factor")),
        )
    optional = {"beta_fast": 32, "beta_slow": 1, "mscale": 0, "mscale_all_dim": 0, "attention_factor": 0}
    numbers = {name: float(_real(rope, name, value) or value) for name, value in optional.items()}
    factor = _real(rope, "factor", 0) or _whole(config, _REACH) / original
    return theta, RopeScaling("yarn", float(factor), original, **numbers)


def _rope_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config's settings of rotary positions, in one mapping.

    `rope_scaling` beside `rope_parameters` stretches what the other leaves as it is (transformers 5 takes the first
    alone, with a base of 10,000). Raises ValueError where they contradict each other.
    """
    places = {key: dict(_section(config, key)) for key in ("rope_parameters", "rope_scaling")}
    for rope in places.values():
        if "type" in rope:
            rope.setdefault("rope_type", rope.pop("type"))
    if places["rope_scaling"] and places["rope_parameters"].get("rope_type") == "default":
        del places["rope_parameters"]["rope_type"]
    merged = {}
    for rope in ({"rope_theta": config.get("rope_theta")}, *places.values()):
        for key, value in rope.items():
            if merged.get(key) not in (None, value) and value is not None:
                keys = ", ".join(each for each in _ROPE_KEYS if config.get(each))
                raise ValueError(
                    f"{key} is {_value_text(merged[key])} and {_value_text(value)} in one config, which has "
                    f"{keys}: leave one of them out"
                )
            merged[key] = merged.get(key) if value is None else value
    return merged


def config_to_hf(cfg: ModelConfig, original: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A config.json that computes what `cfg` does.

    Args:
        original: the config.json that the model came with, or other keys to have in it. All are kept but those that
            `cfg` contradicts, the quantisation, which exported weights no longer have, and `auto_map`, which names
            Python files of the model's own folder: transformers has the families' code.

    Raises:
        ValueError: no supported family computes this.
    """
    config = {key: value for key, value in (original or {}).items() if key not in _LEFT_OUT}
    if "model_type" in config and _same(config_from_hf(config), cfg):
        return config
    fresh = {key: value for key, value in _fresh_config(cfg).items() if key != _REACH or key not in config}
    return {key: value for key, value in config.items() if key not in _ROPE_KEYS} | fresh


def _same(a: ModelConfig, b: ModelConfig) -> bool:
    # A config.json may name MTP layers that its files never had.
    return a == dataclasses.replace(b, dtype=a.dtype, remat=a.remat, scan_unroll=a.scan_unroll, mtp_depth=a.mtp_depth)


def _fresh_config(cfg: ModelConfig) -> dict[str, Any]:
    family = _family(cfg)
    scaling = cfg.rope_scaling
    config = {
        "architectures": [ARCHITECTURES[family]],
        "model_type": family,
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.embed_dim,
        "intermediate_size": cfg.mlp_dim,
        "num_hidden_layers": cfg.num_layers,
        "num_attention_heads": cfg.num_heads,
        "num_key_value_heads": cfg.num_kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": cfg.norm_eps,
        "tie_word_embeddings": cfg.tie_embeddings,
        # Rotary positions have no end; programs that serve a model take this for the longest context.
        _REACH: int(scaling.factor * scaling.original_length) if scaling and scaling.original_length else 32_768,
        "rope_theta": cfg.rope_theta,
        "rope_scaling": _rope_to_hf(scaling) if scaling else None,
    }
    if not cfg.mla:
        return config | {"head_dim": cfg.head_dim}
    moe, experts = cfg.moe, {"first_k_dense_replace": cfg.num_layers}
    if moe:
        experts = {
            "n_routed_experts": moe.num_experts,
            "num_experts_per_tok": moe.top_k,
            "moe_intermediate_size": moe.expert_dim,
            "n_shared_experts": moe.num_shared,
            "first_k_dense_replace": moe.first_dense,
            "n_group": moe.num_groups,
            "topk_group": moe.top_groups,
            "scoring_func": moe.scoring,
            "topk_method": (
                "noaux_tc" if family == "deepseek_v3" else "greedy" if moe.num_groups == 1 else "group_limited_greedy"
            ),
            "norm_topk_prob": moe.normalize,
            "routed_scaling_factor": moe.scale,
        }
    latent = {
        "q_lora_rank": cfg.mla.q_rank or None,
        "kv_lora_rank": cfg.mla.kv_rank,
        "qk_nope_head_dim": cfg.mla.nope_dim,
        "qk_rope_head_dim": cfg.mla.rope_dim,
        "v_head_dim": cfg.mla.v_dim,
    }
    return config | latent | experts | ({"num_nextn_predict_layers": cfg.mtp_depth} if family == "deepseek_v3" else {})


def _family(cfg: ModelConfig) -> str:
    """The model_type that computes what `cfg` does."""
    softmax = cfg.moe is not None and cfg.moe.scoring == "softmax"
    if cfg.mla and not softmax:
        return "deepseek_v3"
    if cfg.mla and not cfg.moe.normalize and not cfg.mtp_depth:
        return "deepseek_v2"
    if not cfg.mla and not cfg.moe and not cfg.mtp_depth and not (cfg.attention_bias and cfg.qk_norm):
        return "qwen2" if cfg.attention_bias else "qwen3" if cfg.qk_norm else "llama"
    raise ValueError(
        f"no Hugging Face family has attention_bias={cfg.attention_bias}, qk_norm={cfg.qk_norm}, mla={cfg.mla}, "
        f"moe={cfg.moe} and mtp_depth={cfg.mtp_depth} together; there are {', '.join(ARCHITECTURES)}"
    )


def _rope_to_hf(scaling: RopeScaling) -> dict[str, Any]:
    config = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind != "linear":
        config["original_max_position_embeddings"] = scaling.original_length
    if scaling.kind == "llama3":
        config |= {"low_freq_factor": scaling.low_frequency_factor, "high_freq_factor": scaling.high_frequency_factor}
    if scaling.kind == "yarn":
        config |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
        optional = ("mscale", "mscale_all_dim", "attention_factor")
        config |= {key: getattr(scaling, key) for key in optional if getattr(scaling, key)}
    return config
