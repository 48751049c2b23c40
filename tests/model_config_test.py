"""Shapes with names have the published sizes, shapes that cannot be are refused by field, and a shape outlives JSON."""

import dataclasses
import json

import pytest

from r1jax import config
from r1jax.core import params as core
from r1jax.models.config import PRESETS, MLAConfig, ModelConfig, MoEConfig, RopeScaling
from r1jax.models.transformer import param_specs

# Counted from the weights as their authors released them; DeepSeek-V3's without the block that predicts further ahead.
PUBLISHED = {
    "smollm2_135m": 134_515_008,
    "qwen2_5_0_5b": 494_032_768,
    "qwen2_5_1_5b": 1_543_714_304,
    "qwen2_5_3b": 3_085_938_688,
    "qwen2_5_7b": 7_615_616_512,
    "qwen2_5_14b": 14_770_033_664,
    "qwen2_5_32b": 32_763_876_352,
    "qwen2_5_72b": 72_706_203_648,
    "llama3_2_1b": 1_235_814_400,
    "llama3_2_3b": 3_212_749_824,
    "llama3_1_8b": 8_030_261_248,
    "llama3_3_70b": 70_553_706_496,
    "deepseek_v2_lite": 15_706_484_224,
    "deepseek_v3": 671_026_419_200,
}
MOE = MoEConfig(num_experts=8, top_k=2, expert_dim=4, num_groups=4, top_groups=2)
MLA = MLAConfig(q_rank=0, kv_rank=8, nope_dim=4, rope_dim=2, v_dim=4)
MODEL = ModelConfig(
    vocab_size=8, embed_dim=8, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=6, mlp_dim=8, mla=MLA, moe=MOE
)
YARN = RopeScaling("yarn", 4.0, 128)


def test_every_preset_of_a_published_model_has_its_number_of_parameters():
    bare = {name: dataclasses.replace(cfg, mtp_depth=0) for name, cfg in PRESETS.items() if name != "mini"}
    assert {name: core.count(param_specs(cfg)) for name, cfg in bare.items()} == PUBLISHED


@pytest.mark.parametrize(
    "cfg, change, field",
    [
        (MOE, {"num_experts": 0}, "num_experts=0"),
        (MOE, {"top_k": 0}, "top_k=0"),
        (MOE, {"expert_dim": 0}, "expert_dim=0"),
        (MOE, {"num_shared": -1}, "num_shared=-1"),
        (MOE, {"first_dense": -1}, "first_dense=-1"),
        (MOE, {"num_groups": 3}, "num_experts=8 .* num_groups=3"),
        (MOE, {"top_k": 5}, "top_k=5 .* only 4"),
        (MOE, {"top_groups": 5}, "top_groups=5 of 4"),
        (MOE, {"num_groups": 8}, "num_groups=8"),
        (MLA, {"q_rank": -1}, "q_rank=-1"),
        (MLA, {"kv_rank": 0}, "kv_rank=0"),
        (MLA, {"v_dim": 0}, "v_dim=0"),
        (MLA, {"rope_dim": 3}, "rope_dim=3"),
        (MODEL, {"head_dim": 8}, "head_dim .* 6"),
        (MODEL, {"num_kv_heads": 1}, "num_kv_heads must be num_heads=2"),
        (MODEL, {"attention_bias": True}, "attention_bias"),
        (MODEL, {"qk_norm": True}, "qk_norm"),
        (MODEL, {"mtp_depth": -1}, "mtp_depth=-1"),
        (MODEL, {"moe": dataclasses.replace(MOE, first_dense=3)}, r"moe\.first_dense=3 of num_layers=2"),
        (YARN, {"factor": 0.0}, "factor=0"),
        (YARN, {"original_length": 0}, "original_length=0"),
        (YARN, {"kind": "llama3", "original_length": 0}, "original_length=0"),
        (
            YARN,
            {"kind": "llama3", "low_frequency_factor": 4.0},
            "low_frequency_factor=4.0 .* high_frequency_factor=4.0",
        ),
        (YARN, {"beta_fast": 1.0}, "beta_slow=1.0 .* beta_fast=1.0"),
    ],
    ids=lambda x: type(x).__name__ if dataclasses.is_dataclass(x) else str(x),
)
def test_shapes_that_cannot_be_are_refused_by_the_name_of_the_field(cfg, change, field):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(cfg, **change)


def test_the_edges_of_what_can_be_are_accepted():
    dataclasses.replace(MOE, top_k=4)  # all experts of the groups that are kept
    dataclasses.replace(MOE, num_groups=8, scoring="softmax")  # there a group's score is its best expert's
    dataclasses.replace(MODEL, moe=dataclasses.replace(MOE, first_dense=2))  # no layer with experts is left
    RopeScaling("linear", 2.0)  # knows no original length


@pytest.mark.parametrize("cfg", [*PRESETS.values(), MODEL], ids=[*PRESETS, "tiny"])
def test_a_model_config_survives_json(cfg):
    tree = json.loads(json.dumps(config.to_dict(cfg)))
    assert config.parse(ModelConfig, tree) == cfg


def test_an_unknown_kind_or_scoring_is_refused_with_the_choices():
    tree = config.to_dict(PRESETS["deepseek_v3"])
    for section, key in (("rope_scaling", "kind"), ("moe", "scoring")):
        with pytest.raises(config.ConfigError, match=rf"config\.{section}\.{key} is 'yarm'"):
            config.parse(ModelConfig, {**tree, section: {**tree[section], key: "yarm"}})
