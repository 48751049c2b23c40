"""What may change when a run is resumed, and what may not: the record of its settings against those of now."""

import dataclasses
import json
import pathlib
from typing import Any

import pytest
from tiny_run import BASE, ZERO, merged, rows

from r1jax import config
from r1jax.config import ConfigError
from r1jax.io import run_record
from r1jax.models.config import ComputeConfig
from r1jax.stages import table
from r1jax.stages import workdir as workdirs
from r1jax.stages.rl import RLConfig
from r1jax.stages.supervised import SupervisedConfig
from r1jax.training.state import OptimizerConfig

RL = merged(ZERO, base="", microbatches=1, compute={"dtype": "bfloat16"}, keep_rollouts=1, seed=0)
OTHER_MEANS = {
    "packing": False,
    "microbatches": 2,
    "logprob_chunk": 8,
    "batch_bucket": 32,
    "keep_rollouts": 0,
    "profile_at": 5,
    "mesh__fsdp": 2,
    "sampling__slots": 4,
    "sampling__window": 2,
    "sampling__prefill_rows": 2,
    "sampling__bucket": 32,
    "evaluation__every": 7,
    "checkpoint__every": 1,
    "checkpoint__keep": 5,
    "rewards__graders__workers": 3,
    "rewards__judge__retries": 9,
    "rewards__judge__in_flight": 1,
    "compute__remat": True,
}


def rl(**changes: Any) -> RLConfig:
    return config.parse(RLConfig, merged(RL, **changes))


@pytest.fixture
def claim(tmp_path):
    """The workdir of a run with the settings RL that has done some steps, and what claims it for other ones."""
    workdir = tmp_path / "run"

    def claim(cfg: Any = None, **changes: Any) -> pathlib.Path:
        workdirs.claim(workdir, cfg or rl(**changes))
        return workdir

    claim()
    (workdir / "metrics.jsonl").write_text('{"step": 0}\n')
    return claim


def record(workdir: pathlib.Path) -> dict[str, Any]:
    return json.loads((workdir / "config.json").read_text())


def test_what_would_steer_a_terminal_is_spelled_out_in_the_line_about_means(tmp_path, capsys):
    for microbatches in (1, 2):
        workdirs.claim(tmp_path / "run\x1b[31m", rl(microbatches=microbatches))
        (tmp_path / "run\x1b[31m" / "metrics.jsonl").write_text('{"step": 0}\n')
    said = capsys.readouterr().out
    assert "microbatches 1 -> 2" in said and "\x1b" not in said and "run\\x1b[31m goes on" in said


def test_trap38_a_run_goes_on_by_other_means_and_says_and_records_which(claim, capsys):
    workdir = claim()
    assert not (workdir / "config_changes.jsonl").exists() and not capsys.readouterr().out
    claim(**OTHER_MEANS)
    said = capsys.readouterr().out
    [row] = rows(workdir / "config_changes.jsonl")
    assert row["changed"].keys() == {key.replace("__", ".") for key in OTHER_MEANS}
    assert row["changed"]["microbatches"] == ["1", "2"] and row["changed"]["mesh.fsdp"] == ["1", "2"]
    assert str(workdir) in said and all(f"{key} " in said for key in row["changed"])
    assert record(workdir) == config.to_dict(rl(**OTHER_MEANS))
    claim(**OTHER_MEANS)  # which is now what the run has
    assert len(rows(workdir / "config_changes.jsonl")) == 1 and not capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 3},
        {"grpo__beta": 0.02},
        {"optimizer__learning_rate": 1.0},
        {"sampling__max_new_tokens": 13},
        {"compute__dtype": "float32"},
        {"evaluation__samples": 3},
        {"rewards__graders__timeout_s": 61.0},
        {"grpo__minibatches": 1},
        {"auxiliary__bias_rate": 0.1},
        {"data__skip_bad_lines": True},
    ],
)
def test_trap38_another_meaning_is_refused_by_name_and_leaves_the_record_alone(claim, change):
    workdir, [key] = claim(), [key.replace("__", ".") for key in change]
    before = record(workdir)
    with pytest.raises(ConfigError) as caught:
        claim(**OTHER_MEANS, **change)
    first, *lines = str(caught.value).splitlines()
    assert str(workdir) in first and "--workdir" in first
    assert [line.partition(":")[0].strip() for line in lines] == [key]  # the means are nothing to set back
    assert record(workdir) == before and not (workdir / "config_changes.jsonl").exists()


def test_trap38_a_run_begun_before_an_option_was_there_goes_on_with_its_default(claim, capsys):
    workdir = claim()
    old = record(workdir)
    del old["auxiliary"], old["keep_rollouts"], old["optimizer"]["eps"], old["grpo"]["entropy_bonus"]
    del old["rewards"]["graders"]["code"], old["data"]["tasks"][0]["options"], old["compute"]["scan_unroll"]
    (workdir / "config.json").write_text(json.dumps(old))
    claim()
    assert record(workdir) == config.to_dict(rl()) and not capsys.readouterr().out
    (workdir / "config.json").write_text(json.dumps(old))
    with pytest.raises(ConfigError, match=r"\n  grpo.entropy_bonus: 0.0 -> 0.1$"):
        claim(grpo__entropy_bonus=0.1)


def test_trap38_num_steps_grows_where_the_learning_rate_does_not_depend_on_it(claim, capsys):
    workdir = claim(num_steps=5, optimizer__warmup_steps=0)
    assert "num_steps 3 -> 5" in capsys.readouterr().out and record(workdir)["num_steps"] == 5
    with pytest.raises(ConfigError, match=r"num_steps: 5 -> 4 \(it may only grow"):
        claim(num_steps=4)


def test_trap38_num_steps_stays_where_the_learning_rate_depends_on_it(tmp_path):
    cosine = config.parse(SupervisedConfig, merged(BASE, optimizer__schedule="cosine"))
    workdirs.claim(tmp_path, cosine)
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n')
    with pytest.raises(ConfigError, match=r"num_steps: 2 -> 4 \(optimizer.schedule=cosine falls to its end"):
        workdirs.claim(tmp_path, dataclasses.replace(cosine, num_steps=4))
    workdirs.claim(tmp_path, dataclasses.replace(cosine, microbatches=4, log_every=1))


def test_a_folder_is_free_until_something_was_made_with_its_settings(tmp_path):
    path = tmp_path / "new" / "setup.json"
    run_record.claim(path, {"a": 1}, "things", begun=False)
    run_record.claim(path, {"a": 2}, "things", begun=False)
    with pytest.raises(ConfigError, match=r"new holds things; .*\n  a: 2 -> 3$"):
        run_record.claim(path, {"a": 3}, "things", begun=True)
    run_record.claim(path, {"a": 3}, "things", begun=False, writes=False)
    assert json.loads(path.read_text()) == {"a": 2}


def test_trap38_a_mapping_of_settings_takes_defaults_from_the_configs_in_it_and_nothing_for_the_rest(tmp_path):
    path = tmp_path / "setup.json"
    path.write_text(json.dumps({"seed": 1, "compute": {"dtype": "bfloat16"}, "rates": [{"b1": 0.5}]}))
    now = {
        "seed": 1,
        "compute": ComputeConfig("bfloat16", remat=True),
        "rates": (OptimizerConfig(b1=0.5),),
        "marker": "",
        "shots": 0,
        "chat": False,
    }
    run_record.claim(path, now, "things", begun=True)
    assert json.loads(path.read_text()) == config.to_dict(now)
    for change in ({"marker": "=="}, {"rates": (OptimizerConfig(b1=0.4),)}, {"rates": ()}, {"compute": None}):
        with pytest.raises(ConfigError, match=next(iter(change))):
            run_record.claim(path, now | change, "things", begun=True)


def test_trap38_a_model_that_lies_elsewhere_now_is_the_same(tmp_path):
    path = tmp_path / "setup.json"
    run_record.claim(path, {"model": {"path": "a", "hash": "1"}}, "samples drawn otherwise", begun=False)
    run_record.claim(path, {"model": {"path": "b", "hash": "1"}}, "samples drawn otherwise", begun=True)
    with pytest.raises(ConfigError, match=r"\n  model.hash: '1' -> '2'$"):
        run_record.claim(path, {"model": {"path": "c", "hash": "2"}}, "samples drawn otherwise", begun=True)


def test_hashes_are_taken_over_by_a_record_without_them_and_compared_by_one_with(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"a": 1}))
    run_record.claim(path, {"a": 1}, "things", begun=True, keys={"data_key": "x"})
    assert json.loads(path.read_text()) == {"a": 1, "data_key": "x"}
    with pytest.raises(ConfigError, match="data_key: 'x' -> 'y'"):
        run_record.claim(path, {"a": 1}, "things", begun=True, keys={"data_key": "y"})


def test_of_several_data_files_the_one_whose_content_changed_is_named(tmp_path):
    files = [tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    for file in files:
        file.write_text(file.name)
    cfg = config.parse(SupervisedConfig, merged(BASE, data={"paths": tuple(map(str, files))}))
    workdirs.claim(tmp_path / "run", cfg)
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 0}\n')
    files[1].write_text("another")
    with pytest.raises(ConfigError) as refused:
        workdirs.claim(tmp_path / "run", cfg)
    assert str(refused.value).endswith(f"(another content of {files[1]})")
    files[1].unlink()
    with pytest.raises(ConfigError, match="data_key: "):
        workdirs.claim(tmp_path / "run", cfg)


def test_all_means_are_fields_of_a_config():
    keys = {key for stage in table.STAGES.values() for key in config.keys_of(stage.config)}
    assert [each for each in run_record.CHANGEABLE if each not in keys] == ["model.path"]
