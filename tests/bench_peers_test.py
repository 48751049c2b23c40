"""experiments/bench: its scripts load without the trainers that they time, and its table counts clean rows alone."""

import importlib
import json
import pathlib
import runpy
import subprocess
import sys

import pytest

BENCH = pathlib.Path(__file__).parent.parent / "experiments" / "bench"
sys.path.append(str(BENCH))
record, step_work, table = map(importlib.import_module, ("record", "step_work", "table"))


@pytest.mark.parametrize("name", ["trl_step", "tunix_step", "smollm2_speed", "products", "record", "table"])
def test_a_script_loads_without_what_it_times(name):
    assert callable(runpy.run_path(str(BENCH / f"{name}.py"), run_name="imported")["main"])


@pytest.mark.parametrize("name", ["run.sh", "setup.sh"])
def test_a_shell_script_parses_and_says_what_it_does(name):
    subprocess.run(["bash", "-n", BENCH / name], check=True)
    done = subprocess.run(["bash", BENCH / name, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and name in done.stdout


def row(trainer: str, number: int, seconds: float, clean: bool = True) -> dict:
    result = {"step_s": seconds, "sampling_s": seconds / 2, "log-probs_s": seconds / 8, "update_s": seconds / 4}
    return {"round": number, "work": "fixed", "trainer": trainer, "clean": clean, "result": result}


def test_ratios_are_of_the_rounds_in_which_both_runs_are_clean():
    rows = [row("r1jax, 2 devices", i, 2.0 * i) for i in (1, 2, 3)]
    rows += [
        row("trl", 1, 5.0),
        row("trl", 2, 40.0, clean=False),
        row("trl", 3, 9.0),
        row("tunix", 2, 8.0, clean=False),
    ]
    lines = table.table(rows)
    assert lines[2:5] == [
        "| r1jax, 2 devices | 3 | 4.00 | 2.00 | 0.50 | 1.00 | 1.00 (1.00 to 1.00) |",
        "| trl | 2 | 7.00 | 3.50 | 0.88 | 1.75 | 2.00 (1.50 to 2.50) |",
        "| tunix | 0 | – | – | – | – | – |",
    ]
    assert lines[-1].startswith("Left out: 2 of 7 runs")


def test_the_table_reads_what_the_benchmark_writes():
    phases = table.phases({"step_s": 4.0, "sampling_s": 2.0, "split_s": {"log-probs": 0.5, "update": 1.0}})
    assert phases == {"step": 4.0, "sampling": 2.0, "log-probs": 0.5, "update": 1.0}
    assert table.phases({"step_s": 4.0}) == {"step": 4.0, "sampling": None, "log-probs": None, "update": None}


def test_a_run_is_recorded_with_its_result_and_a_failure_without_one(tmp_path, monkeypatch):
    write = "import sys; open(sys.argv[-1].removeprefix('--json='), 'a').write('{\"step_s\": 1.5}')"
    for code in (write, "raise SystemExit(3)"):
        command = ["record.py", str(tmp_path / "results"), "2", "fixed", "r1jax", "--", sys.executable, "-c", code]
        monkeypatch.setattr(sys, "argv", command)
        assert record.main() == 0
    first, second = map(json.loads, (tmp_path / "results").read_text().splitlines())
    assert (
        first["result"] == {"step_s": 1.5} and first["status"] == 0 and (first["round"], first["work"]) == (2, "fixed")
    )
    assert first["clean"] == (first["others"] < record.CLEAN)
    assert second["status"] == 3 and second["result"] is None and second["clean"] is False


def test_a_trainer_whose_completions_have_other_lengths_is_an_error(tmp_path):
    (tmp_path / "lengths.json").write_text("[3, 9, 4, 3]")
    line = ["--prompts=2", "--samples=2", f"--lengths={tmp_path / 'lengths.json'}", f"--json={tmp_path / 'results'}"]
    args = step_work.parser("").parse_args([*line, "--steps=2", "--warmup=1"])
    lengths = step_work.completion_lengths(args)
    assert lengths == [3, 9, 4, 3] and len(step_work.draw_prompts(args)) == 6
    step_work.check_lengths([3, 3, 4, 9], lengths)
    with pytest.raises(RuntimeError, match=r"completions of \[3, 3, 4, 8\] tokens"):
        step_work.check_lengths([3, 3, 4, 8], lengths)
    steps = [{"step": 9.0, "sampling": 1.0, "log-probs": 1.0}, *2 * [{"step": 4.0, "sampling": 2.0, "log-probs": 0.5}]]
    step_work.write_result(args, lengths, steps, trl="1")
    [result] = map(json.loads, (tmp_path / "results").read_text().splitlines())
    assert result["step_s"] == 4.0 and result["update_s"] == 1.5 and result["new_tokens_per_s"] == 19 / 2
    with pytest.raises(SystemExit, match="4 lengths, not 3 x 2"):
        step_work.completion_lengths(step_work.parser("").parse_args([*line, "--prompts=3"]))
