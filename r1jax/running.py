"""Stage runs: the mesh, workdir and starting models of a config that is read, the stage itself, and the report."""

import contextlib
import dataclasses
import os
import pathlib
from typing import Any

import jax
from jax.sharding import Mesh

from r1jax import config as configs
from r1jax import config_files
from r1jax.core import processes, stopping, watchdog
from r1jax.core.sharding import make_mesh, use_rules
from r1jax.io import buckets, hub
from r1jax.io.console import say
from r1jax.stages.base_keys import check_split
from r1jax.stages.bases import find_base, starting_models
from r1jax.stages.config import RLConfig
from r1jax.stages.hub_revisions import pin
from r1jax.stages.table import STAGES
from r1jax.stages.workdir import claim, owned


def keep_compiled(folder: pathlib.Path) -> None:
    """Caches programs that take half a second to compile in this folder, unless JAX's variables say otherwise."""
    jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def run(cfg: Any, workdir: pathlib.Path) -> None:
    """Runs the config's stage in its workdir, and where it trains writes the report.

    Raises:
        FileNotFoundError, ValueError: see the stage; also a workdir that is another run's.
    """
    keep_compiled(workdir.absolute().parent / "xla_cache")
    mesh, trains = make_mesh(cfg.mesh), STAGES[cfg.stage].trains
    errors_named = configs.doing(f"running stage {cfg.stage} in {workdir}")
    watched = watchdog.watching(cfg.watchdog, workdir)
    placed = use_rules(cfg.mesh)
    with stopping.sigterm_as_ctrl_c(), jax.set_mesh(mesh), errors_named, placed, owned(workdir), watched:
        if isinstance(cfg, RLConfig):
            check_split(cfg)
        cfg = pin(cfg, workdir)
        if trains:
            claim(workdir, cfg)
        # Other stages keep their records line by line, and stop at once.
        with stopping.after_the_step(grace_s(cfg)) if trains else contextlib.nullcontext():
            run_stage(cfg, workdir, mesh)
        if trains and jax.process_index() == 0:
            write_report(workdir)
    processes.finish()


def grace_s(cfg: Any) -> float:
    """Seconds of grace after a notice: those of R1JAX_GRACE_S, where a launcher sets it, else the config's.

    Raises:
        ConfigError: R1JAX_GRACE_S is no number of seconds.
    """
    text = os.environ.get("R1JAX_GRACE_S", "")
    if not text:
        return cfg.checkpoint.grace_s
    if not text.isdecimal():
        raise configs.ConfigError(f"R1JAX_GRACE_S={text!r} in the environment should be a whole number of seconds")
    return float(text)


def run_stage(cfg: Any, workdir: pathlib.Path, mesh: Mesh) -> None:
    """Runs a stage from the models that its config names; one that a config makes is made where it is not there.

    Raises:
        FileNotFoundError, ValueError: see the stage.
    """
    stage, runs = STAGES[cfg.stage], workdir.parent
    spec = getattr(cfg, stage.samples_from) if stage.samples_from else ""
    if config_files.is_spec(spec) or hub.model_id(spec) or buckets.is_address(spec):
        cfg = dataclasses.replace(cfg, **{stage.samples_from: str(find_base(spec, runs, mesh))})
    path = stage.run(cfg, workdir, mesh, *starting_models(cfg, runs, mesh))
    if stage.output:
        say(f"{stage.output}: {buckets.address_of(path) or path}")


def write_report(workdir: pathlib.Path) -> None:
    """Writes a training run's report, and prints its headline and where it is."""
    from rich.console import Console

    from r1jax.report import run as run_report

    with configs.doing("writing its report"):
        path = run_report.write_report(workdir)
    Console().print(run_report.headline(workdir))
    print(f"report: {buckets.address_of(path) or path}")
