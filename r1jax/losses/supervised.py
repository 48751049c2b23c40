"""Cross-entropy on the trained-on tokens: pretraining, SFT and distillation."""

import jax
import jax.numpy as jnp

from r1jax.core.params import Params
from r1jax.data.batching import Batch
from r1jax.losses.auxiliary import AuxiliaryConfig, auxiliary_loss
from r1jax.losses.logprobs import token_logprobs
from r1jax.models.config import ModelConfig
from r1jax.models.logits import Truncation
from r1jax.models.transformer import Output, forward, unembed_table


def batch_logprobs(
    params: Params, cfg: ModelConfig, batch: Batch, truncation: Truncation, chunk: int
) -> tuple[jax.Array, jax.Array, Output]:
    """One teacher-forced forward pass: log-probs of the batch's targets and entropies, `[B, T]` float32, and it."""
    output = forward(params, cfg, batch.tokens, batch.positions, batch.segments)
    table = unembed_table(params).astype(cfg.dtype)
    return *token_logprobs(output.hidden, table, batch.targets, truncation, chunk), output


def cross_entropy_loss(
    params: Params, cfg: ModelConfig, batch: Batch, chunk: int, aux: AuxiliaryConfig
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Weighted sum of -log p(target), in nats, with `batch.weights` summing to 1 over the whole (unsplit) batch.

    What `aux` asks for is added to it.
    """
    logprobs, entropy, output = batch_logprobs(params, cfg, batch, Truncation(), chunk)
    loss = jnp.sum(jnp.where(batch.weights > 0, -logprobs * batch.weights, 0.0))
    extra, metrics = auxiliary_loss(params, cfg, batch, output, aux, chunk)
    return loss + extra, {"entropy": jnp.sum(entropy * batch.weights), **metrics}
