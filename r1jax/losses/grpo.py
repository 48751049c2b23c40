"""Group relative policy optimisation (DeepSeekMath, arXiv 2402.03300; DeepSeek-R1, arXiv 2501.12948, eqs. 1-3).

Departures from the papers, all of them options that default to the paper's choice:
  - the ratio's lower and upper clip may differ (DAPO), and a dual clip bounds it where the advantage is negative;
  - besides the mean over each sequence, then over sequences: the token mean (DAPO) and Dr. GRPO's constant divisor;
  - the standard deviation may be left out of the advantage (Dr. GRPO), and a reward out of its own baseline (RLOO);
  - the ratio may be a whole completion's (GSPO), or weigh each token's log-prob as a constant (CISPO);
  - importance weights of tokens or of whole completions correct for a sampler whose probabilities differ from the
    trainer's: truncated (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training"),
    or 0 outside a band (IcePop, in Ling Team, arXiv 2510.18855);
  - an entropy bonus;
  - the divergence from a teacher on the policy's own samples, beside the objective or in its place (on-policy
    distillation: GKD, Agarwal et al., arXiv 2306.13649, eqs. 4 and 5).
The standard deviation is the population's (the papers do not say). A group whose rewards agree to 1e-6 has no signal
and gets advantage 0 instead of a division by the rounding error of its mean.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from r1jax.core.params import Params
from r1jax.data.batching import Batch
from r1jax.losses.auxiliary import AuxiliaryConfig, auxiliary_loss
from r1jax.losses.config import Aggregation, DistillationConfig, GRPOConfig
from r1jax.losses.distillation import divergence
from r1jax.losses.logprobs import batch_logprobs
from r1jax.models.config import ModelConfig
from r1jax.models.layers import segment_sums
from r1jax.models.logits import Truncation
from r1jax.models.transformer import unembed_table


def group_advantages(
    rewards_PG: np.ndarray, normalize_std: bool, baseline: Literal["group", "leave_one_out"] = "group"
) -> np.ndarray:
    """A_i = (r_i - mean(r)) / std(r) within each row, `[P, G]` float32.

    NaN marks an ungradable sample: left out of the mean and the deviation, advantage 0. Fewer than two gradable
    samples, or rewards that agree to 1e-6, give exactly 0.

    Args:
        rewards_PG: rewards of P prompts' groups of G samples.
        normalize_std: divide by the standard deviation.
        baseline: "leave_one_out" subtracts the mean of the others.
    """
    rewards = np.asarray(rewards_PG, np.float64)
    graded = ~np.isnan(rewards)
    counts = np.maximum(graded.sum(axis=1, keepdims=True), 1)
    means = np.where(graded, rewards, 0.0).sum(axis=1, keepdims=True) / counts
    deviations = centred = np.where(graded, rewards - means, 0.0)
    spread = np.where(graded, rewards, -np.inf).max(axis=1) - np.where(graded, rewards, np.inf).min(axis=1)
    signal = (spread > 1e-6)[:, None]
    if baseline == "leave_one_out":  # r_i - (sum - r_i) / (n - 1) = (r_i - mean) n / (n - 1)
        centred = centred * counts / np.maximum(counts - 1, 1)
    std = np.sqrt((deviations**2).sum(axis=1, keepdims=True) / counts) if normalize_std else 1.0
    return np.where(signal, centred / np.where(signal, std, 1.0), 0.0).astype(np.float32)


def token_weights(
    mask_BT: np.ndarray, aggregation: Aggregation, max_tokens: int, trained: np.ndarray | None = None
) -> np.ndarray:
    """Weight of each token in the loss, `[B, T]` float32: the aggregation over a whole (unsplit) minibatch.

    Rows without a token in `mask_BT` (0 or 1) are left out of sum and divisor; without any row all weights are 0.

    Args:
        trained: the number of tokens in the mask of each row of the minibatch, where the rows here are some of them.
    """
    mask = np.asarray(mask_BT, np.float32)
    lengths = mask.sum(axis=1, keepdims=True)
    trained = lengths if trained is None else trained
    rows = max(float((trained > 0).sum()), 1.0)
    if aggregation == "sequence":
        return mask / np.maximum(lengths, 1.0) / rows
    if aggregation == "token":
        return mask / max(float(trained.sum()), 1.0)
    return mask / (rows * max_tokens)


def k3(logprobs: jax.Array, ref_logprobs: jax.Array) -> jax.Array:
    """pi_ref/pi - log(pi_ref/pi) - 1 per token: never negative, unbiased for KL(pi || ref) on samples of pi."""
    log_ratio = ref_logprobs - logprobs
    return jnp.exp(log_ratio) - log_ratio - 1.0


def log_ratios(logprobs: jax.Array, old: jax.Array, batch: Batch, level: Literal["token", "sequence"]) -> jax.Array:
    """log(pi / pi_old) of each token, `[B, T]`; at level "sequence" its mean over the completion's tokens."""
    difference = logprobs - old
    if level == "token":
        return difference
    is_trained = (batch.weights > 0).astype(jnp.float32)
    sums = segment_sums(jnp.stack([difference * is_trained, is_trained], axis=-1), batch.segments)
    return sums[..., 0] / jnp.maximum(sums[..., 1], 1.0)


def surrogate(
    ratio: jax.Array, advantages: jax.Array, cfg: GRPOConfig, logprobs: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """min(ratio A, clip(ratio) A), with the dual clip if configured; and whether a clip is active, 0.0 or 1.0.

    Args:
        logprobs: what "cispo" multiplies with the clipped ratio, taken as constant, and A.
    """
    clipped = jnp.clip(ratio, 1.0 - cfg.clip_low, 1.0 + cfg.clip_high)
    if cfg.surrogate == "cispo":
        return jax.lax.stop_gradient(clipped) * advantages * logprobs, (clipped != ratio).astype(jnp.float32)
    free = ratio * advantages
    value = jnp.minimum(free, clipped * advantages)
    if cfg.dual_clip:
        value = jnp.where(advantages < 0, jnp.maximum(value, cfg.dual_clip * advantages), value)
    return value, (value != free).astype(jnp.float32)


def importance(gap_BT: jax.Array, segments_BT: jax.Array, cfg: GRPOConfig) -> jax.Array:
    """What each token's surrogate is multiplied by, `[B, T]`, to correct for the sampler; see `GRPOConfig`.

    Args:
        gap_BT: trainer's log-prob at sampling time - sampler's; 0 where a token is not trained on.
        segments_BT: a completion's tokens are in one segment, and no other's.
    """
    if cfg.importance_level == "sequence":
        gap_BT = segment_sums(gap_BT[..., None], segments_BT)[..., 0]
    ratio = jnp.exp(gap_BT)
    inside = ratio >= cfg.importance_min
    if cfg.importance_max:
        inside &= ratio <= cfg.importance_max
    return jnp.where(inside, jnp.minimum(ratio, cfg.importance_cap) if cfg.importance_cap else 1.0, 0.0)


def grpo_loss(
    params: Params,
    model: ModelConfig,
    batch: Batch,
    cfg: GRPOConfig,
    truncation: Truncation,
    chunk: int,
    aux: AuxiliaryConfig,
    distillation: DistillationConfig | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The negated GRPO objective, a sum over tokens weighted by `batch.weights` (see `token_weights`), and `aux`.

    With a teacher's distributions `batch.soft_*` it is 1 - weight of that and weight of the divergence between the
    policy and the teacher at each sampled token, over the vocabulary, without temperature and truncation. That they are
    the policy's own samples is nowhere in the gradient: the distribution of texts is taken as given, as in GKD.

    Args:
        truncation: the sampler's, so that log-probs are those of the distribution that was sampled from.
        chunk: see `token_logprobs`.
        aux: weights of the auxiliary losses.
        distillation: how the teacher is learnt from; None: not at all.

    Returns:
        loss and sums to be divided by `weight` (`.../max` entries are maxima): kl, entropy, clip/rate, ratio,
        sampler_gap/mean and /max = |trainer's log-prob at sampling time - sampler's|; with a teacher teacher_kl, the
        divergence from it; where importance has bounds, importance/left_out, the share of tokens beyond them. With
        `batch.stale` the gap's mean and maximum are those of the other tokens, sampler_gap/stale that of the stale
        ones, and stale/weight their weight.
    """
    logprobs, entropy, output = batch_logprobs(params, model, batch, truncation, chunk)
    w = batch.weights
    # Padding's log-probs are real numbers about meaningless tokens; pin them so that no ratio overflows there.
    logprobs = jnp.where(w > 0, logprobs, 0.0)
    old = jax.lax.stop_gradient(logprobs) if batch.old_logprobs is None else jnp.where(w > 0, batch.old_logprobs, 0.0)
    ratio = jnp.exp(log_ratios(logprobs, old, batch, cfg.ratio_level))
    value, clipped = surrogate(ratio, batch.advantages, cfg, logprobs)
    gap = jnp.where(w > 0, old - batch.sampler_logprobs, 0.0)
    size = jnp.abs(gap)
    metrics = {"entropy": entropy, "clip/rate": clipped, "ratio": ratio}
    if batch.stale is not None:
        metrics |= {"sampler_gap/stale": jnp.where(batch.stale, size, 0.0), "stale/weight": batch.stale}
        size = jnp.where(batch.stale, 0.0, size)
    metrics["sampler_gap/mean"] = size
    if cfg.importance_cap or cfg.importance_min or cfg.importance_max:
        correction = importance(gap, batch.segments, cfg)
        value *= correction
        if cfg.importance_min or cfg.importance_max:
            metrics["importance/left_out"] = correction == 0
    per_token = -value - cfg.entropy_bonus * entropy
    if batch.ref_logprobs is not None:
        kl = k3(logprobs, jnp.where(w > 0, batch.ref_logprobs, 0.0))
        per_token += cfg.beta * kl
        metrics["kl"] = kl
    if distillation and batch.soft_ids is not None:
        soft = batch.soft_ids, batch.soft_logprobs
        kl = divergence(output.hidden, unembed_table(params), *soft, distillation.kl, temperature=1.0, chunk=chunk)
        kl = jnp.where(w > 0, kl, 0.0)
        per_token = (1 - distillation.weight) * per_token + distillation.weight * kl
        metrics["teacher_kl"] = kl
    sums = {name: jnp.sum(x * w) for name, x in metrics.items()}
    extra, more = auxiliary_loss(params, model, batch, output, aux, chunk)
    metrics = {**sums, **more, "weight": jnp.sum(w), "sampler_gap/max": jnp.max(size)}
    return jnp.sum(per_token * w) + extra, metrics
