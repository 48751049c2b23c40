"""Host records -> the arrays an update trains on: pad, pack, split."""

import dataclasses
from collections.abc import Iterable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.core import sharding
from r1jax.data.types import Rollout

Example = tuple[Sequence[int], Sequence[int]]  # token ids, and 1 for each that is trained on


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """What an update trains on. B rows of T tokens; position t predicts `targets[:, t]` from `tokens[:, :t + 1]`.

    Attributes:
        tokens: `[B, T]` int32 inputs.
        targets: `[B, T]` int32, the next token at each position.
        positions: `[B, T]` int32, counted within each segment.
        segments: `[B, T]` int32; a token attends only within its segment; 0 is padding.
        weights: `[B, T]` float32, how much each target counts in the loss; 0 where it is not trained on. They are set
            for the whole batch, so any split of its rows sums to the same loss and the same gradient.
        advantages: `[B]` float32, or None outside RL.
        sampler_logprobs: `[B, T]` float32 as the sampler reported them, or None outside RL.
        old_logprobs: `[B, T]` float32 of the policy that the ratio is taken against; None when that is the policy
            being differentiated (one update a rollout: the ratio is 1).
        ref_logprobs: `[B, T]` float32 of the reference model, or None when there is no KL term.
    """

    tokens: jax.Array
    targets: jax.Array
    positions: jax.Array
    segments: jax.Array
    weights: jax.Array
    advantages: jax.Array | None = None
    sampler_logprobs: jax.Array | None = None
    old_logprobs: jax.Array | None = None
    ref_logprobs: jax.Array | None = None


def pack(examples: Iterable[Example], rows: int, length: int) -> tuple[Batch, int]:
    """Packs examples first-fit into `rows` rows of `length` tokens; their targets weigh the same and sum to 1.

    Example i of a row is its segment i + 1, with positions from 0. An example longer than a row is cut.

    Returns:
        the batch, and how many examples found no room.
    """
    fields = {name: np.zeros((rows, length), np.int32) for name in ("tokens", "targets", "positions", "segments")}
    trained = np.zeros((rows, length), np.float32)
    used, count, left_over = [0] * rows, [0] * rows, 0
    for ids, mask in examples:
        n = max(min(len(ids) - 1, length), 0)
        row = next((r for r in range(rows) if used[r] + n <= length), None)
        if row is None:
            left_over += 1
            continue
        at = slice(used[row], used[row] + n)
        count[row] += 1
        used[row] += n
        fields["tokens"][row, at] = ids[:n]
        fields["targets"][row, at] = ids[1 : n + 1]
        fields["positions"][row, at] = np.arange(n)
        fields["segments"][row, at] = count[row]
        trained[row, at] = mask[1 : n + 1]
    return Batch(weights=trained / max(trained.sum(), 1.0), **fields), left_over


def pad_rollouts(rollouts: Sequence[Rollout], advantages: np.ndarray, bucket: int) -> Batch:
    """One rollout a row, prompt then completion, right-padded to a multiple of `bucket` tokens.

    Weights are 1 on the sampled tokens, the end-of-sequence token included, and come from lengths, never from a pad
    id, which may equal the end of sequence; `losses.grpo.token_weights` turns them into the aggregation's.
    """
    rows = len(rollouts)
    longest = max(len(r.prompt.ids) + len(r.ids) - 1 for r in rollouts)
    length = -(-longest // bucket) * bucket
    fields = {name: np.zeros((rows, length), np.int32) for name in ("tokens", "targets", "segments")}
    weights, logprobs = np.zeros((rows, length), np.float32), np.zeros((rows, length), np.float32)
    for row, rollout in enumerate(rollouts):
        prompt, n = len(rollout.prompt.ids), len(rollout.prompt.ids) + len(rollout.ids) - 1
        ids = np.concatenate([np.asarray(rollout.prompt.ids, np.int32), rollout.ids])
        fields["tokens"][row, :n], fields["targets"][row, :n] = ids[:-1], ids[1:]
        fields["segments"][row, :n] = 1
        weights[row, prompt - 1 : n] = 1.0
        logprobs[row, prompt - 1 : n] = rollout.logprobs
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), (rows, length))
    return Batch(positions=positions, weights=weights, advantages=advantages.astype(np.float32),
                 sampler_logprobs=logprobs, **fields)


def take_rows(batch: Batch, rows: np.ndarray) -> Batch:
    """The given rows of a host batch."""
    return jax.tree.map(lambda x: x[rows], batch)


def to_device(batch: Batch, mesh: Mesh, rules: sharding.AxisRules = sharding.TRAIN_RULES) -> Batch:
    """Places a host batch on the mesh, rows cut over the batch axes.

    Raises:
        ValueError: the rows do not divide over the mesh.
    """
    rows, ways = batch.tokens.shape[0], sharding.batch_ways(mesh)
    if rows % ways:
        raise ValueError(f"{rows} rows do not divide over {' x '.join(sharding.BATCH)} = {ways}; change the batch size "
                         "or config.mesh")  # fmt: skip
    return sharding.place(batch, lambda x: rules.sharding(mesh, ("batch",) + (None,) * (x.ndim - 1)))
