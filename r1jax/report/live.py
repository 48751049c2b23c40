"""Commands of r1jax in a notebook, in processes of their own: lines, and curves of a training, while they run.

The notebook's process does not touch the accelerator: TPUs belong to one process, and JAX takes most of a GPU's memory.
"""

import io
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure

from r1jax.config import printable
from r1jax.io.jsonl import read_log
from r1jax.report.panels import Row, number
from r1jax.report.plots import COLOURS, STYLE
from r1jax.report.run import load_run
from r1jax.report.summary import Run

Curves = Mapping[str, Sequence[str]]  # a plot's title -> keys of rows in metrics.jsonl or evals.jsonl
RL = {
    "rewards of the samples": ("reward/accuracy", "reward/format"),
    "held-out pass@1": ("pass@1",),
    "tokens of a response": ("length/mean",),
}
SUPERVISED = {"loss": ("loss",), "entropy": ("entropy",)}


def command(*arguments: str) -> None:
    """Runs `r1jax ARGUMENTS` and prints its lines as they come.

    Raises:
        RuntimeError: it failed; its last line says why.
    """
    _run(arguments, lambda: None, every=0.2)


def train(
    config: str, workdir: pathlib.Path, overrides: Sequence[str] = (), curves: Curves = RL, every: float = 5.0
) -> Run:
    """Runs `r1jax train` and returns its rows when it has ended; a run that is there goes on, or is only shown.

    Interrupting the cell ends the run after the step under way, and the same call goes on from there.

    Args:
        config: a config that ships, `zero:mini`, or a file of your own.
        workdir: where the run is written.
        overrides: fields of the config, as `num_steps=30`.
        every: seconds between drawings.

    Raises:
        RuntimeError: the run failed; its last line says why.
    """
    from IPython.display import Image, display

    picture = display(Image(draw(workdir, curves)), display_id=True)
    drawn = _rows(workdir)

    def redraw() -> None:
        nonlocal drawn
        if (rows := _rows(workdir)) != drawn:
            drawn = rows
            picture.update(Image(draw(workdir, curves)))

    fields = [f"--config.{override}" for override in overrides]
    _run(["train", f"--config={config}", f"--workdir={workdir}", *fields], redraw, every)
    return load_run(workdir)


def _run(arguments: Sequence[str], show: Callable[[], None], every: float) -> None:
    """Runs a command of r1jax, prints its lines, and calls `show` from time to time and in the end."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    last = ""

    def print_lines() -> None:
        nonlocal last
        while not lines.empty():
            last = printable(lines.get().rstrip("\n"))
            print(last, flush=True)
        show()

    # A session of its own: an interrupted cell's SIGINT reaches it once, from here.
    # A kernel's environment asks for colours, which are escape sequences.
    env = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "CLICOLOR_FORCE")}
    with subprocess.Popen(
        [sys.executable, "-m", "r1jax", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        reader = threading.Thread(target=lambda: [lines.put(line) for line in process.stdout], daemon=True)
        reader.start()
        try:
            while reader.is_alive():
                reader.join(every)
                print_lines()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            reader.join()
            print_lines()
            raise
        print_lines()
    if process.returncode:
        raise RuntimeError(f"r1jax {arguments[0]} ended with status {process.returncode}: {last}")


def draw(workdir: pathlib.Path, curves: Curves) -> bytes:
    """The curves of a run's files so far, beside each other, as a PNG."""
    rows = _rows(workdir)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.7 * len(curves), 2.7), layout="constrained")
        for ax, (title, keys) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
            for key, colour in zip(keys, COLOURS, strict=False):
                points = [(row["step"], value) for row in rows if (value := number(row.get(key))) is not None]
                ax.plot(*zip(*points, strict=True) if points else ([], []), "o-", color=colour, markersize=3, label=key)
            ax.set(title=title, xlabel="step")
            if len(keys) > 1:
                ax.legend()
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=80)
    return content.getvalue()


def _rows(workdir: pathlib.Path) -> list[Row]:
    """The rows of training and of evaluations so far."""
    return [row for name in ("metrics.jsonl", "evals.jsonl") for row in read_log(workdir / name)[0]]
