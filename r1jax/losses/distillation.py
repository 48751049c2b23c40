"""Logit distillation (Hinton et al., arXiv 1503.02531): KL divergence of the student from soft targets.

An option beyond the paper, which distils by the teacher's texts alone (arXiv 2501.12948, section 2.4).

Of a teacher's distribution the k most likely tokens are stored; all others together are one outcome, the tail. With p
the teacher's and q the student's probabilities of these k + 1 outcomes, the loss of a target is

    forward:  sum p log(p / q)      covers the modes: likely for the teacher, likely for the student
    reverse:  sum q log(q / p)      seeks a mode: unlikely for the teacher, unlikely for the student

Merging outcomes never raises a KL divergence: this is a lower bound of the divergence over the whole vocabulary, equal
to it where k is the vocabulary size.
"""

import jax
import jax.numpy as jnp

from r1jax.core.params import Params
from r1jax.data.batching import Batch
from r1jax.losses.auxiliary import AuxiliaryConfig, auxiliary_loss
from r1jax.losses.config import Direction, DistillationConfig
from r1jax.losses.logprobs import batch_logprobs, map_logits
from r1jax.models.config import ModelConfig
from r1jax.models.logits import Truncation
from r1jax.models.transformer import unembed_table


def _log_shares(logits_BCV: jax.Array, ids_BCk: jax.Array) -> jax.Array:
    """Log-probs of `ids_BCk` and, where k is below V, of all other tokens together: `[B, C, k + 1]` or k."""
    shares = jnp.take_along_axis(logits_BCV, ids_BCk, axis=-1)
    if ids_BCk.shape[-1] < logits_BCV.shape[-1]:
        # Not as 1 - the sum of the others: rounding would swamp a tail below 1e-7.
        # By vmap, whose scatter stays on the rows' devices; that of put_along_axis gathers the logits of all rows.
        others = jax.vmap(jax.vmap(lambda logits, ids: logits.at[ids].set(-jnp.inf)))(logits_BCV, ids_BCk)
        shares = jnp.concatenate([shares, jax.nn.logsumexp(others, axis=-1, keepdims=True)], axis=-1)
    return shares - jax.nn.logsumexp(logits_BCV, axis=-1, keepdims=True)


def soft_targets(
    hidden_BTD: jax.Array, table_VD: jax.Array, k: int, vocab_size: int, temperature: float, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """A teacher's k most likely tokens at each position: ids `[B, T, k]` int32, log-probs `[B, T, k + 1]` float16.

    The last log-prob is the tail's, -inf where k = `vocab_size`. Rows of the table beyond `vocab_size` are padding and
    are left out. Float16 moves a probability p by at most p |log p| / 2048 < 0.0002, in half of float32's bytes.
    """

    def of_chunk(logits, _):
        logits = jnp.where(jnp.arange(logits.shape[-1]) < vocab_size, logits / temperature, -jnp.inf)
        ids = jax.lax.top_k(logits, k)[1]
        shares = _log_shares(logits, ids)
        missing = k + 1 - shares.shape[-1]
        return ids, jnp.pad(shares, ((0, 0), (0, 0), (0, missing)), constant_values=-jnp.inf).astype(jnp.float16)

    return map_logits(of_chunk, hidden_BTD, table_VD, None, chunk)


def divergence(
    hidden_BTD: jax.Array,
    table_VD: jax.Array,
    ids_BTk: jax.Array,
    logprobs_BTk: jax.Array,
    kl: Direction,
    temperature: float,
    chunk: int,
) -> jax.Array:
    """The KL divergence at each position, in nats, `[B, T]` float32; never negative.

    Args:
        hidden_BTD: the student's hidden states after the final norm.
        table_VD: its unembedding table, see `map_logits`.
        ids_BTk: the teacher's outcomes, see `soft_targets`.
        logprobs_BTk: their log-probs; normalised here, as float16 has rounded them. An outcome of probability 0 (an
            empty tail) is left out.
        temperature: divides the student's logits, as it divided the teacher's.
        chunk: positions of every row that are computed at a time; `[B, chunk, V]` float32 is the largest array,
            recomputed in the backward pass.
    """

    def of_chunk(logits, targets):
        ids, log_p = targets
        log_q = _log_shares(logits / temperature, ids)
        log_p = jax.nn.log_softmax(log_p.astype(jnp.float32)[..., : log_q.shape[-1]])
        possible = log_p > -jnp.inf
        gap = jnp.where(possible, log_p, 0.0) - log_q
        terms = jnp.exp(log_p) * gap if kl == "forward" else -jnp.exp(log_q) * gap
        return jnp.sum(jnp.where(possible, terms, 0.0), axis=-1)

    return map_logits(of_chunk, hidden_BTD, table_VD, (ids_BTk, logprobs_BTk), chunk)


def distillation_loss(
    params: Params,
    cfg: ModelConfig,
    batch: Batch,
    chunk: int,
    aux: AuxiliaryConfig,
    how: DistillationConfig,
    temperature: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum of `cross_entropy_loss` and the divergence from the soft targets `batch.soft_*`, in nats.

    The divergence is multiplied by temperature^2, which keeps its gradient's size (Hinton et al., section 2). Additive
    over rows, as `batch.weights` are. The unembedding is computed twice, once for each term.
    """
    logprobs, entropy, output = batch_logprobs(params, cfg, batch, Truncation(), chunk)
    kl = divergence(
        output.hidden, unembed_table(params), batch.soft_ids, batch.soft_logprobs, how.kl, temperature, chunk
    )
    trained = batch.weights > 0
    cross_entropy = jnp.sum(jnp.where(trained, -logprobs * batch.weights, 0.0))
    kl = jnp.sum(jnp.where(trained, kl * batch.weights, 0.0))
    extra, metrics = auxiliary_loss(params, cfg, batch, output, aux, chunk)
    loss = (1 - how.weight) * cross_entropy + how.weight * temperature**2 * kl + extra
    entropy = jnp.sum(entropy * batch.weights)
    return loss, {"cross_entropy": cross_entropy, "kl": kl, "entropy": entropy, **metrics}
