"""Every number of every config has bounds, and NaN is outside all of them."""

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from tiny_run import BASE, ZERO, write_config

from r1jax import config
from r1jax.data.miniworld import documents
from r1jax.stages import table
from r1jax.tools import train

NAN, INFINITY = float("nan"), float("inf")
# Fields without bounds but for being finite, and why.
ANY_SIGN = {
    "CustomReward.weight": "a user's function may return a cost",
    "RewardModelConfig.weight": "a model may have been trained to score what is not wanted",
}
ROW = {"batch_size": 4, "seq_len": 8}
SHAPE = {
    "vocab_size": 8,
    "embed_dim": 8,
    "num_layers": 2,
    "num_heads": 2,
    "num_kv_heads": 2,
    "head_dim": 4,
    "mlp_dim": 8,
}
QUESTIONS = {"tasks": ({"name": "gcd"},)}
# A config of each class that has fields without a default or that its defaults alone do not satisfy.
EXAMPLES: dict[str, dict[str, Any]] = {
    "SupervisedConfig": {"stage": "supervised", "optimizer": {}, "documents_per_step": 4, "num_steps": 2, **ROW},
    "RLConfig": {"stage": "rl", "base": "", "num_steps": 2, "data": QUESTIONS},
    "PreferenceConfig": {
        "stage": "preference",
        "kind": "pairwise",
        "base": "",
        "data": {"path": "pairs.jsonl"},
        "reading": {"sees": "response"},
    },
    "ProcessRewardConfig": {
        "stage": "process_reward",
        "base": "",
        "data": {"path": "steps.jsonl"},
        "reading": {"sees": "response", "steps": ("\n",)},
    },
    "LabelStepsConfig": {"stage": "step_labels", "data": QUESTIONS, "num_prompts": 4},
    "SearchQuestionsConfig": {"stage": "search", "data": QUESTIONS, "num_prompts": 4, "value": "model"},
    "StepLabelsConfig": {"path": "steps.jsonl"},
    "ColdStartConfig": {"stage": "coldstart", "files": ("a.jsonl",)},
    "RejectionConfig": {"stage": "rejection", "data": QUESTIONS, "num_prompts": 4},
    "JudgePairsConfig": {"stage": "judge_pairs"},
    "TeachConfig": {"stage": "teach", "data": {"path": "a.jsonl"}, **ROW},
    "EvaluateConfig": {"stage": "evaluate", "tasks": ({"name": "gcd"},)},
    "ModelConfig": SHAPE,
    "MLAConfig": {"q_rank": 0, "kv_rank": 2, "nope_dim": 2, "rope_dim": 2, "v_dim": 2},
    "MoEConfig": {"num_experts": 4, "top_k": 2, "expert_dim": 8},
    "RopeScaling": {"kind": "llama3", "factor": 2.0, "original_length": 8},
    "DataConfig": QUESTIONS,
    "TaskConfig": {"name": "gcd"},
    "BenchmarkConfig": {"name": "gsm8k"},
    "Reading": {"sees": "response"},
    "PreferenceDataConfig": {"path": "pairs.jsonl"},
    "RewardModelConfig": {"name": "help", "path": "model"},
    "CustomReward": {"function": "a.py:f"},
}


def types_in(hint: Any) -> Iterator[Any]:
    """A type hint and all types that it is made of."""
    yield hint
    for part in typing.get_args(hint):
        yield from types_in(part)


def config_classes() -> dict[str, type]:
    """Every dataclass that a stage's config is made of, by name."""
    found, left = {}, [stage.config for stage in table.STAGES.values()]
    while left:
        cls = left.pop()
        if found.setdefault(cls.__name__, cls) is cls:
            inner = (each for hint in typing.get_type_hints(cls).values() for each in types_in(hint))
            left += [each for each in inner if dataclasses.is_dataclass(each) and each.__name__ not in found]
    return found


def is_number(hint: Any) -> bool:
    """Whether a field holds an int or a float, or may hold one: sections and lists have entries of their own."""
    optional = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return hint in (int, float) or (optional and any(part in (int, float) for part in typing.get_args(hint)))


CLASSES = config_classes()
NUMBERS = [
    pytest.param(cls, name, id=f"{cls.__name__}.{name}")
    for cls in CLASSES.values()
    for name, hint in typing.get_type_hints(cls).items()
    if is_number(hint)
]


def with_value(cls: type, name: str, value: float) -> Any:
    """A valid config of this class but for one field."""
    return dataclasses.replace(config.parse(cls, EXAMPLES.get(cls.__name__, {})), **{name: value})


def is_refused(cls: type, name: str, value: float) -> bool:
    try:
        with_value(cls, name, value)
    except ValueError as error:
        return f"{name}={value} must be" in str(error)
    return False


def test_the_configs_of_all_stages_are_walked():
    assert {"OptimizerConfig", "RewardConfig", "CodeConfig", "MeshConfig", "CorpusConfig", "Reading"} <= CLASSES.keys()
    assert len(NUMBERS) > 150
    for cls in CLASSES.values():  # no list holds bare numbers, which would have no bounds
        hints = [each for hint in typing.get_type_hints(cls).values() for each in types_in(hint)]
        assert not [h for h in hints if typing.get_origin(h) is tuple and {int, float} & set(typing.get_args(h))]


@pytest.mark.parametrize(("cls", "name"), NUMBERS)
def test_trap42_nan_and_infinity_are_no_value_of_any_number(cls, name):
    assert is_refused(cls, name, NAN)
    assert is_refused(cls, name, INFINITY) and is_refused(cls, name, -INFINITY)


@pytest.mark.parametrize(("cls", "name"), NUMBERS)
def test_trap42_every_number_has_a_value_that_is_refused(cls, name):
    below = any(is_refused(cls, name, value) for value in (-2, -1, 0))
    assert below != (f"{cls.__name__}.{name}" in ANY_SIGN)
    if typing.get_type_hints(cls)[name] is int:
        assert is_refused(cls, name, 2**32)


@pytest.mark.parametrize(
    "override",
    [
        "optimizer.clip_norm=-1",
        "optimizer.learning_rate=-0.001",
        "optimizer.learning_rate=nan",
        "optimizer.b1=1.0",
        "optimizer.b2=1.0",
        "optimizer.eps=-1e-8",
        "optimizer.eps=0",
        "optimizer.warmup_steps=-1",
        "optimizer.final_share=2",
        "optimizer.weight_decay=-0.1",
        "seed=4294967296",
        "grpo.beta=nan",
        "grpo.clip_low=nan",
        "rewards.accuracy=-1",
        "rewards.graders.timeout_s=nan",
        "rewards.graders.timeout_s=3e9",
        "sampling.truncation.top_p=nan",
        "mesh.data=0",
        "evaluation.truncation.temperature=nan",
        "rewards.graders.code.total_s=inf",
        "auxiliary.mtp_weight=nan",
    ],
)
def test_trap42_a_number_out_of_bounds_is_refused_by_name_when_the_config_is_read(override, tmp_path):
    spec = write_config(tmp_path / "zero.py", {**ZERO, "base": "x"})
    section, _, name = override.partition("=")[0].rpartition(".")
    where = f"config.{section}" if section else "config"
    with pytest.raises(config.ConfigError, match=rf"^{where}: {name}=\S+ must be (at|above|below|between)"):
        train.read_config(spec, [override])


@pytest.mark.parametrize(
    "override",
    [
        "corpus.drill=-0.1",
        "corpus.held_out_share=1",
        "vocab_size=8",
        "tokenizer_documents=0",
        "model.rope_theta=0",
        "model.norm_eps=nan",
    ],
)
def test_trap42_of_a_supervised_run_too(override, tmp_path):
    with pytest.raises(config.ConfigError, match="must be"):
        train.read_config(write_config(tmp_path / "base.py", BASE), [override])


def test_bounds_are_said_in_words():
    @dataclasses.dataclass
    class Numbers:
        a: float

    for interval, value, words in (
        ("[0, 1)", 1.0, "a=1.0 must be at least 0 and below 1"),
        ("(0, 1]", NAN, "a=nan must be above 0 and at most 1"),
        ("[0, 1]", 2.0, "a=2.0 must be between 0 and 1"),
        ("[0, inf)", -1.0, "a=-1.0 must be at least 0"),
        ("[0, inf)", INFINITY, "a=inf must be at least 0 and finite"),
        ("(-inf, inf)", NAN, "a=nan must be finite"),
    ):
        with pytest.raises(ValueError) as caught:
            config.within(interval, Numbers(value), "a")
        assert str(caught.value) == words
    for interval, value in (("[0, 1)", 0.0), ("(0, 1]", 1.0), ("[0, 1]", 1.0), ("(-inf, inf)", -1e300)):
        config.within(interval, Numbers(value), "a")
    with pytest.raises(ValueError, match="a=2147483648 must be below 2147483648"):
        config.at_least(0, Numbers(2**31), "a")


def test_documents_need_a_form_and_an_author():
    cls = CLASSES["CorpusConfig"]
    for names in (documents.FORMS, documents.AUTHORS):
        with pytest.raises(config.ConfigError, match="share of 0"):
            config.parse(cls, dict.fromkeys(names, 0.0))
