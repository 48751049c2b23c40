"""The decoder (a transformer): declarations of its weights, and its forward pass with and without a cache.

Axes are named as in layers.py and attention.py. Layers of one kind are one stack, scanned: `layers` have an ordinary
MLP, `moe_layers`, which follow them, experts. `mtp` holds the blocks of multi-token prediction, which take no part in
`forward`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from r1jax.core import params as core
from r1jax.core.params import Params, ParamSpec
from r1jax.core.quantization import widen
from r1jax.core.sharding import TRAIN_RULES, AxisRules, constrain
from r1jax.models.attention import Visible, cached, causal, gqa, gqa_specs, is_attention_kernel
from r1jax.models.cache import KVCache
from r1jax.models.config import ModelConfig
from r1jax.models.layers import empty_like, project, rms_norm, rotation, swiglu
from r1jax.models.mla import mla, mla_specs
from r1jax.models.moe import Routing, moe_mlp, moe_specs


class Output(NamedTuple):
    """The result of a forward pass.

    Attributes:
        hidden: `[B, T, D]` after the final norm, in the compute type.
        cache: where one was given, with the new tokens in it.
        routing: the routers' statistics, None in a dense model.
    """

    hidden: jax.Array
    cache: KVCache | None
    routing: Routing | None


def _mlp_specs(cfg: ModelConfig, L: int) -> Params:
    D, F, std = cfg.embed_dim, cfg.mlp_dim, cfg.embed_dim**-0.5
    return {
        "gate": ParamSpec((L, D, F), ("layers", "embed", "mlp"), std=std),
        "up": ParamSpec((L, D, F), ("layers", "embed", "mlp"), std=std),
        "down": ParamSpec((L, F, D), ("layers", "mlp", "embed"), std=std * (2 * cfg.num_layers) ** -0.5),
    }


def _block_specs(cfg: ModelConfig, L: int, experts: bool) -> Params:
    norm = ParamSpec((L, cfg.embed_dim), ("layers", None), "ones")
    attention = mla_specs(cfg, L) if cfg.mla else gqa_specs(cfg, L)
    mlp = moe_specs(cfg, L) if experts else _mlp_specs(cfg, L)
    return {"attn_norm": norm, "mlp_norm": norm, **attention, **mlp}


def param_specs(cfg: ModelConfig) -> Params:
    """Every weight of the model. Projections into the residual stream start smaller by sqrt(2 num_layers) (GPT-2)."""
    D, dense = cfg.embed_dim, cfg.num_dense_layers
    table = ParamSpec((cfg.vocab_size, D), ("vocab", "embed"), std=0.02)
    specs = {"embed": table, "final_norm": ParamSpec((D,), (None,), "ones")}
    if dense:
        specs["layers"] = _block_specs(cfg, dense, experts=False)
    if cfg.num_layers > dense:
        specs["moe_layers"] = _block_specs(cfg, cfg.num_layers - dense, experts=True)
    if cfg.mtp_depth:
        norm = ParamSpec((cfg.mtp_depth, D), ("layers", None), "ones")
        specs["mtp"] = {
            "embed_norm": norm,
            "hidden_norm": norm,
            "norm": norm,
            "merge": ParamSpec((cfg.mtp_depth, 2 * D, D), ("layers", "embed", None), std=(2 * D) ** -0.5),
            **_block_specs(cfg, cfg.mtp_depth, experts=cfg.moe is not None),
        }
    if not cfg.tie_embeddings:
        specs["unembed"] = ParamSpec((cfg.vocab_size, D), ("vocab", "embed"), std=D**-0.5)
    return specs


def split_stacks(cfg: ModelConfig, tree: Params, layer_of: Callable[[Any, int], Any] = lambda x, i: x[i]) -> Params:
    """A tree like that of the weights, with each stack as a list of its layers; `forward` takes weights of both forms.

    A layer's slice of a stack is a copy wherever it is a product's operand: decoding would make it at every step.

    Args:
        layer_of: (leaf of a stack, i) -> its part for layer i.
    """
    counts = {"layers": cfg.num_dense_layers, "moe_layers": cfg.num_layers - cfg.num_dense_layers}

    def layers(name: str) -> list[Params]:
        return [jax.tree.map(lambda x, i=i: layer_of(x, i), tree[name]) for i in range(counts[name])]

    return {name: layers(name) if name in counts else part for name, part in tree.items()}


def unembed_table(params: Params) -> jax.Array:
    """`[V, D]` table that turns hidden states into logits."""
    return params["unembed"] if "unembed" in params else params["embed"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _embed(table_VD: jax.Array, tokens_BT: jax.Array, dtype: str, rules: AxisRules) -> jax.Array:
    """The tokens' rows of the embedding, in the compute type. Their gradients are added up in float32, over tokens and
    over devices: a frequent token has thousands in a batch, and a bfloat16 sum stops growing at 256 equal terms.
    """
    # The table is made whole along `embed` first: a look-up in its parts would give every device all rows' parts.
    table = constrain(table_VD.astype(dtype), rules, "vocab", "act")
    return constrain(table[tokens_BT], rules, "batch", "length", "act")


def _embed_forward(table_VD, tokens_BT, dtype, rules):
    return _embed(table_VD, tokens_BT, dtype, rules), (tokens_BT, empty_like(table_VD))


def _embed_backward(dtype, rules, residuals, dy_BTD):
    tokens_BT, like_table = residuals
    dy_BTD = constrain(dy_BTD.astype(jnp.float32), rules, "batch", "length", "act")
    d_table = jnp.zeros((like_table.shape[0], dy_BTD.shape[-1]), jnp.float32).at[tokens_BT].add(dy_BTD)
    return constrain(d_table, rules, "vocab", "embed").astype(like_table.dtype), None


_embed.defvjp(_embed_forward, _embed_backward)


def _gathered(p: Params, specs: Params, x_BTD: jax.Array, rules: AxisRules) -> tuple[Params, jax.Array]:
    """A layer's weights whole along `embed` and `rank`, where decoding has them cut, and x; but for experts, which
    `moe_mlp` gathers. That they wait for x keeps compilers from gathering all layers before the loop over tokens.
    """
    p, x_BTD = jax.lax.optimization_barrier((p, x_BTD))

    def gather(spec: ParamSpec, weight: Any) -> Any:
        if "experts" in spec.axes:
            return weight
        names = [None if axis in ("embed", "rank") else axis for axis in spec.axes[1:]]

        def of_array(w: jax.Array) -> jax.Array:  # a scale has one entry along some axes
            return constrain(w, rules, *(name if size > 1 else None for name, size in zip(names, w.shape, strict=True)))

        return jax.tree.map(of_array, weight)

    return core.map_specs(gather, specs, p), x_BTD


def _run_stack(name, params, cfg: ModelConfig, x_BTD, cache, positions_BT, visible, segments_BT, rules, first: int):
    """Runs the stack `name`, whose first layer is the model's layer `first`. Returns x, the cache, and the routers'
    load `[L, E]` and balance `[L, B, T]` (None and None in a dense stack)."""
    specs, attention = param_specs(cfg)[name], mla if cfg.mla else gqa
    width = cfg.mla.rope_dim if cfg.mla else cfg.head_dim
    turned = rotation(positions_BT, width, cfg.rope_theta, cfg.rope_scaling)

    def block(carry, layer):
        x, cache = carry
        p, index = layer
        if cache is not None and rules.ways("embed") * rules.ways("rank") > 1:
            p, x = _gathered(p, specs, x, rules)
        p = core.cast_vectors(widen(p, cfg.dtype), specs, cfg.dtype)
        h = rms_norm(x, p["attn_norm"], cfg.norm_eps)
        out, cache = attention(p, cfg, h, positions_BT, turned, visible, cache, index, rules)
        x = x + out
        h = rms_norm(x, p["mlp_norm"], cfg.norm_eps)
        if "router" in p:
            out, load, balance = moe_mlp(p, cfg, h, segments_BT, rules)
        else:
            out, load, balance = swiglu(h, p["gate"], p["up"], p["down"]), None, None
        return (constrain(x + out, rules, "batch", "length", "act"), cache), (load, balance)

    if cfg.remat and cache is None:
        block = jax.checkpoint(block, prevent_cse=False, policy=is_attention_kernel)
    if isinstance(params, list):  # see `split_stacks`
        carry, outputs = (x_BTD, cache), []
        for index, layer in enumerate(params):
            carry, output = block(carry, (layer, first + index))
            outputs.append(output)
        load, balance = jax.tree.map(lambda *of_layers: jnp.stack(of_layers), *outputs)
        return *carry, load, balance
    count = params["attn_norm"].shape[0]
    layers = (params, first + jnp.arange(count))
    (x, cache), (load, balance) = jax.lax.scan(block, (x_BTD, cache), layers, unroll=min(cfg.scan_unroll, count))
    return x, cache, load, balance


def forward(
    params: Params,
    cfg: ModelConfig,
    tokens_BT: jax.Array,
    positions_BT: jax.Array,
    segments_BT: jax.Array | None = None,
    cache: KVCache | None = None,
    rules: AxisRules = TRAIN_RULES,
    *,
    one_segment: bool = False,
    contexts_BT: jax.Array | None = None,
) -> Output:
    """Hidden states of tokens.

    Without a cache, tokens attend within their segment (one segment a row when `segments_BT` is None; segment 0 is
    padding, which the routers' statistics leave out; with `one_segment` it stands at each row's end alone, where
    causality hides it), and to their context, see `Batch.contexts`. With one, their keys and values are written at
    their positions first, and they attend to all slots up to their own; with `one_segment` they are the first that the
    cache gets, from position 0 on, and attend to each other.
    """
    if cache is None or one_segment:
        visible = causal(positions_BT, None if one_segment else segments_BT, contexts_BT)
    else:
        visible = cached(positions_BT, cache.length)
    if segments_BT is None:
        segments_BT = jnp.ones(tokens_BT.shape, jnp.int32)
    x = _embed(params["embed"], tokens_BT, cfg.dtype, rules)
    routing = None
    for name, first in (("layers", 0), ("moe_layers", cfg.num_dense_layers)):
        if name in params:
            x, cache, load, balance = _run_stack(
                name, params[name], cfg, x, cache, positions_BT, visible, segments_BT, rules, first
            )
            routing = None if load is None else Routing({name: load}, balance.sum(axis=0))
    return Output(rms_norm(x, params["final_norm"].astype(cfg.dtype), cfg.norm_eps), cache, routing)


def _look_further(
    params: Params,
    cfg: ModelConfig,
    depth: int,
    hidden_BTD: jax.Array,
    ahead_BT: jax.Array,
    positions_BT: jax.Array,
    visible: Visible,
    segments_BT: jax.Array,
    cache: KVCache | None,
    rules: AxisRules,
) -> tuple[jax.Array, KVCache | None, jax.Array | None, jax.Array | None]:
    """The block of multi-token prediction that follows `depth` others: from the states before it and the tokens ahead
    to its states `[B, T, D]`, the cache, in which it comes after the model's layers, and as `_run_stack` the routers'
    load and balance.
    """
    stack = jax.tree.map(lambda w: w[depth : depth + 1], params["mtp"])
    p = {name: stack[name][0].astype(cfg.dtype) for name in ("embed_norm", "hidden_norm", "norm")}
    ahead = _embed(params["embed"], ahead_BT, cfg.dtype, rules)
    pair = rms_norm(ahead, p["embed_norm"], cfg.norm_eps), rms_norm(hidden_BTD, p["hidden_norm"], cfg.norm_eps)
    merge = widen(stack["merge"], cfg.dtype)[0]
    x = constrain(project(jnp.concatenate(pair, axis=-1), merge), rules, "batch", "length", "act")
    first = depth if cache is None else cfg.num_layers + depth
    if cache is not None and cache.by_layer:
        stack = [jax.tree.map(lambda w: w[0], stack)]
    x, cache, load, balance = _run_stack("mtp", stack, cfg, x, cache, positions_BT, visible, segments_BT, rules, first)
    return rms_norm(x, p["norm"], cfg.norm_eps), cache, load, balance


def look_ahead(
    params: Params,
    cfg: ModelConfig,
    hidden_BTD: jax.Array,
    next_BT: jax.Array,
    positions_BT: jax.Array,
    segments_BT: jax.Array,
) -> tuple[list[jax.Array], Routing | None]:
    """Multi-token prediction in training (DeepSeek-V3, section 2.2): the hidden states of each depth d = 1, 2, ...

    Depth d joins, at position t, the embedding of token t + d with the state of depth d - 1, so its state predicts
    token t + d + 1. Depth 0 is the main model after its final norm, as the released weights have it. The last d - 1
    positions of a segment have no token t + d, `next_BT` being one further than its tokens: their states mean nothing,
    no earlier position sees them, and the routers' statistics leave them out.

    Args:
        hidden_BTD: the main model's `Output.hidden`.
        next_BT: token t + 1 at position t (a batch's targets).
    """
    visible, states = causal(positions_BT, segments_BT), []
    routing = None
    for depth in range(cfg.mtp_depth):
        has_next = jnp.pad(segments_BT, ((0, 0), (0, depth)))[:, depth:] == segments_BT
        routed = jnp.where(has_next, segments_BT, 0)
        ahead_BT = jnp.roll(next_BT, -depth, axis=1)
        hidden_BTD, _, load, balance = _look_further(
            params, cfg, depth, hidden_BTD, ahead_BT, positions_BT, visible, routed, None, TRAIN_RULES
        )
        states.append(hidden_BTD)
        if load is not None:
            loads = [load] if routing is None else [routing.load["mtp"], load]
            before = 0.0 if routing is None else routing.balance
            routing = Routing({"mtp": jnp.concatenate(loads)}, before + balance.sum(axis=0))
    return states, routing


def draft_states(
    params: Params,
    cfg: ModelConfig,
    hidden_BTD: jax.Array,
    next_BT: jax.Array,
    positions_BT: jax.Array,
    cache: KVCache,
    rules: AxisRules,
) -> tuple[jax.Array, KVCache]:
    """The first depth of multi-token prediction while decoding: `[B, T, D]`, each a guess of the token after next.

    Args:
        hidden_BTD: the main model's `Output.hidden`.
        next_BT: token t + 1 at position t.
        cache: with a layer more than the model, see `cache.Layout`; it gets the new keys and values.
    """
    visible, real = cached(positions_BT, cache.length), jnp.ones(next_BT.shape, jnp.int32)
    states, cache, _, _ = _look_further(params, cfg, 0, hidden_BTD, next_BT, positions_BT, visible, real, cache, rules)
    return states, cache
