"""The device side of sampling, a function at a time: forks, stops, noise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1jax.inference import decode

sample = jax.jit(decode.sample)  # an operation at a time, each would be compiled alone
decode_window = jax.jit(decode.decode_window, static_argnums=(1, 3))


def limits(rows: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, stop_ids=()) -> decode.Limits:
    """The same settings for all rows."""
    fill = [*stop_ids, *[decode.NO_TOKEN] * (3 - len(stop_ids))]
    return decode.Limits(
        *map(jnp.asarray, (np.full(rows, temperature, np.float32), np.full(rows, top_k, np.int32))),
        *map(jnp.asarray, (np.full(rows, top_p, np.float32), np.tile(np.array(fill, np.int32), (rows, 1)))),
    )


def with_stop_ids(slots: decode.Slots, *stop_ids: int) -> decode.Slots:
    return dataclasses.replace(slots, limits=limits(slots.token.shape[0], stop_ids=stop_ids))


@pytest.fixture(scope="module")
def busy(tiny, tiny_params):
    """Four slots: the second and third forked from two prompts, the others idle."""
    tokens = jnp.array([[7, 8, 9, 0], [11, 12, 13, 14]])
    prompts = jax.jit(lambda p, t: decode.prefill(p, tiny, t))(tiny_params, tokens)
    slots = decode.idle(tiny, 4, 16, 3)
    columns = ([2, 1, 4], [0, 1, 1], [9, 14, 99], [2, 3, 99], [6, 3, 99])  # the third is unused: 4 is past the end
    words = np.zeros((3, decode.MAX_KEY_WORDS), np.uint32)
    words[:, :3] = [[1, 2, 0], [3, 4, 0], [9, 9, 9]]
    arguments = (*map(jnp.array, columns), words, jnp.array([3, 3, 3]), limits(3))
    return prompts, jax.jit(decode.fork)(slots, prompts, *arguments)


def test_a_fork_copies_its_prompt_and_leaves_the_other_slots_alone(busy):
    prompts, slots = busy
    for mine, its in ((slots.cache.k, prompts.k), (slots.cache.v, prompts.v)):
        mine, its = np.asarray(mine), np.asarray(its)
        np.testing.assert_array_equal(mine[:, 2, :, :4], its[:, 0])
        np.testing.assert_array_equal(mine[:, 1, :, :4], its[:, 1])
        assert not np.any(mine[:, [0, 3]]) and not np.any(mine[:, :, :, 4:])
    assert slots.token.tolist() == [0, 14, 9, 0]
    assert slots.position.tolist() == [0, 3, 2, 0]
    assert slots.remaining.tolist() == [0, 3, 6, 0]


def test_a_slot_stops_at_its_budget_and_idle_slots_sample_nothing(tiny, tiny_params, busy):
    slots, sampled = decode_window(tiny_params, tiny, busy[1], 5)
    assert np.asarray(sampled.active).sum(axis=0).tolist() == [0, 3, 5, 0]
    assert np.asarray(sampled.active)[:3, 1].all()
    assert slots.remaining.tolist() == [0, 0, 1, 0] and slots.position.tolist() == [0, 6, 7, 0]
    assert slots.token.tolist() == [0, int(sampled.tokens[2, 1]), int(sampled.tokens[4, 2]), 0]


def test_trap05_a_slot_stops_at_any_end_and_two_windows_equal_one(tiny, tiny_params, busy):
    def window(slots, steps):
        slots, sampled = decode_window(tiny_params, tiny, slots, steps)
        return slots, jax.device_get(sampled)

    free = window(busy[1], 6)[1]
    third = int(free.tokens[2, 2])
    assert third not in free.tokens[:2, 2].tolist() and third not in free.tokens[:3, 1].tolist()
    slots, stopped = window(with_stop_ids(busy[1], tiny.vocab_size, third), 6)
    assert stopped.active[:, 2].tolist() == [True] * 3 + [False] * 3  # the end itself is sampled, and nothing after it
    assert int(slots.token[2]) == third and int(slots.remaining[2]) == 0
    np.testing.assert_array_equal(stopped.tokens[:3, 1:3], free.tokens[:3, 1:3])

    half, first = window(busy[1], 3)
    second = window(half, 3)[1]
    np.testing.assert_array_equal(np.concatenate([first.tokens, second.tokens])[:, 2], free.tokens[:, 2])


def test_trap08_noise_is_a_function_of_the_key_and_the_position_alone(tiny, tiny_params, busy):
    """The same key elsewhere in the batch draws the same; another position draws anew."""
    logits = jnp.zeros((3, 64))
    keys = jax.random.split(jax.random.key(0), 2)
    tokens, logprobs = sample(logits, keys[jnp.array([0, 1, 0])], limits(3))
    assert tokens[0] == tokens[2] != tokens[1]
    np.testing.assert_allclose(logprobs, -np.log(64), rtol=1e-6)
    draws = jax.jit(
        jax.vmap(lambda i: decode.sample(logits[:1], jax.random.fold_in(keys[0], i)[None], limits(1))[0][0])
    )
    assert len(set(draws(jnp.arange(200)).tolist())) > 50


def test_logprobs_are_those_of_the_truncated_distribution_by_hand():
    # p = (1/2, 1/4, 1/4) at T = 1; T = 1/2 squares them: 2/3, 1/6, 1/6. top_k = 1 leaves one token: log-prob 0.
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    key = jax.random.split(jax.random.key(1), 1)
    token, logprob = sample(logits, key, limits(1, temperature=0.5))
    assert float(logprob[0]) == pytest.approx(np.log([2 / 3, 1 / 6, 1 / 6][int(token[0])]), rel=1e-5)
    token, logprob = sample(logits, key, limits(1, top_k=1))
    assert int(token[0]) == 0 and float(logprob[0]) == pytest.approx(0.0, abs=1e-6)
    token, logprob = sample(logits, key, limits(1, temperature=0.0))
    assert int(token[0]) == 0 and float(logprob[0]) == 0.0


def test_trap09_bfloat16_models_report_float32_logprobs(tiny, tiny_params, busy):
    model = dataclasses.replace(tiny, dtype="bfloat16")
    params = jax.tree.map(lambda w: w.astype(jnp.bfloat16), tiny_params)
    cast = jax.tree.map(lambda x: x.astype(jnp.bfloat16), busy[1].cache)
    slots = dataclasses.replace(busy[1], cache=cast)
    logprobs = decode_window(params, model, slots, 2)[1].logprobs
    assert logprobs.dtype == jnp.float32
    # bfloat16 has 8 bits: log-probs near -6.2 would lie on a grid of 1/32.
    assert np.any(np.asarray(logprobs) * 32 % 1)
