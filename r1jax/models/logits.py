"""Temperature, top-k and top-p: the one definition that the sampler draws from and the trainer scores with."""

import jax
import jax.numpy as jnp

from r1jax.models.config import Truncation


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
    if cfg.top_k == 0 and cfg.top_p >= 1:
        return logits
    allowed = jnp.ones(logits.shape, bool)
    if 0 < cfg.top_k < logits.shape[-1]:
        p = jax.nn.softmax(jax.lax.stop_gradient(logits))
        allowed = p >= _threshold(p, lambda inside: jnp.sum(inside, axis=-1) >= cfg.top_k)
    if cfg.top_p < 1:
        p = jax.nn.softmax(jax.lax.stop_gradient(logits), where=allowed)
        allowed &= p >= _threshold(p, lambda inside: jnp.sum(jnp.where(inside, p, 0.0), axis=-1) >= cfg.top_p)
    if keep is not None:
        allowed |= jnp.arange(logits.shape[-1]) == keep[..., None]
    return jnp.where(allowed, logits, -jnp.inf)
