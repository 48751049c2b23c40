"""Options of a config's fields on the command line: type, value, default and description of each.

They are for help and completion: `overrides` reads what the command line sets. A field is described by its line in the
"Attributes:" of its dataclass's docstring, a section without such a line by the first line of its own dataclass.
"""

import argparse
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from r1jax.config import required_part, to_dict, with_defaults

_MISSING = dataclasses.MISSING
# `name: text`, or `name, other: text` for several fields.
_ENTRY = re.compile(r"(?P<names>\w+(?:, \w+)*): (?P<text>.*)")
_LONGEST_VALUE = 100


def descriptions(cls: type) -> dict[str, str]:
    """The description of each field in the docstring of a dataclass, or of one that it inherits from, on one line.

    Fields that share an entry share its text. A section that has none gets the first line of its class; any other
    field without one is left out.
    """
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            texts |= _attributes(inspect.cleandoc(base.__doc__ or ""))
    described = {}
    for name, hint in typing.get_type_hints(cls).items():
        section = required_part(hint)
        if name in texts:
            described[name] = texts[name]
        elif dataclasses.is_dataclass(section):
            described[name] = inspect.cleandoc(section.__doc__ or "").partition("\n")[0]
    return described


def _attributes(doc: str) -> dict[str, str]:
    _, header, section = doc.partition("\nAttributes:\n")
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines() if header else ():
        indent = len(line) - len(line.lstrip())
        if line and not indent:  # the docstring's next section
            break
        entry = _ENTRY.fullmatch(line.strip()) if indent == 4 else None
        if entry:
            names = entry["names"].split(", ")
            texts |= dict.fromkeys(names, entry["text"])
        elif line.strip():
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
    return texts


def type_name(hint: Any) -> str:
    """A type hint as help shows it: `int`, `float or None`, `{sequence,token}`, `tuple of str`, `section`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return "any"
    if dataclasses.is_dataclass(hint):
        return "section"
    if origin in (typing.Union, types.UnionType):
        return " or ".join("None" if part is types.NoneType else type_name(part) for part in arguments)
    if origin is typing.Literal:
        return "{" + ",".join(map(str, arguments)) + "}"
    if origin is tuple:
        element = arguments[0]
        fields = f" ({', '.join(typing.get_type_hints(element))})" if dataclasses.is_dataclass(element) else ""
        return f"tuple of {type_name(element)}{'s' if fields else ''}{fields}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "mapping"
    return hint.__name__


@dataclasses.dataclass(frozen=True)
class Option:
    """A field of a config.

    Attributes:
        key: dotted, as after `--config.`; of a list's sections the number is a part of it.
        hint: its type.
        value: in this config; MISSING of `dataclasses` where the config leaves it to the command line.
        default: of the field; MISSING where it has none.
        description: on one line.
    """

    key: str
    hint: Any
    value: Any
    default: Any
    description: str

    def help(self) -> str:
        """The description, with the value and, where they differ, the default."""
        if self.value is _MISSING:
            note = "has to be given"
        elif self.default is _MISSING or to_dict(self.default) == to_dict(self.value):
            note = f"{'default' if self.default is not _MISSING else 'here'} {_value_text(self.value)}"
        else:
            note = f"here {_value_text(self.value)}, default {_value_text(self.default)}"
        return f"{self.description} [{note}]"


def options(cls: type, tree: Mapping[str, Any]) -> Iterator[Option]:
    """All fields of a config that the command line can set, in the order of their classes.

    Args:
        cls: the config's dataclass.
        tree: what its config file returns, with overrides or without.
    """
    yield from _options(cls, with_defaults(cls, tree), "")


def _options(cls: type, tree: Mapping[str, Any], prefix: str) -> Iterator[Option]:
    hints, texts = typing.get_type_hints(cls), descriptions(cls)
    for field in dataclasses.fields(cls):
        hint, key = hints[field.name], f"{prefix}{field.name}"
        value = tree.get(field.name, _MISSING)
        section = required_part(hint)
        if dataclasses.is_dataclass(section) and isinstance(value, Mapping):
            yield from _options(section, value, f"{key}.")
            continue
        default = field.default if field.default_factory is _MISSING else field.default_factory()
        yield Option(key, hint, value, default, texts.get(field.name, ""))
        element = typing.get_args(section)[0] if typing.get_origin(section) is tuple else None
        if dataclasses.is_dataclass(element) and isinstance(value, list | tuple):
            for index, item in enumerate(value):
                yield from _options(element, item, f"{key}.{index}.")


def add_options(parser: argparse.ArgumentParser, title: str, fields: Iterator[Option]) -> None:
    """Adds `--config.KEY` for each field, in a group for each section."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in fields:
        section = option.key.partition(".")[0] if "." in option.key else ""
        if section not in groups:
            groups[section] = parser.add_argument_group(f"{title}, {section}" if section else title)
        literal = required_part(option.hint)
        groups[section].add_argument(
            f"--config.{option.key}",
            metavar=type_name(option.hint),
            help=option.help().replace("%", "%%"),
            default=argparse.SUPPRESS,
            choices=typing.get_args(literal) if typing.get_origin(literal) is typing.Literal else None,
        )


def _value_text(value: Any) -> str:
    text = repr(to_dict(value))
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 4]} ..."
