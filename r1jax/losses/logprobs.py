"""Log-probs and entropies from hidden states in chunks, without the logits [B, T, V] of a whole batch.

Each chunk's logits are computed, reduced and freed, and recomputed in the backward pass. At V = 129,280 and 32k tokens
whole logits would be 17 GB a sequence in float32.
"""

import functools

import jax
import jax.numpy as jnp

from r1jax.core.params import Params
from r1jax.data.batching import Batch
from r1jax.models.config import ModelConfig
from r1jax.models.logits import Truncation, process
from r1jax.models.transformer import Output, forward, unembed_table


def to_chunks(x: jax.Array, size: int) -> jax.Array:
    """`[B, T, ...]` -> `[T/size, B, size, ...]`, zero-padded."""
    B, T = x.shape[:2]
    x = jnp.pad(x, ((0, 0), (0, -T % size)) + ((0, 0),) * (x.ndim - 2))
    return jnp.moveaxis(x.reshape(B, -1, size, *x.shape[2:]), 1, 0)


def from_chunks(x: jax.Array, length: int) -> jax.Array:
    """The inverse of `to_chunks`, where T was `length`."""
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length]


def _chunk_logits(
    hidden_BCD: jax.Array, table_VD: jax.Array, targets_BC: jax.Array, truncation: Truncation
) -> jax.Array:
    logits = jnp.einsum("bcd,vd->bcv", hidden_BCD, table_VD, preferred_element_type=jnp.float32)
    return process(logits, truncation, keep=targets_BC)


def _statistics(logits_BCV: jax.Array, targets_BC: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log-prob of the target, log of the normaliser, and entropy, each `[B, C]`."""
    log_z = jax.nn.logsumexp(logits_BCV, axis=-1)
    target = jnp.take_along_axis(logits_BCV, targets_BC[..., None], axis=-1)[..., 0]
    p = jnp.exp(logits_BCV - log_z[..., None])
    entropy = log_z - jnp.sum(jnp.where(p > 0, p * logits_BCV, 0.0), axis=-1)  # truncated tokens are 0 * -inf
    return target - log_z, log_z, entropy


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def token_logprobs(
    hidden_BTD: jax.Array, table_VD: jax.Array, targets_BT: jax.Array, truncation: Truncation, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """Log-prob of each target and entropy of each position's distribution, both `[B, T]` float32.

    Args:
        hidden_BTD: hidden states after the final norm.
        table_VD: the unembedding table, in the same type.
        targets_BT: int32 ids.
        truncation: the sampler's temperature, top-k and top-p; Truncation() for plain log-probs. Which tokens are
            truncated is taken as constant by the gradient, and a target never is.
        chunk: positions of every row that are treated at a time; `[B, chunk, V]` float32 is the largest array.
    """
    return _forward(hidden_BTD, table_VD, targets_BT, truncation, chunk)[0]


def _forward(hidden_BTD, table_VD, targets_BT, truncation, chunk):
    def one(args):
        hidden, targets = args
        logprobs, _, entropy = _statistics(_chunk_logits(hidden, table_VD, targets, truncation), targets)
        return logprobs, entropy

    outputs = jax.lax.map(one, (to_chunks(hidden_BTD, chunk), to_chunks(targets_BT, chunk)))
    length = targets_BT.shape[1]
    return tuple(from_chunks(x, length) for x in outputs), (hidden_BTD, table_VD, targets_BT)


def _backward(truncation, chunk, residuals, cotangents):
    hidden_BTD, table_VD, targets_BT = residuals

    def one(d_table, args):
        hidden, targets, d_logprob, d_entropy = args
        logits = _chunk_logits(hidden, table_VD, targets, truncation)
        _, log_z, entropy = _statistics(logits, targets)
        log_p = logits - log_z[..., None]
        p = jnp.exp(log_p)
        hit = jnp.arange(logits.shape[-1]) == targets[..., None]
        # d logp[y] / d z = 1[y] - p ;  d H / d z = -p (log p + H)
        surprise = jnp.where(p > 0, p * (log_p + entropy[..., None]), 0.0)
        d_logits = (d_logprob[..., None] * (hit - p) - d_entropy[..., None] * surprise) / truncation.temperature
        d_logits = d_logits.astype(hidden.dtype)
        d_hidden = jnp.einsum("bcv,vd->bcd", d_logits, table_VD)
        d_table += jnp.einsum("bcv,bcd->vd", d_logits, hidden, preferred_element_type=jnp.float32)
        return d_table, d_hidden

    xs = tuple(to_chunks(x, chunk) for x in (hidden_BTD, targets_BT, *cotangents))
    d_table, d_hidden = jax.lax.scan(one, jnp.zeros(table_VD.shape, jnp.float32), xs)
    return from_chunks(d_hidden, targets_BT.shape[1]), d_table.astype(table_VD.dtype), None


token_logprobs.defvjp(_forward, _backward)


def batch_logprobs(
    params: Params, cfg: ModelConfig, batch: Batch, truncation: Truncation, chunk: int
) -> tuple[jax.Array, jax.Array, Output]:
    """One teacher-forced forward pass: log-probs of the batch's targets and entropies, `[B, T]` float32, and it."""
    output = forward(params, cfg, batch.tokens, batch.positions, batch.segments, one_segment=batch.one_segment)
    table = unembed_table(params).astype(cfg.dtype)
    return *token_logprobs(output.hidden, table, batch.targets, truncation, chunk), output
