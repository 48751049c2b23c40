"""The training state and its optimiser."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from r1jax.config import at_least, within
from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES, AxisRules, replicated


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a global-norm clip.

    Attributes:
        learning_rate: peak.
        schedule: after warm-up, "constant", or "cosine", which falls to `final_share` of the peak at the end.
        warmup_steps: updates over which the rate rises linearly, from `learning_rate / warmup_steps`.
        final_share: see schedule.
        b1, b2, eps: Adam's.
        weight_decay: decoupled; norms and biases are exempt.
        clip_norm: bound on the global norm of the gradient; 0 switches it off.
        max_skipped: so many updates in a row whose gradient is not finite, and which are therefore skipped, end the run
            with an error; 0: it goes on whatever comes.
    """

    learning_rate: float = 3e-6
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    final_share: float = 0.1
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    max_skipped: int = 20

    def __post_init__(self):
        at_least(0, self, "learning_rate", "warmup_steps", "weight_decay", "clip_norm", "max_skipped")
        within("[0, 1]", self, "final_share")
        within("[0, 1)", self, "b1", "b2")
        within("[1e-37, inf)", self, "eps")  # what is 0 in float32 makes 0 / 0 of a weight whose gradient is 0


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
    return (f"optimizer.schedule={cfg.schedule} falls to its end at num_steps: the steps that are done would have had "
            "other learning rates; only a constant schedule can go on for longer")  # fmt: skip


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
            learning_rate(cfg, total_steps), cfg.b1, cfg.b2, cfg.eps,
            weight_decay=cfg.weight_decay, mask=decayed,
        ),
    )  # fmt: skip


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
