"""Configuration: a ConfigDict at the door, frozen dataclasses inside, and one clear error for whatever is out of place.

A config file is a page of Python with `get_config(arg=None) -> ConfigDict`. `load` runs it and applies the command
line's overrides, `parse` turns the result into typed dataclasses, and nothing further in ever sees a ConfigDict.
"""

import ast
import dataclasses
import difflib
import hashlib
import importlib.util
import json
import math
import os
import pathlib
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ml_collections import ConfigDict

T = TypeVar("T")

_EXPECTED = {int: "an int", float: "a number", bool: "true or false", str: "a string", tuple: "a tuple"}


class ConfigError(ValueError):
    """A config that cannot be used: says which key or file, what is wrong, and what would be right."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """The few choices that look most like a name, or the first ones where none does; for error messages."""
    choices = sorted(choices)
    return ", ".join(difflib.get_close_matches(name, choices, n=3, cutoff=0.4) or choices[:8]) or "(none)"


def within(interval: str, obj: Any, *names: str) -> None:
    """For a config's `__post_init__`: refuses fields outside an interval, and NaN always.

    Args:
        interval: as in mathematics: "[0, 1)" holds 0 and not 1. An end at "inf" is never held.

    Raises:
        ValueError: names the field and the bounds.
    """
    low, high = (float(end) for end in interval[1:-1].split(","))
    for name in names:
        value = getattr(obj, name)
        # Asked in this direction, NaN fails.
        above = value >= low if interval[0] == "[" else value > low
        below = value <= high if interval[-1] == "]" else value < high
        if not (above and below):
            raise ValueError(f"{name}={value} must be {_in_words(interval, value)}")


def _in_words(interval: str, value: float) -> str:
    low, high = interval[1:-1].replace(" ", "").split(",")
    if interval[0] == "[" and interval[-1] == "]":
        return f"between {low} and {high}"
    words = [] if low == "-inf" else [f"{'at least' if interval[0] == '[' else 'above'} {low}"]
    if high != "inf":
        words.append(f"{'at most' if interval[-1] == ']' else 'below'} {high}")
    elif not math.isfinite(value):
        words.append("finite")
    return " and ".join(words)


def at_least(low: int, obj: Any, *names: str) -> None:
    """`within` from `low` on: a number below infinity, or a count that fits the int32 of JAX's arrays."""
    within(f"[{low}, inf)", obj, *names)
    within(f"(-inf, {2**31})", obj, *(name for name in names if isinstance(getattr(obj, name), int)))


def above(low: int, obj: Any, *names: str) -> None:
    """`within` from `low` on, which itself is not allowed, below infinity."""
    within(f"({low}, inf)", obj, *names)


def seconds(obj: Any, *names: str) -> None:
    """`within` for times to wait: above 0, and no more than the operating system waits in one call (24 days)."""
    within("(0, 1000000]", obj, *names)


def seed_fits(obj: Any) -> None:
    """`within` for the field `seed`: JAX takes 32 bits."""
    within(f"[0, {2**32})", obj, "seed")


def exit_status(run: Callable[[], None]) -> int:
    """Runs a command: 0 where it is done, 2 after a config, file or data error, told in one line on stderr.

    Those errors are messages to the user; others keep their trace, and with R1JAX_DEBUG in the environment these too.
    """
    try:
        run()
    except (OSError, ValueError) as error:
        if os.environ.get("R1JAX_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def missing_file(path: pathlib.Path) -> str:
    """What to say of a file that is not there."""
    if not path.parent.is_dir():
        return f"no file {path}: there is no folder {path.parent}"
    names = (entry.name for entry in path.parent.iterdir())
    return f"no file {path}; nearest in {path.parent}: {nearest(path.name, names)}"


def overrides_from(arguments: Sequence[str]) -> list[str]:
    """Turns `--config.a.b=v` and `--config.a.b v`, as argparse leaves them over, into `a.b=v`.

    Raises:
        ConfigError: an argument of any other form, or one without a value.
    """
    overrides, left = [], iter(arguments)
    for argument in left:
        key, equals, value = argument.partition("=")
        if not key.startswith("--config.") or key == "--config.":
            raise ConfigError(f"unknown argument {argument!r}; a config's field is set by --config.section.field=value")
        if not equals:
            value = next(left, "--")
            if value.startswith("--"):
                raise ConfigError(f"{key} has no value; write {key}=value")
        overrides.append(f"{key.removeprefix('--config.')}={value}")
    return overrides


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Runs a config file and sets fields of what it returns.

    Args:
        spec: `path/file.py` or `path/file.py:arg`; the file's `get_config` is called with arg where one is given.
        overrides: `section.field=value`, see `overrides_from`. A value is read as the type of the present one; `None`
            is accepted for all but strings, and `parse` judges whether the field may be None.

    Raises:
        ConfigError: no such file, no `get_config`, an arg it refuses by ValueError, a bad override.
    """
    name, _, arg = spec.partition(":")
    path = pathlib.Path(name)
    if not path.is_file():
        raise ConfigError(missing_file(path))
    source = importlib.util.spec_from_file_location(path.stem, path)
    if source is None or source.loader is None:
        raise ConfigError(f"{path} is not a Python file (.py)")
    module = importlib.util.module_from_spec(source)
    try:
        source.loader.exec_module(module)
    except (SyntaxError, ImportError) as error:
        raise ConfigError(f"{path} does not load: {error}") from error
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path} defines no get_config(arg=None)")
    try:
        config = module.get_config(arg) if arg else module.get_config()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{spec}: {error}") from error
    return override(config, overrides)


def override(tree: Mapping[str, Any] | ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """A config with fields set, see `load`."""
    config = ConfigDict(tree)
    for each in overrides:
        _override(config, each)
    return config


def parse(cls: type[T], tree: Mapping[str, Any] | ConfigDict, where: str = "config") -> T:
    """Builds a dataclass from a tree of plain values, strictly, by its type hints.

    Hints may be int, float (an int will do), bool, str, Literal, `X | None`, `tuple[X, ...]` (a list will do),
    `Mapping[str, X]`, Any, and dataclasses of these.

    Args:
        where: the tree's own key, for errors.

    Raises:
        ConfigError: an unknown key, a missing one, a wrong type, or values that a `__post_init__` refuses.
        TypeError: a hint that is none of these.
    """
    if not isinstance(tree, Mapping | ConfigDict):
        raise ConfigError(f"{where} is {tree!r}, should be a section of {cls.__name__}'s fields")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in tree:
        if key not in fields:
            raise ConfigError(f"unknown key {where}.{key}; nearest: {nearest(str(key), fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in tree:
            raise ConfigError(f"{where}.{name} is missing and has no default")
    values = {key: _convert(hints[key], value, f"{where}.{key}") for key, value in tree.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def to_dict(obj: Any) -> Any:
    """Dataclasses, mappings and tuples as what JSON gives back: dicts and lists."""
    if dataclasses.is_dataclass(obj):
        return {field.name: to_dict(getattr(obj, field.name)) for field in dataclasses.fields(obj)}
    if isinstance(obj, Mapping | ConfigDict):
        return {key: to_dict(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [to_dict(value) for value in obj]
    return obj


def without_defaults(obj: Any) -> Any:
    """A dataclass as `to_dict` gives it, but for fields that are at their default, at any depth."""
    if dataclasses.is_dataclass(obj):
        values = {field.name: (getattr(obj, field.name), field.default) for field in dataclasses.fields(obj)}
        return {name: without_defaults(value) for name, (value, default) in values.items() if value != default}
    return to_dict(obj)


def fingerprint(obj: Any) -> str:
    """12 hex digits that change with any value in a config, and not with the order of its keys."""
    return hashlib.sha256(json.dumps(to_dict(obj), sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def differences(a: Any, b: Any) -> list[str]:
    """Lines `key: value in a -> value in b`, one a dotted key whose values differ. Empty: the two are the same."""
    flat_a, flat_b = _flatten(to_dict(a)), _flatten(to_dict(b))
    lines = []
    for key in sorted(flat_a.keys() | flat_b.keys()):
        old, new = (repr(flat[key]) if key in flat else "(absent)" for flat in (flat_a, flat_b))
        if old != new:
            lines.append(f"{key}: {old} -> {new}")
    return lines


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    flat = {}
    for key, value in items:
        flat.update(_flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    # An empty section is a value of its own: it differs from an absent one.
    return flat or {prefix: tree}


def _override(config: ConfigDict, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"{override!r} sets nothing; write section.field=value")
    _set(config, key.split("."), text, "config")


def _set(node: Any, names: list[str], text: str, where: str) -> Any:
    """The node with the field at `names` below it set; a tuple's sections are numbered from 0."""
    if not names:
        if isinstance(node, ConfigDict):
            raise ConfigError(f"{where} is a section; set one of its fields: {nearest('', node)}")
        return _read(text, node, where)
    name, *rest = names
    below = f"{where}.{name}"
    if isinstance(node, tuple | list) and all(isinstance(item, Mapping | ConfigDict) for item in node):
        if not name.isdecimal() or int(name) >= len(node):
            has = f"0 to {len(node) - 1}" if node else "none"
            raise ConfigError(f"{where} has no section {name!r}; it has {has}")
        items = list(node)
        items[int(name)] = _set(ConfigDict(items[int(name)]), rest, text, below)
        return type(node)(items)
    if not isinstance(node, ConfigDict):
        raise ConfigError(f"{where} is a value, not a section: there is no {'.'.join([below, *rest])}")
    if name not in node:
        raise ConfigError(f"unknown key {'.'.join([below, *rest])}; nearest in {where}: {nearest(name, node)}")
    value = _set(node[name], rest, text, below)
    # ConfigDict has type rules of its own, stricter (placeholders) and laxer than ours; `parse` is the judge.
    with node.ignore_type():
        node[name] = value
    return node


def _read(text: str, present: Any, where: str) -> Any:
    if isinstance(present, str):
        return text
    if isinstance(present, bool) and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if present is None or value is None:
        return value
    if isinstance(present, tuple | list) and isinstance(value, tuple | list):
        return type(present)(value)
    kind = type(present)
    if kind is float and isinstance(value, str):
        # "inf" and "nan" are numbers to float, and no Python literals.
        value = float(value) if value.lower().lstrip("+-") in ("inf", "nan") else value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where}={text} is not {_EXPECTED.get(kind, kind.__name__)}, as the present {present!r} is")
    return value


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return to_dict(value) if isinstance(value, ConfigDict) else value
    if dataclasses.is_dataclass(hint):
        return parse(hint, value, where)
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2 and types.NoneType in arguments:
        [inner] = [argument for argument in arguments if argument is not types.NoneType]
        return None if value is None else _convert(inner, value, where)
    if origin is typing.Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            close = nearest(str(value), map(str, arguments))
            raise ConfigError(f"{where} is {value!r}, should be one of {arguments}; nearest: {close}")
        return value
    if origin is tuple and arguments[1:] == (Ellipsis,):
        if not isinstance(value, tuple | list):
            raise ConfigError(f"{where} is {value!r}, should be a tuple")
        return tuple(_convert(arguments[0], item, f"{where}.{index}") for index, item in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping | ConfigDict):
            raise ConfigError(f"{where} is {value!r}, should be a section")
        return {str(key): _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint not in (int, float, bool, str):
        raise TypeError(f"{where}: a config's field cannot have the type {hint}")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where} is {value!r} ({type(value).__name__}), should be {_EXPECTED[hint]}")
    return value
