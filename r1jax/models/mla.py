"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1; V3, arXiv 2412.19437, section 2.1.1).

Axes as in attention.py; R the latent's rank, P width of a head's position-less part, V of its value.
"""

import jax
import jax.numpy as jnp

from r1jax.core.params import Params, ParamSpec
from r1jax.core.sharding import AxisRules
from r1jax.models import cache as kv
from r1jax.models.attention import Visible, attend, cache_attention, cut_self_attention, self_attention
from r1jax.models.cache import KVCache
from r1jax.models.config import MLAConfig, ModelConfig
from r1jax.models.layers import Rotation, mscale, product, project, rms_norm, rope, whole

# So many queries a row (decoding, with a draft) attend to the latents themselves.
FEW_QUERIES = 2

# DeepSeek's own code norms the latents with this epsilon, whatever the model's.
LATENT_EPS = 1e-6


def mla_specs(cfg: ModelConfig, L: int) -> Params:
    """The weights of L layers. A `rank` axis is cut over fsdp where the other one is not the residual stream."""
    m, D, N = cfg.mla, cfg.embed_dim, cfg.num_heads
    heads = ("heads", "head_dim")
    specs = {
        "kv_a": ParamSpec((L, D, m.kv_rank + m.rope_dim), ("layers", "embed", None), std=D**-0.5),
        "kv_a_norm": ParamSpec((L, m.kv_rank), ("layers", None), "ones"),
        "kv_b": ParamSpec((L, m.kv_rank, N, m.nope_dim + m.v_dim), ("layers", "rank", *heads), std=m.kv_rank**-0.5),
        "o": ParamSpec((L, N, m.v_dim, D), ("layers", *heads, "embed"), std=(2 * cfg.num_layers * D) ** -0.5),
    }
    if m.q_rank:
        specs |= {
            "q_a": ParamSpec((L, D, m.q_rank), ("layers", "embed", None), std=D**-0.5),
            "q_a_norm": ParamSpec((L, m.q_rank), ("layers", None), "ones"),
            "q_b": ParamSpec((L, m.q_rank, N, cfg.head_dim), ("layers", "rank", *heads), std=m.q_rank**-0.5),
        }
    else:
        specs["q"] = ParamSpec((L, D, N, cfg.head_dim), ("layers", "embed", *heads), std=D**-0.5)
    return specs


def _score_scale(cfg: ModelConfig) -> float:
    scaling = cfg.rope_scaling
    stretch = mscale(scaling.factor, scaling.mscale_all_dim) if scaling and scaling.kind == "yarn" else 1.0
    return cfg.head_dim**-0.5 * stretch**2


def _expanded(keys_BSKH: jax.Array, kv_b: jax.Array, m: MLAConfig) -> tuple[jax.Array, jax.Array]:
    """Each head's keys `[B, S, N, H]` and values `[B, S, N, V]` of latents with rotated keys, `[B, S, 1, ...]`."""
    k_b, v_b = jnp.split(kv_b, [m.nope_dim], axis=-1)
    latent_BSR, k_rope_BSH = jnp.split(keys_BSKH[:, :, 0, : m.kv_rank + m.rope_dim], [m.kv_rank], axis=-1)
    k_nope = product("bsr,rnp->bsnp", latent_BSR, k_b)
    k_rope = jnp.broadcast_to(k_rope_BSH[:, :, None], (*k_nope.shape[:3], m.rope_dim))
    return jnp.concatenate([k_nope, k_rope], axis=-1), product("bsr,rnv->bsnv", latent_BSR, v_b)


def mla(
    p: Params,
    cfg: ModelConfig,
    h_BTD: jax.Array,
    positions_BT: jax.Array,
    rotation: Rotation,
    visible: Visible,
    cache: KVCache | None,
    layer: int | jax.Array,
    rules: AxisRules,
) -> tuple[jax.Array, KVCache | None]:
    """One layer's attention and, where a cache is given, the cache with this layer's latents and keys written to it.

    One or two queries a row (decoding) take the absorbed form: each goes through kv_b's key half into the latent space,
    attends to the latents as they lie in the cache, and what comes out goes through kv_b's value half. Longer inputs
    expand the latents into every head's keys and values, which is less work from some hundred queries on.
    """
    m = cfg.mla
    if m.q_rank:
        q = project(rms_norm(project(h_BTD, p["q_a"]), p["q_a_norm"], LATENT_EPS), p["q_b"])
    else:
        q = project(h_BTD, p["q"])
    q_nope, q_rope = jnp.split(q, [m.nope_dim], axis=-1)
    q_rope = rope(q_rope, rotation)
    latent, k_rope = jnp.split(project(h_BTD, p["kv_a"]), [m.kv_rank], axis=-1)
    latent = rms_norm(latent, p["kv_a_norm"], LATENT_EPS)[:, :, None]
    k_rope = rope(k_rope[:, :, None], rotation)
    keys_BSKH = jnp.concatenate([latent, k_rope], axis=-1)
    if cache is not None:
        cache = kv.write(cache, layer, KVCache(keys_BSKH, None), positions_BT, rules)
    scale = _score_scale(cfg)
    if visible.in_cache and h_BTD.shape[1] <= FEW_QUERIES:
        k_b, v_b = jnp.split(p["kv_b"], [m.nope_dim], axis=-1)
        q = jnp.concatenate([product("btnp,rnp->btnr", q_nope, k_b), q_rope], axis=-1)
        out = product("btnr,rnv->btnv", cache_attention(q, cache, layer, visible, scale, m.kv_rank, rules), v_b)
        return project(out, p["o"], 2), cache
    q = jnp.concatenate([q_nope, q_rope], axis=-1)
    if visible.in_cache:
        keys_BSKH = cache.layer(layer, cfg.dtype)[0].transpose(0, 2, 1, 3)
        k, v = (x.transpose(0, 2, 1, 3) for x in _expanded(keys_BSKH, p["kv_b"], m))
        out = attend(q, k, v, visible, scale)
    elif rules.ways("length") > 1:  # the latents travel: a head's keys and values are many times as many numbers
        (ranks,) = rules.parts(("rank",))

        def keys_and_values(keys_BSKH, kv_b):
            return _expanded(keys_BSKH, whole(kv_b, kv_b.dtype.name, ranks, 0), m)

        axes = ("batch", "length", None, None), ("rank", "heads", "head_dim")
        out = cut_self_attention(q, (keys_BSKH,), (p["kv_b"],), axes, keys_and_values, visible, scale, rules)
    else:
        out = self_attention(q, *_expanded(keys_BSKH, p["kv_b"], m), visible, scale, rules)
    return project(out, p["o"], 2), cache
