"""The batch of an RL step: rollouts padded and packed, their log-probs under policy and reference, minibatches."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES
from r1jax.core.shares import ALL_ROWS, Shares, gather, own_rows, rows_sharding
from r1jax.data.batching import Batch, Places, pack_rows, pad_rollouts, take_rows, to_device, unpack_rows
from r1jax.data.types import Rollout
from r1jax.losses.config import GRPOConfig
from r1jax.losses.grpo import token_weights
from r1jax.losses.logprobs import batch_logprobs
from r1jax.models.attention import takes_contexts
from r1jax.models.config import ModelConfig
from r1jax.stages.config import RLConfig

ScoreFunction = Callable[[Sequence[Params], Batch], list[np.ndarray]]


def make_batch(
    rollouts: Sequence[Rollout], advantages_PG: np.ndarray, cfg: RLConfig, step: int = 0, longest: int = 0
) -> Batch:
    """The rollouts as the host batch of a step, truncated ones with weight 0 under `grpo.mask_truncated`.

    Args:
        longest: as of `pad_rollouts`.
    """
    batch = pad_rollouts(rollouts, advantages_PG.reshape(-1), cfg.batch_bucket, step, longest)
    if not cfg.grpo.mask_truncated:
        return batch
    complete = np.array([[rollout.finish == "stop"] for rollout in rollouts], np.float32)
    return dataclasses.replace(batch, weights=batch.weights * complete)


def minibatches(
    batch: Batch,
    cfg: GRPOConfig,
    max_tokens: int,
    seed: int,
    step: int,
    trained: np.ndarray | None = None,
    shares: Shares = ALL_ROWS,
) -> Iterator[Batch]:
    """Splits a step's rows at random, differently in each inner epoch, and sets each minibatch's token weights.

    Of each `cfg.minibatches` rows that follow each other, every minibatch gets one: samples of a question go to
    different ones, and a row stays in its process, while which rows a minibatch has depends neither on the mesh nor on
    the number of processes.

    Args:
        batch: the rows of this process's share.
        trained: `[B]`, tokens with a weight in each row of the step; None: the batch has all rows.
    """
    trained = batch.weights.sum(axis=1) if trained is None else trained
    rows, first = np.arange(len(trained)).reshape(-1, cfg.minibatches), shares.index * batch.tokens.shape[0]
    for epoch in range(cfg.inner_epochs):
        order = np.random.default_rng([seed, step, epoch]).permuted(rows, axis=1)
        for part in order.T:
            own = take_rows(batch, shares.own(part) - first)
            weights = token_weights(own.weights, cfg.aggregation, max_tokens, trained[part])
            yield dataclasses.replace(own, weights=weights)


def packed(
    batch: Batch, cfg: RLConfig, model: ModelConfig, mesh: Mesh, shares: Shares = ALL_ROWS
) -> tuple[Batch, Places | None]:
    """The batch as it is computed: packed where `packing` asks for it and a microbatch is saved, see `pack_rows`.

    A group's prompt is shared where attention takes contexts and nothing else looks at whole rollouts: neither
    routers' statistics nor multi-token prediction. Each process packs its own rows, and all or none do.
    """
    if not cfg.packing:
        return batch, None
    one_prompt = takes_contexts(mesh.devices.flat[0].platform) and model.moe is None and not model.mtp_depth
    parts = batch.tokens.shape[0] * shares.count // cfg.rows_at_a_time
    rows, places = pack_rows(batch, parts, share_prompts=one_prompt)
    return (rows, places) if all(gather(places is not None, shares)) else (batch, None)


def make_scorer(model: ModelConfig, cfg: RLConfig, mesh: Mesh, shares: Shares = ALL_ROWS) -> ScoreFunction:
    """Teacher-forced log-probs `[B, T]` of a padded batch under each of several weights, on the host.

    The batch, this process's rows, is packed, and a microbatch's rows are computed at a time.
    """

    program = compile_score(model, cfg, mesh, shares)
    return lambda weights, batch: in_parts(lambda rows: program(weights, rows), batch, cfg, model, mesh, shares)


def compile_score(
    model: ModelConfig, cfg: RLConfig, mesh: Mesh, shares: Shares = ALL_ROWS
) -> Callable[[Sequence[Params], Batch], list[jax.Array]]:
    """The jitted function from several weights and the rows `[b, T]` of a microbatch to log-probs under each."""

    def score(weights: Sequence[Params], batch: Batch):
        return [batch_logprobs(each, model, batch, cfg.sampling.truncation, cfg.logprob_chunk)[0] for each in weights]

    return jax.jit(score, out_shardings=rows_sharding(mesh, TRAIN_RULES, shares))


def in_parts(
    compute: Callable[[Batch], Sequence[jax.Array]],
    batch: Batch,
    cfg: RLConfig,
    model: ModelConfig,
    mesh: Mesh,
    shares: Shares = ALL_ROWS,
) -> list[np.ndarray]:
    """What a model computes of a padded batch, `[B, T, ...]` on the host: packed, a microbatch's rows at a time.

    Args:
        compute: of rows `[b, T]` on the devices, arrays `[b, T, ...]` in `rows_sharding`.
        model: the one that `compute` runs.
    """
    rows, places = packed(batch, cfg, model, mesh, shares)
    parts = rows.tokens.shape[0] * shares.count // cfg.rows_at_a_time
    # Parts are filled one after the other, in one process more of them than in another; none where no row has a weight.
    filled = max(1, *gather(sum(rows.segments[part::parts].any() for part in range(parts)), shares))
    computed = [compute(to_device(take_rows(rows, np.s_[part::parts]), mesh, shares)) for part in range(filled)]
    whole = [np.zeros((*rows.tokens.shape, *each.shape[2:]), each.dtype) for each in computed[0]]
    for part, values in enumerate(computed):
        for each, of_part in zip(whole, values, strict=True):
            each[part::parts] = own_rows(of_part, shares)
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
