"""Custom rewards: loading the function from its file, and the check of its result."""

import pathlib

import pytest

from r1jax.config import ConfigError
from r1jax.data.types import Prompt, Rollout
from r1jax.rewards.custom_rewards import load

FILE = """
from __future__ import annotations
import dataclasses
import math

import numpy as np

with open({log!r}, "a") as log:
    log.write("run\\n")

@dataclasses.dataclass
class Weights:
    length: float = 0.5

def brevity(rollout):
    return Weights().length * len(rollout.response.final)

def nothing(rollout): return None
def yes(rollout): return True
def whole(rollout): return 3
def scalar(rollout): return np.float32(0.25)
def integer(rollout): return np.int64(2)
def flag(rollout): return np.bool_(True)
def text(rollout): return "1.0"
def array(rollout): return np.ones(2)
def several(rollout): return (1.0, 2.0)
def nan(rollout): return math.nan
def infinite(rollout): return -math.inf
def huge(rollout): return 10**400
def breaks(rollout): raise RuntimeError("in the reward")
limit = 3
"""


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "rewards.py"
    path.write_text(FILE.format(log=str(tmp_path / "log")))
    return path


def _rollout(text: str = "<think>a</think><answer>four</answer>") -> Rollout:
    prompt = Prompt(id="p", question="?", answer="1", source="maths:x")
    return Rollout.of_text(prompt, text)


@pytest.mark.parametrize(
    "name, value",
    [
        ("brevity", 2.0),
        ("nothing", None),
        ("yes", 1.0),
        ("whole", 3.0),
        ("scalar", 0.25),
        ("integer", 2.0),
        ("flag", 1.0),
    ],
)
def test_a_number_comes_back_as_a_float_and_none_as_none(file: pathlib.Path, name: str, value: float | None) -> None:
    result = load(f"{file}:{name}")(_rollout())
    assert result == value
    assert type(result) in (float, type(None))


@pytest.mark.parametrize("name", ["text", "array", "several"])
def test_a_value_that_is_no_number_is_an_error_naming_file_function_and_value(file: pathlib.Path, name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} in .*rewards.py returned .*1.*should be a number"):
        load(f"{file}:{name}")(_rollout())


@pytest.mark.parametrize("name, value", [("nan", "nan"), ("infinite", "-inf"), ("huge", "inf")])
def test_a_value_that_is_not_finite_is_an_error_naming_file_function_and_value(
    file: pathlib.Path, name: str, value: str
) -> None:
    with pytest.raises(ValueError, match=f"{name} in .*rewards.py returned {value}.*should be finite"):
        load(f"{file}:{name}")(_rollout())


def test_an_exception_of_the_function_is_raised(file: pathlib.Path) -> None:
    with pytest.raises(RuntimeError, match="in the reward"):
        load(f"{file}:breaks")(_rollout())


def test_a_missing_file_is_an_error_that_names_the_nearest(file: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=r"reward\.py; nearest.*rewards\.py"):
        load(f"{file.parent}/reward.py:brevity")


def test_a_missing_function_is_an_error_that_names_the_nearest(file: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="no function 'brevty'; nearest: brevity"):
        load(f"{file}:brevty")


def test_a_value_that_cannot_be_called_is_an_error(file: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=r"limit in .* is 3, not a function"):
        load(f"{file}:limit")


@pytest.mark.parametrize(
    "content, message",
    [("def f(:", "SyntaxError"), ("import no_such_module_here", "ModuleNotFound"), ("1 / 0", "ZeroDivision")],
)
def test_a_file_that_does_not_run_is_an_error_that_names_its_exception(
    tmp_path: pathlib.Path, content: str, message: str
) -> None:
    (tmp_path / "broken.py").write_text(content)
    with pytest.raises(ConfigError, match=rf"broken\.py does not load: {message}"):
        load(f"{tmp_path}/broken.py:f")


def test_a_file_runs_once_for_all_its_functions_and_paths(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(f"{file}:yes") is load(f"{file}:yes")
    monkeypatch.chdir(file.parent)
    load("rewards.py:whole")
    assert (file.parent / "log").read_text() == "run\n"


def test_two_files_of_one_name_are_loaded_separately(file: pathlib.Path) -> None:
    other = file.parent / "sub" / "rewards.py"
    other.parent.mkdir()
    other.write_text("def yes(rollout): return 0")
    assert load(f"{file}:yes")(_rollout()) == 1.0
    assert load(f"{other}:yes")(_rollout()) == 0.0
