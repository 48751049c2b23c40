"""Loss of process reward models: binary cross-entropy at the ends of steps (arXiv 2312.08935, eq. 2).

A label is 1 for a right step and 0 for a wrong one, or the share of completions from it that are right (section 3.3,
hard and soft estimation). The score is the logit of the chance of "right".
"""

import jax
import jax.numpy as jnp

from r1jax.core.params import Params
from r1jax.data.batching import StepLabelBatch
from r1jax.models.config import ModelConfig
from r1jax.models.reward import position_rewards


def step_log_loss(scores: jax.Array, targets: jax.Array, weights: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum of cross-entropies, in nats, and of the accuracy: score and target on one side of even odds.

    Args:
        scores: logits, of any shape.
        targets: 0 to 1, of the same shape; 0.5 counts half right.
        weights: of the same shape.
    """
    loss = jnp.sum(weights * (jax.nn.softplus(scores) - targets * scores))
    right = 0.5 * (1 + jnp.sign(scores) * jnp.sign(targets - 0.5))
    return loss, {"accuracy": jnp.sum(weights * right), "target": jnp.sum(weights * targets)}


def process_reward_loss(
    params: Params, cfg: ModelConfig, batch: StepLabelBatch
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`step_log_loss` of a batch, whose weights sum to 1 over all of it, unsplit."""
    scores_BT = position_rewards(params, cfg, batch.tokens, batch.lengths)
    return step_log_loss(scores_BT, batch.targets, batch.weights)
