"""Mixture of experts (DeepSeek-V3, arXiv 2412.19437, section 2.1.2) on a mesh axis of its own; drops no token.

Axes: B rows, T tokens, M = tokens on one device, D model width, E experts, F expert width, k experts a token.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from r1jax.core.exchange import Moves, exchange, moves_of_round
from r1jax.core.params import Params, ParamSpec
from r1jax.core.sharding import TRAIN_RULES, AxisRules
from r1jax.kernels.grouped import grouped_product
from r1jax.models.config import ModelConfig, MoEConfig
from r1jax.models.layers import segment_sums, swiglu, whole


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
    if len(x_MD) <= TOKENS:
        return _grouped(x_MD, experts_Mk, weights_Mk, gate_EDF, up_EDF, down_EFD)

    @jax.checkpoint
    def some(piece):
        return _grouped(*piece, gate_EDF, up_EDF, down_EFD)

    y = jax.lax.map(some, _pieces(x_MD, experts_Mk, weights_Mk))
    return y.reshape(-1, y.shape[-1])[: len(x_MD)]


def _pieces(*of_tokens: jax.Array) -> tuple[jax.Array, ...]:
    """`[M, ...]` -> `[M / size, size, ...]` with up to `TOKENS` tokens each; padding has expert -1."""
    M = len(of_tokens[0])
    size = min(M, TOKENS)

    def cut(x):
        fill = -1 if jnp.issubdtype(x.dtype, jnp.integer) else 0
        x = jnp.pad(x, ((0, -M % size), (0, 0)), constant_values=fill)
        return x.reshape(-1, size, x.shape[-1])

    return tuple(cut(x) for x in of_tokens)


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
    h = jax.nn.silu(grouped_product(x, gate_EDF, sizes)) * grouped_product(x, up_EDF, sizes)
    y = grouped_product(h, down_EFD, sizes, preferred_element_type=jnp.float32)
    # Back by the inverse permutation, a gather: a scatter-add's order of summation would be the hardware's affair.
    y = jnp.where(is_local[:, None], y[jnp.argsort(order)], 0.0)
    return jnp.sum(y.reshape(-1, k, y.shape[-1]) * weights_Mk[..., None], axis=1)


# Rows that a device takes in a round: so many times those that it sends itself, or `FEW_ROWS` where that is more. A
# decode step has few, often unevenly spread; buffers for all that might come would be most of its memory traffic.
CAPACITY = 1.25
FEW_ROWS = 256


@dataclasses.dataclass(frozen=True)
class _Devices:
    """The mesh axes over which experts are cut, and those over which tokens are, which all run in step."""

    experts: tuple[str, ...]
    tokens: tuple[str, ...]


class _Route(NamedTuple):
    """The way of a piece's rows, a token k times, to their experts.

    Attributes:
        order: `[M k]`, the rows sorted by expert.
        inverse: `[M k]`, where each row stands in that order.
        counts: `[S, D, E]`, rows of each source for each expert of each destination.
        rounds: how often `capacity` rows are taken until all have come.
        capacity: see `CAPACITY`.
    """

    order: jax.Array
    inverse: jax.Array
    counts: jax.Array
    rounds: jax.Array
    capacity: int


def _route(experts_Mk: jax.Array, local_experts: int, on: _Devices) -> _Route:
    """The route of tokens to `experts_Mk`, below 0 for none."""
    ways = jax.lax.axis_size(on.experts)
    E, expert = ways * local_experts, experts_Mk.reshape(-1)
    expert = jnp.where(expert < 0, E, expert)
    order = jnp.argsort(expert, stable=True)
    counts = jax.lax.all_gather(jnp.bincount(expert, length=E + 1)[:E].astype(jnp.int32), on.experts)
    counts = counts.reshape(ways, ways, local_experts)
    capacity = min(max(math.ceil(CAPACITY * len(order)), FEW_ROWS), ways * len(order))
    rounds = -(-counts.sum(axis=(0, 2)).max() // capacity)
    # Devices that exchange nothing with these would need fewer: all run the same program in step.
    return _Route(order, jnp.argsort(order), counts, jax.lax.pmax(rounds, on.tokens), capacity)


def _received_experts(route: _Route, turn: jax.Array, on: _Devices) -> jax.Array:
    """The experts, counted on this device, of the rows that come in a round, `[capacity, 1]`; E for no row."""
    ends = jnp.cumsum(route.counts[:, jax.lax.axis_index(on.experts)].reshape(-1))  # by source, then by expert
    row, E = turn * route.capacity + jnp.arange(route.capacity), route.counts.shape[-1]
    return jnp.where(row < ends[-1], jnp.searchsorted(ends, row, side="right") % E, E)[:, None]


def _sent(route: _Route, turn: jax.Array, on: _Devices, *rows: jax.Array) -> tuple[Moves, list[jax.Array]]:
    """The moves that return a round's rows, and the rows as they came."""
    moves = moves_of_round(route.counts.sum(axis=-1), turn, route.capacity)
    empty = (jnp.zeros((route.capacity, *x.shape[1:]), x.dtype) for x in rows)
    return moves.back(), [exchange(x, into, moves, on.experts) for x, into in zip(rows, empty, strict=True)]


def _piece(x_MD, experts_Mk, weights_Mk, gate_EDF, up_EDF, down_EFD, on: _Devices) -> jax.Array:
    """`_grouped` of experts on several devices: each row goes to its expert's device and back."""
    k, route = experts_Mk.shape[1], _route(experts_Mk, len(gate_EDF), on)
    rows, weights = x_MD[route.order // k], weights_Mk.reshape(-1, 1)[route.order]

    def turn(index, y):
        back, (x, w) = _sent(route, index, on, rows, weights)
        of_experts = _grouped(x, _received_experts(route, index, on), w, gate_EDF, up_EDF, down_EFD)
        return exchange(of_experts, y, back, on.experts)

    y = jax.lax.fori_loop(0, route.rounds, turn, jnp.zeros(rows.shape, jnp.float32))
    return y[route.inverse].reshape(-1, k, y.shape[-1]).sum(axis=1)


def _piece_gradients(x_MD, experts_Mk, weights_Mk, dy_MD, matrices, d_matrices, on: _Devices):
    """Gradients of `_piece` in x and in the weights of tokens, and `d_matrices` with those of the experts added."""
    k, route = experts_Mk.shape[1], _route(experts_Mk, len(matrices[0]), on)
    rows, weights = x_MD[route.order // k], weights_Mk.reshape(-1, 1)[route.order]
    # Exact: the sum over experts is cast to x's type as soon as it is made, and so its gradient has that type's values.
    dy_rows = dy_MD.astype(x_MD.dtype)[route.order // k]

    def turn(index, sums):
        d_rows, d_weights, d_matrices = sums
        back, (x, w, dy) = _sent(route, index, on, rows, weights, dy_rows)
        experts = _received_experts(route, index, on)
        _, pull = jax.vjp(lambda x, w, matrices: _grouped(x, experts, w, *matrices), x, w, matrices)
        dx, dw, here = pull(dy.astype(jnp.float32))
        d_matrices = tuple(total + new.astype(jnp.float32) for total, new in zip(d_matrices, here, strict=True))
        return exchange(dx, d_rows, back, on.experts), exchange(dw, d_weights, back, on.experts), d_matrices

    start = (jnp.zeros_like(rows), jnp.zeros_like(weights), d_matrices)
    d_rows, d_weights, d_matrices = jax.lax.fori_loop(0, route.rounds, turn, start)
    dx = d_rows[route.inverse].reshape(-1, k, d_rows.shape[-1]).astype(jnp.float32).sum(axis=1)
    return (dx.astype(x_MD.dtype), d_weights[route.inverse].reshape(-1, k)), d_matrices


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _routed(x_MD, experts_Mk, weights_Mk, matrices, on: _Devices) -> jax.Array:
    """`_experts` of experts on several devices, `TOKENS` tokens of each device at a time.

    A device holds what it sends, a token k times, and `CAPACITY` times as many rows that it gets. Where it is to get
    more, because the load is uneven, the rest comes in further rounds: they take time, not memory, and drop no row. At
    worst, all tokens of all devices to one device's experts, there are (devices / CAPACITY) rounds.
    """
    y = jax.lax.map(lambda piece: _piece(*piece, *matrices, on), _pieces(x_MD, experts_Mk, weights_Mk))
    return y.reshape(-1, y.shape[-1])[: len(x_MD)]


def _routed_forward(x_MD, experts_Mk, weights_Mk, matrices, on):
    return _routed(x_MD, experts_Mk, weights_Mk, matrices, on), (x_MD, experts_Mk, weights_Mk, matrices)


def _routed_backward(on, residuals, dy_MD):
    x_MD, experts_Mk, weights_Mk, matrices = residuals

    def one(d_matrices, piece):
        (d_x, d_weights), d_matrices = _piece_gradients(*piece, matrices, d_matrices, on)
        return d_matrices, (d_x, d_weights)

    zeros = tuple(jnp.zeros(w.shape, jnp.float32) for w in matrices)
    (x, experts, weights), (dy,) = _pieces(x_MD, experts_Mk, weights_Mk), _pieces(dy_MD)
    d_matrices, of_tokens = jax.lax.scan(one, zeros, (x, experts, weights, dy))
    d_x, d_weights = (x.reshape(-1, x.shape[-1])[: len(x_MD)] for x in of_tokens)
    d_matrices = tuple(d.astype(w.dtype) for d, w in zip(d_matrices, matrices, strict=True))
    return d_x, None, d_weights, d_matrices


_routed.defvjp(_routed_forward, _routed_backward)


def _dispatch(x_BTD, experts_BTk, weights_BTk, gate_EDF, up_EDF, down_EFD, rules: AxisRules) -> jax.Array:
    """`_experts` on a mesh, `[B, T, D]` float32: a device keeps its own rows and has its share of the experts."""
    mesh = jax.sharding.get_abstract_mesh()

    def local(x_BTD, experts_BTk, weights_BTk, gate, up, down):
        tokens = [x.reshape(-1, x.shape[-1]) for x in (x_BTD, experts_BTk, weights_BTk)]
        matrices = tuple(whole(w, x_BTD.dtype.name, embed, axis) for w, axis in ((gate, 1), (up, 1), (down, 2)))
        y = _experts(*tokens, *matrices) if rules.ways("experts") == 1 else _routed(*tokens, matrices, on)
        y = jax.lax.psum(y, mlp) if mlp else y  # each device has a part of F
        return y.reshape(x_BTD.shape)

    arguments = (x_BTD, experts_BTk, weights_BTk, gate_EDF, up_EDF, down_EFD)
    if mesh.empty:  # a unit test of one layer
        embed = mlp = on = ()
        return local(*arguments)
    embed, mlp, experts, batch, length = (
        rules.parts((axis,))[0] for axis in ("embed", "mlp", "experts", "batch", "length")
    )
    on, rows = _Devices(experts, (*batch, *length)), rules.spec(("batch", "length"))
    cut, cut_down = rules.spec(("experts", "embed", "mlp")), rules.spec(("experts", "mlp", "embed"))
    return jax.shard_map(local, in_specs=(rows, rows, rows, cut, cut, cut_down), out_specs=rows, check_vma=False)(
        *arguments
    )


def moe_mlp(
    p: Params, cfg: ModelConfig, x_BTD: jax.Array, segments_BT: jax.Array, rules: AxisRules = TRAIN_RULES
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One layer's experts. Returns the output in x's type, the load `[E]` and the balance `[B, T]` (see Routing)."""
    moe = cfg.moe
    scores = affinities(x_BTD, p["router"], moe)
    experts, weights = choose(scores, p.get("router_bias"), moe)
    matrices = (p[f"expert_{name}"] for name in ("gate", "up", "down"))
    y = _dispatch(x_BTD, experts, weights, *matrices, rules).astype(x_BTD.dtype)
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
