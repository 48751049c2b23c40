"""Batches: rollouts and examples padded, packed and split into the arrays that an update trains on."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from r1jax.core import sharding
from r1jax.core.shares import ALL_ROWS, Shares, place_rows
from r1jax.data.types import Example, Rollout

# A teacher's distributions, one for each target trained on, in order: ids [n, k], log-probs [n, k + 1], see `Batch`.
Soft = tuple[np.ndarray, np.ndarray]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """The input of an update. B rows of T tokens; position t predicts `targets[:, t]` from `tokens[:, :t + 1]`.

    Attributes:
        tokens: `[B, T]` int32 inputs.
        targets: `[B, T]` int32, the next token at each position.
        positions: `[B, T]` int32, counted within each segment.
        segments: `[B, T]` int32; a token attends only within its segment; 0 is padding.
        weights: `[B, T]` float32, how much each target counts in the loss; 0 where it is not trained on. They are set
            for the whole batch, so any split of its rows sums to the same loss and the same gradient.
        advantages: `[B, T]` float32, at each token that of its rollout; or None outside RL.
        sampler_logprobs: `[B, T]` float32 as the sampler reported them, or None outside RL.
        stale: `[B, T]` bool, whether an earlier step's policy drew the target; None: this step's drew all.
        old_logprobs: `[B, T]` float32 of the policy that the ratio is taken against; None when that is the policy
            being differentiated (one update a rollout: the ratio is 1).
        ref_logprobs: `[B, T]` float32 of the reference model, or None when there is no KL term.
        soft_ids: `[B, T, k]` int32, a teacher's most likely tokens in the place of each target; or None.
        soft_logprobs: `[B, T, k + 1]` float16 log-probs that it gives them and, last, all other tokens together; or
            None.
        contexts: `[B, T]` int32, a segment of the row that the token attends to besides its own, a prompt that several
            completions share; its own where it has none. None: no token has one.
        one_segment: static; whether every row is one segment, padded on the right. Causality alone then hides from a
            token what it must not see, and attention needs no segments.
    """

    tokens: jax.Array
    targets: jax.Array
    positions: jax.Array
    segments: jax.Array
    weights: jax.Array
    advantages: jax.Array | None = None
    sampler_logprobs: jax.Array | None = None
    stale: jax.Array | None = None
    old_logprobs: jax.Array | None = None
    ref_logprobs: jax.Array | None = None
    soft_ids: jax.Array | None = None
    soft_logprobs: jax.Array | None = None
    contexts: jax.Array | None = None
    one_segment: bool = dataclasses.field(default=False, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PreferenceBatch:
    """The input of a reward model's update: B rows of N inputs of T tokens; N = 2 for pairs, else 1.

    Attributes:
        tokens: `[B, N, T]` int32; of a pair the chosen input comes first.
        lengths: `[B, N]` int32, the tokens of each input, at least 1. They alone say what is padding.
        weights: `[B]` float32, how much each row counts in the loss; 0 for a row to spare. They are set for the whole
            batch, as those of `Batch` are.
        safe: `[B]` float32, 1 for a response that is safe, 0 for one that is not; None for pairs.
    """

    tokens: jax.Array
    lengths: jax.Array
    weights: jax.Array
    safe: jax.Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StepLabelBatch:
    """The input of a process reward model's update: B responses with their prompts, of T tokens.

    Attributes:
        tokens: `[B, T]` int32.
        lengths: `[B]` int32, the tokens of each, at least 1. They alone say what is padding.
        targets: `[B, T]` float32, 0 to 1, the label of the step that ends at a token.
        weights: `[B, T]` float32, how much that label counts in the loss; 0 where no step ends, or it has no label.
            They are set for the whole batch.
    """

    tokens: jax.Array
    lengths: jax.Array
    targets: jax.Array
    weights: jax.Array


AnyBatch = TypeVar("AnyBatch", Batch, PreferenceBatch, StepLabelBatch)


def size(example: Example, length: int) -> int:
    """Tokens of a row that an example takes."""
    return size_of(len(example[0]), length)


def size_of(tokens: int, length: int) -> int:
    """Tokens of a row that an example of so many takes: its last is only a target, and one longer than a row is cut."""
    return max(min(tokens - 1, length), 0)


class Rows:
    """Rows of `length` tokens that fill up: each example goes to the first in which it fits."""

    def __init__(self, rows: int, length: int):
        self._used, self._length = np.zeros(rows, np.int64), length

    def place(self, tokens: int, among: Sequence[int] | None = None) -> tuple[int, int] | None:
        """The row, of all or of some, and the column where the next example begins; None: it fits in no row."""
        fits = self._used + tokens <= self._length
        free = np.flatnonzero(fits) if among is None else [row for row in among if fits[row]]
        if not len(free):
            return None
        row = int(free[0])
        column = int(self._used[row])
        self._used[row] += tokens
        return row, column


def fill(sizes: Iterable[int], rows: int, length: int) -> Iterator[int]:
    """Deals examples, in order, to batches, each of which ends before the first that does not fit: none is lost.

    Yields:
        at which example each batch begins, and, where the sizes end, how many there are.
    """
    yield 0
    batch, end = Rows(rows, length), 0
    for end, tokens in enumerate(sizes, 1):
        if batch.place(tokens) is None:
            yield end - 1
            batch = Rows(rows, length)
            batch.place(tokens)
    yield end


def pack(examples: Iterable[Example], rows: int, length: int, soft: Sequence[Soft] = ()) -> tuple[Batch, int]:
    """Packs examples first-fit into `rows` rows of `length` tokens; their targets weigh the same and sum to 1.

    Example i of a row is its segment i + 1, with positions from 0. An example longer than a row is cut.

    Args:
        soft: a teacher's distributions of each example, for all of them or for none.

    Returns:
        the batch, and the number of examples that did not fit.
    """
    fields = {name: np.zeros((rows, length), np.int32) for name in ("tokens", "targets", "positions", "segments")}
    if soft:
        k = soft[0][0].shape[1]
        fields["soft_ids"] = np.zeros((rows, length, k), np.int32)
        fields["soft_logprobs"] = np.zeros((rows, length, k + 1), np.float16)
    trained = np.zeros((rows, length), np.float32)
    places, count, left_over = Rows(rows, length), [0] * rows, 0
    for (ids, mask), words in zip(examples, soft or itertools.repeat(None), strict=bool(soft)):
        n = size((ids, mask), length)
        place = places.place(n)
        if place is None:
            left_over += 1
            continue
        row, column = place
        at = slice(column, column + n)
        count[row] += 1
        fields["tokens"][row, at] = ids[:n]
        fields["targets"][row, at] = ids[1 : n + 1]
        fields["positions"][row, at] = np.arange(n)
        fields["segments"][row, at] = count[row]
        trained[row, at] = mask[1 : n + 1]
        if words:
            where = column + np.flatnonzero(mask[1 : n + 1])
            fields["soft_ids"][row, where], fields["soft_logprobs"][row, where] = (w[: len(where)] for w in words)
    return Batch(weights=trained / max(trained.sum(), 1.0), **fields), left_over


def unpack(values: Sequence[np.ndarray], examples: Iterable[Example]) -> Iterator[tuple[np.ndarray, ...]]:
    """The inverse of `pack`: of each example its targets' values, in order, from arrays `[rows, length, ...]`.

    Examples are those of one batch, all of which fit; a target that is not trained on has no value.
    """
    places = Rows(*values[0].shape[:2])
    for example in examples:
        n = size(example, values[0].shape[1])
        row, column = places.place(n)
        where = column + np.flatnonzero(example[1][1 : n + 1])
        yield tuple(value[row, where] for value in values)


def row_length(tokens: int, bucket: int) -> int:
    """The smallest of few lengths that holds `tokens`: `bucket` times 1 to 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, ...

    A program is compiled for each length that occurs. From 16 buckets to 512 there are 21 of them, and none is more
    than a quarter longer than it need be.
    """
    buckets = max(-(-tokens // bucket), 1)
    step = 2 ** max((buckets - 1).bit_length() - 3, 0)
    return -(-buckets // step) * step * bucket


def pad_rollouts(
    rollouts: Sequence[Rollout], advantages: np.ndarray, bucket: int, step: int = 0, longest: int = 0
) -> Batch:
    """One rollout a row, prompt then completion, right-padded to the `row_length` of the longest.

    Weights are 1 on the sampled tokens, the end-of-sequence token included, and come from lengths, never from a pad
    id, which may equal the end of sequence; `losses.grpo.token_weights` turns them into the aggregation's.

    Args:
        advantages: `[B]`, of each rollout.
        step: that trains on them, where they have versions.
        longest: tokens of the longest row, where that may be among others than these.
    """
    rows = len(rollouts)
    length = row_length(longest or max(len(r.prompt.ids) + len(r.ids) - 1 for r in rollouts), bucket)
    fields = {name: np.zeros((rows, length), np.int32) for name in ("tokens", "targets", "segments")}
    values = {name: np.zeros((rows, length), np.float32) for name in ("weights", "advantages", "sampler_logprobs")}
    if rollouts[0].versions is not None:
        values["stale"] = np.zeros((rows, length), bool)
    for row, rollout in enumerate(rollouts):
        prompt, n = len(rollout.prompt.ids), len(rollout.prompt.ids) + len(rollout.ids) - 1
        ids = np.concatenate([np.asarray(rollout.prompt.ids, np.int32), rollout.ids])
        fields["tokens"][row, :n], fields["targets"][row, :n] = ids[:-1], ids[1:]
        fields["segments"][row, :n] = 1
        values["weights"][row, prompt - 1 : n] = 1.0
        values["advantages"][row, :n] = advantages[row]
        values["sampler_logprobs"][row, prompt - 1 : n] = rollout.logprobs
        if rollout.versions is not None:
            values["stale"][row, prompt - 1 : n] = rollout.versions < step
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), (rows, length))
    return Batch(positions=positions, one_segment=True, **fields, **values)


# Where each row of a padded batch lies in a packed one: the source and the target of its tokens.
Places = list[tuple[tuple[int, slice], tuple[int, slice]]]


def _moved(values: np.ndarray, places: Places) -> np.ndarray:
    moved = np.zeros_like(values)
    for source, target in places:
        moved[target] = values[source]
    return moved


def _shared_prompts(batch: Batch) -> tuple[list[bytes], np.ndarray]:
    """A key of each row's prompt, the same for rows of the same, and how many tokens of it another row has too, `[B]`.

    The prompt's last token is not among them: the first sampled token is its target, and differs.
    """
    trained = np.asarray(batch.weights) > 0
    starts = np.where(trained.any(axis=1), trained.argmax(axis=1), 0)
    keys = [tokens[:start].tobytes() for tokens, start in zip(np.asarray(batch.tokens), starts, strict=True)]
    count = collections.Counter(keys)
    return keys, np.array([start if count[key] > 1 else 0 for key, start in zip(keys, starts, strict=True)])


def pack_rows(batch: Batch, parts: int, share_prompts: bool = False) -> tuple[Batch, Places | None]:
    """Packs the rows of a padded batch several to a row, if that leaves at least one of `parts` without a token.

    The longest goes first, each to the first row with room for it. The shape stays, so that no number of filled rows
    is compiled anew. Part p is the rows p, p + parts, ..., as `training.step.accumulate` has it; the parts are filled
    one after the other, and an empty one is not computed.

    Args:
        share_prompts: a group's completions that come to the same row have their prompt there once, as the context of
            each; rows of one prompt are placed one after the other, and those without a weight left out.

    Returns:
        the packed batch, and where each row went, for `unpack_rows`; or the batch itself and None.
    """
    sizes = (np.asarray(batch.segments) > 0).sum(axis=1)
    count, length = batch.tokens.shape
    of_a_part = count // parts
    rows, places = Rows(count, length), []
    segments, contexts = np.zeros((count, length), np.int32), np.zeros((count, length), np.int32)
    used, last_segment = 0, [0] * count
    keys, shared = list(range(count)), np.zeros(count, int)
    if share_prompts:
        keys, shared = _shared_prompts(batch)
        sizes[~np.asarray(batch.weights).any(axis=1)] = 0
    longest: dict[Any, int] = collections.defaultdict(int)  # of the rows of a prompt
    for key, size in zip(keys, sizes.tolist(), strict=True):
        longest[key] = max(longest[key], size)
    holders: dict[Any, dict[int, int]] = collections.defaultdict(dict)  # prompt -> row that holds it -> its segment

    def put(at: int, piece: slice, row: int, column: int, context: int) -> int:
        """Places a part of row `at` as the next segment of a row, whose number it returns."""
        target = row % of_a_part * parts + row // of_a_part, slice(column, column + piece.stop - piece.start)
        last_segment[row] += 1
        segments[target], contexts[target] = last_segment[row], context or last_segment[row]
        places.append(((at, piece), target))
        return last_segment[row]

    for at in sorted(range(count), key=lambda at: (-longest[keys[at]], keys[at], -sizes[at])):
        prompt, size, held = int(shared[at]), int(sizes[at]), holders[keys[at]]
        if not size:
            continue
        if (place := rows.place(size - prompt, among=list(held))) is None:
            row, column = rows.place(size)
            if prompt:
                held[row] = put(at, slice(0, prompt), row, column, 0)
            place = row, column + prompt
        row, column = place
        put(at, slice(prompt, size), row, column, held.get(row, 0))
        used = max(used, row + 1)
    if used > count - of_a_part:
        return batch, None
    packed = jax.tree.map(lambda x: _moved(x, places), batch)
    shares = {"contexts": contexts} if share_prompts else {}
    return dataclasses.replace(packed, segments=segments, one_segment=False, **shares), places


def unpack_rows(values: np.ndarray, places: Places) -> np.ndarray:
    """The inverse of `pack_rows` for an array `[B, T, ...]` of the packed batch; 0 in padding, and in a prompt that
    another row has given."""
    return _moved(values, [(target, source) for source, target in places])


def pad_inputs(
    inputs: Sequence[Sequence[Sequence[int]]], safe: Sequence[bool] | None, rows: int, bucket: int
) -> PreferenceBatch:
    """The ids of each row's inputs, right-padded to a multiple of `bucket` tokens; every row weighs the same.

    Args:
        inputs: N inputs for each row, at least one row and at most `rows`; what is missing are rows without weight.
        safe: see `PreferenceBatch`, one for each row of `inputs`; None for pairs.
    """
    longest = max(len(ids) for row in inputs for ids in row)
    tokens = np.zeros((rows, len(inputs[0]), -(-longest // bucket) * bucket), np.int32)
    lengths, weights = np.ones(tokens.shape[:2], np.int32), np.zeros(rows, np.float32)
    for at, row in enumerate(inputs):
        for n, ids in enumerate(row):
            tokens[at, n, : len(ids)], lengths[at, n] = ids, len(ids)
    weights[: len(inputs)] = 1 / len(inputs)
    labels = None if safe is None else np.pad(np.asarray(safe, np.float32), (0, rows - len(inputs)))
    return PreferenceBatch(tokens, lengths, weights, labels)


def pad_steps(
    inputs: Sequence[tuple[Sequence[int], Sequence[int], Sequence[float]]], rows: int, bucket: int
) -> StepLabelBatch:
    """The ids of labelled responses, right-padded to a multiple of `bucket` tokens; every label weighs the same.

    Args:
        inputs: of each response its ids, the positions where labelled steps end, and their targets; at least one
            response, and at most `rows`; what is missing are rows without weight.
    """
    shape = rows, -(-max(len(ids) for ids, _, _ in inputs) // bucket) * bucket
    tokens, lengths = np.zeros(shape, np.int32), np.ones(rows, np.int32)
    labels, weights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for row, (ids, ends, targets) in enumerate(inputs):
        tokens[row, : len(ids)], lengths[row] = ids, len(ids)
        labels[row, ends], weights[row, ends] = targets, 1 / sum(len(each[1]) for each in inputs)
    return StepLabelBatch(tokens, lengths, labels, weights)


def take_rows(batch: Batch, rows: np.ndarray | slice) -> Batch:
    """The given rows of a host batch."""
    return jax.tree.map(lambda x: x[rows], batch)


def axes_of(batch: Any, x: Any) -> tuple[str | None, ...]:
    """The logical axes of one of a batch's arrays: its rows and, in the batches of this module, their tokens."""
    at = {Batch: 1, PreferenceBatch: 2, StepLabelBatch: 1}.get(type(batch))
    return ("batch", *("length" if axis == at else None for axis in range(1, x.ndim)))


def to_device(batch: AnyBatch, mesh: Mesh, shares: Shares = ALL_ROWS) -> AnyBatch:
    """Places a host batch on the mesh, cut along rows and tokens.

    Args:
        shares: of the rows; the batch here is this process's.

    Raises:
        ValueError: rows or tokens do not divide over the mesh.
    """
    rows, ways = batch.tokens.shape[0] * shares.count, sharding.batch_shards(mesh)
    if rows % ways:
        raise ValueError(
            f"{rows} rows do not divide over {sharding.TRAIN_RULES.named('batch')} = {ways}; change the batch size "
            "or config.mesh"
        )
    sharding.check_length(batch.tokens.shape[-1], mesh, "a batch")
    return place_rows(batch, lambda x: sharding.TRAIN_RULES.sharding(mesh, axes_of(batch, x)), shares)
