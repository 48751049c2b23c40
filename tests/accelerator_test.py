"""experiments/accelerator.sh without an accelerator: its folder of results, a second start, its limit of time."""

import os
import pathlib
import signal
import subprocess
import time

import pytest
from xla_flags import xla_flags

from r1jax.io import jsonl

SCRIPT = pathlib.Path(__file__).parent.parent / "experiments" / "accelerator.sh"
PARTS = "kernels decode update_16k step parity train update_1_5b update_64k profile decode_1_5b".split()  # noqa: SIM905
# Stands in for the interpreter: notes its arguments, writes a result, and takes its time for the part of $SLOW.
PYTHON = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
file=$(grep -o '[^ =]*[.]jsonl' <<<"$*")
printf '{"value": 1}\\n{"torn' >>"$file"
[[ $(basename "$file") != "$SLOW".jsonl ]] || exec sleep 60
"""


@pytest.fixture
def start(tmp_path):
    """Starts the script with an interpreter that only pretends; the parts that it ran, and its seconds.

    `kill_in` names the part in which the script is killed.
    """
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    calls = tmp_path / "calls"

    def start(kill_in: str = "", **environment: str) -> tuple[list[str], float]:
        calls.write_text("")
        variables = {"PYTHON": str(tmp_path / "python"), "CALLS": str(calls), "SLOW": kill_in} | environment
        began, command = time.monotonic(), [SCRIPT, tmp_path / "results"]
        process = subprocess.Popen(
            command, env=os.environ | variables, stdout=subprocess.DEVNULL, start_new_session=True
        )
        while kill_in and not (tmp_path / "results" / f"{kill_in}.jsonl").exists():
            time.sleep(0.05)
        if kill_in:
            os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == (-signal.SIGKILL if kill_in else 0)
        files = [word.split("=")[-1] for line in calls.read_text().split("\n") for word in line.split()]
        return [pathlib.Path(file).stem for file in files if file.endswith(".jsonl")], time.monotonic() - began

    return start


def exits(folder: pathlib.Path) -> dict[str, int | str]:
    """Of each part with a file: its exit status, or its error."""
    last = {path.stem: jsonl.read_log(path)[0][-1] for path in folder.glob("*.jsonl")}
    return {name: row.get("status", row.get("error")) for name, row in last.items()}


def test_every_part_leaves_a_file_and_a_second_start_has_nothing_to_do(start, tmp_path):
    assert start()[0] == PARTS
    assert exits(tmp_path / "results") == dict.fromkeys(PARTS, 0)
    assert jsonl.read_log(tmp_path / "results" / "step.jsonl")[0][0] == {"value": 1}
    assert (tmp_path / "results" / "log.txt").read_text().count("===") == len(PARTS)
    assert start()[0] == []


def test_it_stops_at_its_limit_and_goes_on_when_started_again(start, tmp_path):
    ran, seconds = start(SLOW="decode", LIMIT_S="10")
    assert ran == PARTS[:2] and 8 < seconds < 30
    assert exits(tmp_path / "results") == {"kernels": 0, "decode": 124} | dict.fromkeys(PARTS[2:], "no time left")
    assert start()[0] == PARTS[1:]
    assert exits(tmp_path / "results") == dict.fromkeys(PARTS, 0)


def test_a_part_that_a_kill_cut_off_begins_anew(start, tmp_path):
    assert start(kill_in="train")[0] == PARTS[: PARTS.index("train") + 1]
    assert start()[0] == PARTS[PARTS.index("train") :]
    assert exits(tmp_path / "results") == dict.fromkeys(PARTS, 0)


def rehearse(folder: pathlib.Path, *parts: str) -> dict[str, list[dict]]:
    """The results of parts at tiny size, in earnest."""
    variables = {"TINY": "1", "LIMIT_S": "1800", "PARTS": " ".join(parts), "XLA_FLAGS": xla_flags(1)}
    subprocess.run([SCRIPT, folder], env=os.environ | variables, check=True)
    assert exits(folder) == dict.fromkeys(parts, 0), (folder / "log.txt").read_text()[-5000:]
    return {name: jsonl.read_log(folder / f"{name}.jsonl")[0] for name in parts}


def test_the_rehearsal_of_a_benchmark_measures_it(tmp_path):
    [result, _] = rehearse(tmp_path, "decode")["decode"]
    assert result["model"] == "bench" and [row["sequences"] for row in result["table"]] == [1, 2]


@pytest.mark.slow
def test_every_part_of_the_rehearsal_measures_something(tmp_path):
    results = rehearse(tmp_path, *PARTS)
    assert not [row for rows in results.values() for row in rows if "error" in row and "cuDNN" not in str(row)]
    assert all(len(rows) > 1 for rows in results.values())
