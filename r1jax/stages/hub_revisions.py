"""Data and models of a config that lie elsewhere: ids of the hub, pinned to commits, and addresses of buckets."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from r1jax.config import ConfigError
from r1jax.core import processes, shared_files
from r1jax.evaluation.config import EvaluateConfig
from r1jax.io import buckets, hub
from r1jax.io.console import say
from r1jax.io.files import read_json, write_json
from r1jax.io.hub import HubId
from r1jax.stages.config import RLConfig, SupervisedConfig

T = TypeVar("T")

FILE = "hub_revisions.json"  # in a workdir: the commit of each id that names none
# The fields that may hold an id, by their keys in the configs of all stages.
MODELS = ("base", "tokenizer", "teacher", "model", "zero.model", "rewards.models.path")
DATA = ("data.path", "data.paths", "questions.path", "benchmarks.path")
SCHEDULED = "evaluation.benchmarks.names"  # NAME=DATA
FETCHED = (*MODELS, *DATA, "soft_targets")  # the fields that may hold an address of a bucket


def pin(cfg: T, workdir: pathlib.Path) -> T:
    """The config with each id of the hub at a commit, the one of the workdir's first run; all of them are fetched.

    Process 0 decides on the commits and fetches first; the others follow, each on its own machine.

    Raises:
        FileNotFoundError, ValueError: see `hub.pinned`; also PermissionError and ConnectionError of a bucket.
    """
    if isinstance(cfg, EvaluateConfig):
        cfg = cfg.with_sources()
    elif isinstance(cfg, RLConfig | SupervisedConfig):
        scheduled = dataclasses.replace(cfg.evaluation, benchmarks=cfg.evaluation.benchmarks.with_sources())
        cfg = dataclasses.replace(cfg, evaluation=scheduled)
    _fetch_from_buckets(cfg)
    ids: dict[str, HubId] = {}

    def note(key: str, text: str) -> str:
        _, id_ = _split(key, text)
        if named := hub.model_id(id_) if key in MODELS else hub.data_id(id_) if key in (*DATA, SCHEDULED) else None:
            ids[id_] = named
        return text

    _changed(cfg, "", note)
    if not ids:
        return cfg
    record = workdir / FILE
    if jax.process_index() == 0:
        recorded = read_json(record) if record.exists() else {}
        commits = {text: recorded.get(text) or hub.pinned(named).revision for text, named in ids.items()}
        if commits != recorded:
            write_json(record, recorded | commits)
    shared_files.from_first([record])
    commits = read_json(record)
    pins = {text: hub.pinned(dataclasses.replace(named, revision=commits[text])) for text, named in ids.items()}
    processes.barrier()
    for named in pins.values():
        say(f"from the Hugging Face hub: {named}")

    def at_commit(key: str, text: str) -> str:
        name, id_ = _split(key, text)
        return name + str(pins[id_]) if key in (*MODELS, *DATA, SCHEDULED) and id_ in pins else text

    return _changed(cfg, "", at_commit)


def _fetch_from_buckets(cfg: Any) -> None:
    """Fetches what a config names by addresses, so that what is missing is an error at the start.

    Raises:
        ConfigError: an address in a field that takes none.
        FileNotFoundError, PermissionError, ConnectionError, ValueError: see `buckets.errors_named`; with the field.
    """

    def fetch(key: str, text: str) -> str:
        _, name = _split(key, text)
        if buckets.is_address(name):
            if key not in (*FETCHED, SCHEDULED):
                raise ConfigError(f"config.{key}={text} is an address, and this field takes a path: copy it to a disk")
            try:
                hub.model_path(name) if key in MODELS else buckets.local_path(name)
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno:
                    raise
                raise type(error)(f"config.{key}: {error}") from error
        return text

    _changed(cfg, "", fetch)


def _split(key: str, text: str) -> tuple[str, str]:
    """What stands before the id or path in a field, and that."""
    name, equals, data = text.partition("=") if key == SCHEDULED else ("", "", text)
    return name + equals, data


def _changed(node: Any, key: str, change: Callable[[str, str], str]) -> Any:
    """A config with the result of `change(key, text)` in place of each text in it."""
    if isinstance(node, str):
        return change(key, node)
    if isinstance(node, tuple):
        return tuple(_changed(each, key, change) for each in node)
    if dataclasses.is_dataclass(node):
        fields = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
        below = f"{key}." if key else ""
        changes = {name: _changed(value, f"{below}{name}", change) for name, value in fields.items()}
        return dataclasses.replace(node, **{name: changes[name] for name in fields if changes[name] != fields[name]})
    return node
