"""Config fields in help: every field is described, with its type, value and default, and help lists them all."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pytest

from r1jax import config, config_files
from r1jax.config_options import descriptions, options, type_name
from r1jax.stages.table import STAGES
from r1jax.tools import train


@dataclasses.dataclass(frozen=True)
class Inner:
    """An inner section.

    Attributes:
        low, high: bounds of
            the interval.
    """

    low: float = 0.0
    high: float = 1.0


@dataclasses.dataclass(frozen=True)
class Outer:
    """A config.

    Attributes:
        name: what it is called: "a: b" stays.
        mode: how.
        items: several.

    Raises:
        other: this is no field.
    """

    name: str
    mode: Literal["fast", "slow"] = "fast"
    inner: Inner = Inner()
    items: tuple[Inner, ...] = ()
    extra: int | None = None


@dataclasses.dataclass(frozen=True)
class Child(Outer):
    """A config that adds a field.

    Attributes:
        extra: more of it.
        mode: in another way.
    """


def config_classes() -> Iterator[type]:
    """Every dataclass that the stages' configs are made of."""
    todo, visited = [stage.config for stage in STAGES.values()], set()
    while todo:
        hint = todo.pop()
        todo += typing.get_args(hint)
        if dataclasses.is_dataclass(hint) and hint not in visited:
            visited.add(hint)
            todo += typing.get_type_hints(hint).values()
            yield hint


@pytest.mark.parametrize("cls", config_classes(), ids=lambda cls: cls.__name__)
def test_every_field_of_every_config_is_described(cls: type) -> None:
    texts = descriptions(cls)
    assert [field.name for field in dataclasses.fields(cls) if not texts.get(field.name)] == []


def test_a_description_is_the_entry_of_the_docstring_on_one_line() -> None:
    assert descriptions(Inner) == dict.fromkeys(("low", "high"), "bounds of the interval.")
    assert descriptions(Outer) == {
        "name": 'what it is called: "a: b" stays.',
        "mode": "how.",
        "inner": "An inner section.",
        "items": "several.",
    }
    assert descriptions(Child) == descriptions(Outer) | {"extra": "more of it.", "mode": "in another way."}


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        (int, "int"),
        (float | None, "float or None"),
        (Literal["a", "b"], "{a,b}"),
        (tuple[str, ...], "tuple of str"),
        (tuple[Inner, ...], "tuple of sections (low, high)"),
        (Mapping[str, Any], "mapping"),
        (Inner, "section"),
        (Any, "any"),
    ],
)
def test_types_are_named_as_the_command_line_reads_them(hint: Any, name: str) -> None:
    assert type_name(hint) == name


def test_options_have_the_values_of_the_config_and_the_defaults_of_the_classes() -> None:
    listed = {option.key: option for option in options(Outer, {"inner": {"low": 0.5}, "items": [{"high": 3.0}]})}
    assert list(listed) == ["name", "mode", "inner.low", "inner.high", "items", "items.0.low", "items.0.high", "extra"]
    assert listed["name"].help() == 'what it is called: "a: b" stays. [has to be given]'
    assert listed["mode"].help() == "how. [default 'fast']"
    assert listed["inner.low"].help() == "bounds of the interval. [here 0.5, default 0.0]"
    assert listed["items.0.high"].help().endswith("[here 3.0, default 1.0]")


@pytest.mark.parametrize("spec", ["zero:mini", "coldstart:mini", "evaluate:mini", "preference:pairs", "base:world"])
def test_help_after_a_config_lists_every_field_that_the_command_line_can_set(spec: str, capsys) -> None:
    assert train.main([f"--config={spec}", "--help"]) == 0
    text = capsys.readouterr().out
    tree = config_files.load(spec)
    cls = STAGES[tree.stage].config
    flat = config._flatten(config.to_dict(config.with_defaults(cls, tree)))
    for key in flat:
        settable = key if key in {option.key for option in options(cls, tree)} else key.rpartition(".")[0]
        assert f"--config.{settable} " in text or any(
            f"--config.{settable.rsplit('.', cut)[0]} " in text for cut in (1, 2)
        ), key


def test_help_of_a_config_that_is_not_there_is_one_line(capsys) -> None:
    assert train.main(["--config=zerro:mini", "--help"]) == 2
    assert "nearest of the configs that ship with r1jax: zero" in capsys.readouterr().err


def test_help_without_a_config_lists_the_configs_that_ship_with_their_sizes(capsys) -> None:
    assert train.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in config_files.shipped_names():
        sizes = config_files.sizes(config_files.FOLDER / f"{name}.py")
        assert sizes and f"  {name} " in text and ", ".join(sizes) in text


@pytest.mark.parametrize("name", config_files.shipped_names())
def test_every_size_that_is_listed_can_be_loaded(name: str) -> None:
    for size in config_files.sizes(config_files.FOLDER / f"{name}.py"):
        assert config_files.load(f"{name}:{size}").stage in STAGES
