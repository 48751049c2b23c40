"""The batch of an RL step: rollouts padded and packed, their log-probs under policy and reference, minibatches."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.core.params import Params
from r1jax.core.sharding import replicated
from r1jax.data.batching import Batch, Places, pack_rows, pad_rollouts, take_rows, to_device, unpack_rows
from r1jax.data.types import Rollout
from r1jax.losses.config import GRPOConfig
from r1jax.losses.grpo import token_weights
from r1jax.losses.logprobs import batch_logprobs
from r1jax.models.attention import takes_contexts
from r1jax.models.config import ModelConfig
from r1jax.stages.config import RLConfig

ScoreFunction = Callable[[Sequence[Params], Batch], list[np.ndarray]]


def make_batch(rollouts: Sequence[Rollout], advantages_PG: np.ndarray, cfg: RLConfig, step: int = 0) -> Batch:
    """The rollouts as the host batch of a step, truncated ones with weight 0 under `grpo.mask_truncated`."""
    batch = pad_rollouts(rollouts, advantages_PG.reshape(-1), cfg.batch_bucket, step)
    if not cfg.grpo.mask_truncated:
        return batch
    complete = np.array([[rollout.finish == "stop"] for rollout in rollouts], np.float32)
    return dataclasses.replace(batch, weights=batch.weights * complete)


def minibatches(batch: Batch, cfg: GRPOConfig, max_tokens: int, seed: int, step: int) -> Iterator[Batch]:
    """Splits a step's rows at random, differently in each inner epoch, and sets each minibatch's token weights."""
    rows = batch.tokens.shape[0]
    for epoch in range(cfg.inner_epochs):
        order = np.random.default_rng([seed, step, epoch]).permutation(rows)
        for part in np.split(order, cfg.minibatches):
            rows_of_part = take_rows(batch, part)
            weights = token_weights(rows_of_part.weights, cfg.aggregation, max_tokens)
            yield dataclasses.replace(rows_of_part, weights=weights)


def packed(batch: Batch, cfg: RLConfig, model: ModelConfig, mesh: Mesh) -> tuple[Batch, Places | None]:
    """The batch as it is computed: packed where `packing` asks for it and a microbatch is saved, see `pack_rows`.

    A group's prompt is shared where attention takes contexts and nothing else looks at whole rollouts: neither
    routers' statistics nor multi-token prediction.
    """
    if not cfg.packing:
        return batch, None
    shares = takes_contexts(mesh.devices.flat[0].platform) and model.moe is None and not model.mtp_depth
    return pack_rows(batch, batch.tokens.shape[0] // cfg.rows_at_a_time, share_prompts=shares)


def make_scorer(model: ModelConfig, cfg: RLConfig, mesh: Mesh) -> ScoreFunction:
    """Teacher-forced log-probs `[B, T]` of a padded batch under each of several weights, on the host.

    The batch is packed, and a microbatch's rows are computed at a time.
    """

    def score(weights: Sequence[Params], batch: Batch):
        return [batch_logprobs(each, model, batch, cfg.sampling.truncation, cfg.logprob_chunk)[0] for each in weights]

    jitted = jax.jit(score, out_shardings=replicated(mesh))
    return lambda weights, batch: in_parts(lambda rows: jitted(weights, rows), batch, cfg, model, mesh)


def in_parts(
    compute: Callable[[Batch], Sequence[jax.Array]], batch: Batch, cfg: RLConfig, model: ModelConfig, mesh: Mesh
) -> list[np.ndarray]:
    """What a model computes of a padded batch, `[B, T, ...]` on the host: packed, a microbatch's rows at a time.

    Args:
        compute: of rows `[b, T]` on the devices, arrays `[b, T, ...]`.
        model: the one that `compute` runs.
    """
    rows, places = packed(batch, cfg, model, mesh)
    parts = rows.tokens.shape[0] // cfg.rows_at_a_time
    computed = {
        part: compute(to_device(take_rows(rows, np.s_[part::parts]), mesh))
        for part in range(parts)
        if rows.segments[part::parts].any()
    }
    some = next(iter(computed.values()))
    whole = [np.zeros((*rows.tokens.shape, *each.shape[2:]), each.dtype) for each in some]
    for part, values in computed.items():
        for each, of_part in zip(whole, values, strict=True):
            each[part::parts] = of_part
    return whole if places is None else [unpack_rows(each, places) for each in whole]


def with_logprobs(
    batch: Batch, cfg: GRPOConfig, score: ScoreFunction, policy: Params, reference: Params | None
) -> Batch:
    """The batch with the log-probs that the loss needs.

    The reference's where the loss has a KL term; the policy's where it takes several updates on the same rollouts.
    """
    weights = {} if reference is None else {"ref_logprobs": reference}
    if cfg.needs_old_logprobs:
        weights["old_logprobs"] = policy
    if not weights:
        return batch
    return dataclasses.replace(batch, **dict(zip(weights, score(list(weights.values()), batch), strict=True)))


def summarise(updates: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
    """One row from the metrics of a step's updates: sums become weighted means, maxima stay, the rest is averaged.

    The sampler's gap is a mean over the tokens of this step's policy, and one over those of earlier ones.
    """
    row = {}
    for name in updates[0]:
        values = np.array([float(metrics[name]) for metrics in updates])
        if name.endswith("/max"):
            row[name] = float(values.max())
        elif name in ("loss", "grad_norm", "skipped", "skipped_spike"):
            row[name] = float(values.mean())
        elif name != "weight":
            row[name] = float(values.sum() / max(sum(float(metrics["weight"]) for metrics in updates), 1e-9))
    if "stale/weight" in row:
        stale = row.pop("stale/weight")
        row["sampler_gap/mean"] /= max(1.0 - stale, 1e-9)
        row["sampler_gap/stale"] /= max(stale, 1e-9)
    return row
