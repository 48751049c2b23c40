"""experiments/r1.sh: which stages it runs, in which order, from which files; what a kill costs. No stage runs."""

import json
import os
import pathlib
import subprocess

import pytest

from r1jax.tools import train

ROOT = pathlib.Path(__file__).parent.parent
# Notes each call, and fails the stage that a file names.
R1JAX = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
[[ -z ${FAIL:-} || "$*" != *"--workdir=$FOLDER/$FAIL "* ]] || exit 3
"""


@pytest.fixture
def r1(tmp_path):
    """Runs the script with an r1jax that only notes its calls."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "r1jax").write_text(R1JAX)
    (tmp_path / "bin" / "r1jax").chmod(0o755)
    folder = tmp_path / "runs"

    def run(*arguments: str, **env: str) -> tuple[int, list[str]]:
        calls = tmp_path / "calls"
        calls.write_text("")
        environment = {
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "VIRTUAL_ENV": "here",
            "CALLS": str(calls),
            "FOLDER": str(folder / "seed0"),
        }
        command = [ROOT / "experiments" / "r1.sh", *(arguments or ("mini", str(folder)))]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment | env)
        return done.returncode, calls.read_text().splitlines()

    return run


def stages(calls: list[str]) -> list[str]:
    """The workdirs' names, in order."""
    return [call.split("--workdir=")[1].split()[0].partition("/seed0/")[2] for call in calls if "--workdir=" in call]


def test_the_papers_stages_in_the_papers_order_and_one_report(r1):
    status, calls = r1()
    assert status == 0 and calls[0].startswith("write-miniworld ") and calls[-1].startswith("report ")
    trained = [name for name in stages(calls) if not name.startswith("eval/")]
    assert trained == [
        "zero",
        "zero_language",
        "coldstart",
        "coldstart_sft",
        "reasoning",
        "reasoning_free",
        "rejection",
        "sft",
        "helpfulness",
        "harmlessness",
        "r1",
        "distill_qwen2",
        "rl_qwen2",
        "distill_llama",
        "rl_llama",
    ]
    sft = next(call for call in calls if "/sft " in call)
    assert "--config.base=configs/base.py:world" in sft  # from the base, not from the RL model
    assert "--config.language=0" not in sft and "rejection/samples.jsonl" in sft and "sft_general.jsonl" in sft


def test_a_stage_that_is_done_is_not_run_again_and_one_that_broke_off_is(r1, tmp_path):
    status, calls = r1(FAIL="rejection")
    assert status != 0 and stages(calls)[-1] == "rejection"
    assert (tmp_path / "runs/seed0/done/rejection.part").read_text().strip().isdecimal()  # its seconds still count
    status, again = r1()
    assert status == 0 and stages(again)[0] == "rejection" and "zero" not in stages(again)
    status, nothing = r1()
    assert status == 0 and stages(nothing) == [] and len(nothing) == 1  # the report


def test_every_command_of_it_is_a_config_that_can_be_read(r1, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, calls = r1()
    for call in calls:
        if not call.startswith("train "):
            continue
        page, *overrides = [word for word in call.split(" --") if word.startswith("config")]
        settings = [word.strip().removeprefix("config.").strip("'") for word in overrides]
        train.read_config(page.removeprefix("config=").strip(), settings)


def test_the_manifest_lists_the_runs_that_the_script_makes(r1, tmp_path):
    _, calls = r1()
    manifest = json.loads((tmp_path / "runs/seed0/manifest.json").read_text())
    runs = [run for run in manifest["runs"] if run["folder"]]
    assert [run["folder"] for run in runs] == stages(calls)
    for run, call in zip(runs, [call for call in calls if "--workdir=" in call], strict=True):
        assert f"--config={run['config']} " in call
        start = f"/{run['starts_from']}/model" if (tmp_path / "runs/seed0/done" / run["starts_from"]).exists() else ""
        assert start in call


def test_named_stages_run_alone_and_in_the_harder_world_with_its_configs(r1, tmp_path):
    status, calls = r1("harder", str(tmp_path / "runs"), STAGES="r1 world eval-r1")
    assert status == 0 and len(calls) == 3
    assert calls[0].startswith("write-miniworld ") and calls[0].endswith(" --harder")
    assert stages(calls) == ["r1", "eval/r1"]
    assert "all_scenario:mini_harder" in calls[1] and "evaluate:world_harder" in calls[2]


def test_another_size_is_refused(r1):
    status, calls = r1("large")
    assert status == 2 and not calls
