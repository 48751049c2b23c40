"""What a run leaves on disk: resumable states while it goes, a model folder when it ends."""

import dataclasses
import json
import pathlib
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from r1jax import config
from r1jax.core import checksums, processes
from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES
from r1jax.io.files import exists, one_line, read_object
from r1jax.models import gguf, hf
from r1jax.models.config import ComputeConfig, ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.models.weights import Progress, check_finite, stored_dtype
from r1jax.text import tokenizer as text
from r1jax.text.tokenizer import Tokenizer
from r1jax.training import stopping
from r1jax.training.config import CheckpointConfig
from r1jax.training.metrics import clock, say

MODEL = "model.json"  # what makes a folder ours
HF_CONFIG, PARAMS = "hf_config.json", "params"
SAFETENSORS = ".safetensors"
_PATIENCE_S = 24 * 3600  # of a process for the slowest one's disk
DAMAGED = "damaged_checkpoints"  # where states go whose files have changed since they were saved


def _orbax() -> ModuleType:
    """Orbax, loaded on first use: it takes a quarter of a second, and an error in a config should not wait for it."""
    import orbax.checkpoint

    return orbax.checkpoint


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
        patience = _orbax().AsyncOptions(timeout_secs=_PATIENCE_S, barrier_sync_fn=_meet)
        options = _orbax().CheckpointManagerOptions(max_to_keep=cfg.keep, create=True, async_options=patience)
        self._manager = _orbax().CheckpointManager(folder, options=options)
        self._finishing: threading.Thread | None = None
        self._failure: BaseException | None = None

    def restore(self, target: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """The newest state and the number of finished steps it stands for, or None in a fresh workdir.

        Args:
            target: abstract trees (shapes and shardings) of what was saved.

        Raises:
            ValueError: a saved state cannot be read; the message names the folder to delete.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        args = _orbax().args.Composite(**{name: _orbax().args.StandardRestore(tree) for name, tree in target.items()})
        try:
            restored = self._manager.restore(step, args=args)
        except jax.errors.JaxRuntimeError:  # of a device, say for want of memory: the state is good
            raise
        except Exception as error:
            folder = self._manager.directory / str(step)
            raise ValueError(f"cannot read the state in {folder}; delete that folder to resume from an earlier one: "
                             f"{one_line(error)}") from error
        return step, dict(restored.items())

    def save(self, finished: int, trees: dict[str, Any]) -> None:
        """Saves if `finished` steps is a multiple of `every`, or the end, or Ctrl-C came.

        Raises:
            KeyboardInterrupt: Ctrl-C came, and the state is saved.
        """
        self._raise_failure()
        asked = stopping.asked() if finished < self._total else 0
        due = asked or finished == self._total or (self._cfg.every and finished % self._cfg.every == 0)
        if due and finished != self._manager.latest_step():
            self._wait()
            args = _orbax().args.Composite(**{name: _orbax().args.StandardSave(tree) for name, tree in trees.items()})
            self._manager.save(finished, args=args)
            self._finishing = threading.Thread(target=self._finish, args=(finished,), name="checksums", daemon=True)
            self._finishing.start()
        if asked:
            self.close()
            stopping.stop(asked, f"stopped; step {finished}/{self._total} is saved, and the same command goes on")

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
        processes.meet()  # process 0 alone makes the checksums

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure


def _meet(*, key: str, timeout_ms: int) -> None:
    """Orbax's barrier. Orbax waits there before it raises what a save failed of, too, and the others do not come."""
    if error := sys.exc_info()[1]:
        raise error
    processes.meet(key)


def _set_damaged_aside(folder: pathlib.Path) -> None:
    """Moves states that are newer than the newest good one, and damaged, out of the folder.

    Raises:
        ValueError: there are states, and none is good.
    """
    steps = sorted((path for path in folder.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))
    damaged = []
    while steps and (fault := checksums.fault(steps[-1], progress=reporter(f"checking {steps[-1]}"), shared=True)):
        damaged.append((steps.pop(), fault))
    if damaged and not steps:
        faults = "; ".join(f"{path.name}: {fault}" for path, fault in damaged)
        raise ValueError(f"all states in {folder} are damaged ({faults}): copy them again, or delete that folder to "
                         f"begin anew")  # fmt: skip
    for path, fault in damaged:
        aside = folder.with_name(DAMAGED) / path.name
        say(f"the state in {path} is damaged: {fault}; it is set aside in {aside}, and the run goes on from step "
            f"{steps[-1].name}")  # fmt: skip
        if jax.process_index() == 0:
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            path.replace(aside)
    if damaged:
        processes.meet()


def save_model(
    folder: pathlib.Path, params: Params, cfg: ModelConfig, tokenizer: Tokenizer,
    hf_config: Mapping[str, Any] | None = None, beside: Mapping[str, bytes] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Writes a model folder: `params/` (Orbax), the tokenizer, checksums, and last `model.json`, which marks it whole.

    Args:
        hf_config: the config.json that the model came with, see `ModelFile`; kept for when it is exported.
        beside: small files that go along, contents by name.
    """
    folder = pathlib.Path(folder).absolute()
    marker = folder / MODEL
    if jax.process_index() == 0:
        marker.unlink(missing_ok=True)  # first, so that half a deleted model is no model
        shutil.rmtree(folder, ignore_errors=True)
        tokenizer.save(folder)
        if hf_config is not None:
            (folder / HF_CONFIG).write_text(json.dumps(hf_config, indent=2) + "\n")
        for name, content in beside.items():
            (folder / name).write_bytes(content)
    patience = _orbax().AsyncOptions(timeout_secs=_PATIENCE_S, barrier_sync_fn=_meet)
    with _orbax().StandardCheckpointer(async_options=patience) as checkpointer:
        checkpointer.save(folder / PARAMS, params)
    if jax.process_index() == 0:
        content = f"{json.dumps(dataclasses.asdict(cfg), indent=1)}\n".encode()
        checksums.write(folder, {MODEL: content})
        temporary = marker.with_suffix(".tmp")
        temporary.write_bytes(content)
        temporary.replace(marker)
    processes.meet()  # another process may load it next


def is_model(path: pathlib.Path) -> bool:
    """Whether `load_model` reads this: a whole model folder, a Hugging Face folder, or a .gguf file."""
    path = pathlib.Path(path)
    if path.suffix == ".gguf":
        return exists(path, path.resolve().parent)
    # A run's workdir has a config.json too, of its own kind.
    theirs = path / "config.json"
    return exists(path / MODEL) or (exists(theirs) and "model_type" in read_object(theirs))


class ModelFile(Protocol):
    """A model on disk, and its weights for the asking.

    Attributes:
        cfg: its shape.
        hf_config: the config.json that it came with, None for one of our making.
    """

    cfg: ModelConfig
    hf_config: Mapping[str, Any] | None

    def read(self, mesh: Mesh, dtype: str | None = None, progress: Progress | None = None) -> Params:
        """The weights in their shardings for training; `dtype`: see `weights.stored_dtype`."""
        ...


@dataclasses.dataclass(frozen=True)
class _ModelFolder:
    """Our own kind of `ModelFile`."""

    cfg: ModelConfig
    hf_config: Mapping[str, Any] | None
    folder: pathlib.Path

    def read(self, mesh: Mesh, dtype: str | None = None, progress: Progress | None = None) -> Params:
        specs, folder = param_specs(self.cfg), self.folder / PARAMS
        for file in (folder, *folder.rglob("*")):
            if file.is_symlink() or not file.is_dir():
                exists(file, self.folder)  # which refuses what Orbax should not open
        checksums.refuse_damage(self.folder, lambda name: name.startswith(f"{PARAMS}/"),
                                reporter(f"checking {self.folder}"), shared=True)  # fmt: skip
        with _orbax().StandardCheckpointer() as checkpointer:
            try:
                present = checkpointer.metadata(folder).item_metadata.tree
            except Exception as error:
                raise ValueError(f"{folder} cannot be read, copy it again: {one_line(error)}") from error
            _check_shapes(specs, present, folder)
            target = jax.tree.map(
                lambda abstract, spec, found: jax.ShapeDtypeStruct(
                    abstract.shape, stored_dtype(spec, dtype, found.dtype), sharding=abstract.sharding
                ), core.abstract(specs, TRAIN_RULES, mesh), specs, present
            )
            try:
                params = checkpointer.restore(folder, target)
            except jax.errors.JaxRuntimeError:  # of a device, say for want of memory
                raise
            except Exception as error:
                raise ValueError(f"{folder} cannot be read, copy it again: {one_line(error)}") from error
        for path, weight in jax.tree_util.tree_leaves_with_path(params):
            check_finite(weight, f"{folder}: {'.'.join(key.key for key in path)}", dtype)
        return params


def _check_shapes(specs: Params, present: Params, folder: pathlib.Path) -> None:
    """Raises ValueError where a folder's weights are not those that its model.json describes."""
    wanted, there = ({jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves} for leaves in (
        jax.tree_util.tree_leaves_with_path(specs, is_leaf=lambda node: isinstance(node, core.ParamSpec)),
        jax.tree_util.tree_leaves_with_path(present),
    ))  # fmt: skip
    for name in sorted(wanted.keys() | there.keys()):
        if wanted.get(name) != there.get(name):
            raise ValueError(f"{folder} does not hold the weights that {MODEL} describes: {name} is {there.get(name)}, "
                             f"should be {wanted.get(name)}")  # fmt: skip


def open_model(path: pathlib.Path) -> ModelFile:
    """Opens an r1jax model folder, a Hugging Face folder or a .gguf file; all but the weights is read and checked.

    Raises:
        FileNotFoundError: it is none of these, or a file is missing.
        ValueError: a model that is not supported, tensors that are not those of its config, or files that are not as
            they were written.
    """
    given, path = path, pathlib.Path(path).absolute()
    if path.suffix == ".gguf":
        return gguf.open_file(path)
    if is_model(path):  # the weights' checksums are compared when they are read
        checksums.refuse_damage(path, lambda name: not (name.startswith(f"{PARAMS}/") or name.endswith(SAFETENSORS)))
    if exists(path / MODEL):
        cfg = config.parse(ModelConfig, read_object(path / MODEL), str(path / MODEL))
        if not (path / PARAMS).is_dir():
            raise FileNotFoundError(f"{path} is a part of a model folder: it has a {MODEL} and no {PARAMS}/ with the "
                                    f"weights; copy the whole folder")  # fmt: skip
        return _ModelFolder(cfg, read_object(path / HF_CONFIG) if exists(path / HF_CONFIG) else None, path)
    if exists(path / "config.json"):
        return hf.open_folder(path)
    lacks = f": it has no {MODEL}, and no config.json of Hugging Face's"
    raise FileNotFoundError(f"{path} is not a model folder{hf.hint_for(given) or lacks}")


def read_hf_config(path: pathlib.Path) -> Mapping[str, Any] | None:
    """The config.json that a model came with, None for one of our making; raises as `open_model` does."""
    return open_model(path).hf_config


def load_tokenizer(path: pathlib.Path, cfg: ModelConfig) -> Tokenizer:
    """The tokenizer of a model.

    Raises:
        FileNotFoundError: it has none.
        ValueError: it has ids for which the model's table has no row.
    """
    tokenizer = text.load(pathlib.Path(path))
    if tokenizer.vocab_size > cfg.vocab_size:
        raise ValueError(f"{path}: the tokenizer has {tokenizer.vocab_size} ids and the model's table {cfg.vocab_size} "
                         f"rows: they do not belong together")  # fmt: skip
    return tokenizer


def load_model(
    path: pathlib.Path, mesh: Mesh, compute: ComputeConfig | None = None, dtype: str | None = "float32"
) -> tuple[Params, ModelConfig, Tokenizer]:
    """Reads a model, by default for training: float32 weights, each straight into its sharding.

    Args:
        path: anything that `open_model` takes.
        compute: how the model shall be computed; None: as its folder says.
        dtype: of the weights, see `weights.stored_dtype`; None: as stored, which is enough to sample from them.

    Raises:
        FileNotFoundError: no model, or a part of it is missing.
        ValueError: see `open_model` and `load_tokenizer`.
    """
    model = open_model(path)
    tokenizer = load_tokenizer(path, model.cfg)  # before the weights, which take longer
    params = model.read(mesh, dtype, reporter(f"reading {path}"))
    cfg = model.cfg if compute is None else dataclasses.replace(model.cfg, **dataclasses.asdict(compute))
    return params, cfg, tokenizer


def reporter(what: str, every: float = 5.0) -> Progress:
    """Tells the console every few seconds how far a long read or write is; of one that is over before, nothing."""
    began = said = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - (began if done == total else said) < every:
            return
        said, rate = now, done / (now - began)
        say(f"{what}: {done / 1e9:.1f} of {total / 1e9:.1f} GB, {rate / 1e9:.2f} GB/s, "
            f"{clock((total - done) / rate)} left")

    return report
