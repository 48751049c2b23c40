"""The batch of an RL step: padded rollouts, their log-probs under policy and reference, and its minibatches."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.core.params import Params
from r1jax.core.sharding import replicated
from r1jax.data.batching import Batch, pad_rollouts, take_rows, to_device
from r1jax.data.types import Rollout
from r1jax.losses.config import GRPOConfig
from r1jax.losses.grpo import token_weights
from r1jax.losses.logprobs import batch_logprobs
from r1jax.models.config import ModelConfig
from r1jax.stages.config import RLConfig

ScoreFunction = Callable[[Params, Batch], np.ndarray]


def make_batch(rollouts: Sequence[Rollout], advantages_PG: np.ndarray, cfg: RLConfig) -> Batch:
    """The rollouts as a host batch, truncated ones with weight 0 under `grpo.mask_truncated`."""
    batch = pad_rollouts(rollouts, advantages_PG.reshape(-1), cfg.batch_bucket)
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


def make_scorer(model: ModelConfig, cfg: RLConfig, mesh: Mesh) -> ScoreFunction:
    """Teacher-forced log-probs `[B, T]` of a batch under given weights, on the host, a microbatch's rows at a time."""

    def score(params: Params, batch: Batch):
        return batch_logprobs(params, model, batch, cfg.sampling.truncation, cfg.logprob_chunk)[0]

    jitted = jax.jit(score, out_shardings=replicated(mesh))

    def score_all(params: Params, batch: Batch) -> np.ndarray:
        parts = np.split(np.arange(batch.tokens.shape[0]), batch.tokens.shape[0] // cfg.rows_at_a_time)
        return np.concatenate([jitted(params, to_device(take_rows(batch, rows), mesh)) for rows in parts])

    return score_all


def with_logprobs(
    batch: Batch, cfg: GRPOConfig, score: ScoreFunction, policy: Params, reference: Params | None
) -> Batch:
    """The batch with the log-probs that the loss needs.

    The reference's where the loss has a KL term; the policy's where it takes several updates on the same rollouts.
    """
    if reference is not None:
        batch = dataclasses.replace(batch, ref_logprobs=score(reference, batch))
    if cfg.needs_old_logprobs:
        batch = dataclasses.replace(batch, old_logprobs=score(policy, batch))
    return batch


def summarise(updates: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
    """One row from the metrics of a step's updates: sums become weighted means, maxima stay, the rest is averaged."""
    row = {}
    for name in updates[0]:
        values = np.array([float(metrics[name]) for metrics in updates])
        if name.endswith("/max"):
            row[name] = float(values.max())
        elif name in ("loss", "grad_norm", "skipped"):
            row[name] = float(values.mean())
        elif name != "weight":
            row[name] = float(values.sum() / max(sum(float(metrics["weight"]) for metrics in updates), 1e-9))
    return row
