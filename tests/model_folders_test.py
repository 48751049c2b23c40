"""Model folders as people have them: shards that repeat a tensor, another head, adapters."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest
import tiny_bpe
from handmade import QWEN2, read_folder, same_tensors, tensors, write_folder, write_safetensors

from r1jax.models import hf, safetensors
from r1jax.models.config import RopeScaling
from r1jax.models.io import load_tokenizer, open_model
from r1jax.stages import base_keys
from r1jax.tools import convert

THETA = {"rope_theta": 1e6, "rope_type": "default"}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
NO_ROPE = {key: value for key, value in QWEN2.items() if "rope" not in key}


def with_index(folder, change):
    path = folder / safetensors.INDEX
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


def test_trap35_a_tensor_in_two_shards_is_the_one_that_the_index_names(tmp_path, mesh1):
    values = tensors(QWEN2)
    for shard in (1, 3):  # before and behind the shard that counts
        write_folder(tmp_path, QWEN2, values)
        where = json.loads((tmp_path / safetensors.INDEX).read_text())["weight_map"]
        name = next(name for name, file in where.items() if "-00002-" in file)
        other = tmp_path / f"model-0000{shard}-of-00003.safetensors"
        own = {each: value for each, value in values.items() if where[each] == other.name}
        write_safetensors(other, own | {name: values[name] + 1})
        params = hf.open_folder(tmp_path).read(mesh1)
        hf.save_folder(tmp_path / "out", params, hf.config_from_hf(QWEN2))
        assert same_tensors(read_folder(tmp_path / "out"), values)
    with_index(tmp_path, lambda where: where.pop(name))
    with pytest.raises(ValueError, match=rf"{name} stands in model-00002-of-.* and in model-00003-of-.* not say which"):
        hf.open_folder(tmp_path)


def test_trap35_an_index_that_names_the_wrong_shard_is_refused(tmp_path):
    write_folder(tmp_path, QWEN2, tensors(QWEN2))
    shard = "model-0000{}-of-00003.safetensors"
    with_index(tmp_path, lambda where: where.update({"model.embed_tokens.weight": shard.format(2)}))
    with pytest.raises(ValueError, match=r"index\.json says that model\.embed_tokens\.weight is in model-00002-.*1-of"):
        hf.open_folder(tmp_path)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_fp8_scales_of_half_precision_are_multiplied_in_float32(tmp_path, dtype, monkeypatch):
    monkeypatch.setitem(write_safetensors.__globals__["CODES"], "float16", "F16")
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 4)).astype(ml_dtypes.float8_e4m3fn)
    scale = rng.uniform(0.01, 3, size=(2, 2)).astype(dtype)
    write_safetensors(tmp_path / "model.safetensors", {"x.weight": weight, "x.weight_scale_inv": scale})
    source = safetensors.SafetensorsFolder(tmp_path, (2, 2))
    factors = np.repeat(np.repeat(scale.astype(np.float32), 2, 0), 2, 1)
    expected = (weight.astype(np.float32) * factors).astype(ml_dtypes.bfloat16)
    assert np.array_equal(source.read("x.weight", (slice(0, 4), slice(0, 4))), expected)


def test_scales_of_a_weight_that_is_not_fp8_are_not_passed_over(tmp_path):
    values = tensors(QWEN2) | {"model.layers.0.mlp.up_proj.weight_scale_inv": np.ones((1, 1), np.float32)}
    write_folder(tmp_path, QWEN2, values)
    with pytest.raises(ValueError, match=r"1 not known: model\.layers\.0\.mlp\.up_proj\.weight_scale_inv"):
        hf.open_folder(tmp_path)


@pytest.mark.parametrize(
    "keys, theta, scaling",
    [
        ({"rope_parameters": THETA, "rope_scaling": YARN}, 1e6, RopeScaling("yarn", 4.0, 32)),
        ({"rope_parameters": THETA, "rope_scaling": {"type": "yarn", **YARN}}, 1e6, RopeScaling("yarn", 4.0, 32)),
        ({"rope_parameters": {"rope_theta": 1e6, **YARN}, "rope_scaling": YARN}, 1e6, RopeScaling("yarn", 4.0, 32)),
        ({"rope_parameters": {"rope_theta": 1e6}, "rope_scaling": YARN}, 1e6, RopeScaling("yarn", 4.0, 32)),
        ({"rope_parameters": YARN, "rope_theta": 1e6}, 1e6, RopeScaling("yarn", 4.0, 32)),
        ({"rope_parameters": THETA, "rope_scaling": None}, 1e6, None),
        ({}, 1e4, None),
    ],
)
def test_a_rope_scaling_beside_rope_parameters_keeps_their_base(keys, theta, scaling):
    cfg = hf.config_from_hf(NO_ROPE | keys)
    assert (cfg.rope_theta, cfg.rope_scaling) == (theta, scaling)
    assert hf.config_from_hf(hf.config_to_hf(cfg, NO_ROPE | keys)) == cfg


@pytest.mark.parametrize(
    "keys, message",
    [
        (
            {"rope_parameters": THETA | YARN, "rope_scaling": YARN | {"factor": 2.0}},
            "factor is 4.0 and 2.0 in one config",
        ),
        ({"rope_parameters": THETA, "rope_theta": 1e4}, r"rope_theta is 10000.0 and 1000000.0 .*leave one of them out"),
    ],
)
def test_rope_keys_that_contradict_each_other_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        hf.config_from_hf(NO_ROPE | keys)


def test_a_tied_config_with_another_head_is_refused_with_the_way_out(tmp_path, mesh1):
    values = tensors(QWEN2)
    values["lm_head.weight"] = values["model.embed_tokens.weight"] + 1
    write_folder(tmp_path, QWEN2, values)
    with pytest.raises(ValueError, match=r"set tie_word_embeddings to false in its config\.json"):
        hf.open_folder(tmp_path).read(mesh1)
    (tmp_path / "config.json").write_text(json.dumps(QWEN2 | {"tie_word_embeddings": False}))  # as it says
    params = hf.open_folder(tmp_path).read(mesh1)
    assert np.array_equal(params["unembed"], values["lm_head.weight"])


def test_an_export_names_no_code_that_it_lacks_and_keeps_every_chat_template(tmp_path):
    code = {"AutoConfig": "configuration_own.OwnConfig"}
    write_folder(tmp_path / "theirs", QWEN2 | {"auto_map": code}, tensors(QWEN2))
    own = {"auto_map": {"AutoTokenizer": ["tokenization.Own", None]}, "tokenizer_class": "Own"}
    tiny_bpe.write_folder(tmp_path / "theirs", tiny_bpe.train(), tokenizer_config=tiny_bpe.CONFIG | own)
    (tmp_path / "theirs/chat_template.jinja").write_text("plain")
    more = tmp_path / "theirs/additional_chat_templates"
    more.mkdir()
    (more / "tool_use.jinja").write_text("{{ tools[0].name }}")
    assert convert.main([str(tmp_path / "theirs"), str(tmp_path / "ours")]) == 0
    assert convert.main([str(tmp_path / "ours"), str(tmp_path / "out")]) == 0
    assert hf.read_json(tmp_path / "out/config.json") == QWEN2
    config = hf.read_json(tmp_path / "out/tokenizer_config.json")
    assert config == tiny_bpe.CONFIG | {"tokenizer_class": "PreTrainedTokenizerFast"}
    tokenizer = load_tokenizer(tmp_path / "out", hf.config_from_hf(QWEN2))
    chat = [{"role": "user", "content": "?"}]
    assert (tokenizer.render_chat(chat), tokenizer.render_chat(chat, tools=[{"name": "add"}])) == ("plain", "add")
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs.chat_template == {"default": "plain", "tool_use": "{{ tools[0].name }}"}


def test_an_adapter_is_named_with_its_base_and_how_to_merge_it(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/Qwen2.5-0.5B"}')
    (folder / "adapter_model.safetensors").touch()
    message = r"an adapter \(LoRA\) of Qwen/Qwen2\.5-0\.5B: merge it .*merge_and_unload"
    for read in (open_model, base_keys.base_name):
        with pytest.raises((FileNotFoundError, ValueError), match=message):
            read(str(folder))
    (folder / "config.json").write_text(json.dumps(QWEN2))  # some trainers copy it there
    with pytest.raises(FileNotFoundError, match=message):
        open_model(folder)
    shutil.rmtree(folder)
