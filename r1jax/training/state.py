"""The training state and its optimiser."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES, AxisRules, replicated
from r1jax.training.config import OptimizerConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything an update changes. `step` counts optimiser updates, int32 scalar; params and moments are float32."""

    step: jax.Array
    params: Params
    opt_state: optax.OptState


def learning_rate(cfg: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """Learning rate as a function of the update's number, from 0."""
    if cfg.schedule == "cosine":
        main = optax.cosine_decay_schedule(
            cfg.learning_rate, max(total_steps - cfg.warmup_steps, 1), alpha=cfg.final_share
        )
    else:
        main = optax.constant_schedule(cfg.learning_rate)
    if not cfg.warmup_steps:
        return main
    # From 1/w and not from 0: an update with rate 0 would be a wasted batch.
    start = optax.linear_schedule(cfg.learning_rate / cfg.warmup_steps, cfg.learning_rate, cfg.warmup_steps)
    return optax.join_schedules([start, main], [cfg.warmup_steps])


def fixes_num_steps(cfg: OptimizerConfig) -> str:
    """Why a run of this schedule cannot be made longer once it has begun; "" where it can."""
    if cfg.schedule == "constant":
        return ""
    return (
        f"optimizer.schedule={cfg.schedule} falls to its end at num_steps: the steps that are done would have had "
        "other learning rates; only a constant schedule can go on for longer"
    )


def make_optimizer(
    cfg: OptimizerConfig, specs: Params, total_steps: int, idle: Sequence[str] = ()
) -> optax.GradientTransformation:
    """The optax chain: clip, Adam, decay, rate.

    Args:
        idle: parts of the tree, by their first key, that the loss does not reach; not decayed either, they stay as
            they are.
    """
    decayed = core.decay_mask(specs)
    decayed |= {part: jax.tree.map(lambda _: False, decayed[part]) for part in idle if part in decayed}
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip_norm) if cfg.clip_norm else optax.identity(),
        optax.adamw(
            learning_rate(cfg, total_steps),
            cfg.b1,
            cfg.b2,
            cfg.eps,
            weight_decay=cfg.weight_decay,
            mask=decayed,
        ),
    )


def state_shardings(specs: Params, tx: optax.GradientTransformation, mesh: Mesh, rules: AxisRules = TRAIN_RULES):
    """The shardings of a TrainState: Adam's moments lie as their weights do, scalars are replicated."""
    weights = core.shardings(specs, rules, mesh)
    shapes = jax.eval_shape(tx.init, core.abstract(specs, rules, mesh))
    opt = optax.tree_utils.tree_map_params(
        tx, lambda _, s: s, shapes, weights, transform_non_params=lambda _: replicated(mesh)
    )
    return TrainState(step=replicated(mesh), params=weights, opt_state=opt)


def create(params: Params, specs: Params, tx: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """A fresh state around given weights, which it copies: updates donate their input."""

    def make(params):
        return TrainState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params), tx.init(params))

    return jax.jit(make, out_shardings=state_shardings(specs, tx, mesh))(params)


def abstract_state(specs: Params, tx: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Shapes and shardings of a state: the target that a checkpoint is restored into."""
    shapes = jax.eval_shape(
        lambda params: TrainState(jnp.zeros((), jnp.int32), params, tx.init(params)),
        core.abstract(specs, TRAIN_RULES, mesh),
    )
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, state_shardings(specs, tx, mesh)
    )
