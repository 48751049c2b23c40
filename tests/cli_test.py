"""Command r1jax: one table of commands, quick to start, and completion of commands, configs and fields."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from r1jax import cli, cpu_devices
from r1jax.tools import completion

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
HEAVY = {"jax", "matplotlib", "reasoning_gym", "scipy", "torch", "transformers", "orbax", "optax"}


def r1jax(*arguments: str, cwd: pathlib.Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "r1jax", *arguments]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT | env, capture_output=True, text=True)


def test_help_lists_every_command(capsys) -> None:
    assert cli.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, command in cli.COMMANDS.items():
        assert any(line.split() == [name, *command.summary.split()] for line in lines)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_help_of_a_command_is_usage_and_options(name: str, capsys) -> None:
    try:
        status = cli.main([name, "--help"])
    except SystemExit as end:
        status = end.code
    text = capsys.readouterr().out
    assert status == 0 and text.startswith(f"usage: r1jax {name} ") and "\noptions:\n" in text


def test_help_loads_nothing_heavy(tmp_path) -> None:
    code = f"""
import contextlib, io, json, sys
from r1jax import cli
loaded = {{}}
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        cli.main(arguments)
    loaded[" ".join(arguments)] = sorted({HEAVY} & {{name.partition(".")[0] for name in sys.modules}})
print(json.dumps(loaded))
"""
    commands = [["--help"], *([name, "--help"] for name in cli.COMMANDS)]
    command = [sys.executable, "-c", code, json.dumps([*commands, ["train", "--config=zero:mini", "--help"]])]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {name: heavy for name, heavy in json.loads(done.stdout).items() if heavy} == {}


def test_an_unknown_command_names_the_nearest(capsys) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["trian"])
    assert end.value.code == 2 and "no command 'trian'; nearest: train" in capsys.readouterr().err


def test_python_m_r1jax_is_the_command_and_gives_its_exit_status(tmp_path) -> None:
    assert r1jax("--version", cwd=tmp_path).stdout.startswith("r1jax ")
    done = r1jax("train", "--config=zero:mini", "--workdir=run", "--config.nosuch=1", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: unknown key config.nosuch")
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


def completions(line: str, cwd: pathlib.Path) -> list[str]:
    """What the shell is offered at the end of a line."""
    answer = cwd / "completions"
    answer.unlink(missing_ok=True)
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SHELL": "fish",  # which does not cut words at = and :
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    done = r1jax(cwd=cwd, **asked)
    assert done.returncode == 0, done.stderr
    return [word.partition("\t")[0].partition(" ")[0] for word in answer.read_text().splitlines()]


@pytest.mark.parametrize(
    ("line", "offered", "others"),
    [
        ("r1jax ", ["train", "report", "write-miniworld"], []),
        ("r1jax tr", ["train"], ["report"]),
        ("r1jax convert --ov", ["--overwrite"], ["--to"]),
        ("r1jax train --config ze", ["zero:"], ["base:"]),
        ("r1jax train --config zero:", ["zero:mini", "zero:paper"], ["base:mini"]),
        ("r1jax train --config=zero:mini --config.grpo.be", ["--config.grpo.beta"], ["--config.grpo.clip_low"]),
        ("r1jax train --config=sft:mini --config.gr", [], ["--config.grpo.beta"]),
        ("r1jax train --config=zero:mini --config.grpo.aggregation ", ["token", "sequence"], []),
    ],
)
def test_completion_offers_commands_options_configs_and_the_fields_of_the_config(
    line: str, offered: list[str], others: list[str], tmp_path
) -> None:
    words = completions(line, tmp_path)
    assert set(offered) <= set(words) and not set(others) & set(words)


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion_prints_code_for_the_shell(shell: str, capsys) -> None:
    assert cli.main(["completion", shell]) == 0
    code = capsys.readouterr().out
    assert "_ARGCOMPLETE" in code and "r1jax" in code


FLAG = cpu_devices.FLAG


@pytest.mark.parametrize(("cores", "devices"), [(0, 1), (1, 1), (2, 2), (3, 2), (6, 4), (8, 8), (64, 8)])
def test_the_cpu_is_a_power_of_two_of_devices_at_most_one_a_core_and_8(cores: int, devices: int) -> None:
    assert cpu_devices.count(cores) == devices


def test_the_number_of_devices_is_chosen_on_the_cpu_alone_and_where_the_environment_does_not(monkeypatch) -> None:
    monkeypatch.setattr(cpu_devices, "cores", lambda: 5)

    def chosen(**environment: str) -> str | None:
        cpu_devices.choose(environment)
        return environment.get("XLA_FLAGS")

    assert chosen(JAX_PLATFORMS="cpu") == f"{FLAG}=4"
    assert chosen(JAX_PLATFORMS="cpu", XLA_FLAGS="--a=b") == f"--a=b {FLAG}=4"
    assert chosen(JAX_PLATFORMS="cpu", XLA_FLAGS=f"{FLAG}=3") == f"{FLAG}=3"
    assert chosen(JAX_PLATFORMS="cpu", JAX_NUM_CPU_DEVICES="3") is None
    assert chosen(JAX_PLATFORMS="cuda") is None and chosen(JAX_PLATFORMS="tpu,cpu") is None


@pytest.mark.parametrize("module, command", [("grade", "grade"), ("write_miniworld", "write-miniworld")])
def test_a_commands_module_run_by_itself_names_the_command(module: str, command: str, tmp_path) -> None:
    line = [sys.executable, "-m", f"r1jax.tools.{module}", "--help"]
    done = subprocess.run(line, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert f"use `r1jax {command}`" in done.stderr
