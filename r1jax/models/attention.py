"""Grouped-query attention. Axes: B rows, T queries, S keys, N query, K key heads, H head width, D model width."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from r1jax.core.exchange import from_balanced, to_balanced
from r1jax.core.params import Params, ParamSpec
from r1jax.core.quantization import Int8
from r1jax.core.sharding import DECODE_RULES, TRAIN_RULES, AxisRules, on_each_device, platform
from r1jax.kernels import decode_gpu, decode_tpu, flash_gpu, flash_tpu
from r1jax.kernels.decode_gpu import MOST_HEADS
from r1jax.kernels.grouped import is_nvidia
from r1jax.models import cache as kv
from r1jax.models.cache import KVCache
from r1jax.models.config import ModelConfig
from r1jax.models.layers import Rotation, add_bias, project, rms_norm, rope


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Visible:
    """Which keys each query sees, by ids: those of its segment that do not stand after it. No array of pairs is held.

    Attributes:
        positions: `[B, T]` int32 of the queries.
        segments: `[B, T]` int32 of the queries; None: a row is one segment.
        key_positions: `[B, S]`, or `[1, S]` where all rows have the same.
        key_segments: `[B, S]`, None with `segments`.
        contexts: `[B, T]` int32, a segment that each query sees besides its own, or its own; None: no query has one.
        in_cache: keys are a cache's slots; otherwise the queries' own tokens.
    """

    positions: jax.Array
    segments: jax.Array | None
    key_positions: jax.Array
    key_segments: jax.Array | None
    contexts: jax.Array | None = None
    in_cache: bool = dataclasses.field(default=False, metadata={"static": True})

    def mask(self) -> jax.Array:
        """`[B, T, S]` bool."""
        ordered = self.positions[:, :, None] >= self.key_positions[:, None, :]
        if self.segments is None:
            return ordered
        seen = self.segments[:, :, None] == self.key_segments[:, None, :]
        if self.contexts is not None:
            seen |= self.contexts[:, :, None] == self.key_segments[:, None, :]
        return seen & ordered


def causal(positions_BT: jax.Array, segments_BT: jax.Array | None, contexts_BT: jax.Array | None = None) -> Visible:
    """Tokens that see each other: key s is seen by query t if it is in t's segment or context, and not after it."""
    return Visible(positions_BT, segments_BT, positions_BT, segments_BT, contexts_BT)


def cached(positions_BT: jax.Array, cache_length: int) -> Visible:
    """Slot s of a cache holds position s, so a query sees the slots up to its own position."""
    return Visible(positions_BT, None, jnp.arange(cache_length)[None], None, in_cache=True)


def causal_mask(positions_BT: jax.Array, segments_BT: jax.Array) -> jax.Array:
    """`[B, T, T]` bool of `causal`, for what is short."""
    return causal(positions_BT, segments_BT).mask()


def cache_mask(positions_BT: jax.Array, cache_length: int) -> jax.Array:
    """`[B, T, S]` bool of `cached`."""
    return cached(positions_BT, cache_length).mask()


# Longer inputs are cut: into pieces of queries whose scores take about so many bytes on a device, or so few queries ...
QUERIES = 512
SCORE_BYTES, FEWEST_QUERIES = 32 << 20, 64
# ... and, where no query sees a key that stands after it, into so many bands, each without the keys behind its end.
BANDS = 4


def attend(
    q_BTNH: jax.Array,
    k_BKSH: jax.Array,
    v_BKSV: jax.Array,
    visible: Visible | jax.Array,
    scale: float | None = None,
    ordered: bool = False,
) -> jax.Array:
    """softmax(q k^T scale) v with the softmax in float32; `[B, T, N, V]`; the default scale is H^-0.5.

    More than `QUERIES` queries go a piece at a time, and their scores are made again in the backward pass: nothing that
    grows with T S is ever whole. Hidden keys are computed all the same, but for those behind a band of `ordered`
    inputs: three eighths of all scores.

    Args:
        visible: or, `[B, T, S]` bool, a mask.
        ordered: T = S, and no query sees a key that stands after it.
    """
    T = q_BTNH.shape[1]
    scale = scale or q_BTNH.shape[-1] ** -0.5
    if T <= QUERIES:
        return _attend(q_BTNH, k_BKSH, v_BKSV, visible.mask() if isinstance(visible, Visible) else visible, scale)
    of_queries = visible
    if isinstance(visible, Visible):
        of_queries = (visible.positions, visible.segments, visible.contexts)

    def in_pieces(queries: Any, keys: int) -> jax.Array:
        """Attention of some queries to the first so many keys."""

        @jax.checkpoint
        def of_piece(piece: Any) -> jax.Array:
            q, of_queries = piece
            mask = of_queries
            if isinstance(visible, Visible):
                positions, segments, contexts = of_queries
                mask = dataclasses.replace(visible, positions=positions, segments=segments, contexts=contexts).mask()
            return _attend(q, k_BKSH[:, :, :keys], v_BKSV[:, :, :keys], mask[:, :, :keys], scale)

        B, T, N, _ = queries[0].shape
        size = -(-T // -(-T // _piece_size(B * N, keys)))

        def cut(x: jax.Array) -> jax.Array:
            x = jnp.pad(x, ((0, 0), (0, -T % size)) + ((0, 0),) * (x.ndim - 2))
            return jnp.moveaxis(x.reshape(B, -1, size, *x.shape[2:]), 1, 0)

        out = jax.lax.map(of_piece, jax.tree.map(cut, queries))
        return jnp.moveaxis(out, 0, 1).reshape(B, -1, *out.shape[3:])[:, :T]

    if not ordered:
        return in_pieces((q_BTNH, of_queries), k_BKSH.shape[2])
    ends = [-(-T * band // BANDS) for band in range(BANDS + 1)]
    bands = [
        in_pieces(jax.tree.map(lambda x, start=start, end=end: x[:, start:end], (q_BTNH, of_queries)), end)
        for start, end in itertools.pairwise(ends)
    ]
    return jnp.concatenate(bands, axis=1)


def _piece_size(heads: int, keys: int) -> int:
    """Queries of a piece, of so many heads of all rows."""
    mesh = jax.sharding.get_abstract_mesh()
    heads_here = heads if mesh.empty or mesh.manual_axes else -(-heads // mesh.size)
    return max(FEWEST_QUERIES, SCORE_BYTES // (4 * heads_here * keys))


def _attend(q_BTNH, k_BKSH, v_BKSV, mask_BTS, scale: float) -> jax.Array:
    """The query heads of one key head are folded into the query axis, so that both products are plain batched matrix
    products with the batch axes leading: on CPU that is the layout with a fast kernel. Holds `[B, N, T, S]` scores.
    """
    B, T, N, H = q_BTNH.shape
    K, S = k_BKSH.shape[1:3]
    G = N // K
    q = q_BTNH.transpose(0, 2, 1, 3).reshape(B, K, G * T, H)
    scores = jnp.einsum("bkth,bksh->bkts", q, k_BKSH, preferred_element_type=jnp.float32) * scale
    scores = jnp.where(mask_BTS[:, None, None], scores.reshape(B, K, G, T, S), jnp.finfo(jnp.float32).min)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    total = weights.sum(axis=-1).reshape(B, K, G * T, 1)
    out = (
        jnp.einsum(
            "bkts,bksh->bkth",
            weights.reshape(B, K, G * T, S).astype(v_BKSV.dtype),
            v_BKSV,
            preferred_element_type=jnp.float32,
        )
        / total
    )
    return out.astype(q_BTNH.dtype).reshape(B, N, T, v_BKSV.shape[-1]).transpose(0, 2, 1, 3)


def takes_contexts(platform: str) -> bool:
    """Whether attention on a platform is quick where queries see a context too: kernels know segments alone."""
    return platform == "cpu"


def kernels_for(q: jax.Array, key_heads: int) -> str | None:
    """The platform whose kernels take queries of this type and width, and this many of them to a key head."""
    N, H = q.shape[-2:]
    on = platform()
    if on == "gpu":
        fits = q.dtype in (jnp.bfloat16, jnp.float16) and H >= 16 and H & (H - 1) == 0 and N // key_heads <= MOST_HEADS
        return on if fits else None
    return on if on == "tpu" and q.dtype == jnp.bfloat16 else None


def _one_segment_attention(q_BTNH: jax.Array, k_BTKH: jax.Array, v_BTKH: jax.Array, scale: float) -> jax.Array:
    """Causal attention of whole rows on a GPU: cuDNN's is half as fast again as r1jax's, which takes segments."""
    if not is_nvidia():  # for whose GPUs JAX brings cuDNN
        return flash_gpu.flash_attention(q_BTNH, k_BTKH, v_BTKH, None, scale)
    return jax.nn.dot_product_attention(q_BTNH, k_BTKH, v_BTKH, scale=scale, is_causal=True, implementation="cudnn")


def is_attention_kernel(primitive: jax.extend.core.Primitive, *avals: Any, **params: Any) -> bool:
    """A policy of rematerialisation: what attention returns is kept, of kernels and of the plain form.

    To make it again costs most where rows are long, and it is no larger than the queries.
    """
    if primitive.name == "pallas_call":  # splash attention's returns arrays that nobody needs too: its names count
        return str(params["name"]) == "flash_forward"
    is_named = jax.checkpoint_policies.save_only_these_names(flash_tpu.OUTPUT_NAME)
    return primitive.name == "dot_product_attention_fwd_wrapper" or is_named(primitive, *avals, **params)


def self_attention(
    q_BTNH: jax.Array,
    k_BTKH: jax.Array,
    v_BTKV: jax.Array,
    visible: Visible,
    scale: float,
    rules: AxisRules = TRAIN_RULES,
) -> jax.Array:
    """Tokens attend to each other. Kernels take a segment's tokens to stand side by side, in order of position."""
    if rules.ways("length") > 1:
        heads = ("batch", "length", "kv_heads", None)
        return cut_self_attention(
            q_BTNH, (k_BTKH, v_BTKV), (), (heads, heads), lambda *keys: keys, visible, scale, rules
        )
    kernels = kernels_for(q_BTNH, k_BTKH.shape[2])
    if kernels is None or visible.contexts is not None or (kernels == "gpu" and v_BTKV.shape != k_BTKH.shape):
        k_BKTH, v_BKTV = (x.transpose(0, 2, 1, 3) for x in (k_BTKH, v_BTKV))
        return checkpoint_name(attend(q_BTNH, k_BKTH, v_BKTV, visible, scale, ordered=True), flash_tpu.OUTPUT_NAME)
    heads, rows = ("batch", None, "heads", None), ("batch", None)
    flash_attention = flash_tpu.flash_attention if kernels == "tpu" else flash_gpu.flash_attention
    if visible.segments is not None:
        kernel = on_each_device(
            lambda q, k, v, s: flash_attention(q, k, v, s, scale), [heads] * 3 + [rows], heads, rules
        )
        return kernel(q_BTNH, k_BTKH, v_BTKV, visible.segments)
    of_rows = _one_segment_attention if kernels == "gpu" else functools.partial(flash_attention, segments_BT=None)
    kernel = on_each_device(lambda q, k, v: of_rows(q, k, v, scale=scale), [heads] * 3, heads, rules)
    return kernel(q_BTNH, k_BTKH, v_BTKV)


def cut_self_attention(
    q_BTNH: jax.Array,
    of_tokens: tuple[jax.Array, ...],
    weights: tuple[jax.Array, ...],
    axes: tuple[tuple[str | None, ...], ...],
    keys_and_values: Callable[..., tuple[jax.Array, jax.Array]],
    visible: Visible,
    scale: float,
    rules: AxisRules,
) -> jax.Array:
    """`self_attention` of rows whose tokens are cut over devices, `[B, T, N, V]`, cut as the queries are.

    Each device gathers what keys and values are made of, of all tokens of its rows: of one layer at a time, and in the
    backward pass again. Queries change devices so that all have the same work, see `exchange.to_balanced`.

    Args:
        of_tokens: arrays `[B, T, ...]` that are gathered.
        weights: that make keys and values from these, as they lie on the devices.
        axes: the logical axes of each array of `of_tokens`, then of `weights`.
        keys_and_values: from one device's part of those arrays, whole along T, to `[B, T, K, H]` and `[B, T, K, V]`.
    """
    (length,) = rules.parts(("length",))
    ids = {name: x for name in ("positions", "segments", "contexts") if (x := getattr(visible, name)) is not None}

    def local(q: jax.Array, ids: dict[str, jax.Array], of_tokens: Any, weights: Any) -> jax.Array:
        of_keys, of_tokens = jax.tree.map(lambda x: jax.lax.all_gather(x, length, axis=1, tiled=True), (ids, of_tokens))
        k, v = keys_and_values(*of_tokens, *weights)
        halves = jax.tree.transpose(
            jax.tree.structure((q, ids)), None, jax.tree.map(lambda x: to_balanced(x, length), (q, ids))
        )
        if kernels_for(q, k.shape[2]) == "tpu" and visible.contexts is None:
            (early, of_early), (late, of_late) = halves
            of = None if visible.segments is None else [x["segments"] for x in (of_early, of_late, of_keys)]
            out = flash_tpu.flash_attention_of_pieces(early, late, k, v, of, length, scale)
            return from_balanced(*out, length)
        k, v = (x.transpose(0, 2, 1, 3) for x in (k, v))
        out = []
        for (q, ids), keys in zip(halves, (k.shape[2] // 2, k.shape[2]), strict=True):  # the early ones see no others
            keys_of = Visible(
                ids["positions"],
                ids.get("segments"),
                of_keys["positions"][:, :keys],
                of_keys["segments"][:, :keys] if "segments" in of_keys else None,
                ids.get("contexts"),
            )
            out.append(attend(q, k[:, :, :keys], v[:, :, :keys], keys_of, scale))
        return checkpoint_name(from_balanced(*out, length), flash_tpu.OUTPUT_NAME)

    heads = ("batch", "length", "heads", None)
    of_ids = dict.fromkeys(ids, ("batch", "length"))
    parts = axes[: len(of_tokens)], axes[len(of_tokens) :]
    return on_each_device(local, [heads, of_ids, *map(list, parts)], heads, rules)(
        q_BTNH, ids, list(of_tokens), list(weights)
    )


def cache_kernels(q_BTNH: jax.Array, cache: KVCache, value_width: int) -> str | None:
    """The platform whose kernel `cache_attention` takes, which reads what each row has used of a cache.

    None: plain attention, which reads all of it.
    """
    kernels = None if cache.by_layer or q_BTNH.shape[1] > 1 else kernels_for(q_BTNH, cache.k.shape[2])
    if kernels == "gpu" and cache.v is None:
        return None
    if kernels == "tpu" and (value_width % 128 or not kv.is_for_tpu_kernels(cache)):
        return None
    return kernels


def cache_attention(
    q_BTNH: jax.Array,
    cache: KVCache,
    layer: int | jax.Array,
    visible: Visible,
    scale: float,
    value_width: int,
    rules: AxisRules = DECODE_RULES,
) -> jax.Array:
    """Tokens attend to one layer of a cache, in which they are themselves; `[B, T, N, value_width]`.

    Where the cache has keys alone, the first `value_width` numbers of a key are its value.
    """
    kernels = cache_kernels(q_BTNH, cache, value_width)
    if kernels is None:
        keys, values = cache.layer(layer, q_BTNH.dtype)
        if values is None:
            keys, values = keys[..., : q_BTNH.shape[-1]], keys[..., :value_width]
        return attend(q_BTNH, keys, values, visible, scale)

    def kernel(q, layer, lengths, k, v=None):
        if kernels == "gpu":
            return decode_gpu.decode_attention(q, k, v, layer, lengths, scale)
        return decode_tpu.decode_attention(q, k, v, layer, lengths, scale, value_width)

    q_BTNH = jnp.pad(q_BTNH, ((0, 0),) * 3 + ((0, cache.k.shape[-1] - q_BTNH.shape[-1]),))
    caches = [cache.k] if cache.v is None else [cache.k, cache.v]
    slots = (None, "batch", None if cache.v is None else "kv_heads", None, None)  # all heads share what is a latent
    cache_axes = Int8(slots, slots) if isinstance(cache.k, Int8) else slots
    axes = [("batch", "heads", None), (), ("batch",), *[cache_axes] * len(caches)]
    attention = on_each_device(kernel, axes, ("batch", "heads", None), rules)
    return attention(q_BTNH[:, 0], jnp.int32(layer), visible.positions[:, 0] + 1, *caches)[:, None]


def gqa_specs(cfg: ModelConfig, L: int) -> Params:
    """The weights of L layers. The projection into the residual stream starts smaller by sqrt(2 num_layers) (GPT-2)."""
    D, N, K, H = cfg.embed_dim, cfg.num_heads, cfg.num_kv_heads, cfg.head_dim
    std = D**-0.5
    specs = {
        "q": ParamSpec((L, D, N, H), ("layers", "embed", "heads", "head_dim"), std=std),
        "k": ParamSpec((L, D, K, H), ("layers", "embed", "kv_heads", "head_dim"), std=std),
        "v": ParamSpec((L, D, K, H), ("layers", "embed", "kv_heads", "head_dim"), std=std),
        "o": ParamSpec((L, N, H, D), ("layers", "heads", "head_dim", "embed"), std=std * (2 * cfg.num_layers) ** -0.5),
    }
    if cfg.attention_bias:
        specs |= {
            "q_bias": ParamSpec((L, N, H), ("layers", "heads", "head_dim"), "zeros"),
            "k_bias": ParamSpec((L, K, H), ("layers", "kv_heads", "head_dim"), "zeros"),
            "v_bias": ParamSpec((L, K, H), ("layers", "kv_heads", "head_dim"), "zeros"),
        }
    if cfg.qk_norm:
        specs |= {name: ParamSpec((L, H), ("layers", None), "ones") for name in ("q_norm", "k_norm")}
    return specs


def gqa(
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
    """One layer's attention and, where a cache is given, the cache with this layer's keys and values written to it."""
    q, k, v = (project(h_BTD, p[name]) for name in ("q", "k", "v"))
    if cfg.attention_bias:
        q, k, v = (add_bias(x, p[f"{name}_bias"]) for name, x in (("q", q), ("k", k), ("v", v)))
    if cfg.qk_norm:
        q, k = rms_norm(q, p["q_norm"], cfg.norm_eps), rms_norm(k, p["k_norm"], cfg.norm_eps)
    q, k = rope(q, rotation), rope(k, rotation)
    scale = cfg.head_dim**-0.5
    if cache is not None:
        cache = kv.write(cache, layer, KVCache(k, v), positions_BT, rules)
    if not visible.in_cache:
        out = self_attention(q, k, v, visible, scale, rules)
    else:
        out = cache_attention(q, cache, layer, visible, scale, cfg.head_dim, rules)
    return project(out, p["o"], 2), cache
