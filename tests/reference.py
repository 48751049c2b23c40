"""Random small models of every family that `transformers` and r1jax both know, for comparing the two.

A draw chooses shapes and options at random; weights are drawn so that every part matters: biases and norms differ from
their defaults, attention is not flat, routers have clear favourites. Functions import torch and transformers, which
takes seconds: every process of pytest collects the tests that import this module, and one runs them.
"""

import json
import math
import pathlib
from typing import Any, NamedTuple

import numpy as np

from r1jax.conversion.transformers_comparison import R1jaxModel

FAMILIES = ("llama", "qwen2", "qwen3", "deepseek_v2", "deepseek_v3")


class Drawn(NamedTuple):
    """A random model.

    Attributes:
        options: what was drawn, in words.
        theirs: the transformers model.
        mtp: its blocks of multi-token prediction, which transformers keeps apart.
    """

    options: tuple[str, ...]
    theirs: Any
    mtp: list[Any]


def _dense(family: str, rng: np.random.Generator, options: list[str]) -> dict[str, Any]:
    kv_heads, group = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    head_dim = int(rng.choice([4, 8, 16]))
    # A head's width need not be the model's width over the heads.
    hidden = kv_heads * group * (head_dim if family == "qwen2" else int(rng.choice([4, 6, 10])))
    tied = bool(rng.random() < 0.5)
    options.append("tied" if tied else "untied")
    options.append(f"{group} queries a key")
    config = {
        "hidden_size": hidden,
        "num_attention_heads": kv_heads * group,
        "num_key_value_heads": kv_heads,
        "num_hidden_layers": int(rng.integers(1, 4)),
        "intermediate_size": int(rng.choice([24, 56])),
        "tie_word_embeddings": tied,
        "max_position_embeddings": 64,
    }
    return config if family == "qwen2" else config | {"head_dim": head_dim}


def _rope(kinds: list[str], rng: np.random.Generator, options: list[str]) -> dict[str, Any]:
    """The rope of a model pretrained at 16 positions, or not stretched at all."""
    kind = str(rng.choice(kinds))
    options.append(f"rope {kind}")
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": float(rng.choice([1e3, 1e4]))}
    if kind != "default":
        rope["factor"] = float(rng.choice([2.0, 8.0]))
    if kind in ("llama3", "yarn"):
        rope["original_max_position_embeddings"] = 16
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    if kind == "yarn" and rng.random() < 0.7:
        rope |= {"mscale": float(rng.choice([0.707, 1.0])), "mscale_all_dim": float(rng.choice([0.707, 1.0]))}
        options.append("mscale")
    return rope


def _latent(rng: np.random.Generator, options: list[str]) -> dict[str, Any]:
    heads, q_rank = int(rng.integers(1, 5)), int(rng.choice([0, 12]))
    options.append("q low rank" if q_rank else "q full rank")
    nope, rope = int(rng.choice([4, 8])), int(rng.choice([4, 8]))
    return {
        "hidden_size": int(rng.choice([24, 40])),
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "intermediate_size": int(rng.choice([24, 56])),
        "tie_word_embeddings": False,
        "max_position_embeddings": 64,
        "q_lora_rank": q_rank or None,
        "kv_lora_rank": int(rng.choice([8, 20])),
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope,
        "v_head_dim": int(rng.choice([4, 12])),
    }


def _experts(rng: np.random.Generator, options: list[str]) -> dict[str, Any]:
    groups = int(rng.choice([1, 2, 4]))
    per_group = int(rng.choice([2, 3]))
    top_groups = int(rng.integers(1, groups + 1))
    layers = int(rng.integers(2, 4))
    first = int(rng.integers(0, layers))
    options.append(f"{top_groups} of {groups} groups")
    options.append(f"first {first} dense")
    return {
        "n_routed_experts": groups * per_group,
        "n_group": groups,
        "topk_group": top_groups,
        "num_experts_per_tok": int(rng.integers(1, top_groups * per_group + 1)),
        "moe_intermediate_size": 12,
        "n_shared_experts": int(rng.integers(1, 3)),
        "routed_scaling_factor": float(rng.choice([1.0, 2.5])),
        "num_hidden_layers": layers,
        "first_k_dense_replace": first,
    }


def draw(family: str, seed: int) -> Drawn:
    """A random model of a family, float32 on the CPU."""
    import torch
    import transformers
    from transformers.modeling_layers import MtpLayer

    rng, options = np.random.default_rng([FAMILIES.index(family), seed]), []
    torch.manual_seed(seed)
    common = {
        "vocab_size": 61,
        "rms_norm_eps": 1e-6,
        "attn_implementation": "eager",
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    depth = 0
    if family in ("llama", "qwen2", "qwen3"):
        shape = _dense(family, rng, options)
        rope = _rope(["default", "llama3", "linear"] if family == "llama" else ["default", "yarn"], rng, options)
    else:
        shape = _latent(rng, options) | _experts(rng, options)
        rope = _rope(["default", "yarn"], rng, options)
    if family == "deepseek_v2":
        shape["topk_method"] = "greedy" if shape["n_group"] == 1 else "group_limited_greedy"
    if family == "deepseek_v3":
        shape["norm_topk_prob"] = bool(rng.random() < 0.5)
        depth = int(rng.integers(0, 3))
        shape["num_nextn_predict_layers"] = depth
        options.append(f"{depth} MTP blocks")
        if shape["num_experts_per_tok"] > 1 and shape["norm_topk_prob"]:
            options.append("normalised weights")
    names = {
        "llama": "Llama",
        "qwen2": "Qwen2",
        "qwen3": "Qwen3",
        "deepseek_v2": "DeepseekV2",
        "deepseek_v3": "DeepseekV3",
    }
    config = getattr(transformers, names[family] + "Config")(**common, **shape, rope_parameters=rope)
    model = getattr(transformers, names[family] + "ForCausalLM")(config).eval()
    layer, norm = type(model.model.layers[-1]), type(model.model.norm)
    # As the block of a layer past the dense ones.
    mtp = [MtpLayer(config, layer, norm, config.num_hidden_layers).eval() for _ in range(depth)]
    for module in (model, *mtp):
        _randomise(module, rng)
    return Drawn(tuple(options), model, mtp)


def _randomise(module: Any, rng: np.random.Generator) -> None:
    import torch

    with torch.no_grad():
        for name, weight in [*module.named_parameters(), *module.named_buffers()]:
            noise = torch.tensor(rng.normal(size=tuple(weight.shape)), dtype=torch.float32)
            if "norm" in name and name.endswith("weight"):
                weight.copy_(1.0 + 0.2 * noise)
            elif name.endswith("bias"):
                weight.copy_(0.3 * noise)
            elif name.endswith("mlp.gate.weight"):
                weight.copy_(1.5 * noise / math.sqrt(weight.shape[-1]))
            elif weight.dim() > 1:
                weight.copy_((1.0 if "embed" in name else 1.3 / math.sqrt(weight.shape[-1])) * noise)


def save(drawn: Drawn, folder: pathlib.Path) -> None:
    """Writes the model as its authors would: several shards, MTP blocks as layers past the last."""
    from safetensors.torch import save_file

    drawn.theirs.save_pretrained(folder, max_shard_size="20KB")
    if not drawn.mtp:
        return
    model, tensors = drawn.theirs, {}
    for depth, block in enumerate(drawn.mtp):
        prefix = f"model.layers.{model.config.num_hidden_layers + depth}."
        for name, tensor in block.state_dict().items():
            name = name.removeprefix("mtp_block.").replace("post_norm.", "shared_head.norm.")
            if name.startswith("mlp.experts."):
                tensors |= {prefix + "mlp.experts." + key: part for key, part in _apart(name, tensor).items()}
            else:
                tensors[prefix + name] = tensor
        tensors[prefix + "embed_tokens.weight"] = model.model.embed_tokens.weight
        tensors[prefix + "shared_head.head.weight"] = model.lm_head.weight
    save_file({name: tensor.detach().clone() for name, tensor in tensors.items()}, folder / "mtp.safetensors")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"] |= dict.fromkeys(tensors, "mtp.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _apart(name: str, tensor: Any) -> dict[str, Any]:
    """The experts that transformers keeps as one tensor, one by one as in a checkpoint."""
    if name.endswith("down_proj"):
        return {f"{i}.down_proj.weight": expert for i, expert in enumerate(tensor)}
    halves = {}
    for i, expert in enumerate(tensor):
        gate, up = expert.chunk(2)
        halves |= {f"{i}.gate_proj.weight": gate, f"{i}.up_proj.weight": up}
    return halves


def their_ahead(drawn: Drawn, ids: np.ndarray) -> list[np.ndarray]:
    """The logits of each depth of multi-token prediction, as `R1jaxModel.ahead` gives them."""
    import torch

    model, tokens, T = drawn.theirs, torch.tensor(ids, dtype=torch.long), ids.shape[1]
    causal = torch.full((T, T), torch.finfo(torch.float32).min).triu(1)[None, None]
    logits = []
    with torch.no_grad():
        hidden = model.model(tokens).last_hidden_state
        for depth, block in enumerate(drawn.mtp, 1):
            ahead = model.model.embed_tokens(torch.roll(tokens, -depth, dims=1))
            positions = torch.arange(depth, depth + T)[None]
            hidden = block(
                ahead,
                hidden,
                position_embeddings=model.model.rotary_emb(ahead, positions),
                attention_mask=causal,
                position_ids=positions,
                past_key_values=None,
            )
            logits.append(model.lm_head(hidden).numpy())
    return logits


def load(drawn: Drawn, folder: pathlib.Path) -> R1jaxModel:
    """The same model as r1jax reads it from disk."""
    save(drawn, folder)
    return R1jaxModel.load(folder)
