"""Base models: shipped, made before, or made now from the config file that a stage names as its base."""

import pathlib
from typing import Any

from jax.sharding import Mesh

from r1jax.io import buckets, hub
from r1jax.io.console import say
from r1jax.models.io import MODEL, SHIPPED, is_model
from r1jax.stages.base_keys import base_name, is_made, read_supervised
from r1jax.stages.hub_revisions import pin
from r1jax.stages.table import STAGES
from r1jax.stages.workdir import claim, owned


def find_base(spec: str, runs: pathlib.Path, mesh: Mesh) -> pathlib.Path:
    """The model folder that `spec` names: itself, in the hub's cache, or the one that its config makes.

    One that a config makes is shipped, was made before, or is made now.

    Args:
        runs: the folder of workdirs; a run that makes a base works in its `base-KEY`.

    Raises:
        ConfigError: neither a model folder nor the config of a supervised run.
        FileNotFoundError: a model of the hub that cannot be fetched, see `hub.model_path`.
    """
    if not is_made(spec):
        return hub.model_path(spec)
    name = base_name(spec)
    workdir = runs / name
    for folder in (SHIPPED / name, workdir / "model"):
        if path := _finished(folder):
            say(f"base model: {path}")
            return path
    say(f"making the base model of {spec} in {workdir}")
    cfg = read_supervised(spec)
    with owned(workdir):
        cfg = pin(cfg, workdir)
        claim(workdir, cfg)
        return _local(STAGES["supervised"].run(cfg, workdir, mesh, *starting_models(cfg, runs, mesh)))


def _finished(folder: pathlib.Path) -> pathlib.Path | None:
    """The local path of a model folder that is whole; None: it is not."""
    address = buckets.address_of(folder)
    is_whole = bool(buckets.stored(f"{address}/{MODEL}")) if address else is_model(folder)
    return _local(folder) if is_whole else None


def _local(folder: pathlib.Path) -> pathlib.Path:
    """A model folder as it is; of one in a bucket the local copy."""
    address = buckets.address_of(folder)
    return hub.model_path(address) if address else folder


def starting_models(cfg: Any, runs: pathlib.Path, mesh: Mesh) -> list[pathlib.Path | None]:
    """The model folders that a stage starts from, see `Stage.starts_from`."""
    specs = (getattr(cfg, field) for field in STAGES[cfg.stage].starts_from)
    return [find_base(spec, runs, mesh) if spec else None for spec in specs]
