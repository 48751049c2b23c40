"""Model folders: any kind opened (r1jax, Hugging Face, GGUF) with its tokenizer, r1jax's own kind saved."""

import dataclasses
import json
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from r1jax import config
from r1jax.core import checksums, orbax, processes
from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES
from r1jax.io import buckets, mirror
from r1jax.io.console import reporter
from r1jax.io.files import exists, one_line, read_object, write_bytes, write_text
from r1jax.models import gguf, hf
from r1jax.models.config import ComputeConfig, ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.models.weights import Progress, check_finite, stored_dtype
from r1jax.text import tokenizer as text
from r1jax.text.tokenizer import Tokenizer

SHIPPED = pathlib.Path(__file__).parent.parent / "shipped_models"  # folders of the models that come with r1jax
MODEL = "model.json"  # marks a model folder of r1jax
HF_CONFIG, PARAMS = "hf_config.json", "params"
SAFETENSORS = ".safetensors"


def save_model(
    folder: pathlib.Path,
    params: Params,
    cfg: ModelConfig,
    tokenizer: Tokenizer,
    hf_config: Mapping[str, Any] | None = None,
    beside: Mapping[str, bytes] = MappingProxyType({}),
    keep_same: bool = False,
) -> None:
    """Writes a model folder: `params/` (Orbax), the tokenizer, checksums, and last `model.json`, which marks it whole.

    Args:
        hf_config: the config.json that the model came with, see `ModelFile`; kept for when it is exported.
        beside: further small files, contents by name.
        keep_same: leave a folder that holds just this already, for Orbax writes other bytes each time; its weights are
            read for that, beside those in memory.
    """
    folder = pathlib.Path(folder).absolute()
    marker, weights = folder / MODEL, buckets.place_of(folder / PARAMS)
    content = f"{json.dumps(dataclasses.asdict(cfg), indent=1)}\n".encode()

    def write_small_files(folder: pathlib.Path) -> None:
        tokenizer.save(folder)
        if hf_config is not None:
            write_text(folder / HF_CONFIG, json.dumps(hf_config, indent=2) + "\n")
        for name, file_content in beside.items():
            write_bytes(folder / name, file_content)

    if keep_same and _has_files(folder, {MODEL: content}, write_small_files) and _has_weights(folder, cfg, params):
        return
    if jax.process_index() == 0:
        marker.unlink(missing_ok=True)  # first, so that half a deleted model is no model
        shutil.rmtree(folder, ignore_errors=True)
        if buckets.address_of(folder):
            mirror.push(folder)
            buckets.delete(weights)
        write_small_files(folder)

    def save() -> None:
        with orbax.load().StandardCheckpointer(async_options=orbax.async_options()) as checkpointer:
            checkpointer.save(weights, params)

    orbax.outside_event_loop(save)
    if jax.process_index() == 0:
        checksums.write(folder, {MODEL: content})
        write_bytes(marker, content)
        mirror.push(folder)
    processes.barrier()  # another process may load it next


def _has_files(folder: pathlib.Path, files: Mapping[str, bytes], write_others: Callable[[pathlib.Path], None]) -> bool:
    """Whether a folder's files, but for checksums and weights, are `files` and those that `write_others` writes."""

    def contents(folder: pathlib.Path) -> dict[str, bytes]:
        paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
        left_out = (checksums.FILE, PARAMS)
        return {name.as_posix(): path.read_bytes() for name, path in paths.items() if name.parts[0] not in left_out}

    with tempfile.TemporaryDirectory() as others:
        write_others(pathlib.Path(others))
        same = contents(folder) == {**contents(pathlib.Path(others)), **files}
    processes.barrier()  # before process 0 writes another folder
    return same


def _has_weights(folder: pathlib.Path, cfg: ModelConfig, params: Params) -> bool:
    """Whether a folder has these weights, bit by bit, undamaged."""
    mesh = jax.tree.leaves(params)[0].sharding.mesh
    try:
        stored = _ModelFolder(cfg, None, folder).read(mesh)
    except (ValueError, FileNotFoundError):
        return False
    same = jax.jit(lambda a, b: jnp.all(jnp.stack(jax.tree.leaves(jax.tree.map(jnp.array_equal, a, b)))))
    return bool(same(params, stored))


def is_model(path: pathlib.Path) -> bool:
    """Whether `load_model` reads this: a whole model folder, a Hugging Face folder, or a .gguf file."""
    path = pathlib.Path(path)
    if path.suffix == ".gguf":
        return exists(path, path.resolve().parent)
    # A run's workdir has a config.json too, of its own kind.
    hf_config = path / "config.json"
    return exists(path / MODEL) or (exists(hf_config) and "model_type" in read_object(hf_config))


class ModelFile(Protocol):
    """A model on disk, whose weights are read on demand.

    Attributes:
        cfg: its shape.
        hf_config: its original config.json, None for a model that r1jax made.
    """

    cfg: ModelConfig
    hf_config: Mapping[str, Any] | None

    def read(self, mesh: Mesh, dtype: str | None = None, progress: Progress | None = None) -> Params:
        """The weights in their shardings for training; `dtype`: see `weights.stored_dtype`."""
        ...


@dataclasses.dataclass(frozen=True)
class _ModelFolder:
    """The `ModelFile` of r1jax's own format."""

    cfg: ModelConfig
    hf_config: Mapping[str, Any] | None
    folder: pathlib.Path

    def read(self, mesh: Mesh, dtype: str | None = None, progress: Progress | None = None) -> Params:
        return orbax.outside_event_loop(lambda: self._read(mesh, dtype))

    def _read(self, mesh: Mesh, dtype: str | None) -> Params:
        specs, folder = param_specs(self.cfg), buckets.place_of(self.folder / PARAMS)
        if folder == self.folder / PARAMS:
            for file in (folder, *folder.rglob("*")):
                if file.is_symlink() or not file.is_dir():
                    exists(file, self.folder)  # which refuses what Orbax should not open
        checksums.verify(
            self.folder, lambda name: name.startswith(f"{PARAMS}/"), reporter(f"checking {self.folder}"), shared=True
        )
        with orbax.load().StandardCheckpointer() as checkpointer:
            try:
                present = checkpointer.metadata(folder).item_metadata.tree
            except Exception as error:
                raise ValueError(f"{folder} cannot be read, copy it again: {one_line(error)}") from error
            _check_shapes(specs, present, folder)
            target = jax.tree.map(
                lambda abstract, spec, stored: jax.ShapeDtypeStruct(
                    abstract.shape, stored_dtype(spec, dtype, stored.dtype), sharding=abstract.sharding
                ),
                core.abstract(specs, TRAIN_RULES, mesh),
                specs,
                present,
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
    expected, there = (
        {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}
        for leaves in (
            jax.tree_util.tree_leaves_with_path(specs, is_leaf=lambda node: isinstance(node, core.ParamSpec)),
            jax.tree_util.tree_leaves_with_path(present),
        )
    )
    for name in sorted(expected.keys() | there.keys()):
        if expected.get(name) != there.get(name):
            raise ValueError(
                f"{folder} does not hold the weights that {MODEL} describes: {name} is {there.get(name)}, "
                f"should be {expected.get(name)}"
            )


def open_model(path: pathlib.Path) -> ModelFile:
    """Opens an r1jax model folder, a Hugging Face folder or a .gguf file; all but the weights is read and checked.

    Raises:
        FileNotFoundError: it is none of these, or a file is missing.
        ValueError: a model that is not supported, tensors that are not those of its config, or files that are not as
            they were written.
    """
    given_path, path = path, pathlib.Path(path).absolute()
    if path.suffix == ".gguf":
        return gguf.open_file(path)
    if is_model(path):  # the weights' checksums are compared when they are read
        checksums.verify(path, lambda name: not (name.startswith(f"{PARAMS}/") or name.endswith(SAFETENSORS)))
    if exists(path / MODEL):
        cfg = config.parse(ModelConfig, read_object(path / MODEL), str(path / MODEL))
        if not buckets.place_of(path / PARAMS).is_dir():
            raise FileNotFoundError(
                f"{path} is a part of a model folder: it has a {MODEL} and no {PARAMS}/ with the "
                f"weights; copy the whole folder"
            )
        return _ModelFolder(cfg, read_object(path / HF_CONFIG) if exists(path / HF_CONFIG) else None, path)
    if exists(path / "config.json"):
        return hf.open_folder(path)
    lacks = f": it has no {MODEL}, and no config.json of Hugging Face's"
    raise FileNotFoundError(f"{path} is not a model folder{hf.hint_for(given_path) or lacks}")


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
        raise ValueError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} ids and the model's table {cfg.vocab_size} "
            f"rows: they do not belong together"
        )
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
