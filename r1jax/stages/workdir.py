"""The workdir of a training run: one config's, and one process's at a time."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import jax

from r1jax.core import processes
from r1jax.data import teacher_logits
from r1jax.io import buckets, hub, mirror, ownership, row_files, run_record
from r1jax.stages.base_keys import base_name
from r1jax.training import checkpoint, state


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
    away = (hub.data_id, buckets.is_address)
    files = [path for path in files if path and (any(is_(path) for is_ in away) or pathlib.Path(path).exists())]
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
    steps, states = workdir / "metrics.jsonl", buckets.place_of(workdir / "checkpoints")
    saved = states.is_dir() and any(state.name.isdigit() for state in states.iterdir())
    return saved or (steps.exists() and bool(steps.stat().st_size))


def _end_all(reason: str) -> None:
    processes.stop_all(1, reason, f"error: {reason}")


@contextlib.contextmanager
def owned(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the workdir for this run alone: process 0 owns it for all processes.

    Within, a folder that is the copy of one in a bucket is kept equal to it, by each process. It ends when nothing is
    written there any more, also where the run failed: in a notebook the process goes on, and may run it again at once.

    Raises:
        ConfigError, FileNotFoundError, PermissionError, ConnectionError, ValueError: see `ownership.owned` and
            `mirror.opened`.
    """
    is_first = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        if is_first:
            stack.enter_context(ownership.owned(workdir))
        if buckets.address_of(workdir):
            stack.enter_context(mirror.opened(workdir, is_first, _end_all))
        stack.callback(checkpoint.wait_for_saves)
        processes.barrier()  # before any of them writes
        yield
        processes.barrier()  # process 0 may be done before the others
