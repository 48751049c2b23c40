"""The sampling session: sequences join, leave and differ in their settings, and no other sequence notices."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_test import ManyEnds, loud

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.types import Prompt
from r1jax.inference import decode
from r1jax.inference.config import SamplingConfig
from r1jax.inference.engine import Engine, key_words
from r1jax.inference.session import Request, Session
from r1jax.models.config import Truncation
from r1jax.models.logits import RowTruncation, process, process_rows
from r1jax.models.transformer import forward, param_specs, unembed_table

CONFIG = SamplingConfig(max_new_tokens=40, slots=4, window=4, prefill_rows=2, bucket=64)
SETTINGS = [
    Truncation(),
    Truncation(0.0),
    Truncation(0.6, 0, 0.95),
    Truncation(1.3, 20),
    Truncation(0.8, 5, 0.5),
]


@pytest.fixture(scope="module")
def params(tiny_params):
    return loud(tiny_params)


@pytest.fixture(scope="module")
def engine(tiny, mesh1) -> Engine:
    return Engine(tiny, CONFIG, ManyEnds(tiny.vocab_size), mesh1)


@pytest.fixture
def session(engine, params, mesh1):
    with jax.set_mesh(mesh1):
        yield engine.open(params)


def request(i: int = 0, truncation: Truncation = SETTINGS[0], max_tokens: int = 12, **changes) -> Request:
    """One of many requests that share neither prompt nor randomness."""
    ids = tuple(np.random.default_rng(i).integers(3, 500, 2 + 5 * i % 23).tolist())
    return Request(
        **{"ids": ids, "key_words": (1, i), "max_tokens": max_tokens, "truncation": truncation, "stop_ids": ()}
        | changes
    )


def finish(session: Session, *requests: Request) -> list[list[int]]:
    """The tokens of each request, sampled together to their ends."""
    handles = [session.add(one) for one in requests]
    tokens = collections.defaultdict(list)
    while session.busy:
        for piece in session.advance():
            tokens[piece.handle] += piece.ids
    return [tokens[handle] for handle in handles]


def test_each_row_is_truncated_by_its_own_settings():
    logits = jax.random.normal(jax.random.key(0), (4, 50)) * 3
    settings = [Truncation(1.0), Truncation(0.6, 0, 0.9), Truncation(1.3, 7), Truncation(0.7, 9, 0.8)]
    rows = RowTruncation(
        jnp.array([one.temperature for one in settings]),
        jnp.array([one.top_k for one in settings]),
        jnp.array([one.top_p for one in settings]),
    )
    together = process_rows(logits, rows)
    for i, one in enumerate(settings):
        alone = process(logits[i], one)
        np.testing.assert_array_equal(np.isinf(together[i]), np.isinf(alone))
        np.testing.assert_allclose(together[i], alone, rtol=1e-6)


def test_where_length_costs_no_time_the_cache_has_its_last_one_from_the_start(session, engine, monkeypatch):
    requests = [request(0), request(1, max_tokens=70)]
    grown = finish(session, *requests)
    monkeypatch.setattr(engine.programs, "reads_used", True)
    monkeypatch.setattr(engine.programs, "resize", None)
    session._slots = None
    assert finish(session, *requests) == grown


def test_tokens_do_not_depend_on_the_settings_of_others(session):
    requests = [request(i, truncation) for i, truncation in enumerate(SETTINGS * 2)]
    together = finish(session, *requests)
    assert together == [finish(session, one)[0] for one in requests]
    assert len({tuple(tokens) for tokens in together}) == len(requests)


def test_other_values_need_no_other_program(session, engine):
    finish(session, *(request(i, truncation) for i, truncation in enumerate(SETTINGS)))
    compiled = engine.programs.decode._cache_size(), engine.programs.fork._cache_size()
    others = [Truncation(0.3 + i / 10, 3 * i, 1 - i / 20) for i in range(8)]
    finish(session, *(request(i, one, 5 + i, stop_ids=(i, 7 * i)) for i, one in enumerate(others)))
    assert (engine.programs.decode._cache_size(), engine.programs.fork._cache_size()) == compiled


def test_sequences_that_join_later_get_the_same_tokens(session):
    requests = [request(i, max_tokens=6 + 3 * i) for i in range(7)]
    expected = finish(session, *requests)
    tokens, handles, waiting = collections.defaultdict(list), [], list(requests)
    while waiting or session.busy:
        if waiting:
            handles.append(session.add(waiting.pop(0)))
        for piece in session.advance():
            tokens[piece.handle] += piece.ids
    assert [tokens[handle] for handle in handles] == expected


def test_pieces_come_window_by_window_and_the_last_says_why_it_ended(session):
    long = request(max_tokens=10)
    handle, pieces = session.add(long), []
    while session.busy:
        pieces += session.advance()
    assert [len(piece.ids) for piece in pieces] == [4, 4, 2]
    assert [piece.finish for piece in pieces] == [None, None, "length"]
    assert {piece.handle for piece in pieces} == {handle}
    tokens = [i for piece in pieces for i in piece.ids]
    stop = tokens[5]
    [stopped] = finish(session, request(max_tokens=10, stop_ids=(stop,)))
    assert stopped == tokens[: tokens.index(stop) + 1]


def test_a_dropped_sequence_frees_its_slot_for_the_next_window(session):
    requests = [request(i, max_tokens=40) for i in range(5)]
    expected = finish(session, *requests)
    handles = [session.add(one) for one in requests]
    session.advance()
    assert (session.running, session.waiting) == (4, 1)
    session.drop(handles[1])
    tokens = collections.defaultdict(list)
    for piece in session.advance():
        tokens[piece.handle] += piece.ids
    assert (session.running, session.waiting) == (4, 0)
    session.drop(handles[0])
    while session.busy:
        for piece in session.advance():
            tokens[piece.handle] += piece.ids
    assert handles[1] not in tokens and len(tokens[handles[0]]) <= 4
    assert [tokens[handle] for handle in handles[2:]] == expected[2:]


def test_a_session_whose_sequences_were_all_dropped_is_not_busy_and_goes_on(session):
    [expected] = finish(session, request(3))
    handles = [session.add(request(i)) for i in range(6)]
    session.advance()
    for handle in handles:
        session.drop(handle)
    while session.busy:
        assert session.advance() == []
    assert finish(session, request(3)) == [expected]


def test_generate_draws_what_a_session_draws(session, engine, params, mesh1):
    prompts = [Prompt(f"p{i}", "?", "1", "maths", ids=request(i).ids) for i in range(3)]
    with jax.set_mesh(mesh1):
        rollouts = engine.generate(params, prompts, 2, (5, 9))
    ends = ManyEnds(512).eos_ids
    requests = [
        Request(r.prompt.ids, key_words((5, 9), r.prompt.id, r.sample), 40, Truncation(), ends) for r in rollouts
    ]
    assert finish(session, *requests) == [r.ids.tolist() for r in rollouts]


def test_likelihoods_are_the_models_own_log_probs(session, tiny, params, mesh1):
    one = request(2, Truncation(0.5, 10, 0.9), likelihood=True)
    session.add(one)
    session.add(request(3))  # asks for none, and gets none
    pieces = []
    while session.busy:
        pieces += session.advance()
    assert all((piece.likelihood is None) == (piece.handle != pieces[0].handle) for piece in pieces)
    pieces = [piece for piece in pieces if piece.likelihood]
    sampled = [i for piece in pieces for i in piece.ids]
    ids = jnp.array([(*one.ids, *sampled)])
    hidden = forward(params, tiny, ids, jnp.arange(ids.shape[1])[None]).hidden
    logprobs = np.asarray(jax.nn.log_softmax(hidden[0] @ unembed_table(params).T))
    before = logprobs[len(one.ids) - 1 : -1]
    found = jax.tree.map(lambda *parts: np.concatenate(parts), *(piece.likelihood for piece in pieces))
    np.testing.assert_allclose(found.chosen, before[np.arange(len(sampled)), sampled], atol=3e-5)
    np.testing.assert_allclose(found.top, -np.sort(-before)[:, :20], atol=3e-5)
    np.testing.assert_array_equal(found.top_ids[:, 0], before.argmax(axis=1))
    # The same numbers from the tokens alone, prompt included.
    [scored, short] = session.score([tuple(ids[0].tolist()), (5, 6)])
    rows = np.arange(ids.shape[1] - 1)
    np.testing.assert_allclose(scored.chosen, logprobs[rows, np.asarray(ids[0, 1:])], atol=3e-5)
    assert short.chosen.shape == (1,) and short.top.shape == (1, 20)


def test_a_long_sequence_alone_is_decoded_in_fewer_slots_and_gets_the_same_tokens(engine, session, params, mesh1):
    long, *short = [request(0, max_tokens=64), *(request(i, max_tokens=3 + i) for i in range(1, 6))]
    later = [request(i, max_tokens=20) for i in range(6, 9)]
    expected = [finish(session, one)[0] for one in (long, *short, *later)]
    shrinking, tokens, sizes = engine.open(params, shrinks=True), collections.defaultdict(list), []
    handles = [shrinking.add(one) for one in (long, *short)]
    while shrinking.busy:
        for piece in shrinking.advance():
            tokens[piece.handle] += piece.ids
        if shrinking._slots.position.shape[0] not in sizes[-1:]:
            sizes.append(shrinking._slots.position.shape[0])
        if sizes == [4, 1]:  # others join where one slot is left
            handles += [shrinking.add(one) for one in later]
            sizes.append("joined")
    assert [tokens[handle] for handle in handles] == expected
    assert sizes == [4, 1, "joined", 4]


def test_sharded_sessions_draw_what_one_device_draws(session, tiny, params, mesh8):
    requests = [request(i, truncation, likelihood=i == 1) for i, truncation in enumerate(SETTINGS)]
    expected = finish(session, *requests)
    sharded = jax.device_put(params, core.shardings(param_specs(tiny), TRAIN_RULES, mesh8))
    engine = Engine(
        tiny, SamplingConfig(slots=8, window=4, prefill_rows=4, bucket=64), ManyEnds(tiny.vocab_size), mesh8
    )
    with jax.set_mesh(mesh8):
        assert finish(engine.open(sharded), *requests) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ()}, "the prompt has no tokens"),
        ({"max_tokens": 0}, "max_tokens=0 is less than 1"),
        ({"stop_ids": tuple(range(99))}, "99 stop ids are more than the 40 of this engine"),
        ({"key_words": (1,) * (decode.MAX_KEY_WORDS + 1)}, "9 words of randomness are more than 8"),
    ],
    ids=str,
)
def test_requests_that_cannot_be_sampled_are_refused(session, changes, message):
    with pytest.raises(ValueError, match=message):
        session.add(request(**changes))
    assert not session.busy
