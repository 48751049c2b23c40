"""config.json of Hugging Face's models <-> ModelConfig.

What a config asks for that would change the numbers, and that r1jax does not compute, is refused by name. The keys'
meaning and defaults are those of transformers 5 and of the models' own code.
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
        "attention_bias": (False,), "scoring_func": ("softmax",), "topk_method": ("greedy", "group_limited_greedy"),
        "norm_topk_prob": (False,),
    },
    "deepseek_v3": {"attention_bias": (False,), "scoring_func": ("sigmoid",), "topk_method": ("noaux_tc",)},
}  # fmt: skip
_LEFT_OUT = ("quantization_config", "auto_map")
_REACH = "max_position_embeddings"
_ROPE_KEYS = ("rope_theta", "rope_scaling", "rope_parameters")


def config_from_hf(config: Mapping[str, Any]) -> ModelConfig:
    """The ModelConfig of a config.json.

    Raises:
        ValueError: a key is missing, or asks for what is not supported: which, and what is.
    """
    family = config.get("model_type")
    if family not in ARCHITECTURES:
        raise ValueError(f"model_type={family!r} is not supported; nearest: {nearest(str(family), ARCHITECTURES)}")
    config = _DEFAULTS.get(family, {}) | dict(config)
    _refuse_unsupported(config)
    width, heads = _need(config, "hidden_size"), _need(config, "num_attention_heads")
    mla = moe = None
    if family.startswith("deepseek"):
        mla, moe = _mla(config), _moe(config)
    head_dim = mla.nope_dim + mla.rope_dim if mla else config.get("head_dim") or width // (heads or 1)
    theta, scaling = _rope_from_hf(config)
    return ModelConfig(
        vocab_size=_need(config, "vocab_size"),
        embed_dim=width,
        num_layers=_need(config, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=heads if family == "llama" and not config.get("num_key_value_heads")
        else _need(config, "num_key_value_heads"),
        head_dim=head_dim,
        mlp_dim=_need(config, "intermediate_size"),
        rope_theta=float(theta),
        norm_eps=config.get("rms_norm_eps", 1e-6),
        tie_embeddings=bool(config.get("tie_word_embeddings", False)),
        dtype="bfloat16" if (config.get("dtype") or config.get("torch_dtype")) == "bfloat16" else "float32",
        attention_bias=family == "qwen2",
        qk_norm=family == "qwen3",
        rope_scaling=scaling,
        mla=mla,
        moe=moe,
        mtp_depth=config.get("num_nextn_predict_layers", config.get("num_mtp_layers")) or 0,
    )  # fmt: skip


def _need(config: Mapping[str, Any], key: str) -> Any:
    """A number that must be there."""
    value = config.get(key)
    if value is None:
        raise ValueError(f"{key} is missing; nearest there: {nearest(key, config)}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key}={json.dumps(value)} should be a number")
    return value


def _refuse_unsupported(config: Mapping[str, Any]) -> None:
    family = config["model_type"]
    for key, supported in (_ONLY | _ONLY_IN.get(family, {})).items():
        if config.get(key) is not None and config[key] not in supported:
            choices = ", ".join(json.dumps(value) for value in supported or (None,))
            raise ValueError(f"{key}={json.dumps(config[key])} is not supported in {family}; supported: {choices}")
    types = config.get("layer_types") or ()
    first_window = config.get("max_window_layers", 0) if config.get("use_sliding_window") else math.inf
    if first_window < _need(config, "num_hidden_layers") or set(types) - {"full_attention"}:
        raise ValueError(f"use_sliding_window={config.get('use_sliding_window')}, layer_types={list(types)}: layers "
                         f"with a sliding window are not supported; supported: full_attention")  # fmt: skip
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method not in (None, "fp8"):
        raise ValueError(f"quantization_config.quant_method={method!r} is not supported; supported: fp8 in blocks, as "
                         f"DeepSeek-V3 has it, and weights that are not quantised")  # fmt: skip


def _mla(config: Mapping[str, Any]) -> MLAConfig:
    return MLAConfig(
        q_rank=config.get("q_lora_rank") or 0,
        kv_rank=_need(config, "kv_lora_rank"),
        nope_dim=_need(config, "qk_nope_head_dim"),
        rope_dim=_need(config, "qk_rope_head_dim"),
        v_dim=_need(config, "v_head_dim"),
    )


def _moe(config: Mapping[str, Any]) -> MoEConfig | None:
    first_dense = config.get("first_k_dense_replace") or 0
    if first_dense >= _need(config, "num_hidden_layers"):
        return None
    grouped = config.get("topk_method") != "greedy"
    return MoEConfig(
        num_experts=_need(config, "n_routed_experts"),
        top_k=_need(config, "num_experts_per_tok"),
        expert_dim=_need(config, "moe_intermediate_size"),
        num_shared=config.get("n_shared_experts") or 0,
        first_dense=first_dense,
        num_groups=_need(config, "n_group") if grouped else 1,
        top_groups=_need(config, "topk_group") if grouped else 1,
        scoring="softmax" if config["model_type"] == "deepseek_v2" else "sigmoid",
        normalize=bool(config.get("norm_topk_prob")),
        scale=float(config.get("routed_scaling_factor", 1.0)),
    )


def _rope_from_hf(config: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """The rotary base and its stretching, from the keys of transformers 5 (rope_parameters) or from the older ones."""
    rope = _rope_keys(config)
    theta = rope.get("rope_theta") or 10_000.0
    kind = rope.get("rope_type") or "default"
    if kind not in ("default", "linear", "llama3", "yarn") or any(isinstance(value, dict) for value in rope.values()):
        raise ValueError(f"rope_parameters={json.dumps(rope)} is not supported; supported: one of the types default, "
                         f"linear, llama3 and yarn for all layers")  # fmt: skip
    if rope.get("partial_rotary_factor", 1.0) != 1.0 or rope.get("truncate") is False:
        raise ValueError(f"rope_parameters={json.dumps(rope)}: partial_rotary_factor other than 1 and truncate=false "
                         f"are not supported")  # fmt: skip
    if kind == "default":
        return theta, None
    if kind == "linear":
        return theta, RopeScaling("linear", float(_need(rope, "factor")))
    key = "original_max_position_embeddings"
    original = config.get(key) or rope.get(key) or config.get(_REACH)
    if original is None:
        raise ValueError(f"rope_parameters={json.dumps(rope)} lacks original_max_position_embeddings")
    if kind == "llama3":
        return theta, RopeScaling(
            "llama3", float(_need(rope, "factor")), original,
            low_frequency_factor=float(_need(rope, "low_freq_factor")),
            high_frequency_factor=float(_need(rope, "high_freq_factor")),
        )  # fmt: skip
    return theta, RopeScaling(
        "yarn", float(rope.get("factor") or _need(config, _REACH) / original), original,
        beta_fast=float(rope.get("beta_fast") or 32), beta_slow=float(rope.get("beta_slow") or 1),
        mscale=float(rope.get("mscale") or 0), mscale_all_dim=float(rope.get("mscale_all_dim") or 0),
        attention_factor=float(rope.get("attention_factor") or 0),
    )  # fmt: skip


def _rope_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config says of rotary positions, in one mapping.

    `rope_scaling` beside `rope_parameters` stretches what the other leaves as it is (transformers 5 takes the first
    alone, with a base of 10,000). Raises ValueError where they contradict each other.
    """
    places = {key: config.get(key) or {} for key in ("rope_parameters", "rope_scaling")}
    for key, rope in places.items():
        if not isinstance(rope, Mapping):
            raise ValueError(f"{key}={json.dumps(rope)} should be an object")
    places = {key: dict(rope) for key, rope in places.items()}
    for rope in places.values():
        if "type" in rope:
            rope.setdefault("rope_type", rope.pop("type"))
    if places["rope_scaling"] and places["rope_parameters"].get("rope_type") == "default":
        del places["rope_parameters"]["rope_type"]
    found = {}
    for rope in ({"rope_theta": config.get("rope_theta")}, *places.values()):
        for key, value in rope.items():
            if found.get(key) not in (None, value) and value is not None:
                keys = ", ".join(each for each in _ROPE_KEYS if config.get(each))
                raise ValueError(f"{key} is {json.dumps(found[key])} and {json.dumps(value)} in one config, which has "
                                 f"{keys}: leave one of them out")  # fmt: skip
            found[key] = found.get(key) if value is None else value
    return found


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
    ours = {key: value for key, value in _fresh_config(cfg).items() if key != _REACH or key not in config}
    return {key: value for key, value in config.items() if key not in _ROPE_KEYS} | ours


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
        _REACH: int(scaling.factor * scaling.original_length) if scaling and scaling.original_length
        else 32_768,
        "rope_theta": cfg.rope_theta,
        "rope_scaling": _rope_to_hf(scaling) if scaling else None,
    }  # fmt: skip
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
            "topk_method": ("noaux_tc" if family == "deepseek_v3" else "greedy" if moe.num_groups == 1
                            else "group_limited_greedy"),
            "norm_topk_prob": moe.normalize,
            "routed_scaling_factor": moe.scale,
        }  # fmt: skip
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
