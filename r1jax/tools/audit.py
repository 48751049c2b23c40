r"""Audit of a dataset: how far a grader can be trusted on it, measured before anything is trained on it.

    r1jax audit --data DATA [DATA ...] [--grader NAME] [--task NAME ...] [--workdir runs/audit]

DATA is a file (JSONL, CSV, parquet) of `{"prompt", "answer"}` and what else its grader needs, or a split of the Hugging
Face hub. Of another layout it is LAYOUT=DATA, with the name of a benchmark or of a ready mapping of `data.columns`:
`gsm8k=mine.parquet`, `math=OWNER/NAME:train`. A benchmark's name alone fetches its data from the hub. --task takes
reasoning-gym's own entries. Every row's reference, and answers close to it, are graded:
- its reference must be readable, and must score 1 when it is fed back in the form that the grader asks for;
- what a grader parses of it, where the grader reports that, must have all its numbers, letters and signs and no others
  (`r1jax.audit.reading`): a part lost in parsing is lost on both sides, which grading it against itself cannot detect;
- answers that are close and wrong must not (made by `r1jax.audit.cases`): a sign, a digit, an
  element left out, the next choice; another operator or number; mutants of a reference program;
- responses that the dataset lists with a verdict (objects of `text` and `correct`) should get that verdict.

All grading is done in processes that are killed at the time limit, whatever the data holds. The table goes to the
console; summary.json, table.md and failures.jsonl, a line for every check that failed, into the workdir.

The exit status is 0 when the audit was done, whatever it found, 2 when it could not be. With --strict it is 1 when a
reference could not be read, was misread or failed itself, or a wrong answer passed. Subtle mutants do not count there,
which may be right programs, nor do recorded verdicts, which may be wrong.
"""

import argparse
import functools
import pathlib
import sys
from collections.abc import Sequence

import rich.console
import rich.table

from r1jax.audit import summary
from r1jax.audit.dataset_audit import Audit, audit_rows, audit_task
from r1jax.benchmarks import benchmark, reading
from r1jax.config import exit_status, nearest, path_given
from r1jax.data import columns
from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.io import jsonl, row_files, tables
from r1jax.rewards.workers import Workers
from r1jax.sandbox.config import CodeConfig

_ENTRIES = 20  # of a task, where no limit is given


def run(args: argparse.Namespace) -> bool:
    """Runs the audit, and returns whether no check failed.

    Raises:
        FileNotFoundError, ValueError: a file, grader or task that does not exist; a line that is no question.
        SandboxError: there are programs to run and no sandbox.
    """
    if not args.data and not args.task:
        raise ValueError("nothing to audit: give --data FILE or --task NAME")
    for name, low in (("limit", 1), ("mutants", 0)):
        if (value := getattr(args, name)) is not None and value < low:
            raise ValueError(f"--{name}={value} must be at least {low}")
    if args.grader and args.grader not in grader_table.GRADERS:
        raise ValueError(f"no grader named {args.grader!r}; nearest: {nearest(args.grader, grader_table.GRADERS)}")
    if args.task:
        from reasoning_gym.factory import DATASETS

        if unknown := [task for task in args.task if task not in DATASETS]:
            raise ValueError(f"reasoning-gym has no task {unknown[0]!r}; nearest: {nearest(unknown[0], DATASETS)}")
    files = [read(text, args.limit) for text in args.data]  # all errors before any work
    chosen = {"grader": args.grader} if args.grader else {}
    code = CodeConfig(time_s=min(args.timeout, CodeConfig().time_s), total_s=args.timeout)
    cfg = GraderConfig(workers=args.workers, timeout_s=args.timeout, code=code)
    audits: list[Audit] = []
    with Workers(cfg.workers, cfg.memory_mb, languages=True) as workers:
        jobs = [
            functools.partial(audit_rows, name, [row | chosen for row in rows], workers, cfg, args.mutants)
            for name, rows in files
        ]
        jobs += [functools.partial(audit_task, task, args.limit or _ENTRIES, workers, cfg) for task in args.task]
        for job in jobs:
            audits.append(job())
            summary.write(args.workdir, audits, cfg)
    console = rich.console.Console(width=None if sys.stdout.isatty() else 200)
    table = rich.table.Table(*summary.COLUMNS)
    for audit in audits:
        table.add_row(*map(tables.console_cell, summary.cells(audit)))
    console.print(table)
    console.print(f"failures: {args.workdir / 'failures.jsonl'}", soft_wrap=True, markup=False, highlight=False)
    return not any(audit.faulty() for audit in audits)


def read(text: str, limit: int | None) -> tuple[str, list[jsonl.Row]]:
    """The name and the first rows of what `--data` names, see the module.

    Raises:
        FileNotFoundError, ValueError: there is no such data, or a row is no question.
    """
    layout, _, source = ("", "", text) if pathlib.Path(text).exists() else text.rpartition("=")
    if text in benchmark.names():
        layout, source = text, benchmark.source(text, "")
    if layout in benchmark.names():
        chosen = benchmark.find(layout)
        rows = list(reading.read(chosen, source, chosen.grader, {}).rows)
    else:
        rows, _ = row_files.read_questions(source, columns=columns.reader(layout, "questions"))
    return row_files.split_name(source), rows[:limit]


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax audit`."""
    parser = argparse.ArgumentParser(
        prog="r1jax audit",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", nargs="+", default=[], metavar="DATA", help="files, splits of the hub, benchmarks")
    parser.add_argument("--grader", help="of all rows; by default each row's own, or what its fields call for")
    parser.add_argument("--task", nargs="+", default=[], metavar="NAME", help="tasks of reasoning-gym")
    parser.add_argument("--workdir", default="runs/audit", type=path_given, help="where to write; %(default)s")
    parser.add_argument("--limit", type=int, help=f"rows of a file (all), entries of a task ({_ENTRIES})")
    parser.add_argument("--workers", default=2, type=int, help="grader processes; %(default)s")
    parser.add_argument("--timeout", default=10.0, type=float, help="seconds for an answer, or a program; %(default)s")
    parser.add_argument("--mutants", type=int, help="of a program: so many gross and so many subtle ones (all)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a check failed")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see the module."""
    args = parser().parse_args(argv)
    fine: list[bool] = []
    status = exit_status(lambda: fine.append(run(args)), f"auditing into {args.workdir}")
    return status or int(args.strict and not all(fine))
