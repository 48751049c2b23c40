"""Auxiliary losses of DeepSeek-V3: sequence-wise balance and multi-token prediction (arXiv 2412.19437)."""

import jax
import jax.numpy as jnp

from r1jax.core.params import Params
from r1jax.data.batching import Batch
from r1jax.losses.config import AuxiliaryConfig
from r1jax.losses.logprobs import token_logprobs
from r1jax.models.config import ModelConfig
from r1jax.models.layers import segment_sums
from r1jax.models.logits import Truncation
from r1jax.models.transformer import Output, look_ahead, unembed_table


def _ahead(x_BT: jax.Array, depth: int) -> jax.Array:
    """`x_BT` shifted left by `depth` positions, with 0 at the end."""
    return jnp.pad(x_BT, ((0, 0), (0, depth)))[:, depth:]


def mtp_loss(params: Params, cfg: ModelConfig, batch: Batch, states: list[jax.Array], chunk: int) -> jax.Array:
    """Cross-entropy of tokens further ahead, in nats, the mean over the depths (eqs. 24 and 25 with lambda = 1).

    A target has its weight in the main loss, or 0 where it lies in the next segment.

    Args:
        states: hidden states `[B, T, D]` of each depth, see `look_ahead`.
        chunk: see `token_logprobs`.
    """
    table, total = unembed_table(params), 0.0
    for depth, hidden in enumerate(states, 1):
        targets = _ahead(batch.targets, depth)
        same = _ahead(batch.segments, depth) == batch.segments
        weights = jnp.where(same, _ahead(batch.weights, depth), 0.0)
        logprobs, _ = token_logprobs(hidden, table, targets, Truncation(), chunk)
        total += jnp.sum(jnp.where(weights > 0, -logprobs * weights, 0.0))
    return total / len(states)


def auxiliary_loss(
    params: Params, cfg: ModelConfig, batch: Batch, output: Output, aux: AuxiliaryConfig, chunk: int
) -> tuple[jax.Array | float, dict[str, jax.Array]]:
    """The sum of the auxiliary losses that `aux` weighs and the model has, and their values before weighting.

    Additive over segments, as `batch.weights` are: a segment's balance loss counts by its share of the weights. The
    metric `load/<stack>` `[L, E]`, the number of tokens routed to each expert, is for the update of selection biases.
    """
    loss, metrics, routings = 0.0, {}, [output.routing]
    if cfg.mtp_depth and aux.mtp_weight:
        states, routing = look_ahead(params, cfg, output.hidden, batch.targets, batch.positions, batch.segments)
        routings.append(routing)
        metrics["mtp_loss"] = mtp_loss(params, cfg, batch, states, chunk)
        loss += aux.mtp_weight * metrics["mtp_loss"]
    for routing in filter(None, routings):
        balance = jnp.sum(routing.balance * segment_sums(batch.weights[..., None], batch.segments)[..., 0])
        metrics["balance_loss"] = metrics.get("balance_loss", 0.0) + balance
        loss += aux.balance_weight * balance
        metrics |= {f"load/{stack}": load for stack, load in routing.load.items()}
    return loss, metrics
