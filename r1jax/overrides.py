"""Fields of a config file that the command line sets: `--config.section.field=value`.

They are set before the config is validated: a value in the config file counts only where the command line has none.
A value is read as the type that its field has.
"""

import ast
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from r1jax.config import EXPECTED, ConfigError, elsewhere, nearest, required_part, with_defaults


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


def override(cls: type, tree: Mapping[str, Any] | ConfigDict, overrides: Sequence[str]) -> dict[str, Any]:
    """A config's tree with fields set, and those that it leaves out at their defaults; `config.parse` validates it.

    Args:
        cls: the dataclass that will be made of it, whose fields decide how values are read. Strings are taken as they
            are; elsewhere `None` is read as None, whether or not the field may be.
        overrides: `section.field=value`, see `overrides_from`; of a list's sections the number is a part of the key.

    Raises:
        ConfigError: no such key, or a value of another type.
    """
    config = with_defaults(cls, tree)
    for each in overrides:
        key, equals, text = each.partition("=")
        if not equals:
            raise ConfigError(f"{each!r} sets nothing; write section.field=value")
        config = _set(cls, cls, config, key.split("."), text, "config")
    return config


def _set(root: type, hint: Any, node: Any, names: Sequence[str], text: str, where: str) -> Any:
    """The node, of this type, with the field at `names` below it set."""
    if not names:
        if isinstance(node, dict):
            raise ConfigError(f"{where} is a section; set one of its fields: {nearest('', node)}")
        return _read(hint, text, node, where)
    part = required_part(hint)
    name, *rest = names
    below = f"{where}.{name}"
    if isinstance(node, tuple | list) and all(isinstance(item, Mapping | ConfigDict) for item in node):
        if not name.isdecimal() or int(name) >= len(node):
            indices = f"0 to {len(node) - 1}" if node else "none"
            raise ConfigError(f"{where} has no section {name!r}; it has {indices}")
        items = list(node)
        inner = typing.get_args(part)[0] if typing.get_origin(part) is tuple else Any
        items[int(name)] = _set(root, inner, items[int(name)], rest, text, below)
        return type(node)(items)
    if not isinstance(node, dict):
        raise ConfigError(f"{where} is a value, not a section: there is no {'.'.join([below, *rest])}")
    hints = typing.get_type_hints(part) if dataclasses.is_dataclass(part) else {}
    is_open = typing.get_origin(part) is Mapping  # keys of another library
    if name not in node and name not in hints and not is_open:
        near = f"{nearest(name, {*node, *hints})}{elsewhere(rest[-1] if rest else name, root, where)}"
        raise ConfigError(f"unknown key {'.'.join([below, *rest])}; nearest in {where}: {near}")
    inner = hints.get(name, Any)
    # A field without a default that the config file leaves out, or a field of such a section.
    absent = {} if rest and dataclasses.is_dataclass(inner) else None
    return {**node, name: _set(root, inner, node.get(name, absent), rest, text, below)}


def _read(hint: Any, text: str, present: Any, where: str) -> Any:
    part = required_part(hint)
    if part is not hint and text == "None":
        return None
    if typing.get_origin(part) is typing.Literal:
        kind = type(typing.get_args(part)[0])
    elif typing.get_origin(part) is tuple:
        kind = tuple
    else:
        kind = part if part in EXPECTED else type(present)
    if kind is str:
        return text
    if (kind is bool or (hint is Any and present is None)) and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if kind is type(None) or value is None:
        return value
    if kind in (tuple, list) and isinstance(value, tuple | list):
        return kind(value)
    if kind is float and isinstance(value, str):
        # "inf" and "nan" are numbers to float, and no Python literals.
        value = float(value) if value.lower().lstrip("+-") in ("inf", "nan") else value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        now = "" if present is None else f"; it is {present!r} now"
        raise ConfigError(f"{where}={text} is not {EXPECTED.get(kind, kind.__name__)}{now}")
    return value
