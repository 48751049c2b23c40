"""The decoder: a tree of ParamSpec and a function. Axes as in layers.py and attention.py; L layers are stacked."""

import jax
import jax.numpy as jnp

from r1jax.core.params import Params, ParamSpec
from r1jax.core.sharding import TRAIN_RULES, AxisRules, constrain
from r1jax.models import cache as kv
from r1jax.models.attention import attend, cache_mask, causal_mask
from r1jax.models.config import ModelConfig
from r1jax.models.layers import rms_norm, rope, swiglu


def param_specs(cfg: ModelConfig) -> Params:
    """Every weight of the model. Projections into the residual stream start smaller by sqrt(2L) (GPT-2)."""
    L, D, N, K, H, F = cfg.num_layers, cfg.embed_dim, cfg.num_heads, cfg.num_kv_heads, cfg.head_dim, cfg.mlp_dim
    std, out_std = D**-0.5, D**-0.5 * (2 * L) ** -0.5
    specs = {
        "embed": ParamSpec((cfg.vocab_size, D), ("vocab", "embed"), std=0.02),
        "layers": {
            "attn_norm": ParamSpec((L, D), ("layers", None), "ones"),
            "q": ParamSpec((L, D, N, H), ("layers", "embed", "heads", "head_dim"), std=std),
            "k": ParamSpec((L, D, K, H), ("layers", "embed", "kv_heads", "head_dim"), std=std),
            "v": ParamSpec((L, D, K, H), ("layers", "embed", "kv_heads", "head_dim"), std=std),
            "o": ParamSpec((L, N, H, D), ("layers", "heads", "head_dim", "embed"), std=out_std),
            "mlp_norm": ParamSpec((L, D), ("layers", None), "ones"),
            "gate": ParamSpec((L, D, F), ("layers", "embed", "mlp"), std=std),
            "up": ParamSpec((L, D, F), ("layers", "embed", "mlp"), std=std),
            "down": ParamSpec((L, F, D), ("layers", "mlp", "embed"), std=out_std),
        },
        "final_norm": ParamSpec((D,), (None,), "ones"),
    }
    if not cfg.tie_embeddings:
        specs["unembed"] = ParamSpec((cfg.vocab_size, D), ("vocab", "embed"), std=std)
    return specs


def unembed_table(params: Params) -> jax.Array:
    """`[V, D]` table that turns hidden states into logits."""
    return params["unembed"] if "unembed" in params else params["embed"]


def forward(
    params: Params,
    cfg: ModelConfig,
    tokens_BT: jax.Array,
    positions_BT: jax.Array,
    segments_BT: jax.Array | None = None,
    cache: kv.KVCache | None = None,
    rules: AxisRules = TRAIN_RULES,
) -> tuple[jax.Array, kv.KVCache | None]:
    """Hidden states after the final norm, `[B, T, D]` in the compute type, and the cache where one was given.

    Without a cache, tokens attend within their segment (one segment a row when `segments_BT` is None). With one,
    their keys and values are written at their positions first, and they attend to all slots up to their own.
    """

    def cast(tree):
        return jax.tree.map(lambda w: w.astype(cfg.dtype), tree)

    if cache is None:
        segments = jnp.zeros_like(tokens_BT) if segments_BT is None else segments_BT
        mask_BTS = causal_mask(positions_BT, segments)
    else:
        mask_BTS = cache_mask(positions_BT, cache.k.shape[3])

    def block(carry, layer):
        x, cache = carry
        p, index = layer
        p = cast(p)
        h = rms_norm(x, p["attn_norm"], cfg.norm_eps)
        q = rope(jnp.einsum("btd,dnh->btnh", h, p["q"]), positions_BT, cfg.rope_theta)
        k = rope(jnp.einsum("btd,dkh->btkh", h, p["k"]), positions_BT, cfg.rope_theta)
        v = jnp.einsum("btd,dkh->btkh", h, p["v"])
        if cache is None:
            k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
        else:
            cache = kv.write(cache, index, k, v, positions_BT)
            k, v = cache.k[index], cache.v[index]
        x = x + jnp.einsum("btnh,nhd->btd", attend(q, k, v, mask_BTS), p["o"])
        x = x + swiglu(rms_norm(x, p["mlp_norm"], cfg.norm_eps), p["gate"], p["up"], p["down"])
        return (constrain(x, rules, "batch", "length", "act"), cache), None

    if cfg.remat:
        block = jax.checkpoint(block, prevent_cse=False)
    # The gather's gradient is a scatter into [V, D]; measured on CPU it costs less than one layer.
    x = constrain(params["embed"].astype(cfg.dtype)[tokens_BT], rules, "batch", "length", "act")
    (x, cache), _ = jax.lax.scan(
        block, (x, cache), (params["layers"], jnp.arange(cfg.num_layers)), unroll=cfg.scan_unroll
    )
    return rms_norm(x, params["final_norm"].astype(cfg.dtype), cfg.norm_eps), cache
