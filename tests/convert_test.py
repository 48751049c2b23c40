"""Command r1jax convert: both ways, exactly, whole or not at all."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from handmade import DEEPSEEK, QWEN2, read_folder, same_tensors, tensors, write_folder

from r1jax.models import hf
from r1jax.models.io import is_model, load_model, save_model
from r1jax.tools import convert


@pytest.fixture(params=[QWEN2, DEEPSEEK], ids=["qwen2", "deepseek"])
def theirs(request, tmp_path, tokenizer):
    """A Hugging Face folder of several files, with a tokenizer."""
    write_folder(tmp_path / "theirs", request.param, tensors(request.param))
    tokenizer.save(tmp_path / "theirs")
    return tmp_path / "theirs"


def main(*arguments) -> int:
    return convert.main([str(argument) for argument in arguments])


def test_there_and_back_keeps_every_bit_and_key(theirs, tmp_path, capsys):
    assert main(theirs, tmp_path / "ours") == 0
    assert (tmp_path / "ours/model.json").exists() and (tmp_path / "ours/params").is_dir()
    assert main(tmp_path / "ours", tmp_path / "back", "--max-shard-size", "30KB") == 0
    assert "parameters" in capsys.readouterr().out
    assert same_tensors(read_folder(tmp_path / "back"), read_folder(theirs))
    assert len(list((tmp_path / "back").glob("model-*"))) > 2
    assert hf.read_json(tmp_path / "back/config.json") == hf.read_json(theirs / "config.json")
    for name in "tokenizer.model", "generation_config.json":
        assert (tmp_path / "back" / name).exists()


def test_a_bfloat16_folder_trains_in_float32(theirs, tmp_path, mesh8):
    assert main(theirs, tmp_path / "half", "--dtype", "bfloat16") == 0
    params, cfg, _ = load_model(tmp_path / "half", mesh8)
    direct, their_cfg, _ = load_model(theirs, mesh8)
    assert cfg == their_cfg and {str(x.dtype) for x in jax.tree.leaves(params)} == {"float32"}

    def rounded(path, x):
        return np.asarray(x if "router_bias" in str(path) else np.asarray(x).astype(ml_dtypes.bfloat16), np.float32)

    expected = jax.tree_util.tree_map_with_path(rounded, direct)
    assert jax.tree.all(jax.tree.map(np.array_equal, params, expected))


def test_a_model_of_ours_goes_out_with_how_to_end_a_text(tmp_path, tiny, tiny_params, tokenizer, mesh1):
    save_model(tmp_path / "ours", tiny_params, tiny, tokenizer)
    assert main(tmp_path / "ours", tmp_path / "out") == 0
    config, generation = (
        json.loads((tmp_path / "out" / name).read_text()) for name in ("config.json", "generation_config.json")
    )
    assert config["model_type"] == "llama" and config["torch_dtype"] == "float32"
    assert (tmp_path / "out/tokenizer.json").exists() and (tmp_path / "out/tokenizer.model").exists()
    assert config["eos_token_id"] == generation["eos_token_id"] == list(tokenizer.eos_ids)
    params, cfg, _ = load_model(tmp_path / "out", mesh1)
    assert cfg == tiny and jax.tree.all(jax.tree.map(np.array_equal, params, tiny_params))


def test_to_picks_the_other_direction(theirs, tmp_path):
    assert main(theirs, tmp_path / "same", "--to", "hf", "--dtype", "float32") == 0
    found = read_folder(tmp_path / "same")
    assert {str(value.dtype) for value in found.values()} == {"float32"}
    expected = {name: value.astype(np.float32) for name, value in read_folder(theirs).items()}
    assert same_tensors(found, expected)


def test_what_lies_there_stays_unless_it_is_a_model_and_overwrite_is_said(theirs, tmp_path, capsys):
    target = tmp_path / "ours"
    assert main(theirs, target) == 0
    before = (target / "model.json").stat().st_mtime_ns
    assert main(theirs, target) == 2 and "replace it with --overwrite" in capsys.readouterr().err
    assert (target / "model.json").stat().st_mtime_ns == before
    assert main(theirs, target, "--overwrite") == 0
    other = tmp_path / "letters"
    other.mkdir()
    (other / "love.txt").write_text("dear")
    assert main(theirs, other, "--overwrite") == 2 and "is no model; choose another" in capsys.readouterr().err
    assert main(theirs, theirs, "--overwrite") == 2 and "holds what is to be converted" in capsys.readouterr().err
    assert main(theirs, tmp_path, "--overwrite") == 2 and "holds what is to be converted" in capsys.readouterr().err
    assert (other / "love.txt").exists() and is_model(theirs)


@pytest.mark.parametrize(
    "to, broken",
    [
        ("r1jax", "orbax.checkpoint.StandardCheckpointer"),
        ("hf", "r1jax.models.hf.save_folder"),
        ("hf", "pathlib.Path.rename"),
    ],
)
def test_trap35_a_conversion_that_breaks_off_leaves_what_was_there(theirs, tmp_path, monkeypatch, to, broken):
    target = tmp_path / "out"
    assert main(theirs, target, "--to", to) == 0
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(broken, killed)
        assert main(theirs, target, "--to", to, "--overwrite") == 130
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert main(theirs, target, "--to", to, "--overwrite") == 0 and not target.with_name("out.partial").exists()


def test_errors_are_one_line_and_status_2(tmp_path, theirs, capsys):
    for arguments, message in [
        ((tmp_path / "nowhere", tmp_path / "x"), "is not a model folder: it has no model.json"),
        ((theirs, tmp_path / "x", "--max-shard-size", "5 apples"), "is not a size; write it like 5GB"),
    ]:
        assert main(*arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_trap35_a_flipped_bit_in_any_file_of_an_export_is_noticed(tmp_path, tiny, tiny_params, tokenizer, mesh1):
    save_model(tmp_path / "ours", tiny_params, tiny, tokenizer)
    assert main(tmp_path / "ours", tmp_path / "out") == 0
    for path in sorted((tmp_path / "out").iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])
        with pytest.raises(ValueError, match=path.name if path.suffix != ".txt" else "out is damaged: "):
            load_model(tmp_path / "out", mesh1)
        path.write_bytes(whole)
    load_model(tmp_path / "out", mesh1)
