"""Config files, overrides, and the strict road from ConfigDict to dataclasses."""

import argparse
import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from ml_collections import ConfigDict

from r1jax import config, config_files
from r1jax.config import ConfigError
from r1jax.data.tasks import DataConfig
from r1jax.overrides import override, overrides_from

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = """
from ml_collections import ConfigDict

def get_config(arg=None):
    if arg not in (None, "mini"):
        raise ValueError(f"no size {arg!r}; there is: mini")
    return ConfigDict(dict(
        seed=0, size=arg or "default", note=None, fast=False, mesh=(1, 2), options=dict(terms=4, name="x"),
        grpo=dict(beta=0.001, group_size=8),
    ))
"""


@dataclasses.dataclass(frozen=True)
class Task:
    name: str
    weight: float = 1.0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.weight <= 0:
            raise ValueError("weight must be above 0")


@dataclasses.dataclass(frozen=True)
class GRPO:
    beta: float = 0.001
    group_size: int = 8
    aggregation: Literal["sequence", "token", "dr_grpo"] = "sequence"


@dataclasses.dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 0.1
    b1: float = 0.9


@dataclasses.dataclass(frozen=True)
class Page:
    """What PAGE is read as."""

    seed: int
    grpo: GRPO = GRPO()
    optimizer: Optimizer = Optimizer()
    size: str = ""
    kind: Literal["a", "b"] = "a"
    note: str | None = None
    limit: int | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fast: bool = False
    mesh: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Run:
    seed: int
    grpo: GRPO = GRPO()
    tasks: tuple[Task, ...] = ()
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    limit: int | None = None
    resume: bool = True


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "zero.py"
    path.write_text(PAGE)
    return str(path)


def overridden(page: str, *overrides: str) -> dict[str, Any]:
    return override(Page, config_files.load(page), overrides)


def error(call, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    return str(caught.value)


def test_the_argument_after_the_colon_reaches_get_config(page):
    assert config_files.load(page).size == "default"
    assert config_files.load(f"{page}:mini").size == "mini"


def test_a_missing_config_file_names_the_nearest(page, tmp_path):
    assert "zero.py" in error(config_files.load, str(tmp_path / "zerro.py:mini"))
    assert "no folder" in error(config_files.load, str(tmp_path / "nowhere" / "zero.py"))


def test_a_config_that_ships_is_named_without_its_path_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_files.load("zero:mini") == config_files.load(str(ROOT / "configs" / "zero.py:mini"))
    assert config_files.load("zero") == config_files.load("zero:mini")
    assert "nearest of the configs that ship with r1jax: zero" in error(config_files.load, "zeroo:mini")
    assert "there are: mini" in error(config_files.load, "zero:miny")


def test_the_path_by_which_shipped_configs_name_one_another_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = config_files.load("configs/base.py:world")
    assert shipped == config_files.load("base:world")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "base.py").write_text(PAGE)
    assert config_files.load("configs/base.py:mini").size == "mini", "a file that is there comes first"
    assert config_files.load("base:world") == shipped
    assert "no file configs/nowhere.py" in error(config_files.load, "configs/nowhere.py:mini")


def test_models_on_a_server_are_told_from_config_files():
    assert all(map(config_files.is_spec, ("base:mini", "configs/base.py", "mine.py:small")))
    assert not any(map(config_files.is_spec, ("", "base", "llama3:8b", "models/base", "http://localhost:8000")))


def test_an_argument_that_get_config_refuses_is_told_with_the_file(page):
    message = error(config_files.load, f"{page}:huge")
    assert message.startswith(f"{page}:huge: ") and "no size 'huge'" in message


def test_a_file_without_get_config_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("")
    assert "get_config" in error(config_files.load, str(tmp_path / "empty.py"))
    (tmp_path / "notes.txt").write_text("")
    assert "not a Python file" in error(config_files.load, str(tmp_path / "notes.txt"))


@pytest.mark.parametrize(
    "text, value",
    [
        ("grpo.beta=0.01", 0.01),
        ("grpo.beta=1", 1.0),
        ("grpo.beta=inf", float("inf")),
        ("grpo.group_size=16", 16),
        ("size=1", "1"),
        ("size=a=b", "a=b"),
        ("size=", ""),
        ("fast=true", True),
        ("fast=False", False),
        ("mesh=(4, 2, 1)", (4, 2, 1)),
        ("mesh=[4]", (4,)),
        ("mesh=()", ()),
        ("note=3", "3"),
        ("note=words", "words"),
        ("note=None", None),
        ("kind=b", "b"),
        ("limit=3", 3),
        ("limit=None", None),
        ("options.terms=5", 5),
        ("options.name=5", "5"),
        ("optimizer.b1=1", 1.0),
        ("seed=None", None),
    ],
)
def test_an_override_is_read_as_its_fields_type(page, text, value):
    got = overridden(page, text)
    for name in text.partition("=")[0].split("."):
        got = got[name]
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("grpo.bta=0.01", ["config.grpo.bta", "beta"]),
        ("gropo.beta=0.01", ["config.gropo.beta", "grpo"]),
        ("grpo=3", ["config.grpo is a section", "beta"]),
        ("seed.x=3", ["config.seed is a value"]),
        ("grpo.group_size=1.5", ["config.grpo.group_size=1.5", "an int", "8"]),
        ("limit=1.5", ["config.limit=1.5 is not an int"]),
        ("grpo.learning_rate=1", ["config.grpo.learning_rate", "in other sections: optimizer.learning_rate"]),
        ("learnin_rate=1", ["config.learnin_rate", "in other sections: optimizer.learning_rate"]),
        ("optimiser.learning_rate=1", ["nearest in config: optimizer", "in other sections: optimizer.learning_rate"]),
        ("grpo.group_size=true", ["an int"]),
        ("grpo.beta=small", ["a number"]),
        ("fast=1", ["true or false"]),
        ("mesh=3", ["a tuple"]),
        ("grpo.beta", ["section.field=value"]),
    ],
)
def test_trap34_an_override_out_of_place_is_an_error_with_the_nearest_choice(page, text, words):
    message = error(overridden, page, text)
    assert all(word in message for word in words), message


def test_overrides_from_takes_both_forms_of_an_argument():
    arguments = ["--config.a.b=1", "--config.c", "-2", "--config.d=x=y"]
    assert overrides_from(arguments) == ["a.b=1", "c=-2", "d=x=y"]


@pytest.mark.parametrize("arguments", [["--wrkdir=x"], ["stray"], ["--config.a"], ["--config.a", "--config.b=1"]])
def test_overrides_from_refuses_all_else(arguments):
    assert arguments[0] in error(overrides_from, arguments)


def test_parse_builds_nested_dataclasses_from_a_config_dict():
    tree = ConfigDict(
        dict(
            seed=1,
            grpo=dict(beta=1, aggregation="token"),
            tasks=[dict(name="gcd", options=dict(max_value=9)), ConfigDict(dict(name="chain_sum", weight=2))],
            shares=dict(plain=1),
            limit=None,
        )
    )
    expected = Run(
        seed=1,
        grpo=GRPO(beta=1.0, aggregation="token"),
        tasks=(Task("gcd", options={"max_value": 9}), Task("chain_sum", 2.0)),
        shares={"plain": 1.0},
    )
    run = config.parse(Run, tree)
    assert run == expected
    assert type(run.grpo.beta) is float and type(run.tasks) is tuple and type(run.tasks[0].options) is dict


@pytest.mark.parametrize(
    "tree, words",
    [
        ({}, ["config.seed is missing"]),
        ({"sead": 1}, ["unknown key config.sead", "seed"]),
        ({"seed": 1, "grpo": {"bta": 1.0}}, ["unknown key config.grpo.bta", "beta"]),
        ({"seed": True}, ["config.seed is True (bool)", "an int"]),
        ({"seed": 1.0}, ["config.seed is 1.0 (float)", "an int"]),
        ({"seed": None}, ["config.seed is None"]),
        ({"seed": 1, "resume": 1}, ["config.resume", "true or false"]),
        ({"seed": 1, "grpo": {"beta": "0.1"}}, ["config.grpo.beta", "'0.1' (str)", "a number"]),
        ({"seed": 1, "grpo": {"beta": True}}, ["config.grpo.beta", "a number"]),
        ({"seed": 1, "grpo": 3}, ["config.grpo is 3", "section"]),
        ({"seed": 1, "grpo": {"aggregation": "tokens"}}, ["config.grpo.aggregation", "nearest: token"]),
        ({"seed": 1, "tasks": "gcd"}, ["config.tasks", "a tuple"]),
        ({"seed": 1, "tasks": ({"name": 3},)}, ["config.tasks.0.name", "a string"]),
        ({"seed": 1, "tasks": ({"name": "gcd"}, {"name": "x", "weight": 0})}, ["config.tasks.1: weight must be"]),
        ({"seed": 1, "shares": {"plain": "much"}}, ["config.shares.plain"]),
        ({"seed": 1, "limit": "none"}, ["config.limit", "an int"]),
    ],
)
def test_trap34_what_no_field_reads_or_may_hold_is_an_error_that_names_the_key(tree, words):
    message = error(config.parse, Run, tree)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_an_int_beyond_all_floats_is_refused_by_its_key(value):
    @dataclasses.dataclass(frozen=True)
    class Bounded:
        rate: float = 0.5
        count: int = 1

        def __post_init__(self):
            config.at_least(0, self, "count")

    for key in ("rate", "count"):
        with pytest.raises(ConfigError, match=f"(config.{key}|config: {key}=)") as error:
            config.parse(Bounded, {key: value})
        assert "\n" not in str(error.value)


def test_a_type_hint_that_no_config_can_hold_is_the_programmers_error():
    bad = dataclasses.make_dataclass("Bad", [("field", set)])
    with pytest.raises(TypeError, match=r"config\.field"):
        config.parse(bad, {"field": 1})


def test_a_config_survives_json():
    run = Run(3, tasks=(Task("gcd", options={"sizes": (1, 2)}),), shares={"plain": 0.5})
    tree = json.loads(json.dumps(config.to_dict(run)))
    assert tree == config.to_dict(run)
    assert config.changed_values(tree, run) == {}
    assert config.to_dict(config.parse(Run, tree)) == tree


def test_changed_values_are_named_by_each_key():
    old = Run(1, tasks=(Task("gcd"), Task("chain_sum")), shares={"plain": 0.5})
    new = Run(1, GRPO(beta=0.1), tasks=(Task("gcd"), Task("chain_sum", 2.0)))
    assert config.changed_values(old, new) == {
        "grpo.beta": ("0.001", "0.1"),
        "shares": ("(absent)", "{}"),
        "shares.plain": ("0.5", "(absent)"),
        "tasks.1.weight": ("1.0", "2.0"),
    }


def test_a_section_within_a_tuple_is_set_by_its_number():
    tree = {"seed": 1, "tasks": ({"name": "a", "weight": 2.0}, {"name": "b"})}
    set_ = override(Run, tree, ["tasks.1.weight=0.5", "tasks.0.name=c"])
    tasks = [{"name": "c", "weight": 2.0, "options": {}}, {"weight": 0.5, "options": {}, "name": "b"}]
    assert set_["tasks"] == tasks and tree["tasks"][0]["name"] == "a"
    for key, message in (
        ("tasks.2.weight", "no section '2'; it has 0 to 1"),
        ("tasks.x.weight", "no section 'x'"),
        ("tasks.0.wight", "nearest in config.tasks.0: weight"),
        ("tasks.0", "config.tasks.0 is a section"),
    ):
        with pytest.raises(config.ConfigError, match=message):
            override(Run, tree, [f"{key}=1"])
    with pytest.raises(config.ConfigError, match="it has none"):
        override(Run, {"seed": 1}, ["tasks.0.name=a"])


def test_an_override_may_add_to_a_mapping_whose_keys_are_not_ours():
    for text, value in (("False", False), ("true", True), ("0.5", 0.5), ("high", "high"), ("[1, 2]", [1, 2])):
        tree = override(DataConfig, {"path": "a", "chat": True}, [f"template_arguments.effort={text}"])
        assert config.parse(DataConfig, tree).template_arguments == {"effort": value}


def test_overrides_come_before_any_judgement():
    """What a page says is not looked at where the command line says otherwise, nor missed where it says it alone."""
    run = config.parse(
        Run,
        override(
            Run,
            {"seed": "x", "limit": 1.5, "tasks": [{"name": "a", "weight": -1}]},
            ["seed=3", "limit=2", "tasks.0.weight=1"],
        ),
    )
    assert run == Run(3, tasks=(Task("a"),), limit=2)
    assert config.parse(Run, override(Run, {}, ["seed=3"])) == Run(3)
    assert "config.seed is missing" in error(config.parse, Run, override(Run, {}, ["limit=1"]))

    @dataclasses.dataclass(frozen=True)
    class Outer:
        task: Task

    assert config.parse(Outer, override(Outer, {}, ["task.name=a"])) == Outer(Task("a"))
    assert "config.task is missing" in error(config.parse, Outer, override(Outer, {}, []))


def test_defaults_are_filled_in_at_any_depth_and_nothing_is_judged():
    tree = config.with_defaults(Run, {"seed": "?", "grpo": {"beta": None}, "tasks": ({"name": 1},), "unknown": 1})
    assert tree == {
        "seed": "?",
        "unknown": 1,
        "limit": None,
        "resume": True,
        "shares": {},
        "grpo": {"beta": None, "group_size": 8, "aggregation": "sequence"},
        "tasks": [{"name": 1, "weight": 1.0, "options": {}}],
    }
    assert config.with_defaults(GRPO | None, None) is None
    whole = config.to_dict(Run(3, tasks=(Task("a"),)))
    assert config.with_defaults(Run, whole) == whole


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_path_of_a_command_line_is_not_the_working_directory(text, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=config.path_given)
    assert parser.parse_args(["--out=."]).out == pathlib.Path()
    with pytest.raises(SystemExit):
        parser.parse_args([f"--out={text}"])
    assert "--out: is empty" in capsys.readouterr().err


def test_what_stands_at_its_default_is_left_out_at_any_depth():
    @dataclasses.dataclass(frozen=True)
    class Inner:
        a: int = 1
        b: int = 2

    @dataclasses.dataclass(frozen=True)
    class Outer:
        name: str
        inner: Inner = Inner()
        more: tuple[int, ...] = ()

    assert config.without_defaults(Outer("x")) == {"name": "x"}
    assert config.without_defaults(Outer("x", Inner(b=3), (1,))) == {"name": "x", "inner": {"b": 3}, "more": [1]}


def test_a_config_file_that_changes_within_a_second_is_read_anew(tmp_path, monkeypatch):
    """Cached bytecode would be taken for its own: the size is the same, and so is the second."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "mine.py"
    for steps in (1, 2):
        path.write_text(PAGE.replace("seed=0", f"seed={steps}"))
        os.utime(path, (1e9, 1e9))
        assert config_files.load(str(path))["seed"] == steps
