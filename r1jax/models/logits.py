"""Temperature, top-k and top-p: the one definition that the sampler draws from and the trainer scores with."""

import dataclasses

import jax
import jax.numpy as jnp

from r1jax.models.config import Truncation


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RowTruncation:
    """The truncation of each of B rows, as arrays: other values need no other program.

    Attributes:
        temperature: `[B]` float32, above 0.
        top_k: `[B]` int32, 0 keeps all; None: no row has one.
        top_p: `[B]` float32, 1 keeps all; None: no row has one.
    """

    temperature: jax.Array
    top_k: jax.Array | None
    top_p: jax.Array | None


def _threshold(p: jax.Array, enough) -> jax.Array:
    """The largest t such that `enough(p >= t)` holds, over the last axis, by bisection.

    Non-negative floats order as their bit patterns do, so 31 halvings find the exact float. No sort: on TPU and CPU a
    sort of the vocabulary costs far more than 31 masked sums.
    """

    def halve(_, bounds):
        low, high = bounds  # enough at low, not at high
        middle = low + (high - low) // 2
        good = enough(p >= jax.lax.bitcast_convert_type(middle, jnp.float32)[..., None])
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    shape = p.shape[:-1]
    # Zero always suffices; just above 1.0 never does. An unreachable top_p (rounding) keeps everything.
    low, high = jnp.zeros(shape, jnp.int32), jnp.full(shape, jnp.float32(1).view(jnp.int32) + 1, jnp.int32)
    low, _ = jax.lax.fori_loop(0, 31, halve, (low, high))
    return jax.lax.bitcast_convert_type(low, jnp.float32)[..., None]


def process(logits: jax.Array, cfg: Truncation, keep: jax.Array | None = None) -> jax.Array:
    """Logits `[..., V]` -> float32 logits of the sampled distribution, -inf where truncated. Needs temperature > 0.

    Args:
        logits: `[..., V]`, any float type.
        cfg: the truncation; ties at the threshold are all kept.
        keep: `[...]` int32 token ids that are never truncated. The trainer names the sampled token here: it was in the
            set when it was drawn, and an update may since have moved it just outside.
    """
    logits = logits.astype(jnp.float32) / cfg.temperature
    top_k = cfg.top_k if 0 < cfg.top_k < logits.shape[-1] else None
    allowed = _allowed(logits, top_k, cfg.top_p if cfg.top_p < 1 else None)
    if allowed is None:
        return logits
    if keep is not None:
        allowed |= jnp.arange(logits.shape[-1]) == keep[..., None]
    return jnp.where(allowed, logits, -jnp.inf)


def process_rows(logits_BV: jax.Array, cfg: RowTruncation) -> jax.Array:
    """`process` with a truncation for each row."""
    logits = logits_BV.astype(jnp.float32) / cfg.temperature[:, None]
    allowed = _allowed(logits, cfg.top_k, cfg.top_p)
    return logits if allowed is None else jnp.where(allowed, logits, -jnp.inf)


def _allowed(logits: jax.Array, top_k: jax.Array | int | None, top_p: jax.Array | float | None) -> jax.Array | None:
    """Which tokens `[..., V]` are kept: first top-k, then top-p among those; None: all.

    Args:
        top_k, top_p: a number, or one for each row, where 0 and 1 keep all; None: they keep all.
    """
    allowed = None
    if top_k is not None:
        p = jax.nn.softmax(jax.lax.stop_gradient(logits))
        most = jnp.where(jnp.asarray(top_k) > 0, top_k, logits.shape[-1])
        allowed = p >= _threshold(p, lambda inside: jnp.sum(inside, axis=-1) >= most)
    if top_p is not None:
        p = jax.nn.softmax(jax.lax.stop_gradient(logits), where=allowed)
        inside_p = p >= _threshold(p, lambda inside: jnp.sum(jnp.where(inside, p, 0.0), axis=-1) >= top_p)
        inside_p |= jnp.asarray(top_p)[..., None] >= 1  # rounding may reach 1 without the last tokens
        allowed = inside_p if allowed is None else allowed & inside_p
    return allowed
