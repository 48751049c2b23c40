"""Decontamination of training data: rows that share too much with evaluation questions are left out.

    r1jax decontaminate train.jsonl --against gsm8k mine/test.jsonl --data DATA --out clean.jsonl
    r1jax decontaminate openai/gsm8k:main:train --columns gsm8k --against math500 --out clean.jsonl

The data are JSONL, JSON, CSV, parquet, a folder of them or of `datasets`, or a split of the Hugging Face hub. A row is
known by its `prompt`, or by the user's messages; in another layout, by `--columns`, as `data.columns` of a training.
Rows that are kept are written as they are, as JSONL. `--against` names benchmarks, whose files lie in DATA or are
fetched from the hub, files, or splits of the hub. The table has the number of rows that collide with each; `--dropped
FILE` gets a line for each row left out: its id, or line, the question it collides with, words that both have, and their
share of the question.
"""

import argparse
import collections
import json
import sys
from collections.abc import Sequence

import rich.console
import rich.table

from r1jax.benchmarks.reading import questions
from r1jax.config import exit_status, path_given
from r1jax.data.columns import READY, Columns, reader
from r1jax.data.decontaminate import DecontaminateConfig, Index
from r1jax.io import jsonl, row_files
from r1jax.io.tables import console_cell

_COPY = 0.5  # share of a question's runs from which on it is hardly a set phrase


def text_of(row: jsonl.Row) -> str:
    """The question of a row.

    Raises:
        ValueError: neither a prompt nor messages.
    """
    if isinstance(row.get("prompt"), str):
        return row["prompt"]
    messages = row.get("messages")
    if isinstance(messages, list) and all(isinstance(message, dict) for message in messages):
        return "\n".join(str(message.get("content")) for message in messages if message.get("role") == "user")
    raise ValueError(f"neither 'prompt' nor 'messages'; the row has: {', '.join(row)}")


def columns_of(text: str) -> Columns | None:
    """The mapping that `--columns` asks for, of any purpose; raises as `columns.reader`."""
    return reader(text, next((purpose for purpose in READY if text in READY[purpose]), "questions"))


def check_json(row: jsonl.Row) -> None:
    """Raises ValueError for a row of a table that JSON cannot hold."""
    for name, value in row.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise ValueError(f"column {name!r} cannot be written as JSON: {error}") from error


def run(args: argparse.Namespace) -> None:
    """Reads the rows, finds those that collide, writes the others, and prints the table.

    Raises:
        FileNotFoundError, ValueError: a file that is not there, or a row that cannot be read.
    """
    cfg = DecontaminateConfig(tuple(args.against), args.data, args.ngram, args.share)
    sets = {name: list(questions(name, cfg.data)) for name in cfg.against}
    indices = {name: Index(of_set, cfg.ngram) for name, of_set in sets.items()}
    columns = columns_of(args.columns)
    clear_rows, dropped, by_set, copies = [], [], collections.Counter(), collections.Counter()

    def look_up(row: jsonl.Row, line: int) -> None:
        text = text_of(columns(row) if columns else row)
        collisions = {name: hit for name, index in indices.items() if (hit := index.collision(text, cfg.share))}
        by_set.update(collisions.keys())
        copies.update(name for name, hit in collisions.items() if hit.share >= _COPY)
        if collisions:
            most = max(collisions.values(), key=lambda hit: hit.share)
            dropped.append(
                {"id": row.get("id", line), "collides": most.id, "shared": most.shared, "share": round(most.share, 3)}
            )
        else:
            check_json(row)
            clear_rows.append(row)

    row_files.read_records(args.file, look_up, remedy="repair it, or take it out")
    jsonl.write(args.out, clear_rows)
    if args.dropped:
        jsonl.write(args.dropped, dropped)
    rows = len(clear_rows) + len(dropped)
    table = rich.table.Table("against", title=console_cell(f"{args.file}: {rows:,} rows"), title_justify="left")
    for title in ("questions", "rows left out", "share", "with half a question or more"):
        table.add_column(title, justify="right")
    for name, of_set in sets.items():
        count = by_set[name]
        table.add_row(console_cell(name), f"{len(of_set):,}", f"{count:,}", f"{count / rows:.2%}", f"{copies[name]:,}")
    most = sum(row["share"] >= _COPY for row in dropped)
    table.add_row(
        "any of them",
        f"{sum(map(len, sets.values())):,}",
        f"{len(dropped):,}",
        f"{len(dropped) / rows:.2%}",
        f"{most:,}",
    )
    console = rich.console.Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(f"{len(clear_rows):,} rows: {args.out}", soft_wrap=True, markup=False, highlight=False)


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax decontaminate`."""
    parser = argparse.ArgumentParser(
        prog="r1jax decontaminate",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=path_given, metavar="DATA", help="JSONL, CSV, parquet ...; a split of the hub")
    parser.add_argument("--columns", default="", help="a ready mapping (gsm8k), or the column of each key: prompt=text")
    parser.add_argument("--against", required=True, nargs="+", metavar="NAME|FILE", help="evaluations to keep clear of")
    parser.add_argument("--data", default="", help="the folder of the benchmarks' files; by default the hub")
    parser.add_argument("--out", required=True, type=path_given, help="what is kept")
    parser.add_argument("--dropped", type=path_given, help="what is not, and why")
    parser.add_argument("--ngram", type=int, default=13, help="words in a row that are too many to share; %(default)s")
    parser.add_argument("--share", type=float, default=0.0, help="of a question's runs, that are too many; 0: any run")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), f"writing {args.out}")
