"""What a run leaves on disk: resumable states while it goes, a model folder when it ends."""

import dataclasses
import json
import pathlib
import shutil
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from r1jax.config import at_least
from r1jax.core import params as core
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.text import tokenizer as text
from r1jax.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When states are saved.

    Attributes:
        every: steps between saves; 0 saves only at the end.
        keep: how many saved states stay on disk.
    """

    every: int = 50
    keep: int = 2

    def __post_init__(self):
        at_least(0, self, "every")
        at_least(1, self, "keep")


class Checkpoints:
    """The resumable states of a run, in `workdir/checkpoints`. Saves go on in the background.

    A state is a dict of trees (say `state` and `reference`). What is random or drawn from data in a run is a function
    of the seed and the step, so weights, optimiser and the step are all there is to save. A save becomes visible only
    when it is complete: killed in the middle of one, a run resumes from the one before.
    """

    def __init__(self, workdir: pathlib.Path, cfg: CheckpointConfig, total_steps: int):
        self._cfg, self._total = cfg, total_steps
        options = ocp.CheckpointManagerOptions(max_to_keep=cfg.keep, create=True)
        self._manager = ocp.CheckpointManager((workdir / "checkpoints").absolute(), options=options)

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
        args = ocp.args.Composite(**{name: ocp.args.StandardRestore(tree) for name, tree in target.items()})
        try:
            restored = self._manager.restore(step, args=args)
        except Exception as error:
            folder = self._manager.directory / str(step)
            raise ValueError(f"cannot read the state in {folder}; delete that folder to resume from an earlier one: "
                             f"{error}") from error
        return step, dict(restored.items())

    def save(self, finished: int, trees: dict[str, Any]) -> None:
        """Saves if `finished` steps is a multiple of `every`, or the end."""
        due = finished == self._total or (self._cfg.every and finished % self._cfg.every == 0)
        if due and finished != self._manager.latest_step():
            args = ocp.args.Composite(**{name: ocp.args.StandardSave(tree) for name, tree in trees.items()})
            self._manager.save(finished, args=args)

    def close(self) -> None:
        """Waits for saves under way."""
        self._manager.wait_until_finished()
        self._manager.close()


def save_model(folder: pathlib.Path, params: Params, cfg: ModelConfig, tokenizer: Tokenizer) -> None:
    """Writes a model folder: `params/` (Orbax), the tokenizer, and last `model.json`, which marks it whole."""
    folder = pathlib.Path(folder).absolute()
    marker = folder / "model.json"
    if jax.process_index() == 0:
        marker.unlink(missing_ok=True)  # first, so that half a deleted model is no model
        shutil.rmtree(folder, ignore_errors=True)
        tokenizer.save(folder)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "params", params)
    if jax.process_index() == 0:
        temporary = marker.with_suffix(".tmp")
        temporary.write_text(json.dumps(dataclasses.asdict(cfg), indent=1) + "\n")
        temporary.replace(marker)
    multihost_utils.sync_global_devices("model saved")  # another process may load it next


def is_model(folder: pathlib.Path) -> bool:
    """Whether the folder holds a whole model."""
    return (pathlib.Path(folder) / "model.json").exists()


def load_model(folder: pathlib.Path, mesh: Mesh) -> tuple[Params, ModelConfig, Tokenizer]:
    """Reads a model folder, each weight straight into its sharding for training.

    Raises:
        FileNotFoundError: the folder is not a whole model.
    """
    folder = pathlib.Path(folder).absolute()
    if not is_model(folder):
        raise FileNotFoundError(f"{folder} is not a model folder: it has no model.json")
    cfg = ModelConfig(**json.loads((folder / "model.json").read_text()))
    target = core.abstract(param_specs(cfg), TRAIN_RULES, mesh)
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(folder / "params", target), cfg, text.load(folder)
