"""The server to its clients: the openai package, whole and streamed, and r1jax's own sampler behind a server."""

import asyncio
import json
import urllib.request

import jax
import numpy as np
import openai
import pytest
from engine_test import loud
from served_tiny import Running, serve, tiny_model

from r1jax.data.types import Prompt
from r1jax.inference.served_model import Endpoint, EndpointConfig
from r1jax.inference.session import Request
from r1jax.io.provenance import sha256
from r1jax.models.config import Truncation
from r1jax.serve.completion import key_words

PAPERS = Truncation(0.6, 0, 0.95)
QUESTION = [{"role": "user", "content": "What is 5 + 7?"}]


@pytest.fixture(scope="module")
def running(tiny, tiny_params, tokenizer, mesh1) -> Running:
    with serve([tiny_model(tiny, loud(tiny_params), tokenizer, mesh1)], mesh1) as running:
        yield running


@pytest.fixture(scope="module")
def client(running) -> openai.OpenAI:
    with openai.OpenAI(base_url=running.url, api_key="any", max_retries=0) as client:
        yield client


def chat(client, **settings):
    return client.chat.completions.create(
        **{"model": "tiny", "messages": QUESTION, "max_tokens": 24, "seed": 1} | settings
    )


def complete(client, **settings):
    return client.completions.create(**{"model": "tiny", "prompt": "5 + 7 =", "max_tokens": 12, "seed": 1} | settings)


def sampled(running: Running, ids, seed: int, index: int, max_tokens: int, truncation: Truncation = PAPERS):
    """The tokens that a session of this process draws."""
    session = running.model.open_session()
    request = Request(tuple(ids), key_words(seed, index), max_tokens, truncation, running.model.tokenizer.eos_ids)
    session.add(request)
    tokens = []
    while session.busy:
        tokens += [i for piece in session.advance() for i in piece.ids]
    return tokens


def decoded(running: Running, tokens) -> str:
    eos_ids = running.model.tokenizer.eos_ids
    return running.model.tokenizer.decode([i for i in tokens if i not in eos_ids])


def test_models_are_listed_and_shown(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "r1jax"


def test_a_text_is_continued_as_in_this_process(running, client, mesh1):
    reply = complete(client, n=2)
    ids = running.model.tokenizer.encode("5 + 7 =")
    with jax.set_mesh(mesh1):
        expected = [sampled(running, ids, 1, index, 12) for index in range(2)]
    assert [choice.text for choice in reply.choices] == [decoded(running, tokens) for tokens in expected]
    assert [choice.index for choice in reply.choices] == [0, 1] and reply.choices[0].text != reply.choices[1].text
    assert reply.usage.prompt_tokens == len(ids)
    assert reply.usage.completion_tokens == sum(map(len, expected))
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_the_same_seed_gives_the_same_text_and_another_another(client):
    first, again, other = (complete(client, seed=seed).choices[0].text for seed in (5, 5, 6))
    assert first == again != other
    assert complete(client, seed=-(2**63)).choices[0].text != complete(client, seed=2**63 - 1).choices[0].text
    unseeded = {complete(client, seed=openai.omit).choices[0].text for _ in range(4)}
    assert len(unseeded) == 4


def test_a_stream_is_the_whole_reply_in_pieces(client):
    whole = chat(client, n=2, logprobs=True, top_logprobs=3)
    stream = list(chat(client, n=2, logprobs=True, top_logprobs=3, stream=True, stream_options={"include_usage": True}))
    for choice in whole.choices:
        pieces = [c for chunk in stream for c in chunk.choices if c.index == choice.index]
        assert "".join(piece.delta.content or "" for piece in pieces) == choice.message.content
        assert [p.finish_reason for p in pieces if p.finish_reason] == [choice.finish_reason]
        assert pieces[-1].finish_reason and pieces[0].delta.role == "assistant" and len(pieces) > 3
        logprobs = [entry for piece in pieces if piece.logprobs for entry in piece.logprobs.content]
        assert logprobs == choice.logprobs.content
    assert stream[-1].choices == [] and stream[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in stream[:-1])
    assert len({chunk.id for chunk in stream}) == 1


def test_a_stop_string_ends_a_completion_and_is_left_out(client):
    text = complete(client, max_tokens=40).choices[0].text
    stop = text[10:13]
    for stops in (stop, ["never found", stop]):
        reply = complete(client, max_tokens=40, stop=stops)
        assert reply.choices[0].text == text[: text.index(stop)]
        assert reply.choices[0].finish_reason == "stop"
    streamed = complete(client, max_tokens=40, stop=stop, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == text[: text.index(stop)]


def test_a_limit_of_tokens_ends_a_completion(client):
    for settings in ({"max_tokens": 5}, {"max_tokens": None, "max_completion_tokens": 5}):
        reply = chat(client, **settings)
        assert reply.choices[0].finish_reason == "length" and reply.usage.completion_tokens == 5


def test_settings_change_what_is_drawn(client):
    greedy = [complete(client, temperature=0, seed=seed).choices[0].text for seed in (1, 2)]
    assert greedy[0] == greedy[1]
    assert complete(client, temperature=0).choices[0].text == complete(client, extra_body={"top_k": 1}).choices[0].text
    assert complete(client, temperature=2.0, top_p=1).choices[0].text != greedy[0]


def test_log_probs_are_those_of_the_model(running, client, mesh1):
    reply = complete(client, prompt=[[5, 6, 7, 8, 9], [10, 11]], echo=True, logprobs=2, max_tokens=4)
    with jax.set_mesh(mesh1):
        session = running.model.open_session()
        for prompt, choice in zip([(5, 6, 7, 8, 9), (10, 11)], reply.choices, strict=True):
            found = choice.logprobs
            assert found.token_logprobs[0] is None and len(found.tokens) == len(prompt) + 4
            tokens = (*prompt, *sampled(running, prompt, 1, 0, 4))
            [expected] = session.score([tokens])
            np.testing.assert_allclose(found.token_logprobs[1:], expected.chosen, atol=3e-5)
            likeliest = [max(top.values()) for top in found.top_logprobs[1:]]
            np.testing.assert_allclose(likeliest, expected.top[:, 0], atol=3e-5)
            assert all(len(top) == 2 for top in found.top_logprobs[1:])
            assert found.text_offset == np.cumsum([0, *map(len, found.tokens[:-1])]).tolist()


def test_a_prompt_is_scored_without_a_completion(client):
    scored = complete(client, prompt=[5, 6, 7], echo=True, logprobs=1, max_tokens=0)
    assert len(scored.choices[0].logprobs.tokens) == 3 and scored.usage.completion_tokens == 0
    alone = complete(client, prompt=[[5]], echo=True, logprobs=1, max_tokens=0).choices[0].logprobs
    assert alone.token_logprobs == [None] and alone.top_logprobs == [None]


def test_chat_log_probs_name_every_token(client):
    reply = chat(client, logprobs=True, top_logprobs=2, max_tokens=6)
    entries = reply.choices[0].logprobs.content
    assert len(entries) == 6 and all(len(entry.top_logprobs) == 2 for entry in entries)
    assert all(bytes(entry.bytes).decode() == entry.token for entry in entries)
    assert all(entry.logprob <= entry.top_logprobs[0].logprob <= 0 for entry in entries)


def test_many_asynchronous_clients_get_what_one_gets_alone(running, client):
    alone = [chat(client, seed=seed).choices[0].message.content for seed in range(6)]

    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=running.url, api_key="any", max_retries=0) as asynchronous:
            whole = [chat(asynchronous, seed=seed) for seed in range(3)]
            streams = [chat(asynchronous, seed=seed, stream=True) for seed in range(3, 6)]
            texts = [reply.choices[0].message.content for reply in await asyncio.gather(*whole)]
            for stream in await asyncio.gather(*streams):
                texts.append("".join([chunk.choices[0].delta.content or "" async for chunk in stream]))
            return texts

    assert asyncio.run(ask_all()) == alone


def test_the_sampler_of_served_models_draws_the_tokens_of_this_process(running, mesh1):
    cfg = EndpointConfig(running.url, "tiny", api_key_env="", retries=0, timeout_s=120, in_flight=4)
    truncation = Truncation(0.9, 0, 0.9)
    prompts = [Prompt(f"p{i}", f"{i} + 5 =", "", "maths", f"{i} + 5 =") for i in range(3)]
    rollouts = Endpoint(cfg, 16, truncation, chat=False).generate(prompts, 2, (3, 1))
    assert len(rollouts) == 6
    with jax.set_mesh(mesh1):
        for rollout in rollouts:
            word = sha256(repr(((3, 1), rollout.prompt.id, rollout.sample)))[:4]
            ids = running.model.tokenizer.encode(rollout.prompt.text)
            tokens = sampled(running, ids, int.from_bytes(word) >> 1, 0, 16, truncation)
            assert rollout.text == decoded(running, tokens)
            assert len(rollout.ids) == len(tokens)


def test_counters_say_what_happened(running, client):
    def value(name: str) -> float:
        lines = urllib.request.urlopen(running.url.removesuffix("/v1") + "/metrics").read().decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0.0)

    names = ("r1jax_sampled_tokens_total", "r1jax_time_to_first_token_seconds_count")
    answered = 'r1jax_responses_total{path="/v1/chat/completions",status="200"}'
    before = [value(name) for name in (*names, answered)]
    tokens = chat(client).usage.completion_tokens
    assert [value(name) - old for name, old in zip((*names, answered), before, strict=True)] == [tokens, 1, 1]
    assert value("r1jax_slots_in_use") == value("r1jax_queue") == 0


def test_health_is_told_without_a_key(running):
    with urllib.request.urlopen(running.url.removesuffix("/v1") + "/health") as reply:
        assert json.load(reply) == {"status": "ok"}
