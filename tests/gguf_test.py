"""GGUF files: names and orders by hand, quantised blocks in any slice, and what is refused."""

import gguf
import jax
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from r1jax.models import gguf as ours
from r1jax.models.config import RopeScaling
from r1jax.models.layers import rope_frequencies

D, N, K, H, F, V = 64, 4, 2, 16, 96, 40
SHAPES = {
    "attn_norm.weight": (D,),
    "attn_q.weight": (N * H, D),
    "attn_k.weight": (K * H, D),
    "attn_v.weight": (K * H, D),
    "attn_output.weight": (D, N * H),
    "ffn_norm.weight": (D,),
    "ffn_gate.weight": (F, D),
    "ffn_up.weight": (F, D),
    "ffn_down.weight": (D, F),
}
BIASES = {"attn_q.bias": (N * H,), "attn_k.bias": (K * H,), "attn_v.bias": (K * H,)}
NORMS = {"attn_q_norm.weight": (H,), "attn_k_norm.weight": (H,)}


def values(arch="llama", tied=True, rows=V):
    rng = np.random.default_rng(0)
    block = SHAPES | {"llama": {}, "qwen2": BIASES, "qwen3": NORMS}[arch]
    shapes = {"token_embd.weight": (rows, D), "output_norm.weight": (D,)}
    shapes |= {} if tied else {"output.weight": (rows, D)}
    shapes |= {f"blk.{layer}.{name}": shape for layer in range(2) for name, shape in block.items()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def write(path, arch="llama", tensors=None, kinds=None, rows=V, **fields):
    """Writes a file; `kinds` names the type of tensors that are not float32, `rows` is the vocabulary's size."""
    writer = gguf.GGUFWriter(path, arch)
    usual = {
        "embedding_length": D,
        "block_count": 2,
        "feed_forward_length": F,
        "attention.head_count": N,
        "attention.head_count_kv": K,
        "context_length": 128,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 1e5,
        **({"attention.key_length": H} if arch == "qwen3" else {}),
    }
    for key, value in (usual | {key.replace("__", "."): value for key, value in fields.items()}).items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
        add(f"{arch}.{key}", value)
    for name, value in (values(arch, rows=rows) if tensors is None else tensors).items():
        kind = (kinds or {}).get(name, Kind.F32)
        stored = gguf.quants.quantize(value, kind)
        writer.add_tensor(name, stored, raw_dtype=None if kind == Kind.F32 else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_llama_file_by_hand(tmp_path, mesh1):
    """Its queries and keys are in llama.cpp's order: rows 2i and 2i + 1 of a head are the model's i and i + H/2."""
    stored = values()
    model = ours.open_file(write(tmp_path / "m.gguf"))
    cfg = model.cfg
    assert (cfg.norm_eps, cfg.rope_theta, cfg.head_dim, cfg.vocab_size) == (1e-5, 1e5, H, V)
    assert cfg.tie_embeddings and not cfg.attention_bias and not cfg.qk_norm and cfg.rope_scaling is None
    params = model.read(mesh1)
    file = stored["blk.1.attn_q.weight"]
    for i in range(H // 2):
        assert np.array_equal(params["layers"]["q"][1, :, 3, i], file[3 * H + 2 * i])
        assert np.array_equal(params["layers"]["q"][1, :, 3, i + H // 2], file[3 * H + 2 * i + 1])
    assert np.array_equal(params["layers"]["v"][1, :, 1], stored["blk.1.attn_v.weight"][H:].T)
    assert np.array_equal(params["layers"]["o"][1, 3], stored["blk.1.attn_output.weight"][:, 3 * H :].T)
    assert np.array_equal(params["layers"]["gate"][0], stored["blk.0.ffn_gate.weight"].T)
    assert np.array_equal(params["layers"]["mlp_norm"][0], stored["blk.0.ffn_norm.weight"])
    assert np.array_equal(params["embed"], stored["token_embd.weight"])


@pytest.mark.parametrize("arch", ["qwen2", "qwen3"])
def test_qwen_files_keep_the_models_order_and_have_its_extras(tmp_path, mesh1, arch):
    stored = values(arch, tied=False)
    model = ours.open_file(write(tmp_path / "m.gguf", arch, stored))
    params = model.read(mesh1)
    assert np.array_equal(params["layers"]["k"][1, :, 1], stored["blk.1.attn_k.weight"][H:].T)
    assert np.array_equal(params["unembed"], stored["output.weight"]) and not model.cfg.tie_embeddings
    if arch == "qwen2":
        assert np.array_equal(params["layers"]["k_bias"][1, 1], stored["blk.1.attn_k.bias"][H:])
    else:
        assert np.array_equal(params["layers"]["q_norm"][1], stored["blk.1.attn_q_norm.weight"])


def test_quantised_tensors_come_out_in_float32_the_same_by_slices(tmp_path, mesh1, mesh8):
    stored = values()
    kinds = {
        "blk.0.ffn_up.weight": Kind.Q8_0,
        "blk.1.ffn_up.weight": Kind.Q4_1,
        "blk.0.attn_q.weight": Kind.Q4_0,
        "blk.0.ffn_gate.weight": Kind.BF16,
        "blk.1.ffn_gate.weight": Kind.BF16,
        "token_embd.weight": Kind.F16,
    }
    model = ours.open_file(write(tmp_path / "m.gguf", tensors=stored, kinds=kinds))
    params = model.read(mesh1)
    types = {name: str(x.dtype) for name, x in (params["layers"] | params).items() if name != "layers"}
    assert types.pop("gate") == "bfloat16" and types.pop("embed") == "float16" and set(types.values()) == {"float32"}
    for layer, kind in enumerate((Kind.Q8_0, Kind.Q4_1)):
        name = f"blk.{layer}.ffn_up.weight"
        expected = gguf.quants.dequantize(gguf.quants.quantize(stored[name], kind), kind)
        assert np.array_equal(params["layers"]["up"][layer], expected.T)
        assert 0 < np.abs(expected - stored[name]).max() < 0.3
    assert jax.tree.all(jax.tree.map(np.array_equal, model.read(mesh8), params))
    # Slices that begin and end inside a block of 32.
    whole = model.source.read("blk.0.ffn_up.weight", (slice(0, F), slice(0, D)))
    assert np.array_equal(model.source.read("blk.0.ffn_up.weight", (slice(5, 9), slice(30, 35))), whole[5:9, 30:35])
    assert {str(x.dtype) for x in jax.tree.leaves(model.read(mesh1, "bfloat16"))} == {"bfloat16"}


def test_rope_scaling_is_read_and_llama_3s_is_recovered_from_its_table(tmp_path):
    fields = {"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0, "rope__scaling__original_context_length": 32}
    model = ours.open_file(write(tmp_path / "yarn.gguf", "qwen2", **fields))
    assert model.cfg.rope_scaling == RopeScaling("yarn", 4.0, 32)
    scaling = RopeScaling("llama3", 32.0, 8192)
    factors = np.asarray(rope_frequencies(H // 2, 5e5, None) / rope_frequencies(H // 2, 5e5, scaling), np.float32)
    assert factors[0] == 1 and len(set(factors.tolist())) > 2  # some kept, some stretched, some between
    stored = values() | {"rope_freqs.weight": factors}
    model = ours.open_file(write(tmp_path / "llama3.gguf", tensors=stored, rope__freq_base=5e5))
    assert model.cfg.rope_scaling == scaling
    factors = np.linspace(1, 9, H // 2, dtype=np.float32)
    path = write(tmp_path / "other.gguf", tensors=values() | {"rope_freqs.weight": factors})
    with pytest.raises(ValueError, match=r"other\.gguf: rope_freqs\.weight holds rotary factors other than"):
        ours.open_file(path)


@pytest.mark.parametrize(
    "arch, fields, message",
    [
        ("gemma3", {}, "general.architecture='gemma3' is not supported; nearest: "),
        ("llama", {"expert_count": 8}, "llama.expert_count=8 is not supported; supported: 0"),
        ("llama", {"attention__sliding_window": 4096}, "llama.attention.sliding_window=4096 is not supported"),
        ("qwen2", {"rope__scaling__type": "longrope"}, "longrope"),
        ("llama", {"rope__scale_linear": 4.0}, "llama.rope.scale_linear=4.0 is not supported; supported: 1"),
        ("llama", {"attention__head_count": 0}, "num_heads=0 must be at least 1"),
        ("llama", {"rope__dimension_count": 8}, "llama.rope.dimension_count=8 is not supported; supported: 16"),
        ("llama", {"attention__value_length": 8}, "llama.attention.value_length=8 is not supported; supported: 16"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_key(tmp_path, arch, fields, message):
    path = write(tmp_path / "m.gguf", arch, tensors=values(), **fields)
    with pytest.raises(ValueError) as error:
        ours.open_file(path)
    assert message in str(error.value) and str(path) in str(error.value)


def test_tensors_that_do_not_fit_are_named_as_in_the_file(tmp_path):
    stored = values()
    stored["blk.0.attn_sinks.weight"] = stored.pop("blk.0.attn_q.weight")
    with pytest.raises(ValueError, match=r"1 missing: blk\.0\.attn_q\.weight; .*\n.*1 not known: blk\.0\.attn_sinks"):
        ours.open_file(write(tmp_path / "m.gguf", tensors=stored))


def test_trap35_a_file_cut_short_or_of_another_kind_is_named(tmp_path):
    path = write(tmp_path / "m.gguf")
    whole = path.read_bytes()
    for content in whole[:-200], whole[:300], b"", b"not a gguf file, but longer than a header":
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"m\.gguf is no GGUF file, or was cut short"):
            ours.open_file(path)
