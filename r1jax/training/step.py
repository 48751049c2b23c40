"""The jitted update: any loss that is a sum over rows, split into microbatches without changing its gradient."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES, constrain, replicated
from r1jax.data import batching
from r1jax.models.moe import load_metrics, rebalance
from r1jax.training.state import TrainState, state_shardings

Metrics = dict[str, jax.Array]
Batch = Any  # a pytree of arrays whose first axis is the rows: those of `r1jax.data.batching`, and a user's own
Loss = Callable[[Params, Batch], tuple[jax.Array, Metrics]]
Update = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def _split(batch: Batch, parts: int) -> Batch:
    """`[B, ...]` -> `[parts, B/parts, ...]`, rows dealt out in turn, so that every device keeps rows of each part."""

    def deal(x):
        axes = batching.axes_of(batch, x)
        x = jnp.moveaxis(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 1, 0)
        return constrain(x, TRAIN_RULES, None, *axes)

    return jax.tree.map(deal, batch)


def _parts_to_compute(pieces: Batch, parts: int) -> int | jax.Array:
    """The number of parts up to the last one that holds a token, known when the program runs; all of other types."""
    if not isinstance(pieces, batching.Batch):
        return parts
    has_tokens = jnp.any(pieces.segments > 0, axis=(1, 2))
    return jnp.max(jnp.where(has_tokens, jnp.arange(1, parts + 1), 0))


def accumulate(loss: Loss, params: Params, batch: Batch, parts: int) -> tuple[Params, Metrics]:
    """Gradient and metrics of the whole batch, `1/parts` of its rows at a time.

    Part p is the rows p, p + parts, ...; of a `r1jax.data.batching.Batch` those after the last part with a token
    cost nothing. `loss` must be additive over rows (its weights made for the whole batch): then parts, devices and
    order do not matter. Metrics named `.../max` are maxima, all others sums.
    """
    gradient = jax.value_and_grad(loss, has_aux=True)

    @functools.partial(jax.jit, inline=True)  # so that shapes and loop share one trace
    def one(params, rows):
        (value, metrics), grads = gradient(params, rows)
        return grads, {"loss": value, **metrics}

    if parts == 1:
        return one(params, batch)

    def merge(path, total, new):
        is_max = isinstance(path[-1], jax.tree_util.DictKey) and str(path[-1].key).endswith("/max")
        return jnp.maximum(total, new) if is_max else total + new

    pieces = _split(batch, parts)

    def step(part, total):
        grads, metrics = one(params, jax.tree.map(lambda x: x[part], pieces))
        summed = jax.tree.map(jnp.add, total[0], grads)
        return summed, jax.tree_util.tree_map_with_path(merge, total[1], metrics)

    shapes = one.eval_shape(params, jax.tree.map(lambda x: x[0], pieces))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)  # maxima are of non-negative quantities
    return jax.lax.fori_loop(0, _parts_to_compute(pieces, parts), step, zeros)


def _balance(params: Params, metrics: Metrics, rate: float) -> tuple[Params, Metrics]:
    """Moves the selection biases against the loads among the metrics, and replaces those by their summary."""
    loads = {name.removeprefix("load/"): x for name, x in metrics.items() if name.startswith("load/")}
    metrics = {name: x for name, x in metrics.items() if not name.startswith("load/")}
    if not loads:
        return params, metrics
    for stack, load in loads.items():
        if rate and "router_bias" in params[stack]:
            bias = rebalance(params[stack]["router_bias"], load, rate)
            params = {**params, stack: {**params[stack], "router_bias": bias}}
    return params, {**metrics, **load_metrics(jnp.concatenate(list(loads.values())))}


def make_update(
    loss: Loss,
    tx: optax.GradientTransformation,
    specs: Params,
    mesh: Mesh,
    microbatches: int = 1,
    bias_rate: float = 0.0,
    largest_norm: Callable[[], float] | None = None,
) -> Update:
    """Compiles (state, batch) -> (state, metrics); the old state's memory is reused.

    Metrics named `load/<stack>` become measures of the experts' balance, and move the stack's selection biases by
    `bias_rate` where it has them. A gradient that is not finite leaves weights and moments as they were (`step` still
    counts it) and shows as `skipped` = 1 among the metrics; so does one whose norm is above `largest_norm`, which is
    called before each update, and shows as `skipped_spike` = 1.
    """
    shardings = state_shardings(specs, tx, mesh)

    def update(state: TrainState, batch: Batch, limit: jax.Array | None = None) -> tuple[TrainState, Metrics]:
        grads, metrics = accumulate(loss, state.params, batch, microbatches)
        norm = optax.global_norm(grads)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params, metrics = _balance(optax.apply_updates(state.params, updates), metrics, bias_rate)
        new = TrainState(state.step + 1, params, opt_state)
        taken = finite = jnp.isfinite(norm)
        if limit is not None:
            taken = finite & (norm <= limit)
            metrics = {**metrics, "skipped_spike": 1.0 * (finite & ~taken)}
        old = TrainState(new.step, state.params, state.opt_state)
        state = jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, old)
        return state, {**metrics, "grad_norm": norm, "skipped": 1.0 - finite}

    compiled = jax.jit(update, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))
    if largest_norm is None:
        return compiled
    return lambda state, batch: compiled(state, batch, np.float32(largest_norm()))
