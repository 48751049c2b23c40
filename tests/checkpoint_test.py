"""What a run leaves on disk: whole, or said to be broken and where."""

import asyncio
import json
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_bpe
from gguf_test import write as write_gguf
from handmade import DEEPSEEK, QWEN2, tensors, write_folder

from r1jax.core import checksums
from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES, replicated
from r1jax.inference.model_identity import model_hash
from r1jax.io.console import reporter
from r1jax.models.config import ComputeConfig
from r1jax.models.io import is_model, load_model, read_hf_config, save_model
from r1jax.models.transformer import param_specs
from r1jax.stages.workdir import owned
from r1jax.training.checkpoint import CheckpointConfig, Checkpoints

# What Orbax leaves behind of a read that it broke off.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TREE = {"w": np.arange(4096, dtype=np.float32).reshape(64, 64), "step": np.int32(7)}


@pytest.fixture
def target(mesh1):
    return {"state": jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh1)), TREE)}


def save(folder, every=2, steps=range(1, 6)):
    """Saves states whose arrays tell their step."""
    checkpoints = Checkpoints(folder, CheckpointConfig(every, keep=2), total_steps=5)
    for finished in steps:
        checkpoints.save(finished, {"state": jax.tree.map(lambda x, n=finished: jnp.asarray(x) + n, TREE)})
    checkpoints.close()


def restore(folder, target):
    checkpoints = Checkpoints(folder, CheckpointConfig(), 5)
    try:
        return checkpoints.restore(target)
    finally:
        checkpoints.close()


def test_a_save_within_one_process_compiles_nothing(tmp_path, mesh8, caplog):
    """Orbax would cut arrays that all devices hold, by a program for each shape, at the first save."""
    tree = {f"w{i}": jax.device_put(np.ones((16, 37 + i), np.float32), replicated(mesh8)) for i in range(3)}
    checkpoints = Checkpoints(tmp_path, CheckpointConfig(every=1), total_steps=5)
    with jax.log_compiles():
        checkpoints.save(1, {"state": tree})
    checkpoints.close()
    assert not [record.getMessage() for record in caplog.records if "ompiling" in record.getMessage()]


def kept(folder) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoints").iterdir() if p.name.isdigit())


def test_a_fresh_workdir_has_no_state_and_the_newest_one_is_restored_exactly(tmp_path, target):
    assert restore(tmp_path, target) is None
    save(tmp_path)
    assert kept(tmp_path) == ["4", "5"]  # every second step and the end; two are kept
    step, trees = restore(tmp_path, target)
    assert step == 5
    assert jax.tree.all(
        jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(a, b + b.dtype.type(5)), trees["state"], TREE)
    )


def test_every_0_saves_only_the_end_and_a_saved_end_is_not_saved_again(tmp_path):
    save(tmp_path, every=0)
    assert kept(tmp_path) == ["5"]
    save(tmp_path, every=0, steps=[5])


def test_a_save_is_of_the_moment_it_is_asked_for(tmp_path, target, mesh1):
    """The next update donates, so overwrites, what is still being written in the background."""
    checkpoints = Checkpoints(tmp_path, CheckpointConfig(every=1), 2)
    step = jax.jit(lambda x: jax.tree.map(lambda a: a * 3 + 1, x), donate_argnums=0)
    state = jax.device_put(TREE, replicated(mesh1))
    checkpoints.save(1, {"state": state})
    for _ in range(20):
        state = step(state)
    checkpoints.close()
    found = restore(tmp_path, target)[1]["state"]
    assert jax.tree.all(jax.tree.map(np.array_equal, found, TREE))


def test_trap35_a_run_that_fails_leaves_its_workdir_when_its_save_is_done(tmp_path, monkeypatch):
    """In a notebook the process goes on, and the same cell may run again at once."""
    write = checksums.write

    def slow(folder):
        time.sleep(0.5)
        write(folder)

    monkeypatch.setattr(checksums, "write", slow)
    with pytest.raises(ValueError, match="in the step"), owned(tmp_path):
        Checkpoints(tmp_path, CheckpointConfig(every=1), 5).save(1, {"state": TREE})
        raise ValueError("in the step")
    assert (tmp_path / "checkpoints" / "1" / checksums.FILE).exists()


def flip(path, byte=None) -> None:
    """Turns one bit of a file over, as a disk may."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if byte is None else byte] ^= 4
    path.write_bytes(content)


def files_of(folder) -> list:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_trap35_a_flipped_bit_in_any_file_of_the_newest_state_is_noticed_and_the_one_before_goes_on(
    tmp_path, target, capsys
):
    save(tmp_path / "whole")
    files = files_of(tmp_path / "whole/checkpoints/5")
    assert len(files) > 5 and checksums.FILE in [path.name for path in files]
    for number, path in enumerate(files):
        workdir = shutil.copytree(tmp_path / "whole", tmp_path / str(number))
        flip(workdir / path.relative_to(tmp_path / "whole"))
        assert restore(workdir, target)[0] == 4, path
        told = capsys.readouterr().out
        assert f"{workdir}/checkpoints/5 is damaged: " in told and "goes on from step 4" in told
        assert path.name in told or path.name == checksums.FILE
        assert kept(workdir) == ["4"] and files_of(workdir / "damaged_checkpoints/5")
    save(workdir, steps=[5])  # the run goes on over it
    assert restore(workdir, target)[0] == 5


def test_trap35_a_truncated_state_is_set_aside_and_no_good_one_at_all_is_an_error(tmp_path, target, capsys):
    save(tmp_path)
    for step in "5", "4":
        data = [path for path in files_of(tmp_path / "checkpoints" / step) if "/d/" in str(path)]
        data[0].write_bytes(data[0].read_bytes()[: data[0].stat().st_size // 2])
        data[-1].unlink()
        if step == "5":
            assert restore(tmp_path, target)[0] == 4 and f"{data[-1].name} is missing" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"all states in .*checkpoints are damaged \(4: .* to begin anew"):
        restore(tmp_path, target)
    assert kept(tmp_path) == ["4"]


def test_trap35_a_state_without_checksums_is_good_where_orbax_reads_it_and_set_aside_where_it_does_not(
    tmp_path, target, capsys
):
    """Of an earlier version, or of a run that was killed between the save and its checksums."""
    save(tmp_path)
    newest = tmp_path / "checkpoints" / "5"
    (newest / checksums.FILE).unlink()
    assert restore(tmp_path, target)[0] == 5
    for path in files_of(newest):
        if "/d/" in str(path):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with_two = shutil.copytree(tmp_path / "checkpoints", tmp_path / "two" / "checkpoints")
    assert restore(tmp_path / "two", target)[0] == 4 and kept(tmp_path / "two") == ["4"]
    said = capsys.readouterr().out
    assert f"{with_two}/5 is damaged: it has no checksums and cannot be read" in said and "from step 4" in said
    shutil.rmtree(tmp_path / "checkpoints" / "4")  # where none is earlier, it is an error
    with pytest.raises(ValueError, match="checkpoints/5; delete that folder to resume from an earlier one"):
        restore(tmp_path, target)
    shutil.rmtree(newest)  # what the message advises works
    assert restore(tmp_path, target) is None


def test_a_save_that_failed_in_the_background_fails_the_run(tmp_path, monkeypatch):
    def full(folder):
        raise OSError("no space left on device")

    monkeypatch.setattr(checksums, "write", full)
    with pytest.raises(OSError, match="no space left"):
        save(tmp_path)


def test_trap35_a_flipped_bit_in_any_file_of_a_model_folder_is_noticed(tmp_path, tiny, tiny_params, tokenizer, mesh1):
    save_model(tmp_path / "whole", tiny_params, tiny, tokenizer, beside={"more.json": b"{}"})
    files = files_of(tmp_path / "whole")
    assert len(files) > 10
    for path in files:
        folder = shutil.copytree(tmp_path / "whole", tmp_path / "copy")
        flip(folder / path.relative_to(tmp_path / "whole"))
        with pytest.raises(ValueError, match=r"copy is damaged: .*copy it again"):
            load_model(folder, mesh1)
        shutil.rmtree(folder)
    # What one has changed oneself is taken out of the list, and what one adds is not in it.
    folder = tmp_path / "whole"
    (folder / "more.json").write_text("[]")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"more\.json is not as it was written .* take its line out of checksums\.txt"):
        load_model(folder, mesh1)
    lines = (folder / checksums.FILE).read_text().splitlines(keepends=True)
    (folder / checksums.FILE).write_text("".join(line for line in lines if "more.json" not in line))
    load_model(folder, mesh1)


def test_trap35_a_state_of_another_shape_is_refused_by_name(tmp_path, target, mesh1):
    save(tmp_path)
    wrong = {"state": {**target["state"], "w": jax.ShapeDtypeStruct((3, 64), np.float32, sharding=replicated(mesh1))}}
    with pytest.raises(ValueError, match="checkpoints/5"):
        restore(tmp_path, wrong)


def test_a_model_folder_gives_the_same_model_on_any_mesh(tmp_path, tiny, tiny_params, tokenizer, mesh8):
    save_model(tmp_path / "model", tiny_params, tiny, tokenizer)
    params, cfg, text = load_model(tmp_path / "model", mesh8)
    assert cfg == tiny and text.encode("1 + 1 = 等等") == tokenizer.encode("1 + 1 = 等等")
    assert jax.tree.all(jax.tree.map(np.array_equal, params, tiny_params))
    assert jax.tree.all(
        jax.tree.map(lambda x, s: x.sharding == s, params, core.shardings(param_specs(tiny), TRAIN_RULES, mesh8))
    )
    before = model_hash(tmp_path / "model")
    save_model(tmp_path / "model", params, tiny, tokenizer, keep_same=True)
    assert model_hash(tmp_path / "model") == before
    beside = {"chat_template.jinja": b"1", "additional_chat_templates/tools.jinja": b"2"}
    save_model(tmp_path / "model", params, tiny, tokenizer, beside=beside, keep_same=True)
    with_beside = model_hash(tmp_path / "model")
    save_model(tmp_path / "model", params, tiny, tokenizer, beside=beside, keep_same=True)
    assert model_hash(tmp_path / "model") == with_beside != before
    more = jax.tree.map(lambda x: x + 1, params)
    save_model(tmp_path / "model", more, tiny, tokenizer, beside=beside, keep_same=True)  # replaces it
    assert np.array_equal(load_model(tmp_path / "model", mesh8)[0]["embed"], tiny_params["embed"] + 1)


@pytest.mark.parametrize("where", ["shutil.rmtree", "orbax.checkpoint.StandardCheckpointer"])
def test_trap35_a_model_folder_is_none_until_it_is_whole(
    tmp_path, tiny, tiny_params, tokenizer, mesh1, monkeypatch, where
):
    """A finished run that is started again writes its model again, and may be killed at any point of that."""
    folder = tmp_path / "model"
    save_model(folder, tiny_params, tiny, tokenizer)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(where, killed)
        save_model(folder, tiny_params, tiny, tokenizer)
    assert not is_model(folder)
    with pytest.raises(FileNotFoundError, match=r"model is not a model folder: it has no model\.json"):
        load_model(folder, mesh1)


@pytest.fixture
def theirs(tmp_path, tokenizer):
    """A Hugging Face folder with a tokenizer."""
    write_folder(tmp_path / "theirs", DEEPSEEK, tensors(DEEPSEEK))
    tokenizer.save(tmp_path / "theirs")
    return tmp_path / "theirs"


def test_a_hugging_face_folder_is_loaded_as_it_is_and_kept_in_our_own_kind(tmp_path, theirs, mesh1, mesh8):
    assert is_model(theirs)
    params, cfg, tokenizer = load_model(theirs, mesh8, ComputeConfig(remat=True, scan_unroll=2))
    assert (cfg.dtype, cfg.remat, cfg.scan_unroll) == ("float32", True, 2)  # bfloat16 in its config.json
    assert {str(x.dtype) for x in jax.tree.leaves(params)} == {"float32"}
    assert jax.tree.all(
        jax.tree.map(lambda x, s: x.sharding == s, params, core.shardings(param_specs(cfg), TRAIN_RULES, mesh8))
    )
    params, _, _ = load_model(theirs, mesh1)
    save_model(tmp_path / "ours", params, cfg, tokenizer, read_hf_config(theirs))
    again, same_cfg, _ = load_model(tmp_path / "ours", mesh8)
    assert same_cfg == cfg and jax.tree.all(jax.tree.map(np.array_equal, again, params))
    assert read_hf_config(tmp_path / "ours") == DEEPSEEK


def test_a_gguf_file_is_loaded_with_the_tokenizer_beside_it(tmp_path, mesh1):
    bpe = tiny_bpe.train()
    tiny_bpe.write_folder(tmp_path, bpe, tokenizer_config=tiny_bpe.CONFIG)
    path = write_gguf(tmp_path / "m.gguf", rows=bpe.get_vocab_size())
    assert is_model(path) and not is_model(tmp_path / "other.gguf")
    params, cfg, tokenizer = load_model(path, mesh1)
    assert cfg.vocab_size == params["embed"].shape[0] == tokenizer.vocab_size


def test_a_tokenizer_with_more_ids_than_the_table_has_rows_is_refused(tmp_path, tokenizer, mesh1):
    config = QWEN2 | {"vocab_size": tokenizer.vocab_size - 1}
    write_folder(tmp_path, config, tensors(config))
    tokenizer.save(tmp_path)
    with pytest.raises(ValueError, match="the tokenizer has 512 ids and the model's table 511 rows"):
        load_model(tmp_path, mesh1)


def test_a_runs_workdir_is_no_model_though_it_has_a_config_json(tmp_path):
    (tmp_path / "config.json").write_text('{"stage": "rl"}')
    assert not is_model(tmp_path)


def test_a_model_json_of_another_version_is_refused_by_its_key(tmp_path, tiny, tiny_params, tokenizer, mesh1):
    save_model(tmp_path, tiny_params, tiny, tokenizer)
    (tmp_path / checksums.FILE).unlink()
    content = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(content | {"rope": 1}))
    with pytest.raises(ValueError, match=r"unknown key .*model\.json\.rope; nearest: rope_"):
        load_model(tmp_path, mesh1)
    # A folder written before there were experts and the like.
    for key in ("attention_bias", "qk_norm", "rope_scaling", "mla", "moe", "mtp_depth"):
        del content[key]
    (tmp_path / "model.json").write_text(json.dumps(content))
    assert load_model(tmp_path, mesh1)[1] == tiny


def test_a_long_read_is_told_every_few_seconds_and_a_short_one_not(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    report = reporter("reading m", every=5)
    for now[0], done in (1.0, 1), (6.0, 3), (7.0, 4), (12.0, 8):
        report(done * 10**9, 8 * 10**9)
    assert capsys.readouterr().out == (
        "reading m: 3.0 of 8.0 GB, 0.50 GB/s, 10s left\nreading m: 8.0 of 8.0 GB, 0.67 GB/s, 0s left\n"
    )
    report = reporter("reading m", every=5)
    now[0] = 13.0
    report(8, 8)
    assert capsys.readouterr().out == ""


def test_models_and_states_are_saved_and_read_where_an_event_loop_runs(tmp_path, tiny, tiny_params, tokenizer, target):
    """As in a notebook's kernel: Orbax cannot run its own event loop in that thread."""

    async def as_in_a_notebook():
        save_model(tmp_path / "model", tiny_params, tiny, tokenizer)
        save(tmp_path)
        return load_model(tmp_path / "model", tiny_params["embed"].sharding.mesh)[0], restore(tmp_path, target)

    params, (step, _) = asyncio.run(as_in_a_notebook())
    jax.tree.map(np.testing.assert_array_equal, params, tiny_params)
    assert step == 5
