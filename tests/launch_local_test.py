"""launch_local.sh: which environment it makes, what it installs, and what it runs."""

import json
import pathlib
import shutil
import subprocess

import pytest
from launch_machine import NEEDS_TOOLS, ROOT, Machine, machine_with_python  # noqa: F401 - a fixture

pytestmark = NEEDS_TOOLS


def test_the_first_python_that_works_and_is_new_enough_makes_the_environment(machine: Machine):
    machine.python("python3.13", "broken")
    machine.python("python3.12", "3.12 without venv")
    machine.python("python3.11", "3.11")
    done = machine.launch("show")
    assert machine.made() == ["python3.11"] and machine.installed() == [
        "--quiet --disable-pip-version-check -e .[serve]"
    ]
    assert "making" in done.stderr and "Python 3.11" in done.stderr and "installing" in done.stderr
    assert json.loads(done.stdout), "stdout belongs to the command"


@pytest.mark.parametrize("kind", ["broken", "3.10", "2.7"])
def test_without_a_python_new_enough_it_says_what_is_needed(machine: Machine, kind: str):
    machine.python("python3", kind)
    done = machine.launch("show")
    assert done.returncode == 1 and "no Python 3.11 or newer" in done.stderr and not machine.made()


def test_a_python_without_venv_names_the_package_to_install(machine: Machine):
    machine.python("python3", "3.12 without venv")
    done = machine.launch("show")
    assert done.returncode == 1 and "apt install python3.12-venv" in done.stderr
    assert not (machine.repo / ".venv").exists()


PIP = "--quiet --disable-pip-version-check -e .[serve]"


@pytest.mark.parametrize(
    ("files", "installed"),
    [
        ({"uv": ""}, ["uv .[serve]"]),
        ({}, [PIP]),  # it cannot be had
        ({"uv": "", "uv-fails": ""}, ["uv .[serve]", PIP]),
        ({"uv": "", "pip-settings": "global.index-url='https://mirror'"}, [PIP]),  # which uv would not read
        ({"uv": "", "pip-settings": ":env:.constraint='c.txt'"}, [PIP]),
        ({"uv": "", "pip-settings": "global.timeout='60'"}, ["uv .[serve]"]),
    ],
)
def test_uv_installs_where_it_can_be_had_and_pip_where_not_or_where_its_settings_count(
    machine: Machine, files: dict[str, str], installed: list[str]
):
    for name, content in files.items():
        (machine.path / name).write_text(content)
    assert machine.launch("show").returncode == 0 and machine.installed() == installed
    assert machine.launch("show").stderr == ""


def test_without_arguments_it_trains_the_mini_config(machine: Machine):
    words = ["r1jax", "train", "--config=zero:mini", "--workdir=runs/zero-mini"]
    assert machine.shown()["argv"] == words


TRAIN, CONFIG, WORKDIR = ["r1jax", "train"], "--config=zero:mini", "--workdir=runs/zero-mini"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--config=c.py", "--workdir=runs/x"], ["--config=c.py", "--workdir=runs/x"]),
        (["--workdir", "runs/x", "--config", "c.py"], ["--workdir", "runs/x", "--config", "c.py"]),
        (["--config.seed=1"], [CONFIG, WORKDIR, "--config.seed=1"]),
        (["--workdir=runs/x"], [CONFIG, "--workdir=runs/x"]),
        (["--config=sft:mini"], ["--config=sft:mini"]),  # r1jax train asks for its workdir
    ],
)
def test_trap52_options_go_to_the_training_command(machine: Machine, args: list[str], words: list[str]):
    assert machine.shown(*args)["argv"] == [*TRAIN, *words]


def test_two_dashes_come_before_a_command(machine: Machine):
    assert machine.shown("--", "show", "--help")["argv"] == ["show", "--help"]


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_trap52_help_is_the_scripts_own_and_makes_no_environment(machine: Machine, option: str):
    done = machine.launch(option)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("Runs r1jax on this machine") and "R1JAX_PLATFORM" in done.stdout
    assert "set -" not in done.stdout
    assert not machine.made() and not machine.installed() and not (machine.repo / ".venv").exists()


@pytest.mark.parametrize("script", sorted((ROOT / "experiments").rglob("*.sh")), ids=lambda path: path.name)
def test_trap52_help_of_an_experiment_is_its_header_and_runs_nothing(machine: Machine, script: pathlib.Path):
    done = subprocess.run([script, "--help"], env={"PATH": str(machine.bin)}, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and f"{script.name} " in done.stdout


def test_an_unknown_short_option_is_refused_before_an_environment_is_made(machine: Machine):
    done = machine.launch("-k", "grpo")
    assert done.returncode == 1 and "no option -k" in done.stderr and not machine.made()


def test_arguments_arrive_intact_in_the_root_of_the_repository_and_the_environment(machine: Machine):
    shown = machine.shown("show", "a  b", "", "it's $HOME", "*")
    assert shown["argv"] == ["show", "a  b", "", "it's $HOME", "*"]
    assert shown["cwd"] == str(machine.repo)
    assert shown["env"]["VIRTUAL_ENV"] == str(machine.repo / ".venv")
    assert shown["env"]["PATH"].startswith(f"{machine.repo}/.venv/bin:")


def test_the_exit_status_is_the_commands(machine: Machine):
    assert machine.launch("bash", "-c", "exit 42").returncode == 42


def test_a_second_run_installs_nothing_and_says_nothing(machine: Machine):
    machine.launch("show")
    done = machine.launch("show")
    assert done.stderr == "" and len(machine.installed()) == len(machine.made()) == 1


@pytest.mark.parametrize("name", ["setup.py", "pyproject.toml"])
def test_changed_packaging_is_installed_into_the_same_environment(machine: Machine, name: str):
    machine.launch("show")
    (machine.repo / name).write_text("changed = True\n")
    machine.launch("show")
    machine.launch("show")
    assert len(machine.installed()) == 2 and len(machine.made()) == 1


def test_a_failed_install_is_an_error_and_is_done_again(machine: Machine):
    (machine.path / "no-network").touch()
    done = machine.launch("show")
    assert done.returncode == 1 and "install failed" in done.stderr and done.stdout == ""
    (machine.path / "no-network").unlink()
    assert machine.launch("show").returncode == 0
    assert len(machine.installed()) == 2


def test_an_install_that_failed_after_a_change_is_not_forgotten_when_the_change_is_undone(machine: Machine):
    machine.launch("show")
    before = (machine.repo / "setup.py").read_text()
    (machine.repo / "setup.py").write_text("changed = True\n")
    (machine.path / "no-network").touch()
    machine.launch("show")
    (machine.path / "no-network").unlink()
    (machine.repo / "setup.py").write_text(before)
    machine.launch("show")
    assert len(machine.installed()) == 3


def test_an_environment_whose_making_was_interrupted_is_finished(machine: Machine):
    machine.launch("show")
    for path in (machine.repo / ".venv").glob(".r1jax-installed*"):
        path.unlink()
    (machine.repo / ".venv/bin/pip").unlink()
    assert machine.launch("show").returncode == 0
    assert (machine.repo / ".venv/bin/pip").exists() and len(machine.installed()) == 2


def test_an_environment_whose_python_is_gone_is_made_again(machine: Machine):
    machine.launch("show")
    (machine.repo / ".venv/bin/python").unlink()
    assert machine.launch("show").returncode == 0
    assert len(machine.made()) == len(machine.installed()) == 2


def test_a_moved_environment_is_made_again_since_its_scripts_run_the_old_places_python(machine: Machine):
    machine.launch("show")
    moved = machine.path / "moved"
    shutil.copytree(machine.repo, moved)
    machine.repo = moved
    assert machine.shown("show")["env"]["VIRTUAL_ENV"] == str(moved / ".venv")
    assert len(machine.made()) == 2


def test_a_folder_that_is_no_environment_is_left_alone(machine: Machine):
    (machine.path / "mine").mkdir()
    (machine.path / "mine/thesis").touch()
    done = machine.launch("show", R1JAX_VENV="mine")
    assert done.returncode == 1 and "not a Python environment" in done.stderr
    assert (machine.path / "mine/thesis").exists() and not machine.made()


def test_r1jax_venv_is_the_environments_path_as_seen_by_the_caller(machine: Machine):
    assert machine.shown("show", R1JAX_VENV="far away/env")["env"]["VIRTUAL_ENV"] == str(machine.path / "far away/env")
    assert not (machine.repo / ".venv").exists()


def test_trap52_an_environment_shared_by_two_clones_runs_the_one_that_asks(machine: Machine):
    machine.launch("show", R1JAX_VENV="shared")
    first, second = machine.repo, machine.path / "second"
    shutil.copytree(first, second)
    machine.repo = second
    shown = machine.shown("show", R1JAX_VENV="shared", PYTHONPATH="/mine")
    assert shown["env"]["PYTHONPATH"] == f"{second}:/mine" and shown["cwd"] == str(second)
    machine.repo = first
    assert machine.shown("show", R1JAX_VENV="shared")["env"]["PYTHONPATH"] == str(first)
    assert len(machine.made()) == 1


@pytest.mark.skipif(not shutil.which("flock"), reason="needs flock")
def test_runs_at_the_same_time_install_once(machine: Machine):
    runs = [machine.start("show", FAKE_PIP_SECONDS="0.3") for _ in range(3)]
    assert [run.communicate() and run.returncode for run in runs] == [0, 0, 0]
    assert len(machine.made()) == len(machine.installed()) == 1


@pytest.mark.skipif(not shutil.which("flock"), reason="needs flock")
def test_a_running_command_does_not_hold_the_lock(machine: Machine):
    assert machine.launch("flock", "--nonblock", ".venv.lock", "bash", "-c", ":").returncode == 0


def test_lint_brings_the_developers_tools_tests_the_reference_too_and_others_are_content_with_them(machine: Machine):
    machine.launch("show")
    for name in ("pytest", "ruff", "show"):
        shutil.copy(machine.bin / "python3", machine.repo / ".venv/bin" / name)
        (machine.repo / ".venv/bin" / f"{name}.kind").write_text("3.11")
    for command in (["ruff", "check"], ["pytest", "-q"], ["show"], ["ruff", "check"], ["python", "-m", "pytest"]):
        assert machine.launch(*command).returncode == 0
    assert [words.split()[-1] for words in machine.installed()] == [".[serve]", ".[serve,dev]", ".[serve,dev,parity]"]
