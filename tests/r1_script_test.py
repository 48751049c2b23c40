"""experiments/r1.sh: which stages it runs, in which order, from which files; what a kill costs. No stage runs."""

import os
import pathlib
import subprocess

import pytest

from r1jax import train

ROOT = pathlib.Path(__file__).parent.parent
# Notes each call, and fails the stage that a file names.
PYTHON = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
[[ -z ${FAIL:-} || "$*" != *"--workdir=$FOLDER/$FAIL "* ]] || exit 3
"""


@pytest.fixture
def r1(tmp_path):
    """Runs the script with a python that only notes its calls."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(PYTHON)
    (tmp_path / "bin" / "python").chmod(0o755)
    folder = tmp_path / "runs"

    def run(*arguments: str, **env: str) -> tuple[int, list[str]]:
        calls = tmp_path / "calls"
        calls.write_text("")
        ours = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "VIRTUAL_ENV": "here", "CALLS": str(calls),
                "FOLDER": str(folder / "seed0")}  # fmt: skip
        command = [ROOT / "experiments" / "r1.sh", *(arguments or ("mini", str(folder)))]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ours | env)
        return done.returncode, calls.read_text().splitlines()

    return run


def stages(calls: list[str]) -> list[str]:
    """The workdirs' names, in order."""
    return [call.split("--workdir=")[1].split()[0].partition("/seed0/")[2] for call in calls if "--workdir=" in call]


def test_the_papers_stages_in_the_papers_order_and_one_report(r1):
    status, calls = r1()
    assert status == 0 and "r1jax.tools.write_miniworld" in calls[0] and "r1jax.report.recipe" in calls[-1]
    found = [name for name in stages(calls) if not name.startswith("eval/")]
    assert found == [
        "zero", "zero_language", "coldstart", "coldstart_sft", "reasoning", "reasoning_free", "rejection", "sft",
        "helpfulness", "harmlessness", "r1", "distill_qwen2", "rl_qwen2", "distill_llama", "rl_llama",
    ]  # fmt: skip
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
        if "r1jax.train" not in call:
            continue
        page, *overrides = [word for word in call.split(" --") if word.startswith("config")]
        settings = [word.strip().removeprefix("config.").strip("'") for word in overrides]
        train.read_config(page.removeprefix("config=").strip(), settings)


def test_another_size_is_refused(r1):
    status, calls = r1("large")
    assert status == 2 and not calls
