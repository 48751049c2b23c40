"""JSONL files: read, written and appended to; and the order in which a run sees a file's examples.

A line that cannot be used has two answers. In a finished file, such as a data set, it is an error that names file and
line (`objects`, `read_objects`). In a log that r1jax appends to, such as metrics.jsonl, it is what a kill left of a
row: `read_log` leaves it out, `keep_rows_before` removes it, and `append` begins a new line after it.

Only "\\n" ends a line: str.splitlines breaks at U+2028 too, which JSON may hold.
"""

import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from r1jax import config
from r1jax.io import files

Row = dict[str, Any]
T = TypeVar("T")


def read_objects(
    path: str | os.PathLike[str],
    make: Callable[[Row, int], T],
    skip_bad: bool = False,
    remedy: str = "data.skip_bad_lines=true leaves such lines out",
) -> tuple[list[T], int]:
    """Reads a record from each line's JSON object; blank lines do not count.

    Args:
        make: (object, line number) -> record; raises ValueError for an object that is to be taken for bad.
        skip_bad: leave bad lines out, and count them, rather than raise.
        remedy: what else can be done about a bad line, for the error.

    Returns:
        the records, and the number of bad lines left out.

    Raises:
        FileNotFoundError: no such file; names the nearest.
        ValueError: a bad line, by file and line; no usable line at all.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(config.missing_file(path))
    with path.open("rb") as file:
        items = ((f"{path}:{i}", i, lambda line=line: parse(line)) for i, line in numbered_lines(file))
        records, skipped = make_records(items, make, skip_bad, remedy)
    if not records:
        raise ValueError(f"{path} holds no usable line ({skipped} bad ones were skipped)")
    return records, skipped


def make_records(
    rows: Iterable[tuple[str, int, Callable[[], Row]]], make: Callable[[Row, int], T], skip_bad: bool, remedy: str
) -> tuple[list[T], int]:
    """The records of rows and the number of bad ones left out, see `read_objects`.

    Args:
        rows: place, number, and a function that gives the row or raises ValueError.
    """
    records: list[T] = []
    skipped = 0
    for place, number, parse_row in rows:
        try:
            records.append(make(parse_row(), number))
        except ValueError as error:
            if not skip_bad:
                raise ValueError(f"{place}: {error} ({remedy})") from error
            skipped += 1
    return records, skipped


def objects(lines: Iterable[bytes], path: str | os.PathLike[str], remedy: str = "") -> Iterator[tuple[int, Row]]:
    """The number and the object of each line that is not blank.

    Args:
        lines: of a binary file, as it yields them.
        path: the file's, for the error.
        remedy: what can be done about it, for the error.

    Raises:
        ValueError: a line that is no JSON object, by file and line. NaN and Infinity, which `json.dumps` writes, pass.
    """
    for number, line in numbered_lines(lines):
        try:
            yield number, parse(line, strict=False, kind="an object")
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}" + (f" ({remedy})" if remedy else "")) from error


def numbered_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines of a binary file that are not blank, with their numbers from 1; a byte order mark is left out."""
    for number, line in enumerate(lines, 1):
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if line.strip():
            yield number, line


def read_log(path: str | os.PathLike[str], usable: Callable[[Row], bool] = lambda row: True) -> tuple[list[Row], int]:
    """Reads what r1jax appended to a file, up to now or up to a kill.

    Args:
        usable: whether an object is a row of this log.

    Returns:
        rows: the usable ones in order; none where there is no file.
        corrupted: the number of lines that hold no usable row.
    """
    rows = [row for _, row in _log_lines(pathlib.Path(path))]
    usable_rows = [row for row in rows if row is not None and usable(row)]
    return usable_rows, len(rows) - len(usable_rows)


def keep_rows_before(path: str | os.PathLike[str], step: int) -> None:
    """Removes the log's rows of `step` and later ones, which a resumed run writes again, and lines that hold no row."""
    path = pathlib.Path(path)
    if path.exists():
        with files.replacing(path) as file:
            for line, row in _log_lines(path):
                if row is not None and row["step"] < step:
                    file.write(line.removesuffix(b"\n") + b"\n")


def _log_lines(path: pathlib.Path) -> Iterator[tuple[bytes, Row | None]]:
    """The lines of a log that are not blank, each with its row, None where it holds none; nothing without a file."""
    yield from ((line, row) for _, line, row in placed_rows(path))


def placed_rows(path: pathlib.Path) -> Iterator[tuple[int, bytes, Row | None]]:
    """The lines of a log that are not blank: where each begins, in bytes, it, and its row, None where it holds none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        begin = 0
        for number, line in enumerate(file, 1):
            for _, content in numbered_lines([line]) if number == 1 else [(number, line)] if line.strip() else []:
                try:
                    yield begin, content, parse(content, strict=False)
                except ValueError:
                    yield begin, content, None
            begin += len(line)


def write(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a whole file, see `files.replacing`."""
    with files.replacing(path) as file:
        for row in rows:
            file.write(line_of(row))


def append(path: str | os.PathLike[str], row: Mapping[str, Any]) -> None:
    """Adds one line, making the file where there is none. A kill in the middle corrupts this one line and no other."""
    with pathlib.Path(path).open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(line_of(row))


def order(seed: int, size: int, start: int, count: int) -> list[int]:
    """The indices, of `size` examples, at positions start .. start + count - 1 of an endless shuffled stream.

    Every epoch is a permutation of its own, drawn from (seed, epoch) alone: to resume takes no more than the position.

    Raises:
        ValueError: a negative seed, start or count, or nothing to order.
    """
    if size < 1 or min(seed, start, count) < 0:
        raise ValueError(f"cannot order {size} examples from {start}, {count} of them, by seed {seed}")
    stop = start + count
    indices: list[int] = []
    for epoch in range(start // size, -(-stop // size)):
        permutation = np.random.default_rng([seed, epoch]).permutation(size)
        first = epoch * size
        indices += permutation[max(start - first, 0) : stop - first].tolist()
    return indices


def parse(line: bytes, strict: bool = True, kind: str = 'an object like {"prompt": "1 + 1?", ...}') -> Row:
    """A line's JSON object.

    Args:
        strict: NaN and Infinity, which JSON lacks and `json.dumps` writes, are errors.
        kind: what the line should hold, for the error.

    Raises:
        ValueError: not UTF-8, not JSON, not an object.
    """
    try:
        row = json.loads(line.decode(), parse_constant=_refuse_constant if strict else None)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason} at byte {error.start} of the line") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("not usable JSON: nested too deeply") from error
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__}, should be {kind}")
    return row


def check_question(row: Row, default_id: str) -> Row:
    """The row of a question as `row_files.read_questions` gives it.

    Numbers given as answer or id become strings, a missing id the default.

    Raises:
        ValueError: no prompt or answer, or one that is no text.
    """
    for key in ("prompt", "answer"):
        if key not in row:
            raise ValueError(f"no {key!r}; it has: {config.listed(row)}")
    if isinstance(row["answer"], int | float) and not isinstance(row["answer"], bool):
        row["answer"] = str(row["answer"])
    if isinstance(row.get("id"), int):
        row["id"] = str(row["id"])
    row.setdefault("id", default_id)
    for key in ("prompt", "id"):
        check_text(key, row[key])
    if row["answer"] != "":
        check_text("answer", row["answer"])
    return row


def check_prompt_alone(row: Row) -> None:
    """Checks a row whose model is given its `prompt` and nothing else.

    Raises:
        ValueError: the row calls for a system message or tools besides.
    """
    for key in ("system", "tools"):
        if row.get(key):
            raise ValueError(
                f"{key!r} is not given to the model, which reads 'prompt' alone: put it into the prompt, or take it out"
            )


def check_text(key: str, value: Any) -> None:
    """Checks a field that must hold text.

    Raises:
        ValueError: not a string, nothing but white space, or half a surrogate pair ("\\ud83d"): JSON and no text.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key!r} is {value!r}, should be a string that is not empty")
    value.encode()  # UnicodeEncodeError is a ValueError


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def line_of(row: Mapping[str, Any]) -> bytes:
    """A row's line, with its end."""
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()
