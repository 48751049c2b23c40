"""Small Hugging Face folders written byte by byte: what a checkpoint is, said a second time, without transformers."""

import json
import pathlib
from typing import Any

import ml_dtypes
import numpy as np

CODES = {"float32": "F32", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3"}

QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "rope_theta": 1e6,
    "max_position_embeddings": 128,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 1,
    "torch_dtype": "float32",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "an_unknown_key": {"kept": [1, None]},
}

DEEPSEEK = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "rope_theta": 1e4,
    "max_position_embeddings": 64,
    "q_lora_rank": 16,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 20,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "n_group": 2,
    "topk_group": 1,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "num_nextn_predict_layers": 1,
    "torch_dtype": "bfloat16",
    "rope_scaling": {
        "type": "yarn",
        "factor": 4,
        "original_max_position_embeddings": 16,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    },
}


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of a QWEN2 or DEEPSEEK checkpoint, as the models' own code names and shapes it."""
    D, V, N, F = (config[key] for key in ("hidden_size", "vocab_size", "num_attention_heads", "intermediate_size"))
    found = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = (V, D)
    layers, ahead = config["num_hidden_layers"], config.get("num_nextn_predict_layers", 0)
    for layer in range(layers + ahead):
        block = {"input_layernorm.weight": (D,), "post_attention_layernorm.weight": (D,)}
        if config["model_type"] == "qwen2":
            H, K = D // N, config["num_key_value_heads"]
            block |= {
                "self_attn.q_proj.weight": (N * H, D),
                "self_attn.k_proj.weight": (K * H, D),
                "self_attn.v_proj.weight": (K * H, D),
                "self_attn.o_proj.weight": (D, N * H),
                "self_attn.q_proj.bias": (N * H,),
                "self_attn.k_proj.bias": (K * H,),
                "self_attn.v_proj.bias": (K * H,),
            }
        else:
            q, kv, nope, rope, v = (
                config[key]
                for key in ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
            )
            block |= {
                "self_attn.q_a_proj.weight": (q, D),
                "self_attn.q_a_layernorm.weight": (q,),
                "self_attn.q_b_proj.weight": (N * (nope + rope), q),
                "self_attn.kv_a_proj_with_mqa.weight": (kv + rope, D),
                "self_attn.kv_a_layernorm.weight": (kv,),
                "self_attn.kv_b_proj.weight": (N * (nope + v), kv),
                "self_attn.o_proj.weight": (D, N * v),
            }
        if layer < config.get("first_k_dense_replace", layers):
            block |= _mlp("mlp.", D, F)
        else:
            E, width = config["n_routed_experts"], config["moe_intermediate_size"]
            block |= {"mlp.gate.weight": (E, D), "mlp.gate.e_score_correction_bias": (E,)}
            block |= _mlp("mlp.shared_experts.", D, config["n_shared_experts"] * width)
            for expert in range(E):
                block |= _mlp(f"mlp.experts.{expert}.", D, width)
        if layer >= layers:
            block |= {
                "enorm.weight": (D,),
                "hnorm.weight": (D,),
                "eh_proj.weight": (D, 2 * D),
                "shared_head.norm.weight": (D,),
                "shared_head.head.weight": (V, D),
                "embed_tokens.weight": (V, D),
            }
        found |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    return found


def _mlp(prefix: str, D: int, F: int) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}gate_proj.weight": (F, D), f"{prefix}up_proj.weight": (F, D), f"{prefix}down_proj.weight": (D, F)}


def tensors(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Random values for `shapes`; routers' biases in float32, as they always are."""
    rng = np.random.default_rng(seed)
    made = {
        name: rng.normal(size=shape).astype(np.float32 if "e_score" in name else np.dtype(config["torch_dtype"]))
        for name, shape in shapes(config).items()
    }
    for name in made:
        if name.endswith(".embed_tokens.weight") and "layers" in name:
            made[name] = made["model.embed_tokens.weight"]
        if name.endswith("shared_head.head.weight"):
            made[name] = made["lm_head.weight"]
    return made


def write_safetensors(path: pathlib.Path, values: dict[str, np.ndarray]) -> None:
    header, end = {}, 0
    for name, value in values.items():
        start, end = end, end + value.nbytes
        header[name] = {"dtype": CODES[str(value.dtype)], "shape": value.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(value.tobytes() for value in values.values()))


def write_folder(folder: pathlib.Path, config: dict[str, Any], values: dict[str, np.ndarray], shards: int = 3) -> None:
    """A folder of several files, tensors dealt out among them in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    where = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(values)}
    for file in set(where.values()):
        write_safetensors(folder / file, {name: value for name, value in values.items() if where[name] == file})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def read_folder(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Every tensor of a folder's safetensors files."""
    kinds = {code: np.dtype(getattr(ml_dtypes, name, name)) for name, code in CODES.items()}
    found = {}
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        begin = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:begin])
        for name, entry in header.items():
            if name != "__metadata__":
                start, stop = (begin + offset for offset in entry["data_offsets"])
                found[name] = np.frombuffer(data[start:stop], kinds[entry["dtype"]]).reshape(entry["shape"])
    return found


def same_tensors(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """The same names, shapes, types and bits."""
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and a[name].shape == b[name].shape and a[name].tobytes() == b[name].tobytes()
        for name in a
    )
