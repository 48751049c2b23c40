"""Checkpoints: the resumable states of a training run, with checksums, saved in the background."""

import pathlib
import shutil
import threading
from typing import Any

import jax

from r1jax.core import checksums, orbax, processes
from r1jax.io.console import reporter, say
from r1jax.io.files import one_line
from r1jax.training import stopping
from r1jax.training.config import CheckpointConfig

DAMAGED = "damaged_checkpoints"  # where states go whose files have changed since they were saved


class Checkpoints:
    """The resumable states of a run, in `workdir/checkpoints`. Saves go on in the background.

    A state is a dict of trees (say `state` and `reference`). What is random or drawn from data in a run is a function
    of the seed and the step, so weights, optimiser and the step are all there is to save. A save becomes visible only
    when it is complete: killed in the middle of one, a run resumes from the one before.

    A complete state gets checksums (`core.checksums`). One whose files have changed since is set aside in
    `workdir/damaged_checkpoints`, and the one before is the newest. A state without checksums is taken for good: Orbax
    has found it complete, and the run was killed before they were made, or an earlier version made it.
    """

    def __init__(self, workdir: pathlib.Path, cfg: CheckpointConfig, total_steps: int):
        """Opens the states, and sets damaged ones aside.

        Raises:
            ValueError: all of them are damaged.
        """
        self._cfg, self._total = cfg, total_steps
        folder = (workdir / "checkpoints").absolute()
        _set_damaged_aside(folder)
        async_options = orbax.async_options()
        options = orbax.load().CheckpointManagerOptions(max_to_keep=cfg.keep, create=True, async_options=async_options)
        self._manager = orbax.outside_event_loop(lambda: orbax.load().CheckpointManager(folder, options=options))
        self._finishing: threading.Thread | None = None
        self._failure: BaseException | None = None

    def restore(self, target: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """The newest state and the number of finished steps it stands for, or None in a fresh workdir.

        Args:
            target: abstract trees (shapes and shardings) of what was saved; None for host arrays of any shape.

        Raises:
            ValueError: a saved state cannot be read; the message names the folder to delete.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        args = orbax.load().args
        trees = args.Composite(**{name: args.StandardRestore(tree) for name, tree in target.items()})
        try:
            restored = orbax.outside_event_loop(lambda: self._manager.restore(step, args=trees))
        except jax.errors.JaxRuntimeError:  # of a device, say for want of memory: the state is good
            raise
        except Exception as error:
            folder = self._manager.directory / str(step)
            raise ValueError(
                f"cannot read the state in {folder}; delete that folder to resume from an earlier one: "
                f"{one_line(error)}"
            ) from error
        return step, dict(restored.items())

    def save(self, finished: int, trees: dict[str, Any]) -> None:
        """Saves if `finished` steps is a multiple of `every`, or the end, or Ctrl-C came.

        Raises:
            KeyboardInterrupt: Ctrl-C came, and the state is saved.
        """
        self._raise_failure()
        signal_number = stopping.requested() if finished < self._total else 0
        due = signal_number or finished == self._total or (self._cfg.every and finished % self._cfg.every == 0)
        if due and finished != self._manager.latest_step():
            self._wait()
            args = orbax.load().args
            saves = args.Composite(**{name: args.StandardSave(tree) for name, tree in trees.items()})
            orbax.outside_event_loop(lambda: self._manager.save(finished, args=saves))
            self._finishing = threading.Thread(target=self._finish, args=(finished,), name="checksums", daemon=True)
            self._finishing.start()
        if signal_number:
            self.close()
            stopping.stop(
                signal_number, f"stopped; step {finished}/{self._total} is saved, and the same command goes on"
            )

    def close(self) -> None:
        """Waits for saves under way."""
        self._wait()
        self._manager.close()

    def _finish(self, step: int) -> None:
        """Waits until a state is complete and records its checksums."""
        try:
            self._manager.wait_until_finished()
            folder = self._manager.directory / str(step)
            if jax.process_index() == 0:
                checksums.write(pathlib.Path(folder))
        except BaseException as error:
            self._failure = error

    def _wait(self) -> None:
        """Waits for the save under way, and raises what it failed of."""
        if self._finishing is not None:
            self._finishing.join()
            self._finishing = None
        self._raise_failure()
        processes.barrier()  # process 0 alone makes the checksums

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure


def _set_damaged_aside(folder: pathlib.Path) -> None:
    """Moves states that are newer than the newest good one, and damaged, out of the folder.

    Raises:
        ValueError: there are states, and none is good.
    """
    steps = sorted((path for path in folder.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))
    damaged = []
    while steps and (
        fault := checksums.find_damage(steps[-1], progress=reporter(f"checking {steps[-1]}"), shared=True)
    ):
        damaged.append((steps.pop(), fault))
    if damaged and not steps:
        faults = "; ".join(f"{path.name}: {fault}" for path, fault in damaged)
        raise ValueError(
            f"all states in {folder} are damaged ({faults}): copy them again, or delete that folder to begin anew"
        )
    for path, fault in damaged:
        aside = folder.with_name(DAMAGED) / path.name
        say(
            f"the state in {path} is damaged: {fault}; it is set aside in {aside}, and the run goes on from step "
            f"{steps[-1].name}"
        )
        if jax.process_index() == 0:
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            path.replace(aside)
    if damaged:
        processes.barrier()
