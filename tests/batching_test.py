"""From host records to arrays: which token is an input, which a target, which is trained on, and who sees whom."""

import itertools

import numpy as np
import pytest

from r1jax.data.batching import fill, pack, pad_rollouts, size, take_rows, to_device
from r1jax.data.types import Prompt, Rollout


def test_packing_by_hand():
    """First-fit: the third example goes back to the first row; the fourth finds no room."""
    examples = [([1, 2, 3], [0, 0, 1]), ([4, 5, 6, 7], [1, 1, 1, 1]), ([8, 9, 10], [0, 1, 1]), ([11, 12, 13], [1] * 3)]
    batch, left_over = pack(examples, rows=2, length=4)
    assert left_over == 1
    np.testing.assert_array_equal(batch.tokens, [[1, 2, 8, 9], [4, 5, 6, 0]])
    np.testing.assert_array_equal(batch.targets, [[2, 3, 9, 10], [5, 6, 7, 0]])
    np.testing.assert_array_equal(batch.positions, [[0, 1, 0, 1], [0, 1, 2, 0]])
    np.testing.assert_array_equal(batch.segments, [[1, 1, 2, 2], [1, 1, 1, 0]])
    sixth = np.float32(1 / 6)
    np.testing.assert_array_equal(batch.weights, [[0, sixth, sixth, sixth], [sixth, sixth, sixth, 0]])


def test_nothing_crosses_documents_and_weights_sum_to_one():
    """Each document has ids of its own: a thousand times its number, counting up."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 40, 30)
    examples = [((1000 * i + np.arange(n)).tolist(), [1] * n) for i, n in enumerate(lengths)]
    batch, left_over = pack(examples, rows=6, length=32)
    real = batch.segments > 0
    assert (batch.targets == batch.tokens + 1)[real].all()
    assert (batch.positions == batch.tokens % 1000)[real].all()
    for tokens, segments in zip(batch.tokens, batch.segments, strict=True):
        pairs = {(s, t // 1000) for s, t in zip(segments, tokens, strict=True) if s}
        assert len(pairs) == len({s for s, _ in pairs}) == len({d for _, d in pairs})
    assert len(set(batch.tokens[real] // 1000)) + left_over == 30 and left_over > 0
    assert batch.weights.sum() == pytest.approx(1.0, abs=1e-6) and (batch.weights[~real] == 0).all()
    assert len(set(batch.weights[real])) == 1


def test_a_long_example_is_cut_and_an_empty_one_takes_no_room():
    batch, left_over = pack([([], []), ([9], [1]), (list(range(10)), [1] * 10)], rows=1, length=4)
    assert left_over == 0 and batch.tokens.tolist() == [[0, 1, 2, 3]] and batch.targets.tolist() == [[1, 2, 3, 4]]


def test_filled_batches_lose_no_example_and_end_only_where_the_next_finds_no_room():
    assert list(fill([2, 3, 3, 1, 4, 9], rows=2, length=4)) == [0, 2, 5, 6]  # by hand; 9 is more than a row
    assert list(fill([], 2, 4)) == [0, 0]
    rng = np.random.default_rng(0)
    examples = [([1] * n, [1] * n) for n in rng.integers(2, 40, 200)]
    starts = list(fill((size(example, 32) for example in examples), 4, 32))
    assert starts[0] == 0 and starts[-1] == 200
    for first, last in itertools.pairwise(starts):
        assert pack(examples[first:last], 4, 32)[1] == 0
        assert last == 200 or pack(examples[first : last + 1], 4, 32)[1] == 1


def rollout(prompt, ids, logprobs):
    record = Prompt("p", "", "", "", ids=tuple(prompt))
    return Rollout(record, 0, np.array(ids, np.int32), np.array(logprobs, np.float32), "", "stop")


def test_trap04_rollouts_by_hand_where_the_end_of_sequence_is_also_the_padding():
    rollouts = [rollout([5, 6], [7, 0], [-1, -2]), rollout([0, 5, 0], [0], [-3]), rollout([4], [], [])]
    batch = pad_rollouts(rollouts, np.array([1.0, 2.0, 3.0]), bucket=4)
    np.testing.assert_array_equal(batch.tokens, [[5, 6, 7, 0], [0, 5, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(batch.targets, [[6, 7, 0, 0], [5, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(batch.weights, [[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(batch.segments, [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(batch.sampler_logprobs, [[0, -1, -2, 0], [0, 0, -3, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(batch.positions, [[0, 1, 2, 3]] * 3)
    np.testing.assert_array_equal(batch.advantages, [[1, 1, 1, 0], [2, 2, 2, 0], [0, 0, 0, 0]])
    assert batch.advantages.dtype == batch.weights.dtype == np.float32


@pytest.mark.parametrize("tokens, bucket, length", [(5, 4, 4), (6, 4, 8), (2, 64, 64)])
def test_rows_are_padded_to_the_next_multiple_of_the_bucket(tokens, bucket, length):
    batch = pad_rollouts([rollout([1], [2] * (tokens - 1), [0.0] * (tokens - 1))], np.zeros(1), bucket)
    assert batch.tokens.shape == (1, length)


def test_taken_and_placed_rows_stay_whole(mesh8):
    rollouts = [rollout([i + 1], [10 * i], [-float(i)]) for i in range(8)]
    batch = take_rows(pad_rollouts(rollouts, np.arange(8.0), 2), np.array([7, 2, 0, 1, 3, 4, 5, 6]))
    placed = to_device(batch, mesh8)
    advantages = np.asarray(placed.advantages)[:, 0]
    assert advantages[:3].tolist() == [7, 2, 0]
    np.testing.assert_array_equal(placed.tokens[:, 0], advantages + 1)
    np.testing.assert_array_equal(placed.targets[:, 0], 10 * advantages)
    np.testing.assert_array_equal(placed.sampler_logprobs[:, 0], -advantages)
    assert placed.ref_logprobs is None
    with pytest.raises(ValueError, match="6 rows do not divide over data x fsdp x expert = 4; change the batch size"):
        to_device(take_rows(batch, np.arange(6)), mesh8)
