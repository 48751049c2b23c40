"""Hugging Face folders in and out: by hand, by slices, by errors' names, and against transformers."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from handmade import DEEPSEEK, QWEN2, read_folder, same_tensors, tensors, write_folder, write_safetensors

from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES, MeshConfig, make_mesh
from r1jax.models import hf, safetensors
from r1jax.models.config import PRESETS, RopeScaling
from r1jax.models.transformer import param_specs

BOTH = pytest.mark.parametrize("config", [QWEN2, DEEPSEEK], ids=lambda config: config["model_type"])


@pytest.fixture(scope="module")
def mesh_of_experts():
    """Eight devices, with experts, heads and the residual stream all cut."""
    return make_mesh(MeshConfig(data=1, fsdp=2, expert=2, tensor=2))


def opened(tmp_path, config, values=None, shards=3):
    write_folder(tmp_path, config, tensors(config) if values is None else values, shards)
    return hf.open_folder(tmp_path)


@BOTH
def test_shapes_types_and_shardings_are_those_of_param_specs(tmp_path, config, mesh_of_experts):
    model = opened(tmp_path, config)
    params, specs = model.read(mesh_of_experts), param_specs(model.cfg)
    jax.tree.map(
        lambda x, spec, sharding: (x.shape, x.sharding) == (spec.shape, sharding) or pytest.fail(str(spec)),
        params,
        specs,
        core.shardings(specs, TRAIN_RULES, mesh_of_experts),
    )
    types = {jax.tree_util.keystr(path): str(x.dtype) for path, x in jax.tree_util.tree_leaves_with_path(params)}
    assert {name for name, kind in types.items() if kind != config["torch_dtype"]} == (
        set() if config is QWEN2 else {"['moe_layers']['router_bias']", "['mtp']['router_bias']"}
    )


def test_each_layout_by_hand_in_a_dense_model(tmp_path, mesh1):
    values = tensors(QWEN2)
    params, layer = opened(tmp_path, QWEN2, values).read(mesh1), "model.layers.1."
    H = 8
    file = values[layer + "self_attn.q_proj.weight"]  # [4 heads x 8, 32]
    assert params["layers"]["q"][1, 5, 3, 2] == file[3 * H + 2, 5]
    assert np.array_equal(params["layers"]["k"][1, :, 1], values[layer + "self_attn.k_proj.weight"][H:].T)
    file = values[layer + "self_attn.o_proj.weight"]  # [32, 4 heads x 8]
    assert params["layers"]["o"][1, 3, 2, 5] == file[5, 3 * H + 2]
    assert np.array_equal(params["layers"]["v_bias"][1, 1], values[layer + "self_attn.v_proj.bias"][H:])
    assert np.array_equal(params["layers"]["down"][1], values[layer + "mlp.down_proj.weight"].T)
    assert np.array_equal(params["layers"]["mlp_norm"][1], values[layer + "post_attention_layernorm.weight"])
    assert np.array_equal(params["embed"], values["model.embed_tokens.weight"]) and "unembed" not in params


def test_each_layout_by_hand_in_a_deepseek_model(tmp_path, mesh1):
    """Rotated entries: neighbours (2i, 2i + 1) in the file are (i, i + 4) with us; the six before them stay."""
    values = tensors(DEEPSEEK)
    params, layer = opened(tmp_path, DEEPSEEK, values).read(mesh1), "model.layers.2."
    order = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 7, 9, 11, 13]
    file = values[layer + "self_attn.q_b_proj.weight"].reshape(4, 14, 16)
    assert np.array_equal(params["moe_layers"]["q_b"][1], file[:, order].transpose(2, 0, 1))
    order = [*range(12), 12, 14, 16, 18, 13, 15, 17, 19]
    file = values[layer + "self_attn.kv_a_proj_with_mqa.weight"]
    assert np.array_equal(params["moe_layers"]["kv_a"][1], file[order].T)
    file = values[layer + "self_attn.kv_b_proj.weight"].reshape(4, 16, 12)
    assert np.array_equal(params["moe_layers"]["kv_b"][1], file.transpose(2, 0, 1))
    assert np.array_equal(params["moe_layers"]["expert_up"][1, 3], values[layer + "mlp.experts.3.up_proj.weight"].T)
    assert np.array_equal(params["moe_layers"]["router_bias"][1], values[layer + "mlp.gate.e_score_correction_bias"])
    assert np.array_equal(params["layers"]["up"][0], values["model.layers.0.mlp.up_proj.weight"].T)
    assert np.array_equal(params["mtp"]["merge"][0], values["model.layers.3.eh_proj.weight"].T)
    assert np.array_equal(params["mtp"]["norm"][0], values["model.layers.3.shared_head.norm.weight"])


@BOTH
def test_reading_by_slices_on_eight_devices_gives_what_one_device_reads(tmp_path, config, mesh1, mesh_of_experts):
    model = opened(tmp_path, config)
    assert jax.tree.all(jax.tree.map(np.array_equal, model.read(mesh1), model.read(mesh_of_experts)))


@BOTH
def test_there_and_back_every_tensor_is_bitwise_the_same_and_every_key_is_kept(tmp_path, config, mesh_of_experts):
    values = tensors(config)
    model = opened(tmp_path / "theirs", config, values)
    params = model.read(mesh_of_experts)
    hf.save_folder(tmp_path / "back", params, model.cfg, config, max_shard_bytes=20_000)
    assert same_tensors(read_folder(tmp_path / "back"), values)
    assert json.loads((tmp_path / "back/config.json").read_text()) == config
    files = sorted((tmp_path / "back").glob("*.safetensors"))
    assert len(files) > 3 and files[0].name == f"model-00001-of-{len(files):05}.safetensors"
    # The largest tensors are the tables, of 32 or 64 KiB.
    assert max(path.stat().st_size for path in files) < 20_000 + 65_536
    again = hf.open_folder(tmp_path / "back")
    assert again.cfg == model.cfg and jax.tree.all(jax.tree.map(np.array_equal, again.read(mesh_of_experts), params))


@BOTH
def test_ours_to_theirs_and_back_is_the_same_model(tmp_path, config, mesh8):
    cfg = hf.config_from_hf(config)
    cfg = dataclasses.replace(cfg, dtype="float32", rope_scaling=RopeScaling("yarn", 2.0, 64, attention_factor=1.5))
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda x: jax.device_put(rng.normal(size=x.shape).astype(np.float32), x.sharding),
        core.abstract(param_specs(cfg), TRAIN_RULES, mesh8),
    )
    hf.save_folder(tmp_path, params, cfg)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["model.safetensors"]
    model = hf.open_folder(tmp_path)
    assert model.cfg == cfg and jax.tree.all(jax.tree.map(np.array_equal, model.read(mesh8), params))


def test_a_dtype_asked_for_is_taken_but_where_float32_is_kept(tmp_path, mesh1):
    model = opened(tmp_path, DEEPSEEK)
    half, full = model.read(mesh1, "bfloat16"), model.read(mesh1, "float32")
    assert {str(x.dtype) for x in jax.tree.leaves(full)} == {"float32"}
    # The file's own routers are bfloat16: nothing to keep.
    assert str(half["moe_layers"]["router_bias"].dtype) == "float32" and str(half["embed"].dtype) == "bfloat16"
    assert np.array_equal(full["mtp"]["expert_down"], half["mtp"]["expert_down"].astype("float32"))


def test_progress_counts_the_bytes_of_every_weight(tmp_path, mesh1):
    seen = []
    params = opened(tmp_path, QWEN2).read(mesh1, progress=lambda done, total: seen.append((done, total)))
    sizes = [x.nbytes for x in jax.tree.leaves(params)]
    assert seen == [(int(done), sum(sizes)) for done in np.cumsum(sizes)]


def test_fp8_blocks_are_multiplied_out_in_any_slice_ragged_edges_too(tmp_path):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(7, 10)).astype(ml_dtypes.float8_e4m3fn)
    scale = rng.uniform(0.01, 3, size=(3, 3)).astype(np.float32)  # blocks of 3 x 4
    expected = np.empty((7, 10), ml_dtypes.bfloat16)
    for row in range(7):
        for column in range(10):
            expected[row, column] = np.float32(weight[row, column]) * scale[row // 3, column // 4]
    write_safetensors(tmp_path / "model.safetensors", {"x.weight": weight, "x.weight_scale_inv": scale})
    source = safetensors.SafetensorsFolder(tmp_path, (3, 4))
    assert list(source.tensors) == ["x.weight"] and source.tensors["x.weight"].dtype == ml_dtypes.bfloat16
    for rows in (slice(0, 7), slice(2, 4), slice(6, 7)):
        for columns in (slice(0, 10), slice(3, 9), slice(8, 10)):
            found = source.read("x.weight", (rows, columns))
            assert found.dtype == expected.dtype and np.array_equal(found, expected[rows, columns])


def test_an_fp8_model_is_read_as_bfloat16_and_exported_without_its_quantisation(tmp_path, mesh_of_experts):
    config = DEEPSEEK | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 16]}}
    plain, stored, rng = tensors(DEEPSEEK), {}, np.random.default_rng(1)
    for name, value in plain.items():
        stored[name] = value
        if name.endswith("proj.weight") and "eh_proj" not in name:
            stored[name] = value.astype(ml_dtypes.float8_e4m3fn)
            stored[name + "_scale_inv"] = scale = rng.uniform(0.5, 2, [-(-size // 16) for size in value.shape]).astype(
                np.float32
            )
            spread = np.repeat(np.repeat(scale, 16, 0), 16, 1)[: value.shape[0], : value.shape[1]]
            plain[name] = (stored[name].astype(np.float32) * spread).astype(ml_dtypes.bfloat16)
    model = opened(tmp_path / "fp8", config, stored)
    hf.save_folder(tmp_path / "back", model.read(mesh_of_experts), model.cfg, config)
    assert same_tensors(read_folder(tmp_path / "back"), plain)
    assert json.loads((tmp_path / "back/config.json").read_text()) == DEEPSEEK
    write_folder(tmp_path / "lost", config, {k: v for k, v in stored.items() if "kv_b_proj.weight_scale_inv" not in k})
    with pytest.raises(ValueError, match=r"kv_b_proj.weight_scale_inv, factors of fp8, is None, should be \(4, 1\) of"):
        hf.open_folder(tmp_path / "lost")
    write_folder(tmp_path / "unsaid", DEEPSEEK, stored)
    with pytest.raises(ValueError, match=r"is fp8, but config\.json has no quantization_config"):
        hf.open_folder(tmp_path / "unsaid")


def test_tensors_that_do_not_fit_are_all_named_in_one_error(tmp_path):
    values = tensors(QWEN2)
    values["model.layers.0.self_attn.q_proj.weights"] = values.pop("model.layers.0.self_attn.q_proj.weight")
    values["model.layers.1.mlp.up_proj.weight"] = values["model.layers.1.mlp.up_proj.weight"].T
    values = {f"vision.{i}.weight": values["model.norm.weight"] for i in range(9)} | values
    with pytest.raises(ValueError) as error:
        opened(tmp_path, QWEN2, values, shards=1)
    first, missing, unknown, misshaped = str(error.value).split("\n  ")
    assert first.startswith(str(tmp_path))
    assert missing == (
        "1 missing: model.layers.0.self_attn.q_proj.weight; "
        "nearest to the first: model.layers.0.self_attn.q_proj.weights"
    )
    assert unknown.startswith("10 not known: vision.") and " and 5 more" in unknown
    assert misshaped == "1 of another shape: model.layers.1.mlp.up_proj.weight is [32, 48], should be [48, 32]"


def test_extras_that_say_nothing_new_are_accepted_and_copies_that_differ_are_not(tmp_path, mesh1):
    values = tensors(QWEN2)
    values["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)
    values["lm_head.weight"] = values["model.embed_tokens.weight"]
    opened(tmp_path / "equal", QWEN2, values).read(mesh1)
    values["lm_head.weight"] = values["lm_head.weight"] + 1
    model = opened(tmp_path / "other", QWEN2, values)
    with pytest.raises(ValueError, match=r"lm_head\.weight should repeat model\.embed_tokens\.weight and differs"):
        model.read(mesh1)


def test_mtp_layers_that_the_files_lack_are_not_asked_for_and_the_key_is_kept(tmp_path, mesh1):
    values = {name: value for name, value in tensors(DEEPSEEK).items() if ".layers.3." not in name}
    model = opened(tmp_path, DEEPSEEK, values)
    assert model.cfg.mtp_depth == 0 and "mtp" not in model.read(mesh1)
    assert hf.config_to_hf(model.cfg, DEEPSEEK) == DEEPSEEK


def test_trap35_a_missing_broken_or_shortened_file_is_named(tmp_path):
    shard = tmp_path / "model-00002-of-00003.safetensors"
    write_folder(tmp_path, QWEN2, tensors(QWEN2))
    whole = shard.read_bytes()
    for content, message in [
        (whole[:-1], "00002-of-00003.safetensors was cut short: it has"),
        (whole[:100], "00002-of-00003.safetensors is no safetensors file, or was cut short"),
        (b"", "00002-of-00003.safetensors is no safetensors file, or was cut short"),
        (whole[:8] + b"x" + whole[9:], "00002-of-00003.safetensors is no safetensors file: its header is not JSON"),
    ]:
        shard.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            hf.open_folder(tmp_path)
    # A header of the right form that says what cannot be: a wrong place would be read as other numbers.
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    name, entry = next(iter(header.items()))
    for changed, message in [
        (entry | {"data_offsets": [2, entry["data_offsets"][1]]}, rf"{name}, F32 of shape .* but its place is 2 to"),
        (entry | {"data_offsets": [-8, entry["data_offsets"][1] - 8]}, r"its header describes no tensor as .*\[-8,"),
        ({"shape": [1]}, r"its header describes no tensor as .* \(KeyError\('dtype'\)\)"),
        (7, "its header describes no tensor as "),
    ]:
        text = json.dumps(header | {name: changed}).encode()
        shard.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])
        with pytest.raises(ValueError, match=f"00002-of-00003.safetensors.*{message}"):
            hf.open_folder(tmp_path)
    shard.write_bytes(whole)
    index = tmp_path / "model.safetensors.index.json"
    there = index.read_text()
    for content in ("", "[]", "{}", '{"weight_map": {"a": 1, "b": "c"}}'):
        index.write_text(content)
        with pytest.raises(ValueError, match=r"index\.json is no index of safetensors files"):
            hf.open_folder(tmp_path)
    index.write_text(there)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of the 3 files .*: model-00002-of-00003\.safetensors"):
        hf.open_folder(tmp_path)
    for path in tmp_path.glob("model*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"expected model\.safetensors or model\.safetensors\.index\.json"):
        hf.open_folder(tmp_path)
    (tmp_path / "pytorch_model-00001-of-00002.bin").touch()
    with pytest.raises(FileNotFoundError, match="save_pretrained"):
        hf.open_folder(tmp_path)


@pytest.mark.parametrize("name", PRESETS)
def test_named_shapes_survive_as_config_json(name):
    cfg = PRESETS[name]
    config = json.loads(json.dumps(hf.config_to_hf(cfg)))
    ours = hf.config_from_hf(config | {"torch_dtype": cfg.dtype})
    assert dataclasses.replace(ours, remat=cfg.remat, scan_unroll=cfg.scan_unroll) == cfg


def test_the_keys_of_transformers_5_mean_the_same_as_the_older_ones():
    new = {key: value for key, value in DEEPSEEK.items() if key not in ("rope_scaling", "rope_theta", "torch_dtype")}
    new |= {"rope_parameters": DEEPSEEK["rope_scaling"] | {"rope_theta": 1e4, "rope_type": "yarn"}, "dtype": "bfloat16"}
    assert hf.config_from_hf(new) == hf.config_from_hf(DEEPSEEK)
    # A contradicted key is replaced in whichever way it is said, and the others stay.
    cfg = dataclasses.replace(hf.config_from_hf(new), rope_scaling=None, vocab_size=600)
    changed = hf.config_to_hf(cfg, new | {"mine": 1})
    assert hf.config_from_hf(changed) == cfg and changed["mine"] == 1 and "rope_parameters" not in changed


def test_what_a_family_leaves_out_of_its_config_is_what_transformers_takes():
    llama = {key: value for key, value in QWEN2.items() if key != "num_key_value_heads"} | {"model_type": "llama"}
    assert hf.config_from_hf(llama).num_kv_heads == 4
    assert hf.config_from_hf(llama | {"head_dim": 16}).head_dim == 16
    assert hf.config_from_hf(QWEN2 | {"model_type": "qwen3"}).head_dim == 128
    stretched = {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}
    assert hf.config_from_hf(QWEN2 | stretched).rope_scaling == RopeScaling("yarn", 4.0, 128)
    with pytest.raises(ValueError, match=r"sliding_window=4096 is not supported in mistral; supported: null"):
        hf.config_from_hf({key: QWEN2[key] for key in QWEN2 if "window" not in key} | {"model_type": "mistral"})


@pytest.mark.parametrize(
    "base, key, value, message",
    [
        (QWEN2, "model_type", "qwen2_moe", "nearest: qwen2"),
        (QWEN2, "hidden_act", "gelu", 'hidden_act="gelu" is not supported in qwen2; supported: "silu"'),
        (QWEN2, "use_sliding_window", True, "sliding window are not supported"),
        (QWEN2, "layer_types", ["full_attention", "sliding_attention"], "sliding_attention"),
        (QWEN2, "rope_scaling", {"type": "dynamic", "factor": 2.0}, "default, linear, llama3 and yarn"),
        (QWEN2, "rope_parameters", {"full_attention": {"rope_type": "default"}}, "for all layers"),
        (QWEN2, "rope_parameters", {"rope_type": "default", "partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (QWEN2, "partial_rotary_factor", 0.25, "partial_rotary_factor=0.25"),
        (QWEN2, "final_logit_softcapping", 30.0, "final_logit_softcapping=30.0 .* supported: null"),
        (QWEN2, "hidden_size", None, "hidden_size is missing"),
        (QWEN2, "hidden_size", "32", 'hidden_size="32" should be a number'),
        (QWEN2, "num_attention_heads", 0, "num_heads=0 must be at least 1"),
        (QWEN2, "rope_scaling", "yarn", 'rope_scaling="yarn" should be an object'),
        (QWEN2, "rope_scaling", {"type": "linear", "factor": "2"}, 'factor="2" should be a number'),
        (QWEN2, "quantization_config", {"quant_method": "awq"}, "quant_method='awq'"),
        (QWEN2 | {"model_type": "llama"}, "attention_bias", True, "attention_bias=true is not supported in llama"),
        (QWEN2 | {"model_type": "llama"}, "mlp_bias", True, "mlp_bias=true"),
        (DEEPSEEK, "moe_layer_freq", 2, "moe_layer_freq=2 is not supported in deepseek_v3; supported: 1"),
        (DEEPSEEK, "scoring_func", "softmax", 'supported: "sigmoid"'),
        (DEEPSEEK, "rope_scaling", DEEPSEEK["rope_scaling"] | {"truncate": False}, "truncate=false"),
    ],
)
def test_what_would_change_the_numbers_is_refused_by_name(base, key, value, message):
    with pytest.raises(ValueError, match=message):
        hf.config_from_hf(base | {key: value})


def test_a_model_of_no_family_is_not_exported():
    cfg = dataclasses.replace(PRESETS["mini"], attention_bias=True, qk_norm=True)
    with pytest.raises(ValueError, match="no Hugging Face family has attention_bias=True, qk_norm=True"):
        hf.config_to_hf(cfg)


MEASURE = r"""
import pathlib, re, sys
import jax
from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.models import hf
def memory(what):  # not getrusage: its peak is at first the parent's
    return int(re.search(what + r":\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
model, mesh = hf.open_folder(pathlib.Path(sys.argv[1])), make_mesh(MeshConfig())
jax.block_until_ready(jax.device_put(0.0))
before = memory("VmRSS")
params = jax.block_until_ready(model.read(mesh))
sizes = [x.nbytes for x in jax.tree.leaves(params)]
print(memory("VmHWM") - before, sum(sizes), max(sizes))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_holds_one_weight_besides_the_model(tmp_path):
    config = QWEN2 | {"vocab_size": 4096, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 16}
    write_folder(tmp_path, config, tensors(config))
    root = pathlib.Path(__file__).parent.parent
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", MEASURE, tmp_path], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak, model, largest = map(int, done.stdout.split())
    assert model > 180e6 and largest == 16 * 512 * 1536 * 4
    # Of one weight: the shard on the host and the pages of the file that it is read from.
    assert model < peak < model + 1.5 * largest, (peak / 1e6, model / 1e6, largest / 1e6)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "deepseek_v2", "deepseek_v3"])
def test_transformers_opens_what_we_export_and_computes_the_same(tmp_path, mesh_of_experts, mesh1, family, seed):
    torch = pytest.importorskip("torch", reason="comparing needs PyTorch: pip install -e '.[parity]'")
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install -e '.[parity]'")
    import reference

    drawn = reference.draw(family, seed)
    reference.save(drawn, tmp_path / "theirs")
    model = hf.open_folder(tmp_path / "theirs")
    original = hf.read_json(tmp_path / "theirs/config.json")
    hf.save_folder(tmp_path / "back", model.read(mesh1), model.cfg, original, max_shard_bytes=20_000)
    assert same_tensors(read_folder(tmp_path / "back"), read_folder(tmp_path / "theirs"))
    assert hf.read_json(tmp_path / "back/config.json") == original
    # Without the original's config.json: the same model again.
    hf.save_folder(tmp_path / "fresh", model.read(mesh1), model.cfg)
    ids = torch.randint(0, 61, (2, 20), generator=torch.Generator().manual_seed(seed))
    logits = drawn.theirs(ids).logits
    for folder in ("back", "fresh"):
        again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / folder, attn_implementation="eager")
        assert torch.equal(again(ids).logits, logits), folder
