"""The workdir of a training run: one config's, and one process's at a time."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import jax

from r1jax.core import processes
from r1jax.data import teacher_logits
from r1jax.io import hub, ownership, row_files, run_record
from r1jax.stages.base_keys import base_name
from r1jax.training import state


def claim(workdir: pathlib.Path, cfg: Any) -> None:
    """Makes the workdir this config's own, or checks that it is. One whose run failed before its first step is free.

    Raises:
        ConfigError: it holds a run with another config; names every setting that may not differ (`io.run_record`).
    """
    # Models by their keys, the data by its bytes: either may have changed since.
    keys = {
        f"{name}_key": base_name(spec) for name in ("base", "tokenizer", "teacher") if (spec := getattr(cfg, name, ""))
    }
    if getattr(cfg, "soft_targets", ""):
        keys["soft_targets_key"] = teacher_logits.key(cfg.soft_targets)
    files = getattr(cfg.data, "files", (cfg.data.path,)) if cfg.data else ()
    files = [path for path in files if path and (hub.data_id(path) or pathlib.Path(path).exists())]
    if files:  # a missing one is an error where it is read
        keys["data_key"] = " ".join(row_files.content_hash(path)[:12] for path in files)
    run_record.claim(
        workdir / "config.json",
        cfg,
        "another config's run",
        begun=has_begun(workdir),
        keys=keys,
        files={"data_key": files},
        grows={"num_steps": state.fixes_num_steps(cfg.optimizer)},
        writes=jax.process_index() == 0,
    )


def has_begun(workdir: pathlib.Path) -> bool:
    """Whether a run has left steps or a state in its workdir, even where one of the two was deleted since."""
    steps, states = workdir / "metrics.jsonl", workdir / "checkpoints"
    saved = states.is_dir() and any(state.name.isdigit() for state in states.iterdir())
    return saved or (steps.exists() and bool(steps.stat().st_size))


@contextlib.contextmanager
def owned(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the workdir for this run alone: process 0 owns it for all processes. Raises as `ownership.owned` does."""
    with ownership.owned(workdir) if jax.process_index() == 0 else contextlib.nullcontext():
        processes.barrier()  # before any of them writes
        yield
        processes.barrier()  # process 0 may be done before the others
