"""Mixture of experts (DeepSeek-V3, arXiv 2412.19437, section 2.1.2) on a mesh axis of its own; drops no token.

Axes: B rows, T tokens, M = tokens on one device, D model width, E experts, F expert width, k experts a token.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from r1jax.core.params import Params, ParamSpec
from r1jax.core.sharding import BATCH
from r1jax.models.config import ModelConfig, MoEConfig
from r1jax.models.layers import segment_sums, swiglu


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Routing:
    """Statistics of the routers in a forward pass.

    Attributes:
        load: tokens that went to each expert, by layer stack, `[L, E]` float32; padding is not counted.
        balance: `[B, T]` float32, what a token adds to the sequence-wise balance loss of its segment (eqs. 17-20 with
            alpha = 1), summed over layers; 0 in padding. A segment is a sequence, whatever shares its row.
    """

    load: dict[str, jax.Array]
    balance: jax.Array


def moe_specs(cfg: ModelConfig, L: int) -> Params:
    """The weights of L layers; the router stays in float32."""
    moe, D, E, F = cfg.moe, cfg.embed_dim, cfg.moe.num_experts, cfg.moe.expert_dim
    std, out_std = D**-0.5, (2 * cfg.num_layers * D) ** -0.5
    specs = {
        "router": ParamSpec((L, D, E), ("layers", "embed", None), std=std, keep_float32=True),
        "expert_gate": ParamSpec((L, E, D, F), ("layers", "experts", "embed", "mlp"), std=std),
        "expert_up": ParamSpec((L, E, D, F), ("layers", "experts", "embed", "mlp"), std=std),
        "expert_down": ParamSpec((L, E, F, D), ("layers", "experts", "mlp", "embed"), std=out_std),
    }
    if moe.scoring == "sigmoid":
        specs["router_bias"] = ParamSpec((L, E), ("layers", None), "zeros", keep_float32=True)
    if moe.num_shared:
        S = moe.num_shared * F
        specs |= {
            "shared_gate": ParamSpec((L, D, S), ("layers", "embed", "mlp"), std=std),
            "shared_up": ParamSpec((L, D, S), ("layers", "embed", "mlp"), std=std),
            "shared_down": ParamSpec((L, S, D), ("layers", "mlp", "embed"), std=out_std),
        }
    return specs


def affinities(x: jax.Array, router_DE: jax.Array, moe: MoEConfig) -> jax.Array:
    """How well each expert fits each token, `[..., E]` float32, from float32 products on every platform."""
    logits = jnp.einsum("...d,de->...e", x.astype(jnp.float32), router_DE, precision=jax.lax.Precision.HIGHEST)
    return jax.nn.sigmoid(logits) if moe.scoring == "sigmoid" else jax.nn.softmax(logits, axis=-1)


def choose(scores: jax.Array, bias_E: jax.Array | None, moe: MoEConfig) -> tuple[jax.Array, jax.Array]:
    """Each token's experts and their weights, both `[..., k]`: int32 and float32. The bias selects and no more."""
    choice = jax.lax.stop_gradient(scores if bias_E is None else scores + bias_E)
    if moe.num_groups > 1:
        grouped = choice.reshape(*choice.shape[:-1], moe.num_groups, -1)
        best = jax.lax.top_k(grouped, 2)[0].sum(axis=-1) if moe.scoring == "sigmoid" else grouped.max(axis=-1)
        groups = jax.lax.top_k(best, moe.top_groups)[1]
        in_top_groups = (groups[..., None] == jnp.arange(moe.num_groups)).any(axis=-2)
        choice = jnp.where(in_top_groups[..., None], grouped, -jnp.inf).reshape(choice.shape)
    experts = jax.lax.top_k(choice, moe.top_k)[1]
    weights = jnp.take_along_axis(scores, experts, axis=-1)
    if moe.normalize:
        weights = weights / (weights.sum(axis=-1, keepdims=True) + 1e-20)
    return experts, weights * moe.scale


def balance_loss(scores_BTE: jax.Array, segments_BT: jax.Array, moe: MoEConfig) -> jax.Array:
    """sum_i f_i P_i of each segment, `[B, T]`: what each of its tokens adds (eqs. 17-20), 0 in padding.

    The top k there are the bare affinities'.
    """
    real = (segments_BT > 0).astype(jnp.float32)[..., None]
    top = jax.lax.top_k(jax.lax.stop_gradient(scores_BTE), moe.top_k)[1]
    chosen = jax.nn.one_hot(top, moe.num_experts).sum(axis=-2)
    count = jnp.maximum(segment_sums(real, segments_BT), 1.0)
    f = segment_sums(chosen * real, segments_BT) / count * (moe.num_experts / moe.top_k)
    share = scores_BTE / (scores_BTE.sum(axis=-1, keepdims=True) + 1e-20)
    return jnp.sum(f * share * real / count, axis=-1)


# Tokens that go through the experts at a time.
TOKENS = 8192


def _experts(x_MD, experts_Mk, weights_Mk, gate_EDF, up_EDF, down_EFD) -> jax.Array:
    """sum_k weight_k expert_k(x), `[M, D]` float32, over the experts 0 .. E-1; others count for nothing.

    Many tokens go `TOKENS` at a time, and what is between is made again in the backward pass: k rows a token at once
    would be the largest arrays of a training step.
    """
    M = x_MD.shape[0]
    if M <= TOKENS:
        return _grouped(x_MD, experts_Mk, weights_Mk, gate_EDF, up_EDF, down_EFD)

    def pieces(x, fill):
        x = jnp.pad(x, ((0, -M % TOKENS), (0, 0)), constant_values=fill)
        return x.reshape(-1, TOKENS, x.shape[-1])

    @jax.checkpoint
    def some(piece):
        return _grouped(*piece, gate_EDF, up_EDF, down_EFD)

    y = jax.lax.map(some, (pieces(x_MD, 0), pieces(experts_Mk, -1), pieces(weights_Mk, 0)))
    return y.reshape(-1, y.shape[-1])[:M]


def _grouped(x_MD, experts_Mk, weights_Mk, gate_EDF, up_EDF, down_EFD) -> jax.Array:
    """`_experts` of all its tokens together.

    Tokens are sorted by expert, so that each expert's are one run of rows of a grouped matrix product. All M k rows
    are held, though those of other devices' experts end as zeros: that is the price of shapes known beforehand.
    """
    k, E = experts_Mk.shape[1], gate_EDF.shape[0]
    expert = experts_Mk.reshape(-1)
    is_local = (expert >= 0) & (expert < E)
    expert = jnp.where(is_local, expert, E)
    order = jnp.argsort(expert, stable=True)
    sizes = jnp.bincount(expert, length=E + 1)[:E].astype(jnp.int32)
    # Rows past the last local one are zeros before and after: what a grouped product leaves there is undefined.
    x = jnp.where((jnp.arange(len(order)) < sizes.sum())[:, None], x_MD[order // k], 0)
    h = jax.nn.silu(jax.lax.ragged_dot(x, gate_EDF, sizes)) * jax.lax.ragged_dot(x, up_EDF, sizes)
    y = jax.lax.ragged_dot(h, down_EFD, sizes, preferred_element_type=jnp.float32)
    # Back by the inverse permutation, a gather: a scatter-add's order of summation would be the hardware's affair.
    y = jnp.where(is_local[:, None], y[jnp.argsort(order)], 0.0)
    return jnp.sum(y.reshape(-1, k, y.shape[-1]) * weights_Mk[..., None], axis=1)


def _dispatch(x_BTD, experts_BTk, weights_BTk, gate_EDF, up_EDF, down_EFD) -> jax.Array:
    """`_experts` on a mesh: rows are gathered along the expert axis, each device does its own experts' share of them,
    and the sums are scattered back to the rows' owners. `[B, T, D]` float32.
    """
    mesh = jax.sharding.get_abstract_mesh()

    def flat(x):
        return x.reshape(-1, x.shape[-1])

    if mesh.empty:  # a unit test of one layer
        return _experts(flat(x_BTD), flat(experts_BTk), flat(weights_BTk), gate_EDF, up_EDF, down_EFD).reshape(
            x_BTD.shape
        )

    def local(x, experts, weights, gate, up, down):
        gathered = (jax.lax.all_gather(flat(each), "expert", tiled=True) for each in (x, experts, weights))
        all_x, all_experts, all_weights = gathered
        first = jax.lax.axis_index("expert") * gate.shape[0]
        y = _experts(all_x, all_experts - first, all_weights, gate, up, down)
        y = jax.lax.psum(y, "tensor")  # each device has a part of F
        return jax.lax.psum_scatter(y, "expert", tiled=True).reshape(x.shape)

    rows = PartitionSpec(BATCH)
    cut = {"gate": PartitionSpec("expert", None, "tensor"), "down": PartitionSpec("expert", "tensor", None)}
    return jax.shard_map(
        local, in_specs=(rows, rows, rows, cut["gate"], cut["gate"], cut["down"]), out_specs=rows, check_vma=False
    )(x_BTD, experts_BTk, weights_BTk, gate_EDF, up_EDF, down_EFD)


def moe_mlp(
    p: Params, cfg: ModelConfig, x_BTD: jax.Array, segments_BT: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One layer's experts. Returns the output in x's type, the load `[E]` and the balance `[B, T]` (see Routing)."""
    moe = cfg.moe
    scores = affinities(x_BTD, p["router"], moe)
    experts, weights = choose(scores, p.get("router_bias"), moe)
    y = _dispatch(x_BTD, experts, weights, p["expert_gate"], p["expert_up"], p["expert_down"]).astype(x_BTD.dtype)
    if moe.num_shared:
        y = y + swiglu(x_BTD, p["shared_gate"], p["shared_up"], p["shared_down"])
    chosen = jax.nn.one_hot(experts, moe.num_experts).sum(axis=-2)
    load = jnp.sum(chosen * (segments_BT > 0)[..., None], axis=(0, 1))
    return y, load, balance_loss(scores, segments_BT, moe)


def rebalance(bias_LE: jax.Array, load_LE: jax.Array, rate: float) -> jax.Array:
    """Moves each expert's selection bias by `rate` against its load (V3 section 2.1.2; Wang et al. 2408.15664)."""
    return bias_LE + rate * jnp.sign(load_LE.mean(axis=-1, keepdims=True) - load_LE)


def load_metrics(load_LE: jax.Array) -> dict[str, jax.Array]:
    """How uneven the load is: the fullest expert's tokens over the mean, less 1 (0 is even), and the share of experts
    without a token; each by the worst layer.
    """
    mean = jnp.maximum(load_LE.mean(axis=-1), 1e-9)
    return {
        "moe/violation/max": jnp.max(load_LE.max(axis=-1) / mean - 1.0),
        "moe/idle/max": jnp.max(jnp.mean(load_LE == 0, axis=-1)),
    }
