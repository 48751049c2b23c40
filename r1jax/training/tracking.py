"""TensorBoard and Weights & Biases: curves and sample texts of a training run, from the rows of its files.

Both hold the numbers of metrics.jsonl, evals.jsonl and benchmarks.jsonl, each at its row's step. A process that
resumes the run first writes the rows of these files that a tracker lacks: all of them, into new files that replace the
old ones; of a run that is online, those after the last that the server has. So no step is there twice and none is
missing, wherever the run was killed.
"""

import math
import pathlib
import shutil
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from r1jax import config
from r1jax.config import ConfigError
from r1jax.io import files, jsonl, provenance
from r1jax.io.console import say
from r1jax.training.config import TrackConfig

# A file of rows, in the order in which those of one step are written -> the names of its numbers begin with this.
LOGS = {"evals": "evaluation/", "benchmarks": "benchmarks/", "metrics": ""}
# A file of rows -> the folder with the samples of a step.
SAMPLES = {"evals": "evals", "metrics": "rollouts"}
# Of a sample's row, the columns of a table: a mark is a number or nothing, the others are text.
TEXTS, MARKS = ("question", "answer", "text", "verdict"), ("correct", "reward")

Table = list[list[Any]]  # rows of TEXTS and MARKS


class Tracker(Protocol):
    """One place that gets the rows, in the order of their steps.

    Attributes:
        first: the first step that it lacks.
    """

    first: int

    def write(self, step: int, values: Mapping[str, float], tables: Mapping[str, Table], complete: bool) -> None:
        """Takes a row; `complete`: nothing else of this step will follow."""

    def close(self) -> None:
        """Writes what is left."""


class Trackers:
    """The trackers of a run that a config switches on; for process 0 alone."""

    def __init__(self, workdir: pathlib.Path, cfg: TrackConfig, settings: Any):
        """Opens them, and writes the rows that the run's files hold and they lack.

        Args:
            settings: the run's config, which Weights & Biases shows.

        Raises:
            ConfigError: Weights & Biases refuses the run.
        """
        self._workdir, self._samples, self._trackers = workdir, cfg.samples, []
        if cfg.tensorboard:
            self._trackers.append(_TensorBoard(workdir / "tensorboard"))
        if cfg.wandb != "off":
            self._trackers.append(_WeightsAndBiases(workdir, cfg, settings))
        if self._trackers:
            rows = ((row["step"], log, row) for log in LOGS for row in jsonl.read_log(workdir / f"{log}.jsonl")[0])
            for _, log, row in sorted(rows, key=lambda each: each[0]):
                self.write(log, row)

    def write(self, log: str, row: Mapping[str, Any]) -> None:
        """Gives the trackers a row as its file has it.

        Args:
            log: the file, one of `LOGS`.
        """
        step, prefix = row["step"], LOGS[log]
        if log == "benchmarks":
            prefix += f"{row['benchmark']}/"
        for tracker in self._trackers:
            if step >= tracker.first:
                values = dict(numbers({key: value for key, value in row.items() if key != "step"}, prefix))
                tracker.write(step, values, self._tables(log, step), log == "metrics")

    def _tables(self, log: str, step: int) -> dict[str, Table]:
        path = self._workdir / SAMPLES.get(log, "") / f"step_{step:06d}.jsonl"
        rows = jsonl.read_log(path, lambda row: "text" in row)[0][: self._samples]
        table = [[*(str(row.get(name, "")) for name in TEXTS), *(row.get(name) for name in MARKS)] for row in rows]
        return {f"samples/{SAMPLES[log]}": table} if table else {}

    def close(self) -> None:
        """Ends them."""
        for tracker in self._trackers:
            tracker.close()


def numbers(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a row and of the sections in it, as `section/name`; null, a number that JSON lacks, is NaN."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{key}/")
        elif value is None or isinstance(value, int | float):
            yield f"{prefix}{key}", math.nan if value is None else float(value)


class _TensorBoard:
    """Event files of TensorBoard: a process writes all steps into one of its own, and removes the earlier ones."""

    first = 0

    def __init__(self, folder: pathlib.Path):
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.plugins.text.metadata import create_summary_metadata
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
        from tensorboard.util.tensor_util import make_tensor_proto

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._text, self._tensor = create_summary_metadata("", ""), make_tensor_proto
        earlier = sorted(folder.glob("events.out.tfevents.*"))
        self._times = _times(earlier)
        self._writer = EventFileWriter(str(folder))
        # A server that shows the earlier files drops what it has from this step on.
        restart = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=0, session_log=restart))
        for path in earlier:
            path.unlink()

    def write(self, step: int, values: Mapping[str, float], tables: Mapping[str, Table], complete: bool) -> None:
        summary = self._summary(value=[self._summary.Value(tag=name, simple_value=v) for name, v in values.items()])
        for name, table in tables.items():
            cells = [[*TEXTS, *MARKS], *([_verbatim(cell) for cell in row] for row in table)]
            tensor = self._tensor(np.array(cells, object))
            summary.value.append(self._summary.Value(tag=name, tensor=tensor, metadata=self._text))
        now = self._times.get(step) or time.time()
        self._writer.add_event(self._event(wall_time=now, step=step, summary=summary))
        self._writer.flush()  # a kill loses nothing that metrics.jsonl has

    def close(self) -> None:
        self._writer.close()


def _times(paths: Sequence[pathlib.Path]) -> dict[int, float]:
    """When each step was first written, in seconds since 1970: a rewritten curve keeps its times."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    times: dict[int, float] = {}
    for path in paths:
        for event in LegacyEventFileLoader(str(path)).Load():
            if event.HasField("summary"):
                times.setdefault(event.step, event.wall_time)
    return times


def _verbatim(cell: Any) -> str:
    """A cell as a block of code in Markdown, which TensorBoard shows as it is."""
    return textwrap.indent("" if cell is None else str(cell), "    ", lambda line: True)


class _WeightsAndBiases:
    """A run of Weights & Biases in `workdir/wandb`, whose id stays in `workdir/wandb_id.json`.

    A run that is offline cannot be continued, so each process writes one with all steps, and removes the earlier ones.
    """

    def __init__(self, workdir: pathlib.Path, cfg: TrackConfig, settings: Any):
        import wandb

        self._wandb, id_file = wandb, workdir / "wandb_id.json"
        if not id_file.exists():
            files.write_json(id_file, {"id": provenance.short_hash(f"{workdir.resolve()} {time.time_ns()}", 8)})
        run_id, offline = files.read_json(id_file)["id"], cfg.wandb == "offline"
        if offline:
            for folder in (workdir / "wandb").glob(f"offline-run-*-{run_id}"):
                shutil.rmtree(folder)
        try:
            self._run = wandb.init(
                project=cfg.project,
                name=cfg.name or workdir.resolve().name,
                id=run_id,
                dir=str(workdir),
                mode=cfg.wandb,
                config=config.to_dict(settings),
                resume=None if offline else "allow",
                reinit="create_new",
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    disable_git=True,
                    x_disable_meta=True,
                    x_disable_stats=True,
                    x_save_requirements=False,
                ),
            )
        except wandb.Error as error:
            raise ConfigError(
                f"config.track.wandb={cfg.wandb}: {files.one_line(error)}; `wandb login` signs in, and "
                "config.track.wandb=offline needs no server"
            ) from error
        self.first = self._run.step
        self._step, self._row = self.first, {}
        where = f"offline, `wandb sync {self._run.dir.removesuffix('/files')}` uploads it" if offline else self._run.url
        say(f"Weights & Biases: run {run_id}, {where}")

    def write(self, step: int, values: Mapping[str, float], tables: Mapping[str, Table], complete: bool) -> None:
        columns = [*TEXTS, *MARKS]
        wandb_tables = {name: self._wandb.Table(columns=columns, data=table) for name, table in tables.items()}
        self._step, self._row = step, {**self._row, **values, **wandb_tables}
        if complete:
            self._log()

    def _log(self) -> None:
        # A step's rows together, for one step is one row of the run's history.
        self._run.log(self._row, step=self._step)
        self._row = {}

    def close(self) -> None:
        if self._row:  # an evaluation after the last step
            self._log()
        self._run.finish()
