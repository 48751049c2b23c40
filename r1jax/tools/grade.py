r"""Grading of a JSONL file: rows of prompt, answer and response in, the same rows with a score out.

    r1jax grade FILE [--out OUT] [--grader NAME]

For example, answers.jsonl (`-` instead of a name reads standard input):

    {"prompt": "What is 1/4 + 1/4?", "answer": "1/2", "response": "<think> two quarters </think> \\boxed{0.5}"}
    {"prompt": "Which is a prime? A. 9 B. 11", "answer": "B", "grader": "choice", "response": "The answer is A."}

    $ r1jax grade answers.jsonl --out graded.jsonl

Each row of graded.jsonl has all keys of its row and, in the order of the file,

    score          0 to 1; null where the row could not be graded
    verdict        right, wrong, no_answer, malformed, timeout ...: why it has that score (docs/rewards.md has the list)
    final_answer   what the response gives as its answer, in its own spelling; null: none
    error          only where score is null: why

A row is graded by its own `grader`, or by what its other fields call for, as in training files: `tests`, `test` or
`test_list` by running the program, `nums` and `target` as Countdown, else as mathematics. docs/rewards.md lists what
each grader needs; they are: GRADERS.

All grading is done in processes that are killed at the time limit. A row that cannot be graded (no JSON object, no
response, a reference that cannot be read, an unknown grader, a grader that hung or crashed) never ends the run; of a
line that is no JSON object the row is {"line": its text}. A hung or crashed grader is score null here and 0 in RL.
The table on the console has, by grader, how many rows were right and wrong, the mean score of those that could be
graded, and how often each verdict was given; without --out it is all there is.

The exit status is 0 when the file was graded, whatever the grades, and 2 when it could not be: no such file or grader,
or programs to run and no sandbox (docs/sandbox.md).
"""

import argparse
import collections
import dataclasses
import io
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import rich.console
import rich.table

from r1jax.config import exit_status, listed, missing_file, nearest, path_given, printable
from r1jax.data.types import Prompt, Rollout
from r1jax.graders import grader_table
from r1jax.graders.config import GraderConfig
from r1jax.graders.grade_row import grade_row
from r1jax.io import jsonl
from r1jax.io.tables import console_cell
from r1jax.rewards.job_batches import run_all
from r1jax.rewards.workers import WorkerDied, Workers
from r1jax.sandbox.config import CodeConfig
from r1jax.sandbox.runner import check_available

COLUMNS = ("grader", "rows", "right", "wrong", "not gradable", "mean score", "verdicts")
_ADDED = ("score", "verdict", "final_answer", "error")
_NOT_FOR_GRADERS = ("id", "prompt", "answer", "grader", "response", *_ADDED)
_VERDICTS = {TimeoutError: "timeout", MemoryError: "memory", WorkerDied: "crash"}
# Why a grader that ran without an error gives no score; by name.
_NO_SCORE = {
    "open": "an open request has no right answer",
    "patch": "a patch is tested by a harness elsewhere, not here",
    "code": "no compiler for the program's language here, or the row's own tests break down",
}
_NO_GRADER = "(none)"  # of rows for which no grader was found


@dataclasses.dataclass
class Row:
    """One line of the file, with its grade once there is one.

    Attributes:
        fields: its own keys and values.
        question: `fields` as a grader reads it; None: the row cannot be graded.
        grader: by name; "": none was found.
        score, verdict, final_answer, error: see the module.
    """

    fields: jsonl.Row
    question: jsonl.Row | None = None
    grader: str = ""
    score: float | None = None
    verdict: str = "ungradable"
    final_answer: str | None = None
    error: str = ""

    def fail(self, error: BaseException | str, verdict: str = "ungradable") -> None:
        self.question, self.verdict = None, verdict
        self.error = str(error).removeprefix("ValueError: ") or type(error).__name__

    def graded(self) -> jsonl.Row:
        """The row of the output."""
        row = {key: value for key, value in self.fields.items() if key not in _ADDED}
        row |= {"score": self.score, "verdict": self.verdict, "final_answer": self.final_answer}
        return row | ({"error": self.error} if self.score is None else {})


def read(path: str, grader: str = "") -> list[Row]:
    """The rows of a file, a bad line too, but not a blank one.

    Args:
        path: "-": standard input.
        grader: of all rows; "": each row's own.

    Raises:
        FileNotFoundError: no such file; names the nearest.
        ValueError: no row at all.
    """
    if path != "-" and not pathlib.Path(path).is_file():
        raise FileNotFoundError(missing_file(pathlib.Path(path)))
    data = sys.stdin.buffer.read() if path == "-" else pathlib.Path(path).read_bytes()
    rows = [_row(line, number, grader) for number, line in jsonl.numbered_lines(io.BytesIO(data))]
    if not rows:
        raise ValueError(f"{path} holds no row")
    return rows


def _row(line: bytes, number: int, grader: str) -> Row:
    try:
        fields = jsonl.parse(line)
        json.dumps(fields, ensure_ascii=False).encode()  # half a surrogate pair could not be written again
    except (ValueError, RecursionError) as error:
        row = Row({"line": line.decode(errors="replace").rstrip("\r\n")})
        row.fail(error)
        return row
    row = Row(fields, grader=grader or (fields["grader"] if fields.get("grader") in list(grader_table.GRADERS) else ""))
    try:
        if not isinstance(fields.get("response"), str):
            kind = f"'response' is {fields['response']!r:.100}, should be a string" if "response" in fields else None
            raise ValueError(kind or f"no 'response'; the row has: {listed(fields)}")
        row.question = jsonl.check_question(dict(fields), f"line {number}") | ({"grader": grader} if grader else {})
    except ValueError as error:
        row.fail(error)
    return row


def grade_rows(rows: Sequence[Row], name: str, workers: Workers, cfg: GraderConfig, marker: str = "") -> None:
    """Gives each row its score and verdict, or the error why it has none.

    Args:
        name: of the file, for the lines of progress.
        marker: of responses in the cold-start form, see `Prompt.marker`.

    Raises:
        SandboxError: there are programs to run and no sandbox.
    """
    checked = [row for row in rows if row.question]
    calls = [(row.question,) for row in checked]
    futures = run_all(workers, f"{name}: reading", grader_table.check_row, calls, cfg.timeout_s)
    for row, future in zip(checked, futures, strict=True):
        if error := future.exception():
            row.fail(error, _VERDICTS.get(type(error), "ungradable"))
        else:
            row.grader = future.result()
    graded = [row for row in checked if row.question]
    runs_programs = any(row.grader in grader_table.PROGRAMS for row in graded)
    if runs_programs:
        check_available(cfg.code)
    calls = [(grader_table.grade, _rollout(row, name, marker), cfg) for row in graded]
    timeout_s = cfg.timeout_s + (cfg.code.total_s if runs_programs else 0.0)
    for row, future in zip(graded, run_all(workers, f"{name}: grading", grade_row, calls, timeout_s), strict=True):
        if error := future.exception():
            row.fail(error, _VERDICTS.get(type(error), "ungradable"))
            continue
        (row.score, row.verdict, *_), row.final_answer = future.result()
        if row.score is None:
            row.error = _NO_SCORE.get(row.grader, f"the grader {row.grader} gives no score")


def _rollout(row: Row, name: str, marker: str) -> Rollout:
    question = row.question
    metadata = {key: value for key, value in question.items() if key not in _NOT_FOR_GRADERS}
    prompt = Prompt(
        question["id"], question["prompt"], question["answer"], f"{row.grader}:{name}", metadata=metadata, marker=marker
    )
    return Rollout.of_text(prompt, question["response"])


def table(rows: Sequence[Row]) -> Iterator[list[str]]:
    """A line of `COLUMNS` for each grader, in the order of the graders' table, then for the rows without one.

    Right is a score of 1, wrong any lower one.
    """
    by_grader: dict[str, list[Row]] = collections.defaultdict(list)
    for row in rows:
        by_grader[row.grader].append(row)
    for name in [*grader_table.GRADERS, ""]:
        if not (of_grader := by_grader[name]):
            continue
        scores = [row.score for row in of_grader if row.score is not None]
        right = sum(score == 1.0 for score in scores)
        verdicts = collections.Counter(row.verdict for row in of_grader)
        yield [
            name or _NO_GRADER,
            f"{len(of_grader):,}",
            f"{right:,}",
            f"{len(scores) - right:,}",
            f"{len(of_grader) - len(scores):,}",
            f"{sum(scores) / len(scores):.3f}" if scores else "–",
            ", ".join(f"{verdict} {count:,}" for verdict, count in verdicts.most_common()),
        ]


def run(args: argparse.Namespace) -> None:
    """Reads, grades, writes, prints.

    Raises:
        FileNotFoundError, ValueError: no such file or grader, an option out of bounds.
        SandboxError: there are programs to run and no sandbox.
    """
    if args.grader and args.grader not in grader_table.GRADERS:
        raise ValueError(f"no grader named {args.grader!r}; nearest: {nearest(args.grader, grader_table.GRADERS)}")
    if args.out and args.out.is_dir():
        raise ValueError(f"--out {args.out} is a folder, should be a file")
    code = CodeConfig(time_s=min(args.timeout, CodeConfig().time_s), total_s=args.timeout)
    cfg = GraderConfig(workers=args.workers, timeout_s=args.timeout, code=code, partial_credit=args.partial_credit)
    rows = read(args.file, args.grader)
    name = "standard input" if args.file == "-" else pathlib.Path(args.file).name
    with Workers(cfg.workers, cfg.memory_mb, languages=True) as workers:
        grade_rows(rows, name, workers, cfg, args.marker)
    if args.out:
        jsonl.write(args.out, (row.graded() for row in rows))
    console = rich.console.Console(width=None if sys.stdout.isatty() else 160)
    lines = rich.table.Table(COLUMNS[0])
    for title in COLUMNS[1:-1]:
        lines.add_column(title, justify="right")
    lines.add_column(COLUMNS[-1])
    for cells in table(rows):
        lines.add_row(*map(console_cell, cells))
    console.print(lines)
    if args.out:
        console.print(f"{len(rows):,} rows: {args.out}", soft_wrap=True, markup=False, highlight=False)
    elif errors := [row.error for row in rows if row.score is None]:
        why = printable(errors[0])
        console.print(f"first of those not gradable: {why}", soft_wrap=True, markup=False, highlight=False)


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax grade`."""
    parser = argparse.ArgumentParser(
        prog="r1jax grade",
        description=__doc__.replace("GRADERS", ", ".join(grader_table.GRADERS)),
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="JSONL of prompt, answer and response; -: standard input")
    parser.add_argument("--out", type=path_given, metavar="OUT", help="JSONL of the graded rows; by default none")
    parser.add_argument("--grader", default="", metavar="NAME", help="of all rows; by default each row's own")
    parser.add_argument("--workers", default=2, type=int, help="grader processes; %(default)s")
    parser.add_argument("--timeout", default=10.0, type=float, help="seconds for an answer, or a program; %(default)s")
    parser.add_argument("--partial-credit", action="store_true", help="score a program by the share of tests it passes")
    parser.add_argument(
        "--marker",
        default="",
        help="of the cold-start form MARKER thought MARKER summary; by default "
        "a response is read by its <think> and <answer> tags",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see the module."""
    args: Any = parser().parse_args(argv)
    return exit_status(lambda: run(args))
