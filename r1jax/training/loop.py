"""Training runs: the model, state, metrics and checkpoints that every training loop opens, logs to and closes."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from r1jax.core import params as core
from r1jax.core import stopping
from r1jax.core.params import Params
from r1jax.core.sharding import TRAIN_RULES, on_devices
from r1jax.data.batching import to_device
from r1jax.io.console import reporter, under_way
from r1jax.models.config import ComputeConfig, ModelConfig
from r1jax.models.io import load_tokenizer, open_model, save_model
from r1jax.text.tokenizer import Tokenizer
from r1jax.training import state
from r1jax.training.checkpoint import Checkpoints
from r1jax.training.config import CheckpointConfig, FaultConfig, OptimizerConfig, TrackConfig
from r1jax.training.faults import Faults
from r1jax.training.metrics import MetricsWriter
from r1jax.training.skipped import SkippedUpdates, write_batch
from r1jax.training.state import TrainState
from r1jax.training.step import Loss, Update, make_update


@dataclasses.dataclass(frozen=True)
class StartingPoint:
    """The model that a run begins with.

    Attributes:
        model: its shape, computed as the run's config says.
        tokenizer: its tokenizer.
        read_params: reads or makes its weights, float32 in their training shardings; a resumed run does not call it.
        hf_config: its original config.json; None for a model that r1jax made.
    """

    model: ModelConfig
    tokenizer: Tokenizer
    read_params: Callable[[], Params]
    hf_config: Mapping[str, Any] | None = None


def start_from_folder(base: pathlib.Path, mesh: Mesh, compute: ComputeConfig | None) -> StartingPoint:
    """The starting point in a model folder; raises as `open_model` and `load_tokenizer`.

    The folder's small files are read now: at the end of a long run it may be gone.
    """
    folder = open_model(base)
    tokenizer = load_tokenizer(base, folder.cfg)
    model = folder.cfg if compute is None else dataclasses.replace(folder.cfg, **dataclasses.asdict(compute))
    progress = reporter(f"reading {base}")
    return StartingPoint(model, tokenizer, lambda: folder.read(mesh, "float32", progress), folder.hf_config)


class TrainingConfig(Protocol):
    """The fields that the configs of all training loops have."""

    optimizer: OptimizerConfig
    checkpoint: CheckpointConfig
    faults: FaultConfig
    track: TrackConfig


@dataclasses.dataclass
class TrainingRun:
    """A training run in its workdir.

    Attributes:
        start, num_steps: its first step in this process, and one past its last.
        state: weights and optimiser after the latest update.
        reference: weights of the reference policy; None where the loss has no KL term.
        pending: arrays of the latest state, of work that was under way; None: there are none.
        optimizer: the optax chain.
        learning_rate: as a function of the update's number, from 0.
        faults: those of the training that its metrics show.
    """

    workdir: pathlib.Path
    mesh: Mesh
    model: ModelConfig
    tokenizer: Tokenizer
    hf_config: Mapping[str, Any] | None
    specs: Params
    optimizer: optax.GradientTransformation
    learning_rate: optax.Schedule
    start: int
    num_steps: int
    state: TrainState
    reference: Params | None
    pending: Mapping[str, np.ndarray] | None
    _updates_per_step: int
    _finished: int  # steps
    _checkpoints: Checkpoints
    _metrics: MetricsWriter
    _skipped: SkippedUpdates
    faults: Faults
    _last_batch: Any = None  # of the latest step, on the host

    @property
    def summary(self) -> str:
        """The first words of a run's first line: its size, and where it resumes."""
        return f"{core.count(self.specs):,} parameters" + (f", resuming at step {self.start}" if self.start else "")

    @property
    def was_done(self) -> bool:
        """Whether its last step was done before this process."""
        return self.start >= self.num_steps

    def compile_update(self, loss: Loss, microbatches: int, bias_rate: float = 0.0) -> Update:
        """The jitted update by this loss, see `step.make_update`."""
        more = {"largest_norm": lambda: self.faults.largest_norm} if self.faults.skips_spikes else {}
        return make_update(loss, self.optimizer, self.specs, self.mesh, microbatches, bias_rate, **more)

    def log(self, step: int, row: Mapping[str, float], skipped: Sequence[float], batch: Any = None) -> None:
        """Writes a step's row of metrics.jsonl, before its state is saved.

        A run that is killed in between redoes the step and its row; the other way round the row would be lost.

        Args:
            row: metrics by name, the loss among them.
            skipped: 1 for each update of the step that was skipped, else 0.
            batch: the host batch of its last update, the evidence where a fault of it ends the run.
        """
        self._metrics.write(step, {**row, **self._skipped.count(skipped, row["loss"])})
        self.faults.add(step, row)
        self._last_batch = batch

    def log_evaluation(self, step: int, row: Mapping[str, Any], log: str = "evals") -> None:
        """Writes a row of evals.jsonl, see `MetricsWriter.write_evaluation`."""
        self._metrics.write_evaluation(step, row, log)

    @property
    def too_many_skipped(self) -> bool:
        """Whether so many updates in a row were skipped that the run must end, with `skipped_error`."""
        return self._skipped.too_many

    def skipped_error(self, step: int, batch: Any) -> ValueError:
        """The error that ends it; keeps the host batch of the last update as evidence."""
        return self._skipped.error(step, batch)

    def save(self, finished: int, pending: Mapping[str, np.ndarray] | None = None) -> None:
        """Saves the state after `finished` steps where that is due, see `Checkpoints.save`.

        Args:
            pending: host arrays, none of them empty, of work that is under way.

        Raises:
            ValueError: a fault of the training ends the run, and its state is saved.
        """
        self._finished, self.pending = finished, pending
        if self.faults.stopping:
            raise self._fault_error(finished)
        self._checkpoints.save(finished, self._trees())

    def _fault_error(self, finished: int) -> ValueError:
        self._checkpoints.save_last(finished, self._trees())
        path = self.workdir / "faults" / f"step_{finished - 1:06d}.npz"
        if self._last_batch is not None:
            write_batch(path, self._last_batch)
        return ValueError(
            f"{self.faults.stopping}. The state after this step is saved, {path} has its last batch, and the same "
            "command goes on past it"
        )

    def save_last_step(self) -> str:
        """Saves the state after the last finished step, in the middle of the next one; see `Checkpoints.save_last`.

        Where an update of that step has changed the state, what was saved before stays the newest.
        """
        is_whole = int(self.state.step) == self._finished * self._updates_per_step
        self.state, self.reference = on_devices(self.state), on_devices(self.reference)
        return self._checkpoints.save_last(self._finished, self._trees() if is_whole else None)

    def _trees(self) -> dict[str, Any]:
        trees = {"state": self.state, "reference": self.reference, "pending": self.pending}
        return {name: tree for name, tree in trees.items() if tree is not None}

    def finish(self) -> None:
        """Waits for the last save and checks the weights; raises as `SkippedUpdates.check_end` does."""
        self._checkpoints.close()
        done = f"stopped after the last step, which is saved; the same command does what is left in {self.workdir}"
        stopping.on_notice(lambda: done)
        self._skipped.check_end(self.state, self.mesh)

    def close(self, extra_files: Mapping[str, bytes] = MappingProxyType({})) -> pathlib.Path:
        """Ends the metrics and writes the model folder, `workdir/model`, unless an earlier process did; returns it.

        Args:
            extra_files: small files that go into the folder, contents by name.
        """
        self._metrics.close()
        folder = self.workdir / "model"
        save_model(
            folder, self.state.params, self.model, self.tokenizer, self.hf_config, extra_files, keep_same=self.was_done
        )
        return folder

    def close_metrics(self) -> None:
        """Ends the metrics of a run that writes its folder itself."""
        self._metrics.close()


def open_run(
    cfg: TrainingConfig,
    workdir: pathlib.Path,
    mesh: Mesh,
    start_from: StartingPoint,
    specs: Params,
    *,
    num_steps: int,
    console: Mapping[str, str],
    updates_per_step: int = 1,
    frozen: Sequence[str] = (),
    with_reference: bool = False,
    with_pending: bool = False,
    log_every: int = 1,
    profile_at: int = -1,
) -> TrainingRun:
    """Opens a run: its newest state where the workdir holds one, else a new state of the starting point's weights.

    Args:
        specs: of the weights that are trained.
        num_steps: of the whole run.
        console: metrics that the console's line names, as name -> format.
        updates_per_step: optimiser updates a step, for the schedule.
        frozen: parts of the tree, by their first key, that the loss does not reach.
        with_reference: keep the weights of the starting point, or of the state, as the reference policy.
        with_pending: the state has arrays of work under way, see `TrainingRun.save`.
        log_every: steps between the console's lines.
        profile_at: step at which a profile begins, -1 for none.

    Raises:
        ValueError: a state cannot be read, or all are damaged; or a tracker refuses the run.
    """
    updates = num_steps * updates_per_step
    optimizer = state.make_optimizer(cfg.optimizer, specs, updates, frozen)
    checkpoints = Checkpoints(workdir, cfg.checkpoint, num_steps)
    target = {"state": state.abstract_state(specs, optimizer, mesh)}
    if with_reference:  # without a KL term there is none; one that an earlier version saved is not read
        target["reference"] = core.abstract(specs, TRAIN_RULES, mesh)
    if with_pending:
        target["pending"] = None  # of whatever shapes they were saved with
    if restored := checkpoints.restore(target):
        start, trees = restored
        train_state, reference, pending = trees["state"], trees.get("reference"), trees.get("pending")
    else:
        params = start_from.read_params()
        start, train_state = 0, state.create(params, specs, optimizer, mesh)  # which copies them
        reference, pending = params if with_reference else None, None
    run = TrainingRun(
        workdir,
        mesh,
        start_from.model,
        start_from.tokenizer,
        start_from.hf_config,
        specs,
        optimizer,
        state.learning_rate(cfg.optimizer, updates),
        start,
        num_steps,
        train_state,
        reference,
        pending,
        updates_per_step,
        start,
        checkpoints,
        MetricsWriter(workdir, start, num_steps, console, log_every, profile_at, cfg.track, cfg),
        SkippedUpdates(workdir, cfg.optimizer, start, cfg.faults.grad_spike == "skip"),
        Faults(workdir, cfg.faults, start),
    )
    stopping.on_notice(run.save_last_step)
    return run


class StepBatch(NamedTuple):
    """The host batch of a step, the tokens in it that are trained on, and what its row of metrics.jsonl says of it."""

    batch: Any
    tokens: int
    metrics: Mapping[str, float] = MappingProxyType({})


def train(
    run: TrainingRun,
    update: Update,
    batch_at: Callable[[int], StepBatch],
    before_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Trains to the end on batches that are known beforehand, one update a step.

    Args:
        update: see `step.make_update`.
        batch_at: the batch of a step, a pure function; the next one is made while the device works.
        before_step: called before each step, say to evaluate.
    """
    following = batch_at(run.start) if run.start < run.num_steps else None
    for step in range(run.start, run.num_steps):
        before_step(step)
        began, current = time.monotonic(), following
        with under_way("updating"):
            run.state, metrics = update(run.state, to_device(current.batch, run.mesh))
            following = batch_at(step + 1) if step + 1 < run.num_steps else None  # while the device works
            row = {name: float(value) for name, value in jax.device_get(metrics).items()}
        seconds = time.monotonic() - began
        rate = {"learning_rate": float(run.learning_rate(step)), "tokens_per_s": current.tokens / seconds}
        run.log(step, {**row, **current.metrics, **rate}, [row["skipped"]], current.batch)
        if run.too_many_skipped:
            raise run.skipped_error(step, current.batch)
        run.save(step + 1)
    run.finish()
