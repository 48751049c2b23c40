"""Loss of reward models: -log sigmoid of a margin, over preference pairs or over labelled single responses.

The margin of a pair is r(chosen) - r(rejected), the log-odds of the chosen one in Bradley and Terry's model
(InstructGPT, arXiv 2203.02155, eq. 1). That of a labelled response is its score, negated where it is unsafe: binary
cross-entropy, with the score as the logit of "safe". DeepSeek-R1 (arXiv 2501.12948) trains helpfulness on pairs and
harmlessness on labels.
"""

import jax
import jax.numpy as jnp

from r1jax.core.params import Params
from r1jax.data.batching import PreferenceBatch
from r1jax.models.config import ModelConfig
from r1jax.models.reward import rewards


def margins(scores_BN: jax.Array, safe_B: jax.Array | None) -> jax.Array:
    """Log-odds that the scores give to the data, in nats, `[B]`; below 0 where they disagree with it.

    Args:
        scores_BN: N = 2, chosen and rejected; or N = 1.
        safe_B: 1 or 0 for each single response; None for pairs.
    """
    return scores_BN[:, 0] - scores_BN[:, 1] if safe_B is None else (2 * safe_B - 1) * scores_BN[:, 0]


def log_loss(margins_B: jax.Array, weights_B: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum of -log sigmoid(margin), in nats, and of margins and accuracy (0.5 at margin 0)."""
    right_B = 0.5 * (1 + jnp.sign(margins_B))
    loss = jnp.sum(weights_B * jax.nn.softplus(-margins_B))
    return loss, {"accuracy": jnp.sum(weights_B * right_B), "margin": jnp.sum(weights_B * margins_B)}


def preference_loss(params: Params, cfg: ModelConfig, batch: PreferenceBatch) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`log_loss` of a batch, whose weights sum to 1 over all of it, unsplit. All inputs share one forward pass.

    A mixture of experts gets no balance loss: a reward model's training is short.
    """
    B, N, T = batch.tokens.shape
    scores = rewards(params, cfg, batch.tokens.reshape(B * N, T), batch.lengths.reshape(B * N))
    return log_loss(margins(scores.reshape(B, N), batch.safe), batch.weights)
