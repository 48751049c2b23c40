"""Wheel of r1jax: what is inside, and the commands of one that is installed, in an empty folder."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import venv
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLEAN = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLA_FLAGS")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """Built from a copy of the project, so that nothing is left beside it."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("r1jax", "configs", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        source, ignored = ROOT / name, shutil.ignore_patterns("__pycache__")
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    command = [sys.executable, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", "dist"]
    subprocess.run(command, cwd=folder, env=CLEAN, check=True, capture_output=True)
    return next((folder / "dist").glob("*.whl"))


def files_below(folder: pathlib.Path) -> set[str]:
    return {
        str(pathlib.Path(folder.name, path.relative_to(folder)))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_every_module_config_and_shipped_model_and_the_command(wheel: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith("r1jax-")}
        entry = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "r1jax = r1jax.cli:run" in archive.read(entry).decode()
    configs = {f"r1jax/{name}" for name in files_below(ROOT / "configs")}
    assert configs and names == files_below(ROOT / "r1jax") | configs


@pytest.fixture(scope="module")
def installed(wheel: pathlib.Path, tmp_path_factory) -> pathlib.Path:
    """The folder of the commands of an environment in which the wheel, and nothing of this checkout, is installed.

    What r1jax needs it finds where this Python does: packages of the environment that runs the tests.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, wheel], env=CLEAN, check=True)
    packages = next((folder / "lib").glob("python*/site-packages"))
    others = [path for path in map(pathlib.Path, sys.path) if path.name == "site-packages"]
    # Without its own .pth files, by which this checkout is on the path.
    (packages / "tests_environment.pth").write_text("".join(f"{path}\n" for path in others))
    return folder / "bin"


def run(installed: pathlib.Path, folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = CLEAN | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [installed / "r1jax", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=500
    )


SHORT = ("num_steps=1", "grpo.prompts_per_step=2", "grpo.group_size=2", "microbatches=1", "evaluation.questions=2")
SMALL = ("evaluation.samples=1", "sampling.max_new_tokens=8", "sampling.slots=4")


@pytest.mark.slow
def test_an_installed_wheel_trains_reports_and_grades_in_an_empty_folder(installed: pathlib.Path, tmp_path) -> None:
    where = [installed / "python", "-c", "import r1jax; print(r1jax.__file__)"]
    package = subprocess.run(where, cwd=tmp_path, env=CLEAN, capture_output=True, text=True).stdout
    assert str(installed.parent) in package, "this tests the checkout"
    settings = [f"--config.{setting}" for setting in (*SHORT, *SMALL)]
    done = run(installed, tmp_path, "train", "--config=zero:mini", "--workdir=runs/zero", *settings)
    assert done.returncode == 0, done.stderr
    base = re.search(r"base model: (.*)", done.stdout.replace("\n", ""))[1]
    assert str(installed.parent) in base and not list((tmp_path / "runs").glob("base-*")), "the shipped base is used"
    assert (tmp_path / "runs/zero/report.html").is_file()
    (tmp_path / "runs/zero/report.html").unlink()
    done = run(installed, tmp_path, "report", "runs/zero")
    assert done.returncode == 0 and (tmp_path / "runs/zero/report.html").is_file(), done.stderr
    row = {"prompt": "What is 1/4 + 1/4?", "answer": "1/2", "response": "It is 0.5."}
    (tmp_path / "answers.jsonl").write_text(json.dumps(row) + "\n")
    done = run(installed, tmp_path, "grade", "answers.jsonl", "--out", "graded.jsonl")
    assert done.returncode == 0 and json.loads((tmp_path / "graded.jsonl").read_text())["score"] == 1.0, done.stderr


@pytest.mark.slow
def test_configs_of_an_installed_wheel_find_one_another(installed: pathlib.Path, tmp_path) -> None:
    code = """
from r1jax import config_files
from r1jax.models.io import SHIPPED
from r1jax.stages.base_keys import base_name
for size in config_files.sizes(config_files.find("base")[0]):
    print(size, (SHIPPED / base_name(f"base:{size}")).is_dir())
print(config_files.load("coldstart:mini").few_shot.examples)
"""
    command = [installed / "python", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=CLEAN, capture_output=True, text=True)
    *bases, examples = done.stdout.splitlines()
    assert {"mini True", "world True", "student_qwen2 True", "student_llama True"} <= set(bases), done.stderr
    assert str(installed.parent) in examples and pathlib.Path(examples).is_file()
