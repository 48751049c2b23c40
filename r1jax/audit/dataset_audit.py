"""Audit of one dataset: every row graded against its reference, near misses of it, and recorded verdicts."""

import collections
import dataclasses
import time
from collections.abc import Iterable, Sequence

from r1jax.audit.cases import SUBTLE, Case, prepare
from r1jax.audit.cases import cases as cases_of
from r1jax.audit.reading import Reader, Reading
from r1jax.data import reference_answer_checks
from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.io import jsonl
from r1jax.rewards.job_batches import run_all
from r1jax.rewards.workers import JobError, WorkerDied, Workers
from r1jax.sandbox.runner import check_available

_VERDICTS = {TimeoutError: "timeout", MemoryError: "memory", WorkerDied: "crash"}


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
        sure = (r for r in self.results if r.case.check != "recorded" and r.case.kind != SUBTLE)
        return bool(self.unreadable or self.misread()) or any(result.failed for result in sure)


def audit_rows(
    name: str,
    rows: Sequence[jsonl.Row],
    workers: Workers,
    cfg: GraderConfig,
    mutants_each: int | None = None,
    reader: Reader | None = None,
) -> Audit:
    """Audits a dataset's rows, as `row_files.read_questions` gives them.

    Args:
        mutants_each: gross and subtle mutants of each reference program; None: all.
        reader: an importable function, see `cases.prepare`.

    Raises:
        SandboxError: there are programs to run and no sandbox.
    """
    calls = [(row, mutants_each, reader) for row in rows]
    prepared = run_all(workers, f"{name}: reading", prepare, calls, cfg.timeout_s)
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

    One whose reference is wrong for its question (`r1jax.data.reference_answer_checks`) is counted as unreadable.
    """
    import reasoning_gym  # over a second to import, and files do without it

    rows, unreadable = [], []
    for place, entry in enumerate(reasoning_gym.create_dataset(task, seed=0, size=count)):
        answer = "" if entry["answer"] is None else str(entry["answer"])
        if not reference_answer_checks.is_right(task, entry):
            unreadable.append((f"{task}-{place}", answer, "wrong: recomputed from the question, it is another"))
            continue
        metadata = {"entry_metadata": entry["metadata"]}
        prompt = Prompt(f"{task}-{place}", entry["question"], answer, f"reasoning_gym:{task}", metadata=metadata)
        rows.append(Row(prompt, list(cases_of("reasoning_gym", {"answer": answer, "task": task}))))
    name = f"reasoning_gym:{task}"
    return _graded(Audit(name, "reasoning_gym", len(rows) + len(unreadable), unreadable), rows, workers, cfg)


def _graded(audit: Audit, rows: Iterable[Row], workers: Workers, cfg: GraderConfig) -> Audit:
    work = [(row.prompt, case) for row in rows for case in row.cases]
    calls = [(Rollout.of_text(prompt, case.text), cfg) for prompt, case in work]
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
