"""A model's context: what a config asks beyond it is refused at the start, with both numbers and the keys to change."""

import json

import pytest

from r1jax.config import ConfigError
from r1jax.models.hf_config import context_length
from r1jax.stages.context import check_length, prompt_limit

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}


@pytest.mark.parametrize(("config", "length"), [
    ({}, None),
    ({"max_position_embeddings": None}, None),
    ({"max_position_embeddings": 8192}, 8192),
    ({"max_position_embeddings": 32_768, "rope_scaling": YARN}, 131_072),  # as Qwen2.5's are stretched
    ({"max_position_embeddings": 163_840, "rope_scaling": YARN}, 163_840),
    ({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}, 8192),
    ({"max_position_embeddings": 131_072, "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0}}, 131_072),
])  # fmt: skip
def test_the_length_that_a_model_was_made_for_is_read_from_its_config(config, length):
    assert context_length(config) == length


def test_a_row_longer_than_the_model_is_refused_with_both_numbers_and_the_key():
    config = {"max_position_embeddings": 8192}
    check_length(config, "base", 8192, "seq_len")
    check_length(None, "base", 2**30, "seq_len")
    with pytest.raises(ConfigError, match=r"config\.seq_len=8193 is more than the 8192 tokens .*at most 8192"):
        check_length(config, "base", 8193, "seq_len")


@pytest.mark.parametrize(("new", "allowed", "limit"), [
    (1000, 0, 24), (1000, 20, 20), (1000, 24, 24), (1000, 25, None), (1023, 0, 1), (1024, 0, None), (4096, 0, None),
])  # fmt: skip
def test_a_prompt_and_its_response_have_to_fit(new, allowed, limit):
    config = {"max_position_embeddings": 1024}
    assert prompt_limit(None, "base", new, allowed, "data.max_prompt_tokens") == (allowed or None)
    if limit:
        assert prompt_limit(config, "base", new, allowed, "data.max_prompt_tokens") == limit
        return
    with pytest.raises(ConfigError) as caught:
        prompt_limit(config, "base", new, allowed, "data.max_prompt_tokens")
    asked = f"config.data.max_prompt_tokens={allowed}" if allowed else "a prompt"
    for words in (f"config.sampling.max_new_tokens={new} and {asked}", "1024 tokens", "lower config.sampling"):
        assert words in str(caught.value), json.dumps(str(caught.value))
