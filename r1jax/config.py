"""Configuration: ConfigDict files parsed into frozen dataclasses, with one clear error for each fault.

`config_files` reads a config file, `overrides` applies the command line, `parse` turns the result into typed
dataclasses, and no other module sees a ConfigDict.
"""

import argparse
import contextlib
import dataclasses
import difflib
import errno
import importlib.machinery
import importlib.util
import math
import os
import pathlib
import sys
import types
import typing
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from types import CodeType
from typing import Any, TypeVar

from ml_collections import ConfigDict

T = TypeVar("T")

EXPECTED = {int: "an int", float: "a number", bool: "true or false", str: "a string", tuple: "a tuple"}
_JOINERS = "\u200c\u200d"  # within words of Persian and figures of several parts


class ConfigError(ValueError):
    """A config that cannot be used; the message names the key or file, the fault, and what would be right."""


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Compiles the file each time: cached bytecode is compared by size and by second, and a file may change faster."""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.get_data(self.path), self.path, "exec", dont_inherit=True)


def module_spec(name: str, path: pathlib.Path) -> ModuleSpec | None:
    """What `importlib` needs to load a user's Python file; None: the file is none."""
    if path.suffix != ".py":
        return None
    return importlib.util.spec_from_file_location(name, path, loader=_SourceLoader(name, str(path)))


def nearest(name: str, choices: Iterable[str]) -> str:
    """The few choices that look most like a name, or the first ones where none does; for error messages."""
    choices = sorted(choices)
    return ", ".join(difflib.get_close_matches(name, choices, n=3, cutoff=0.4) or choices[:8]) or "(none)"


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names in their order, "..." in place of those beyond `most`; "nothing" where there is none; for errors."""
    names = list(map(str, names))
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])]) or "nothing"


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
        # In this direction of the comparison NaN fails.
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
    elif isinstance(value, float) and not math.isfinite(value):  # an int may be too large for a float
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


class Terminated(KeyboardInterrupt):
    """A notice, SIGTERM for one, which a cluster sends before it reclaims a machine."""


# EX_TEMPFAIL of sysexits.h: it stopped on notice, and the same command goes on.
STOPPED_ON_NOTICE = 75
# The exit status of a command that Ctrl-C ended, as a shell has it, and of one that stopped on notice.
STOPPED = {130: KeyboardInterrupt, STOPPED_ON_NOTICE: Terminated}


def status_of(error: BaseException) -> int:
    """The exit status after an error: 2 where the user can repair it, 130 after Ctrl-C, 75 after a notice, else 1."""
    if isinstance(error, KeyboardInterrupt):
        return STOPPED_ON_NOTICE if isinstance(error, Terminated) else 130
    return 2 if isinstance(error, OSError | ValueError) else 1


@contextlib.contextmanager
def doing(action: str) -> Iterator[None]:
    """Within, an error of the operating system names the action under way, for example "writing runs/x/report.html"."""
    try:
        yield
    except OSError as error:
        error.add_note(action)
        raise


def message_of(error: BaseException) -> str:
    """The message of an error: its own; for one of the operating system's, the file, the action and a remedy."""
    if not isinstance(error, OSError) or error.errno is None or not error.strerror:
        return str(error)
    path = pathlib.Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    description, remedy = error.strerror[:1].lower() + error.strerror[1:], ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free some space; what is complete stays, and the same command goes on from it"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "choose a place that you may read and write, or have its owner allow it (ls -ld says who that is)"
    elif error.errno == errno.EMFILE:
        remedy = "allow more by ulimit -n"
    elif error.errno == errno.ENOENT and path:
        description = missing_file(path)
    elif error.errno == errno.EISDIR or (error.errno == errno.EEXIST and path and path.is_dir()):
        description = "it is a folder, where a file is needed"
    elif error.errno in (errno.ENOTDIR, errno.EEXIST):
        description = "it, or what stands before it in the path, is a file, where a folder is needed"
    if path and error.errno != errno.ENOENT:
        description = f"{path}: {description}"
    actions = "".join(f", while {note}" for note in getattr(error, "__notes__", ()))
    return f"{description}{actions}{remedy and f'; {remedy}'}"


def exit_status(run: Callable[[], None], action: str = "") -> int:
    """Runs a command: 0 where it is done, 2 after a config, file or data error, reported in one line on stderr.

    Those errors are messages to the user; others keep their trace, and with R1JAX_DEBUG in the environment these too.
    Ctrl-C and SIGTERM are one line as well, see `status_of`. For `action` see `doing`.
    """
    try:
        with doing(action) if action else contextlib.nullcontext():
            run()
    except (OSError, ValueError) as error:
        if os.environ.get("R1JAX_DEBUG"):
            raise
        print(f"error: {printable(message_of(error), lines=True)}", file=sys.stderr)
        return status_of(error)
    except KeyboardInterrupt as stop:
        if os.environ.get("R1JAX_DEBUG"):
            raise
        print(str(stop) or "stopped", file=sys.stderr)
        return status_of(stop)
    return 0


def printable(text: str, lines: bool = False) -> str:
    r"""Text as a console may show it: what would move its cursor, colour it or turn its direction is spelled out.

    Control characters, ANSI's escape, bidirectional overrides, half surrogates and other characters without a shape
    become `\x1b` or `\u202e`; all other text, of any script, stays as it is.

    Args:
        lines: breaks of lines and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        each
        if each.isprintable() or (lines and each in "\n\t") or each in _JOINERS or unicodedata.category(each) == "Zs"
        else each.encode("unicode_escape").decode()
        for each in text
    )


def path_given(text: str) -> pathlib.Path:
    """For argparse: a path of the command line; refused are addresses, and "", which would be the working directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; give a path, . for the folder that you are in")
    if text.startswith(("gs://", "gcs://", "s3://", "az://", "abfs://")):
        raise argparse.ArgumentTypeError(f"{text} is in a bucket; copy it here, say by `gcloud storage cp -r {text} .`")
    return pathlib.Path(text)


def missing_file(path: pathlib.Path) -> str:
    """The error message for a file that is missing or is a folder."""
    if path.is_dir():
        return f"{path} is a folder, where a file is needed"
    if not path.parent.is_dir():
        return f"no file {path}: there is no folder {path.parent}"
    names = (entry.name for entry in path.parent.iterdir())
    return f"no file {path}; nearest in {path.parent}: {nearest(path.name, names)}"


def required_part(hint: Any) -> Any:
    """X of the type hint `X | None`; any other hint itself."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType) and len(parts) == 2 and types.NoneType in parts:
        return parts[0] if parts[1] is types.NoneType else parts[1]
    return hint


def with_defaults(hint: Any, tree: Any) -> Any:
    """A tree of plain values with the fields that it leaves out at their defaults, at any depth; nothing is checked.

    Args:
        hint: what will be made of it: a dataclass, or a hint as `parse` knows them.
    """
    hint = required_part(hint)
    if typing.get_origin(hint) is tuple and isinstance(tree, tuple | list):
        return [with_defaults(typing.get_args(hint)[0], item) for item in tree]
    if not (dataclasses.is_dataclass(hint) and isinstance(tree, Mapping | ConfigDict)):
        return to_dict(tree)
    defaults = {}
    for field in dataclasses.fields(hint):
        if field.default is not dataclasses.MISSING:
            defaults[field.name] = to_dict(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = to_dict(field.default_factory())
    hints = typing.get_type_hints(hint)
    return defaults | {key: with_defaults(hints.get(key, Any), value) for key, value in tree.items()}


def keys_of(hint: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all fields below a type; those of a list's sections with the number 0."""
    hint = required_part(hint)
    if typing.get_origin(hint) is tuple:
        hint, prefix = typing.get_args(hint)[0], f"{prefix}0."
    if dataclasses.is_dataclass(hint):
        for name, inner in typing.get_type_hints(hint).items():
            yield f"{prefix}{name}"
            yield from keys_of(inner, f"{prefix}{name}.")


def elsewhere(name: str, root: type, where: str) -> str:
    """For an error about an unknown key: the other sections' keys of that name, or nearly; "" where there is none."""
    own = where.partition(".")[2]
    by_key = {key: key.rpartition(".") for key in keys_of(root)}
    others = {key: last for key, (section, _, last) in by_key.items() if section != own}
    close = difflib.get_close_matches(name, set(others.values()), n=3, cutoff=0.8)
    keys = sorted((key for key in others if others[key] in close), key=lambda key: (close.index(others[key]), key))
    return f"; in other sections: {', '.join(keys[:4])}" if keys else ""


def parse(cls: type[T], tree: Mapping[str, Any] | ConfigDict, where: str = "config", root: type | None = None) -> T:
    """Builds a dataclass from a tree of plain values, strictly, by its type hints.

    Hints may be int, float (an int will do), bool, str, Literal, `X | None`, `tuple[X, ...]` (a list will do),
    `Mapping[str, X]`, Any, and dataclasses of these.

    Args:
        where: the tree's own key, for errors.
        root: the dataclass of the whole config, whose other sections an error may point to.

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
            others = elsewhere(str(key), root or cls, where)
            raise ConfigError(f"unknown key {where}.{key}; nearest: {nearest(str(key), fields)}{others}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in tree:
            raise ConfigError(f"{where}.{name} is missing and has no default")
    values = {key: _convert(hints[key], value, f"{where}.{key}", root or cls) for key, value in tree.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def to_dict(obj: Any) -> Any:
    """Dataclasses, mappings and tuples as JSON's dicts and lists."""
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


def changed_values(a: Any, b: Any) -> dict[str, tuple[str, str]]:
    """The values in a and in b, as they are written, of each dotted key where they differ."""
    flat_a, flat_b = _flatten(to_dict(a)), _flatten(to_dict(b))
    changed = {}
    for key in sorted(flat_a.keys() | flat_b.keys()):
        old, new = (repr(flat[key]) if key in flat else "(absent)" for flat in (flat_a, flat_b))
        if old != new:
            changed[key] = (old, new)
    return changed


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    flat = {}
    for key, value in items:
        flat.update(_flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    # An empty section is a value of its own: it differs from an absent one.
    return flat or {prefix: tree}


def _convert(hint: Any, value: Any, where: str, root: type) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return to_dict(value) if isinstance(value, ConfigDict) else value
    if dataclasses.is_dataclass(hint):
        return parse(hint, value, where, root)
    if (inner := required_part(hint)) is not hint:
        return None if value is None else _convert(inner, value, where, root)
    if origin is typing.Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            close = nearest(str(value), map(str, arguments))
            raise ConfigError(f"{where} is {value!r}, should be one of {arguments}; nearest: {close}")
        return value
    if origin is tuple and arguments[1:] == (Ellipsis,):
        if not isinstance(value, tuple | list):
            raise ConfigError(f"{where} is {value!r}, should be a tuple")
        return tuple(_convert(arguments[0], item, f"{where}.{index}", root) for index, item in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping | ConfigDict):
            raise ConfigError(f"{where} is {value!r}, should be a section")
        return {str(key): _convert(arguments[1], item, f"{where}.{key}", root) for key, item in value.items()}
    if hint not in (int, float, bool, str):
        raise TypeError(f"{where}: a config's field cannot have the type {hint}")
    if hint is float and type(value) is int:
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f"{where} is an int that no float holds, should be a number below 1.8e308") from error
    if type(value) is not hint:
        raise ConfigError(f"{where} is {value!r} ({type(value).__name__}), should be {EXPECTED[hint]}")
    return value
