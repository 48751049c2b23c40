"""Decoding with drafts: the same tokens as without, in fewer steps, on one device and on eight."""

import dataclasses

import numpy as np
import pytest
from engine_test import ManyEnds, draw
from mla_test import DEEP, weights

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES
from r1jax.data.types import Prompt, Rollout
from r1jax.inference.engine import Engine, SamplingConfig
from r1jax.inference.session import Session
from r1jax.models.transformer import param_specs

PLAIN = SamplingConfig(max_new_tokens=16, slots=8, window=4, prefill_rows=4, bucket=32)
DRAFTS = dataclasses.replace(PLAIN, speculative=True)
PROMPTS = [Prompt(str(n), "?", "1", "maths", ids=tuple(range(3, 4 + n))) for n in (0, 1, 7, 20)]


@pytest.fixture(scope="module")
def dense(tiny, mesh1):
    """A dense model with a prediction block, whose logits are so near to each other that noise decides: drafts fit."""
    model = dataclasses.replace(tiny, mtp_depth=2)
    return model, core.init(param_specs(model), TRAIN_RULES, mesh1, seed=0)


@pytest.fixture(scope="module")
def latent(mesh1):
    """Latent attention and experts, and drafts of a block that has learnt nothing."""
    return DEEP, weights(DEEP, mesh1)


def assert_same(ours: list[Rollout], theirs: list[Rollout]) -> None:
    assert [(r.ids.tolist(), r.finish) for r in ours] == [(r.ids.tolist(), r.finish) for r in theirs]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=2e-4)


@pytest.fixture(scope="module")
def drafted(dense, mesh1) -> tuple[list[Rollout], list[np.ndarray]]:
    """Rollouts of the dense model with drafts, and `active` of each window."""
    read, windows = Session._read, []

    def spy(session, owners, sampled):
        windows.append(np.asarray(sampled.active))
        return read(session, owners, sampled)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "_read", spy)
        model, params = dense
        return draw(Engine(model, DRAFTS, ManyEnds(model.vocab_size), mesh1), mesh1, params, PROMPTS, 3), windows


def test_tokens_and_log_probs_are_those_without_drafts(dense, drafted, mesh1):
    model, params = dense
    without = draw(Engine(model, PLAIN, ManyEnds(model.vocab_size), mesh1), mesh1, params, PROMPTS, 3)
    assert {r.finish for r in without} == {"stop", "length"}
    assert_same(drafted[0], without)


def test_with_latent_attention_and_experts_too(latent, mesh1):
    model, params = latent
    without, ours = (
        draw(Engine(model, cfg, ManyEnds(model.vocab_size), mesh1), mesh1, params, PROMPTS, 2)
        for cfg in (PLAIN, DRAFTS)
    )
    assert_same(ours, without)


def test_tokens_of_eight_devices_are_those_of_one(dense, drafted, mesh8):
    model, _ = dense
    params = core.init(param_specs(model), TRAIN_RULES, mesh8, seed=0)
    ours = draw(Engine(model, DRAFTS, ManyEnds(model.vocab_size), mesh8), mesh8, params, PROMPTS, 3)
    assert_same(ours, drafted[0])


def test_right_drafts_save_steps(drafted):
    """A draft is missing at a sequence's first step, and one at its end may come to nothing."""
    rollouts, windows = drafted
    steps, drafts = (sum(int(active[i::2].sum()) for active in windows) for i in (0, 1))
    assert steps + drafts == sum(len(rollout.ids) for rollout in rollouts)
    assert drafts > steps / 2


def test_drafts_need_a_prediction_block(tiny, mesh1):
    with pytest.raises(ValueError, match="speculative needs a block of multi-token prediction"):
        Engine(tiny, DRAFTS, ManyEnds(tiny.vocab_size), mesh1)
