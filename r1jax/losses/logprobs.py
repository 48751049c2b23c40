"""Log-probs and entropies from hidden states in chunks, without the logits [B, T, V] of a whole batch.

Each chunk's logits are computed, reduced and freed, and recomputed in the backward pass. At V = 129,280 and 32k tokens
whole logits would be 17 GB a sequence in float32.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES, constrain
from r1jax.data.batching import Batch
from r1jax.models.config import ModelConfig
from r1jax.models.layers import empty_like
from r1jax.models.logits import Truncation, process
from r1jax.models.transformer import Output, forward, unembed_table


def to_chunks(x: jax.Array, size: int, parts: int = 1) -> jax.Array:
    """`[B, T, ...]` -> `[T / (parts size), B, parts size, ...]`, zero-padded.

    Args:
        size: positions of each part that are in a chunk.
        parts: that T is cut into. Each chunk has positions of all of them, so that none of the devices that have a
            part each waits for another one's chunk.
    """
    B, T = x.shape[:2]
    x = x.reshape(B, parts, T // parts, *x.shape[2:])
    x = jnp.pad(x, ((0, 0), (0, 0), (0, -(T // parts) % size)) + ((0, 0),) * (x.ndim - 3))
    x = jnp.moveaxis(x.reshape(B, parts, -1, size, *x.shape[3:]), 2, 0)
    return x.reshape(x.shape[0], B, parts * size, *x.shape[4:])


def from_chunks(x: jax.Array, length: int, parts: int = 1) -> jax.Array:
    """The inverse of `to_chunks`, where T was `length`."""
    chunks, B, C = x.shape[:3]
    x = jnp.moveaxis(x.reshape(chunks, B, parts, C // parts, *x.shape[3:]), 0, 2)
    x = x.reshape(B, parts, -1, *x.shape[4:])[:, :, : length // parts]
    return x.reshape(B, length, *x.shape[3:])


def _logits(hidden_BCD: jax.Array, table_VD: jax.Array) -> jax.Array:
    return jnp.einsum("bcd,vd->bcv", hidden_BCD, table_VD, preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 4))
def map_logits(
    function: Callable[..., Any], hidden_BTD: jax.Array, table_VD: jax.Array, of_tokens: Any, chunk: int
) -> Any:
    """`function(logits, of_tokens)` of all positions, `chunk` positions of every row at a time: on each device, where
    its tokens are cut over several.

    On a mesh the table is gathered once, and each device adds up its own rows' part of the table's gradient, `[V, D]`
    float32 over all chunks, before the parts are summed over devices. Chunks are computed again in the backward pass.

    Args:
        function: from logits `[B, C, V]` float32 and a chunk of `of_tokens` to a tree of arrays `[B, C, ...]`; its
            gradient in the logits is taken by autodiff.
        hidden_BTD: hidden states after the final norm.
        table_VD: the unembedding table, in its own type; multiplied in the type of the hidden states.
        of_tokens: a tree of arrays `[B, T, ...]` that no gradient reaches.
    """
    return _map_forward(function, hidden_BTD, table_VD, of_tokens, chunk)[0]


def _map_forward(function, hidden_BTD, table_VD, of_tokens, chunk):
    # Whole along `embed`, for the chunks of both passes.
    table = constrain(table_VD.astype(hidden_BTD.dtype), TRAIN_RULES, "vocab", "act")

    def one(args):
        hidden, of_chunk = args
        return function(_logits(hidden, table), of_chunk)

    length, parts = hidden_BTD.shape[1], TRAIN_RULES.ways("length")
    outputs = jax.lax.map(one, _cut((hidden_BTD, of_tokens), chunk, parts))
    outputs = jax.tree.map(lambda x: _joined(x, length, parts), outputs)
    return outputs, (hidden_BTD, table, of_tokens, empty_like(table_VD))


def _cut(of_tokens: Any, size: int, parts: int) -> Any:
    """`to_chunks` of each array, cut over devices as the batch is."""

    def chunks(x: jax.Array) -> jax.Array:
        return constrain(to_chunks(x, size, parts), TRAIN_RULES, None, "batch", "length", *(None,) * (x.ndim - 2))

    return jax.tree.map(chunks, of_tokens)


def _joined(x: jax.Array, length: int, parts: int) -> jax.Array:
    """`from_chunks`, cut over devices as the batch is."""
    return constrain(from_chunks(x, length, parts), TRAIN_RULES, "batch", "length", *(None,) * (x.ndim - 3))


def _map_backward(function, chunk, residuals, cotangents):
    hidden_BTD, table, of_tokens, like_table = residuals
    B, T = hidden_BTD.shape[:2]
    shards, parts = TRAIN_RULES.ways("batch"), TRAIN_RULES.ways("length")

    def one(d_table_SPVD, args):
        hidden, of_chunk, d_outputs = args
        _, pull = jax.vjp(lambda logits: function(logits, of_chunk), _logits(hidden, table))
        d_logits = pull(d_outputs)[0].astype(hidden.dtype)
        d_hidden = jnp.einsum("bcv,vd->bcd", d_logits, table)
        of_devices = (x.reshape(shards, B // shards, parts, -1, x.shape[-1]) for x in (d_logits, hidden))
        d_table_SPVD += jnp.einsum("sbpcv,sbpcd->spvd", *of_devices, preferred_element_type=jnp.float32)
        return constrain(d_table_SPVD, TRAIN_RULES, *axes), d_hidden

    axes = "batch", "length", "vocab", "act"
    zeros = constrain(jnp.zeros((shards, parts, *table.shape), jnp.float32), TRAIN_RULES, *axes)
    d_table_SPVD, d_hidden = jax.lax.scan(one, zeros, _cut((hidden_BTD, of_tokens, cotangents), chunk, parts))
    d_table = constrain(d_table_SPVD.sum(axis=(0, 1)), TRAIN_RULES, "vocab", "embed")
    return _joined(d_hidden, T, parts), d_table.astype(like_table.dtype), None


map_logits.defvjp(_map_forward, _map_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _statistics(logits_BCV: jax.Array, targets_BC: jax.Array, truncation: Truncation) -> tuple[jax.Array, jax.Array]:
    """Log-prob of each target and entropy, both `[B, C]`; the gradient is written by hand."""
    logprobs, _, entropy = _processed(logits_BCV, targets_BC, truncation)[1]
    return logprobs, entropy


def _processed(logits_BCV, targets_BC, truncation):
    """The processed logits; and log-prob of the target, log of the normaliser, and entropy, each `[B, C]`."""
    logits_BCV = process(logits_BCV, truncation, keep=targets_BC)
    log_z = jax.nn.logsumexp(logits_BCV, axis=-1)
    target = jnp.take_along_axis(logits_BCV, targets_BC[..., None], axis=-1)[..., 0]
    p = jnp.exp(logits_BCV - log_z[..., None])
    entropy = log_z - jnp.sum(jnp.where(p > 0, p * logits_BCV, 0.0), axis=-1)  # truncated tokens are 0 * -inf
    return logits_BCV, (target - log_z, log_z, entropy)


def _statistics_forward(logits_BCV, targets_BC, truncation):
    logits, (logprobs, log_z, entropy) = _processed(logits_BCV, targets_BC, truncation)
    return (logprobs, entropy), (logits, targets_BC, log_z, entropy)


def _statistics_backward(truncation, residuals, cotangents):
    logits, targets, log_z, entropy = residuals
    d_logprob, d_entropy = cotangents
    log_p = logits - log_z[..., None]
    p = jnp.exp(log_p)
    hit = jnp.arange(logits.shape[-1]) == targets[..., None]
    # d logp[y] / d z = 1[y] - p ;  d H / d z = -p (log p + H)
    surprise = jnp.where(p > 0, p * (log_p + entropy[..., None]), 0.0)
    d_logits = (d_logprob[..., None] * (hit - p) - d_entropy[..., None] * surprise) / truncation.temperature
    return d_logits, None


_statistics.defvjp(_statistics_forward, _statistics_backward)


def token_logprobs(
    hidden_BTD: jax.Array, table_VD: jax.Array, targets_BT: jax.Array, truncation: Truncation, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """Log-prob of each target and entropy of each position's distribution, both `[B, T]` float32.

    Args:
        hidden_BTD: hidden states after the final norm.
        table_VD: the unembedding table, see `map_logits`.
        targets_BT: int32 ids.
        truncation: the sampler's temperature, top-k and top-p; Truncation() for plain log-probs. Which tokens are
            truncated is taken as constant by the gradient, and a target never is.
        chunk: positions of every row that are treated at a time; `[B, chunk, V]` float32 is the largest array.
    """

    def statistics(logits, targets):
        return _statistics(logits, targets, truncation)

    return map_logits(statistics, hidden_BTD, table_VD, targets_BT, chunk)


def batch_logprobs(
    params: Params, cfg: ModelConfig, batch: Batch, truncation: Truncation, chunk: int
) -> tuple[jax.Array, jax.Array, Output]:
    """One teacher-forced forward pass: log-probs of the batch's targets and entropies, `[B, T]` float32, and it."""
    output = forward(
        params,
        cfg,
        batch.tokens,
        batch.positions,
        batch.segments,
        one_segment=batch.one_segment,
        contexts_BT=batch.contexts,
    )
    return *token_logprobs(output.hidden, unembed_table(params), batch.targets, truncation, chunk), output
