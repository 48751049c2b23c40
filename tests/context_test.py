"""A model's context: what a config asks beyond it is refused at the start, with both numbers and the keys to change."""

import dataclasses
import json
import pathlib

import pytest
from tiny_run import SFT, ZERO, merged

from r1jax.config import ConfigError, parse
from r1jax.data.types import Prompt
from r1jax.evaluation import evaluate
from r1jax.evaluation.benchmark_questions import from_benchmark
from r1jax.graders.config import GraderConfig
from r1jax.inference.context_length import check_length, prompt_limit
from r1jax.inference.sampler import Sampler
from r1jax.io import jsonl
from r1jax.models.hf_config import context_length
from r1jax.stages import reward_model_training, rl, supervised, teacher_scoring
from r1jax.stages.cold_start.sample_requests import Request, SampleCollector
from r1jax.stages.rejection import rejection_sampling

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({}, None),
        ({"max_position_embeddings": None}, None),
        ({"max_position_embeddings": 8192}, 8192),
        ({"max_position_embeddings": 32_768, "rope_scaling": YARN}, 131_072),  # as Qwen2.5's are stretched
        ({"max_position_embeddings": 163_840, "rope_scaling": YARN}, 163_840),
        ({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}, 8192),
        (
            {
                "max_position_embeddings": 131_072,
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "original_max_position_embeddings": 8192,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                },
            },
            131_072,
        ),
    ],
)
def test_the_length_that_a_model_was_made_for_is_read_from_its_config(config, length):
    assert context_length(config) == length


def test_a_row_longer_than_the_model_is_refused_with_both_numbers_and_the_key():
    config = {"max_position_embeddings": 8192}
    check_length(config, "base", 8192, "seq_len")
    check_length(None, "base", 2**30, "seq_len")
    with pytest.raises(ConfigError, match=r"config\.seq_len=8193 is more than the 8192 tokens .*at most 8192"):
        check_length(config, "base", 8193, "seq_len")


@pytest.mark.parametrize(
    ("new", "allowed", "limit"),
    [
        (1000, 0, 24),
        (1000, 20, 20),
        (1000, 24, 24),
        (1000, 25, None),
        (1023, 0, 1),
        (1024, 0, None),
        (4096, 0, None),
    ],
)
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


@pytest.fixture
def short(tmp_path, tiny) -> pathlib.Path:
    """A model that was made for 64 tokens, without weights: a stage that goes on to read them fails otherwise."""
    folder = tmp_path / "short"
    (folder / "params").mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(dataclasses.asdict(tiny)))
    (folder / "hf_config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 64}))
    return folder


def test_every_stage_refuses_more_than_its_model_was_made_for_before_it_reads_weights(short, tmp_path, mesh1):
    data = {"path": "none.jsonl"}
    zero = merged(ZERO, base="b", sampling__max_new_tokens=64)
    sft = merged(SFT, base="b", seq_len=65, data=data)
    taught = {"stage": "teach", "base": "b", "data": data, "seq_len": 65, "batch_size": 1}
    pairs = {
        "stage": "preference",
        "kind": "pairwise",
        "base": "b",
        "data": data,
        "reading": {"sees": "summary", "max_tokens": 65},
    }
    asked = {"stage": "evaluate", "model": str(short), "tasks": ({"name": "chain_sum"},)}
    drawn = {
        "stage": "rejection",
        "model": str(short),
        "data": {"tasks": ({"name": "chain_sum"},)},
        "num_prompts": 1,
        "sampling": {"max_new_tokens": 60},
    }
    for run, cfg, words in (
        (rl.run, parse(rl.RLConfig, zero), "max_new_tokens=64 and a prompt together are more than the 64 tokens"),
        (supervised.run, parse(supervised.SupervisedConfig, sft), "seq_len=65 is more than the 64 tokens"),
        (teacher_scoring.run, parse(teacher_scoring.TeachConfig, taught), "seq_len=65 is more than the 64 tokens"),
        (
            reward_model_training.run,
            parse(reward_model_training.PreferenceConfig, pairs),
            r"reading\.max_tokens=65 is more than the 64",
        ),
    ):
        with pytest.raises(ConfigError, match=words):
            run(cfg, tmp_path / "run", mesh1, short)
    cfg = parse(evaluate.EvaluateConfig, asked)
    with pytest.raises(ConfigError, match="max_new_tokens=32768 and a prompt together are more than the 64 tokens"):
        evaluate.run(cfg, tmp_path / "run", mesh1)
    cfg = parse(rejection_sampling.RejectionConfig, merged(drawn, data__max_prompt_tokens=5))
    with pytest.raises(ConfigError, match=r"max_new_tokens=60 and config\.data\.max_prompt_tokens=5 together"):
        rejection_sampling.run(cfg, tmp_path / "run", mesh1)


def test_a_benchmarks_long_prompts_are_an_error_or_are_left_out_as_the_config_says(tmp_path, tokenizer):
    rows = [{"question": "1 + 1?" + " Think." * n, "answer": "#### 2"} for n in range(6)]
    jsonl.write(tmp_path / "sums.jsonl", rows)
    benchmark = {"name": "gsm8k", "path": str(tmp_path / "sums.jsonl")}
    tree = {"stage": "evaluate", "model": "m", "benchmarks": (benchmark,), "chat": False, "template": "plain"}
    cfg = parse(evaluate.EvaluateConfig, tree)
    lengths = sorted(len(p.ids) for p in from_benchmark(cfg, cfg.benchmarks[0], tokenizer).prompts)
    with pytest.raises(
        ConfigError,
        match=rf"gsm8k: 2 of 6 prompts have more than {lengths[3]} tokens, up to "
        rf"{lengths[-1]}.*max_new_tokens=32768.*config\.max_prompt_tokens={lengths[3]}",
    ):
        from_benchmark(cfg, cfg.benchmarks[0], tokenizer, lengths[3])
    cfg = dataclasses.replace(cfg, max_prompt_tokens=lengths[3])
    found = from_benchmark(cfg, cfg.benchmarks[0], tokenizer, lengths[3])
    assert sorted(len(p.ids) for p in found.prompts) == lengths[:4]
    assert found.rows.keys() == {p.id for p in found.prompts}
    assert found.size == "4 questions, 2 with too long a prompt left out" and found.data["prompts_too_long"] == 2
    with pytest.raises(ConfigError, match="all 6 prompts have more than 1 tokens"):
        from_benchmark(cfg, cfg.benchmarks[0], tokenizer, 1)


def test_a_limit_of_tokens_for_a_server_is_refused(tmp_path, mesh1):
    cfg = parse(
        evaluate.EvaluateConfig,
        {
            "stage": "evaluate",
            "tasks": ({"name": "chain_sum"},),
            "max_prompt_tokens": 9,
            "endpoint": {"base_url": "http://localhost:1", "model": "m", "api_key_env": ""},
        },
    )
    with pytest.raises(ConfigError, match=r"config\.max_prompt_tokens=9 is counted by the model's own tokenizer"):
        evaluate.run(cfg, tmp_path, mesh1)


def test_what_is_asked_for_a_cold_start_is_limited_with_its_examples(tmp_path, tokenizer, capsys):
    prompts = [Prompt(name, f"{name}?" * n, "", "open:x") for name, n in (("short", 1), ("long", 9))]
    request = Request("direct", "", lambda prompt: f"Say: {prompt.question}", False, tags=True)
    drawn = []
    limit = len(tokenizer.encode("Say: short?"))
    model = Sampler(lambda *args: drawn.extend(args[0]), tokenizer, {}, prompt_limit=limit)
    SampleCollector(tmp_path, {}, 0, frozenset(), GraderConfig(), None).collect(request, prompts, 1, model)
    assert [prompt.id for prompt in drawn] == ["short"]
    assert f"direct: 1 prompts of more than {limit} tokens left out" in capsys.readouterr().out
