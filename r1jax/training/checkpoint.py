"""Checkpoints: the resumable states of a training run, with checksums, saved in the background."""

import errno
import os
import pathlib
import shutil
import threading
from typing import Any

import jax

from r1jax.core import checksums, orbax, processes, shared_files, stopping
from r1jax.io import buckets, mirror, progress
from r1jax.io.console import reporter, say
from r1jax.io.files import one_line
from r1jax.training.config import CheckpointConfig
from r1jax.training.preservation import LOGS, Preservation

DAMAGED = "damaged_checkpoints"  # where states go whose files have changed since they were saved
_FINISHING = "checksums"  # the name of the thread that waits for a save


class Checkpoints:
    """The resumable states of a run, in `workdir/checkpoints`. Saves go on in the background.

    A state is a dict of trees (say `state` and `reference`). What is random or drawn from data in a run is a function
    of the seed and the step, so weights, optimiser and the step are all there is to save. A save becomes visible only
    when it is complete: killed in the middle of one, a run resumes from the one before.

    A complete state gets checksums (`core.checksums`). One whose files have changed since is set aside in
    `workdir/damaged_checkpoints`, and the one before is the newest. A state without checksums is taken for good: Orbax
    has found it complete, and the run was killed before they were made, or an earlier version made it.

    The states of a workdir in a bucket are written to the bucket, which checks what it stores: they have no checksums.
    """

    def __init__(self, workdir: pathlib.Path, cfg: CheckpointConfig, total_steps: int):
        """Opens the states, and sets damaged ones aside.

        Raises:
            ValueError: all of them are damaged.
        """
        self._cfg, self._total = cfg, total_steps
        self._workdir = workdir
        self._folder = folder = buckets.place_of(workdir / "checkpoints")
        if _is_local(folder):  # a bucket checks what it stores itself
            _set_damaged_aside(folder)
        options = orbax.load().CheckpointManagerOptions(
            preservation_policy=Preservation(cfg, workdir),
            create=True,
            cleanup_tmp_directories=True,  # of saves that were cut short, which would fill the disk
            async_options=orbax.async_options(),
        )
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
        args = orbax.load().args
        trees = args.Composite(**{name: args.StandardRestore(tree) for name, tree in target.items()})
        while (step := self._manager.latest_step()) is not None:
            try:
                return step, dict(orbax.outside_event_loop(lambda: self._manager.restore(step, args=trees)).items())
            except jax.errors.JaxRuntimeError:  # of a device, say for want of memory: the state is good
                raise
            except Exception as error:
                self._set_unreadable_aside(step, error)
        return None

    def _set_unreadable_aside(self, step: int, error: Exception) -> None:
        """Sets a state aside that cannot be read, where it lacks checksums: its write was cut short.

        With checksums it is as it was written, and something else is wrong.

        Raises:
            ValueError: it has checksums, none is earlier, or there are other processes, whose part may be good.
        """
        folder = self._folder
        earlier = [each for each in self._manager.all_steps() if each < step]
        is_whole = not _is_local(folder) or (folder / str(step) / checksums.FILE).exists()
        if is_whole or not earlier or processes.is_multiprocess():
            raise ValueError(
                f"cannot read the state in {folder / str(step)}; delete that folder to resume from an earlier one: "
                f"{one_line(error)}"
            ) from error
        _set_aside(folder / str(step), f"it has no checksums and cannot be read ({one_line(error)})", max(earlier))
        orbax.outside_event_loop(self._manager.reload)

    def save(self, finished: int, trees: dict[str, Any]) -> None:
        """Saves if `finished` steps is a multiple of `every`, or the end, or Ctrl-C or a notice came.

        Raises:
            KeyboardInterrupt: Ctrl-C or a notice came, and the state is saved.
        """
        self._raise_failure()
        if status := stopping.requested() if finished < self._total else 0:
            stopping.stop(status, self.save_last(finished, trees))
        if finished == self._total or (self._cfg.every and finished % self._cfg.every == 0):
            self._start(finished, trees)

    def save_last(self, finished: int, trees: dict[str, Any] | None) -> str:
        """Saves the state with which a run stops before its end, and waits for it; returns a message on how to go on.

        Args:
            trees: None: the state after `finished` steps exists no more.
        """
        stopping.saving()
        if trees is not None and finished:
            self._start(finished, trees)
        saved = self._manager.latest_step()
        self.close()
        if saved is None:
            return "stopped before the first step was saved; the same command begins anew"
        return f"stopped; step {saved}/{self._total} is saved, and the same command goes on"

    def close(self) -> None:
        """Waits for saves under way."""
        self._wait()
        self._manager.close()

    def _start(self, finished: int, trees: dict[str, Any]) -> None:
        """Copies a state and begins to write it, unless it is there."""
        if finished == self._manager.latest_step():
            return
        self._wait()
        self._share_logs()
        args = orbax.load().args
        saves = args.Composite(**{name: args.StandardSave(tree) for name, tree in trees.items()})
        try:
            orbax.outside_event_loop(lambda: self._manager.save(finished, args=saves))
        except Exception as error:
            raise _named(error, self._folder, finished) from error
        self._finishing = threading.Thread(target=self._finish, args=(finished,), name=_FINISHING, daemon=True)
        self._finishing.start()

    def _share_logs(self) -> None:
        """Sends the files of a workdir in a bucket there: before the state is, so that none is behind the newest."""
        mirror.push(self._workdir)
        if self._cfg.keep_best and processes.is_multiprocess():  # all are to preserve the same states
            shared_files.from_first([self._workdir / log for log in LOGS])

    def _finish(self, step: int) -> None:
        """Waits until a state is complete and records its checksums."""
        folder = self._folder
        try:
            self._manager.wait_until_finished()
            if jax.process_index() == 0 and _is_local(folder):
                checksums.write(folder / str(step))
            progress.saved()
        except BaseException as error:
            self._failure = _named(error, folder, step)

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


def wait_for_saves() -> None:
    """Waits for the save that a run of this process left under way where an error or Ctrl-C ended it.

    What such a save fails of is not raised: the state before it is the newest. Of several processes none waits, as
    another one may be gone; they end after such a run, and what is half written is removed when it is resumed.
    """
    if not processes.is_multiprocess():
        for thread in threading.enumerate():
            if thread.name == _FINISHING:
                thread.join()


def _is_local(folder: Any) -> bool:
    """Whether `buckets.place_of` gave a path of this machine's file system."""
    return isinstance(folder, pathlib.PosixPath)


def _named(error: BaseException, folder: Any, step: int) -> BaseException:
    """An error of a save; a full disk or quota, which Orbax has as text alone, as the OSError that it is."""
    for number in (errno.ENOSPC, errno.EDQUOT):
        if f"os_error_code='{number}'" in str(error) or (isinstance(error, OSError) and error.errno == number):
            full = OSError(number, os.strerror(number), str(folder))
            full.add_note(f"saving the state after step {step}, which is not kept")
            return full
    return error


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
        _set_aside(path, fault, int(steps[-1].name))
    if damaged:
        processes.barrier()


def _set_aside(path: pathlib.Path, fault: str, earlier: int) -> None:
    """Moves a damaged state out of its folder, in process 0, and says so."""
    aside = path.parent.with_name(DAMAGED) / path.name
    say(f"the state in {path} is damaged: {fault}; it is set aside in {aside}, and the run goes on from step {earlier}")
    if jax.process_index() == 0:
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(exist_ok=True)
        path.replace(aside)
