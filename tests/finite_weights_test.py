"""NaN or infinity in a base is an error when it is read, with the tensor's name: training would not say where from."""

import gguf_test
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from handmade import DEEPSEEK, QWEN2, tensors, write_folder

from r1jax.models import gguf, hf, weights
from r1jax.models.io import load_model, save_model
from r1jax.tools import convert

TENSORS = (
    "model.embed_tokens.weight",
    "model.norm.weight",
    "model.layers.1.self_attn.k_proj.weight",
    "model.layers.0.mlp.down_proj.weight",
)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("config", [QWEN2, DEEPSEEK], ids=["float32", "bfloat16"])
def test_trap42_a_tensor_that_is_not_finite_is_named(tmp_path, mesh1, mesh8, config, name, value):
    name = name.replace("self_attn.k_proj", "mlp.experts.3.up_proj") if config is DEEPSEEK else name
    values = tensors(config)
    values[name][(-1,) * values[name].ndim] = value
    write_folder(tmp_path, config, values)
    for mesh in mesh1, mesh8:
        with pytest.raises(ValueError, match=rf"{name} holds NaN or infinity: the model is broken"):
            hf.open_folder(tmp_path).read(mesh)


def test_trap42_a_repeated_table_with_nan_is_named_as_that(tmp_path, mesh1):
    values = tensors(QWEN2)
    values["model.embed_tokens.weight"][3, 3] = np.nan
    values["lm_head.weight"] = values["model.embed_tokens.weight"]
    write_folder(tmp_path, QWEN2, values)
    with pytest.raises(ValueError, match=r"model\.embed_tokens\.weight holds NaN or infinity"):
        hf.open_folder(tmp_path).read(mesh1)


def test_trap42_a_tensor_of_a_gguf_file_is_named_by_the_files_own_name(tmp_path, mesh1):
    values = gguf_test.values()
    values["blk.1.ffn_up.weight"][5, 5] = np.inf  # of its block of 32 the scale
    kinds = {"blk.1.ffn_up.weight": Kind.Q8_0}
    with np.errstate(all="ignore"):
        path = gguf_test.write(tmp_path / "m.gguf", tensors=values, kinds=kinds)
    with pytest.raises(ValueError, match=r"m\.gguf: blk\.1\.ffn_up\.weight holds NaN or infinity"):
        gguf.open_file(path).read(mesh1)


def test_trap42_a_weight_of_our_own_folder_is_named(tmp_path, tiny, tiny_params, tokenizer, mesh8):
    params = jax.tree.map(jnp.asarray, tiny_params)
    params["layers"]["up"] = params["layers"]["up"].at[1, 3, 3].set(jnp.nan)
    save_model(tmp_path, params, tiny, tokenizer)
    with pytest.raises(ValueError, match=r"params: layers\.up holds NaN or infinity"):
        load_model(tmp_path, mesh8)


@pytest.mark.parametrize("ours", [False, True])
def test_trap42_what_a_type_has_no_room_for_is_not_exported(tmp_path, tokenizer, capsys, ours):
    config = QWEN2 | {"torch_dtype": "bfloat16"}
    values = tensors(config)
    values["model.layers.1.mlp.up_proj.weight"][2, 2] = 1e5  # float16 ends at 65,504
    write_folder(tmp_path / "theirs", config, values)
    tokenizer.save(tmp_path / "theirs")
    source = tmp_path / "theirs"
    if ours:
        assert convert.main([str(source), str(tmp_path / "ours")]) == 0
        source = tmp_path / "ours"
    assert convert.main([str(source), str(tmp_path / "out"), "--dtype", "float16"]) == 2
    error = capsys.readouterr().err
    assert "layers.up holds NaN, infinity or values beyond float16" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_every_value_that_is_finite_passes_and_no_other(dtype):
    bits = np.arange(2**16, dtype=np.uint16)
    values = bits.view(dtype) if np.dtype(dtype).itemsize == 2 else (bits.astype(np.uint32) << 16).view(dtype)
    finite = np.isfinite(values.astype(np.float32))
    assert not finite.all() and weights._is_finite(values[finite])
    assert not any(weights._is_finite(values[i : i + 1]) for i in np.flatnonzero(~finite)[::7])
    large = np.ones(2**21 + 3, dtype)
    assert weights._is_finite(large)
    large[-1] = np.nan
    assert not weights._is_finite(large)
