"""Cross-entropy loss of pretraining, SFT and distillation, over the tokens with weight."""

import jax
import jax.numpy as jnp

from r1jax.core.params import Params
from r1jax.data.batching import Batch
from r1jax.losses.auxiliary import AuxiliaryConfig, auxiliary_loss
from r1jax.losses.logprobs import batch_logprobs
from r1jax.models.config import ModelConfig
from r1jax.models.logits import Truncation


def cross_entropy_loss(
    params: Params, cfg: ModelConfig, batch: Batch, chunk: int, aux: AuxiliaryConfig
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Weighted sum of -log p(target), in nats, with `batch.weights` summing to 1 over the whole (unsplit) batch.

    The auxiliary losses that `aux` weighs are added.
    """
    logprobs, entropy, output = batch_logprobs(params, cfg, batch, Truncation(), chunk)
    loss = jnp.sum(jnp.where(batch.weights > 0, -logprobs * batch.weights, 0.0))
    extra, metrics = auxiliary_loss(params, cfg, batch, output, aux, chunk)
    return loss + extra, {"entropy": jnp.sum(entropy * batch.weights), **metrics}
