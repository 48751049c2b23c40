r"""How far a grader can be trusted on a dataset, measured before anything is trained on it.

    python -m r1jax.tools.audit --data FILE [FILE ...] [--grader NAME] [--task NAME ...] [--workdir runs/audit]

FILE is JSONL of `{"prompt", "answer"}` and what else its grader needs; --task takes reasoning-gym's own entries. Every
row is graded against itself and near itself:
- its reference must be readable, and must score 1 when it is fed back in the form that the grader asks for;
- what a grader keeps of it, where it says that, must have all its numbers, letters and signs and no others
  (`r1jax.tools.audit_reading`): a part that is cut off is cut off both sides, and feeding it back cannot see that;
- answers that are close and wrong must not (`r1jax.tools.audit_cases` says how they are made): a sign, a digit, an
  element left out, the next choice; another operator or number; mutants of a reference program;
- responses that the dataset lists with a verdict (objects of `text` and `correct`) should get that verdict.

All grading is done in processes that are killed at the time limit, whatever the data holds. The table goes to the
console; summary.json, table.md and failures.jsonl, a line for every check that failed, into the workdir.

The exit status is 0 when the audit was done, whatever it found, 2 when it could not be. With --strict it is 1 when a
reference could not be read, was misread or failed itself, or a wrong answer passed. Subtle mutants do not count there,
which may be right programs, nor do recorded verdicts, which may be wrong.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import rich.console
import rich.table

from r1jax.config import exit_status, nearest, path_given, printable
from r1jax.data import reference_checks
from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.io import jsonl, tables
from r1jax.rewards.workers import JobError, WorkerDied, Workers, WorkersFailed
from r1jax.sandbox.config import CodeConfig
from r1jax.sandbox.programs import check_available
from r1jax.tools import audit_cases
from r1jax.tools.audit_cases import Case
from r1jax.tools.audit_reading import Reader, Reading

_EVERY_S = 10.0  # between lines of progress
_ENTRIES = 20  # of a task, where no limit is given
_REASONS = 3
_VERDICTS = {TimeoutError: "timeout", MemoryError: "memory", WorkerDied: "crash"}
COLUMNS = ("data", "grader", "rows", "unreadable", "misread", "own reference", "wrong answers passed",
           "recorded verdicts", "time-outs", "a second")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Row:
    """What is to be graded of one row."""

    prompt: Prompt
    cases: Sequence[Case]


@dataclasses.dataclass(frozen=True)
class Result:
    """A case as it was graded; `error` says why it could not be."""

    prompt: Prompt
    case: Case
    grade: Grade
    error: str

    @property
    def right(self) -> bool:
        return self.grade.score == 1.0

    @property
    def failed(self) -> bool:
        return self.right != self.case.right


@dataclasses.dataclass(frozen=True)
class Audit:
    """Of one file or task.

    Attributes:
        unreadable: (id, reference, reason) of the rows that could not be graded against.
        readings: (id, reference, what the grader keeps of it) of the rows whose grader says what it keeps.
        seconds: wall-clock, of the grading alone.
    """

    name: str
    grader: str
    rows: int
    unreadable: Sequence[tuple[str, str, str]] = ()
    readings: Sequence[tuple[str, str, Reading]] = ()
    results: Sequence[Result] = ()
    seconds: float = 0.0

    def tally(self, check: str) -> dict[str, tuple[int, int]]:
        """kind -> (found right, tried)."""
        tried = collections.Counter(result.case.kind for result in self.results if result.case.check == check)
        right = collections.Counter(
            result.case.kind for result in self.results if result.case.check == check and result.right
        )
        return {kind: (right[kind], tried[kind]) for kind in sorted(tried)}

    def recorded(self) -> dict[str, int]:
        """Agreement with the dataset's own verdicts; a false positive is found right here and wrong there."""
        recorded = [result for result in self.results if result.case.check == "recorded"]
        return {
            "n": len(recorded),
            "agreed": sum(not result.failed for result in recorded),
            "false_positives": sum(result.failed and result.right for result in recorded),
            "false_negatives": sum(result.failed and not result.right for result in recorded),
        }

    def own(self) -> tuple[int, int]:
        """Rows whose reference scores 1 in every form, of those that have a reference."""
        verdicts: dict[str, bool] = {}
        for result in self.results:
            if result.case.check == "own":
                verdicts[result.prompt.id] = verdicts.get(result.prompt.id, True) and result.right
        return sum(verdicts.values()), len(verdicts)

    def misread(self) -> list[tuple[str, str, Reading]]:
        """The readings that lack something of the reference, or have something that it does not."""
        return [(id_, answer, reading) for id_, answer, reading in self.readings if reading.lost or reading.added]

    def timeouts(self) -> int:
        return sum(result.grade.verdict == "timeout" for result in self.results)

    def faulty(self) -> bool:
        """Whether something is wrong with the data or the grader, and not perhaps with what they were checked by."""
        sure = (r for r in self.results if r.case.check != "recorded" and r.case.kind != audit_cases.SUBTLE)
        return bool(self.unreadable or self.misread()) or any(result.failed for result in sure)


def audit_rows(
    name: str,
    rows: Sequence[jsonl.Row],
    workers: Workers,
    cfg: GraderConfig,
    mutants_each: int | None = None,
    reader: Reader | None = None,
) -> Audit:
    """Audits a dataset's rows, as `jsonl.read` gives them.

    Args:
        mutants_each: gross and subtle mutants of each reference program; None: all.
        reader: an importable function, see `audit_cases.prepare`.

    Raises:
        SandboxError: there are programs to run and no sandbox.
    """
    calls = [(row, mutants_each, reader) for row in rows]
    prepared = run_all(workers, f"{name}: reading", audit_cases.prepare, calls, cfg.timeout_s)
    unreadable, readable, readings, names = [], [], [], collections.Counter()
    for row, future in zip(rows, prepared, strict=True):
        if error := future.exception():
            reason = str(error).removeprefix("ValueError: ")
            unreadable.append((row["id"], row["answer"], reason))
        else:
            grader, cases, reading = future.result()
            names[grader] += 1
            metadata = {key: value for key, value in row.items() if key not in ("id", "prompt", "answer", "grader")}
            prompt = Prompt(row["id"], row["prompt"], row["answer"], f"{grader}:{name}", metadata=metadata)
            readable.append(Row(prompt, cases))
            if reading:
                readings.append((row["id"], row["answer"], reading))
    if names["code"]:
        check_available(cfg.code)
    grader = names.most_common(1)[0][0] if names else ""
    return _graded(Audit(name, grader, len(rows), unreadable, readings), readable, workers, cfg)


def audit_task(task: str, count: int, workers: Workers, cfg: GraderConfig) -> Audit:
    """Audits the first entries of a reasoning-gym task; those without an answer of their own are only counted.

    One whose reference is not what its question comes to (`r1jax.data.reference_checks`) is counted as unreadable.
    """
    import reasoning_gym  # over a second to import, and files do without it

    rows, unreadable = [], []
    for place, entry in enumerate(reasoning_gym.create_dataset(task, seed=0, size=count)):
        answer = "" if entry["answer"] is None else str(entry["answer"])
        if not reference_checks.is_right(task, entry):
            unreadable.append((f"{task}-{place}", answer, "wrong: recomputed from the question, it is another"))
            continue
        metadata = {"entry_metadata": entry["metadata"]}
        prompt = Prompt(f"{task}-{place}", entry["question"], answer, f"reasoning_gym:{task}", metadata=metadata)
        rows.append(Row(prompt, list(audit_cases.cases("reasoning_gym", {"answer": answer, "task": task}))))
    name = f"reasoning_gym:{task}"
    return _graded(Audit(name, "reasoning_gym", len(rows) + len(unreadable), unreadable), rows, workers, cfg)


def _graded(audit: Audit, rows: Iterable[Row], workers: Workers, cfg: GraderConfig) -> Audit:
    work = [(row.prompt, case) for row in rows for case in row.cases]
    empty = np.zeros(0, np.int32), np.zeros(0, np.float32)
    calls = [(Rollout(prompt, 0, *empty, case.text, "stop"), cfg) for prompt, case in work]
    began = time.monotonic()
    runs_code = any(prompt.grader == "code" for prompt, _ in work)
    timeout_s = cfg.timeout_s + (cfg.code.total_s if runs_code else 0.0)
    futures = run_all(workers, f"{audit.name}: grading", grader_table.grade, calls, timeout_s)
    results = []
    for (prompt, case), future in zip(work, futures, strict=True):
        error = future.exception()
        verdict = _VERDICTS.get(type(error), "ungradable")
        grade = Grade(None if isinstance(error, JobError) else 0.0, verdict) if error else future.result()
        results.append(Result(prompt, case, grade, str(error or "")))
    return dataclasses.replace(audit, results=results, seconds=time.monotonic() - began)


def run_all(
    workers: Workers, what: str, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], timeout_s: float
) -> list["concurrent.futures.Future[Any]"]:
    """All calls' futures, done; says on stderr how far it is.

    Raises:
        WorkersFailed: no call is run any more, which says nothing of the rows.
    """
    began = said = time.monotonic()
    futures = [workers.submit(function, *call, timeout_s=timeout_s) for call in calls]
    for done, _ in enumerate(concurrent.futures.as_completed(futures), 1):
        now = time.monotonic()
        if now - said >= _EVERY_S:
            said, rate = now, done / (now - began)
            left = (len(futures) - done) / rate
            progress = f"{what} {done:,} of {len(futures):,}, {rate:.0f} a second, {left:.0f} s left"
            print(printable(progress), file=sys.stderr)
    for future in futures:
        if isinstance(error := future.exception(), WorkersFailed):
            raise error
    return futures


def summary(audit: Audit, workers: int) -> dict[str, Any]:
    """What summary.json holds of a file."""
    own, tried = audit.own()
    return {
        "data": audit.name,
        "grader": audit.grader,
        "version": grader_table.version(audit.grader) if audit.grader else "",
        "rows": audit.rows,
        "unreadable": {"count": len(audit.unreadable), "first": [reason for *_, reason in audit.unreadable[:_REASONS]]},
        "reading": {
            "tried": len(audit.readings),
            "misread": len(audit.misread()),
            "lost": sum(bool(reading.lost) for *_, reading in audit.readings),
            "added": sum(bool(reading.added) for *_, reading in audit.readings),
        },
        "own": {"passed": own, "tried": tried},
        "perturbed": {
            kind: {"passed": passed, "tried": count} for kind, (passed, count) in audit.tally("perturbed").items()
        },
        "recorded": audit.recorded(),
        "timeouts": audit.timeouts(),
        "gradings": len(audit.results),
        "seconds": round(audit.seconds, 3),
        "per_second": round(len(audit.results) / audit.seconds, 1) if audit.results else None,
        "workers": workers,
    }


def failures(audit: Audit) -> Iterator[dict[str, Any]]:
    """A line of failures.jsonl for everything that is not as it should be."""
    for id_, answer, reason in audit.unreadable:
        yield {"data": audit.name, "id": id_, "check": "readable", "gold": answer, "error": reason}
    for id_, answer, reading in audit.misread():
        for kind, tokens in (("lost", reading.lost), ("added", reading.added)):
            if tokens:
                line = {"data": audit.name, "id": id_, "check": "reading", "kind": kind, "gold": answer}
                yield line | {"kept": reading.kept, "tokens": tokens}
    for result in audit.results:
        if result.failed:
            yield {
                "data": audit.name,
                "id": result.prompt.id,
                "check": result.case.check,
                "kind": result.case.kind,
                "graded": result.case.text,
                "gold": result.prompt.answer,
                "should_be_right": result.case.right,
                "verdict": result.grade.verdict,
                "score": result.grade.score,
                "error": result.error,
            }


def cells(audit: Audit) -> list[str]:
    """A file's line in the table, by `COLUMNS`."""
    own, tried = audit.own()
    recorded = audit.recorded()
    perturbed = [f"{kind} {passed:,} of {count:,}" for kind, (passed, count) in audit.tally("perturbed").items()]
    agreed = (
        f"{recorded['agreed'] / recorded['n']:.2%} of {recorded['n']:,} "
        f"(+{recorded['false_positives']} −{recorded['false_negatives']})"
        if recorded["n"]
        else "–"
    )
    return [
        audit.name,
        audit.grader or "–",
        f"{audit.rows:,}",
        f"{len(audit.unreadable):,}",
        f"{len(audit.misread()):,} of {len(audit.readings):,}" if audit.readings else "–",
        f"{own:,} of {tried:,}" if tried else "–",
        ", ".join(perturbed) or "–",
        agreed,
        f"{audit.timeouts():,}",
        f"{len(audit.results) / audit.seconds:,.0f}" if audit.results else "–",
    ]


def write(workdir: pathlib.Path, audits: Sequence[Audit], cfg: GraderConfig) -> None:
    """Writes what is known so far."""
    workdir.mkdir(parents=True, exist_ok=True)
    summaries = [summary(audit, cfg.workers) for audit in audits]
    (workdir / "summary.json").write_text(json.dumps(summaries, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    lines = tables.markdown_table(COLUMNS, map(cells, audits))
    versions = [f"- {name}: {grader_table.version(name)}" for name in sorted({a.grader for a in audits if a.grader})]
    (workdir / "table.md").write_text("\n".join([*lines, "", *versions]) + "\n", encoding="utf-8")
    jsonl.write(workdir / "failures.jsonl", (line for audit in audits for line in failures(audit)))


def run(args: argparse.Namespace) -> bool:
    """Whether all is well.

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
    files = {path: jsonl.read(path)[0][: args.limit] for path in args.data}  # all errors before any work
    chosen = {"grader": args.grader} if args.grader else {}
    code = CodeConfig(time_s=min(args.timeout, CodeConfig().time_s), total_s=args.timeout)
    cfg = GraderConfig(workers=args.workers, timeout_s=args.timeout, code=code)
    audits: list[Audit] = []
    with Workers(cfg.workers, cfg.memory_mb, languages=True) as workers:
        jobs = [
            functools.partial(audit_rows, _name(path), [row | chosen for row in rows], workers, cfg, args.mutants)
            for path, rows in files.items()
        ]
        jobs += [functools.partial(audit_task, task, args.limit or _ENTRIES, workers, cfg) for task in args.task]
        for job in jobs:
            audits.append(job())
            write(args.workdir, audits, cfg)
    console = rich.console.Console(width=None if sys.stdout.isatty() else 200)
    table = rich.table.Table(*COLUMNS)
    for audit in audits:
        table.add_row(*map(tables.console_cell, cells(audit)))
    console.print(table)
    console.print(f"failures: {args.workdir / 'failures.jsonl'}", soft_wrap=True, markup=False, highlight=False)
    return not any(audit.faulty() for audit in audits)


def _name(path: pathlib.Path) -> str:
    """math500/test.jsonl -> math500/test: public sets come as a folder of splits."""
    return f"{path.resolve().parent.name}/{path.stem}"


def main(argv: list[str] | None = None) -> int:
    """The exit status, see the module."""
    parser = argparse.ArgumentParser(prog="r1jax.tools.audit", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", nargs="+", default=[], type=path_given, metavar="FILE", help="datasets")
    parser.add_argument("--grader", help="of all rows; by default each row's own, or what its fields call for")
    parser.add_argument("--task", nargs="+", default=[], metavar="NAME", help="tasks of reasoning-gym")
    parser.add_argument("--workdir", default="runs/audit", type=path_given, help="where to write; %(default)s")
    parser.add_argument("--limit", type=int, help=f"rows of a file (all), entries of a task ({_ENTRIES})")
    parser.add_argument("--workers", default=2, type=int, help="grader processes; %(default)s")
    parser.add_argument("--timeout", default=10.0, type=float, help="seconds for an answer, or a program; %(default)s")
    parser.add_argument("--mutants", type=int, help="of a program: so many gross and so many subtle ones (all)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a check failed")
    args = parser.parse_args(argv)
    fine: list[bool] = []
    status = exit_status(lambda: fine.append(run(args)), f"auditing into {args.workdir}")
    return status or int(args.strict and not all(fine))


if __name__ == "__main__":
    sys.exit(main())
