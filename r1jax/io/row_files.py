"""Rows of data files: JSONL, JSON, CSV, parquet, folders of `datasets`, and splits of the Hugging Face hub.

A source is a file; a folder of files, which are read in the order of their names; a folder of `Dataset.save_to_disk`;
one of these in a bucket, by its address; or an id of the hub (`openai/gsm8k:main:train`, see `r1jax.io.hub`). A file of
any other name is taken for JSONL. Parquet and arrow files are read by pyarrow, the extra `parquet`.
"""

import contextlib
import csv
import gzip
import os
import pathlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from r1jax.config import missing_file
from r1jax.io import buckets, hub, jsonl
from r1jax.io.files import one_line, parse_json, read_json
from r1jax.io.jsonl import Row
from r1jax.io.provenance import joined_hash

T = TypeVar("T")
Source = str | os.PathLike[str]

KINDS = (".jsonl", ".jsonl.gz", ".json", ".csv", ".tsv", ".parquet", ".arrow")
REMEDY = "data.skip_bad_lines=true leaves such lines out"
_MOST_CHARACTERS = 2**31 - 1  # of a CSV field; by default 131,072, which a long solution exceeds
_BATCH = 1000  # rows of parquet that are Python objects at a time


def read_questions(
    source: Source,
    skip_bad: bool = False,
    check: Callable[[Row], None] | None = None,
    columns: Callable[[Row], Row] | None = None,
) -> tuple[list[Row], int]:
    """Reads questions with reference answers.

    Args:
        source: each row has a string `prompt` and an `answer`, a string or a number. The answer may be empty where
            something else, say tests, takes its place: that is for `check` to judge.
        skip_bad: leave bad rows out, and count them, rather than raise.
        check: raises ValueError for a row that is to be taken for bad, say for an answer that cannot be graded.
        columns: see `read_records`.

    Returns:
        rows: with whatever other keys they have. A number given as an answer becomes a string, and a row without an
            `id` gets `<file name>-<line>`.
        skipped: the number of bad rows left out.

    Raises:
        FileNotFoundError, ValueError: see `read_records`; also two rows of one id.
    """
    stem, lines_of = stem_of(source), {}

    def question(row: Row, line: int) -> Row:
        row = jsonl.check_question(row, default_id=f"{stem}-{line}")
        if row["id"] in lines_of:
            raise ValueError(f"id {row['id']!r} is already that of line {lines_of[row['id']]}")
        if check:
            check(row)
        lines_of[row["id"]] = line
        return row

    return read_records(source, question, skip_bad, columns)


def read_records(
    source: Source,
    make: Callable[[Row, int], T],
    skip_bad: bool = False,
    columns: Callable[[Row], Row] | None = None,
    remedy: str = REMEDY,
) -> tuple[list[T], int]:
    """Reads a record from each row. Of a table, a cell that is null is as if it were absent.

    Args:
        make: (row, number) -> record; raises ValueError for a row that is to be taken for bad. The number is that of
            the line, or of the row, and goes on from file to file.
        skip_bad: leave bad rows out, and count them, rather than raise.
        columns: makes a row with r1jax's keys of one of the source's own, and raises ValueError as `make` does; as
            text, where it reads what, for errors.
        remedy: what else can be done about a bad row, for the error.

    Returns:
        the records, and the number of bad rows left out.

    Raises:
        FileNotFoundError: no such file; names the nearest. A split of the hub that cannot be fetched.
        ValueError: a bad row, by file and line or row; no usable row at all; a file that cannot be read.
    """

    def make_from_columns(row: Row, number: int) -> T:
        row = columns(row)
        try:
            return make(row, number)
        except ValueError as error:
            raise ValueError(f"{error}; {columns}") from error

    records, skipped = jsonl.make_records(items(source), make_from_columns if columns else make, skip_bad, remedy)
    if not records:
        raise ValueError(f"{source} holds no usable line ({skipped} bad ones were skipped)")
    return records, skipped


def rows(source: Source) -> Iterator[tuple[str, Row]]:
    """Each row as it stands, with its place, for errors; NaN and Infinity pass.

    Raises:
        FileNotFoundError, ValueError: see `read_records`.
    """
    for file in files_of(source):
        if _is_jsonl(file):
            with _errors_named(file), _opened(file) as lines:
                yield from ((f"{file}:{i}", row) for i, row in jsonl.objects(lines, file))
        else:
            yield from ((f"{file}, row {i}", row) for i, row in enumerate(_table(file), 1))


def files_of(source: Source) -> list[pathlib.Path]:
    """The files of a source, in the order in which they are read.

    Raises:
        FileNotFoundError: there is none; one of the hub cannot be fetched.
        ValueError: a folder of several splits, which are named.
    """
    if named := hub.data_id(source):
        files = [file for file in hub.data_files(named) if file.name.endswith(KINDS)]
        if not files:
            raise FileNotFoundError(f"{named} has no file of a kind that is read here: {', '.join(KINDS)}")
        return files
    path = buckets.local_path(source)
    if not path.is_dir():
        if path.is_file():
            return [path]
        is_id = hub.model_id(source) is not None
        hint = f"; a data set of the Hugging Face hub is named with its split, {source}:train" if is_id else ""
        raise FileNotFoundError(f"{missing_file(path)}{hint}")
    if (splits := path / "dataset_dict.json").is_file():
        names = ", ".join(str(path / name) for name in read_json(splits)["splits"])
        raise ValueError(f"{path} holds several splits: name one of {names}")
    if (state := path / "state.json").is_file() and (saved := read_json(state).get("_data_files")):
        return [path / each["filename"] for each in saved]
    files = sorted(file for file in path.iterdir() if file.name.endswith(KINDS))
    if not files:
        raise FileNotFoundError(f"{path} holds no file of a kind that is read here: {', '.join(KINDS)}")
    return files


def name_of(source: Source) -> str:
    """A short name of a source: of a file or folder its own, of a split of the hub `repository-split`."""
    named = hub.data_id(source)
    return f"{named.repository.rpartition('/')[2]}-{named.split}" if named else pathlib.Path(source).name


def stem_of(source: Source) -> str:
    """`name_of` without a file's ending."""
    return name_of(source) if hub.data_id(source) else pathlib.Path(source).stem


def split_name(source: Source) -> str:
    """math500/test.jsonl -> math500/test: public sets come as a folder of splits. Of one of the hub its id."""
    path = pathlib.Path(source)
    return str(source) if hub.data_id(source) else f"{path.resolve().parent.name}/{path.stem}"


def content_hash(source: Source) -> str:
    """SHA-256 of the bytes of a source's files, one after the other, 64 hex digits."""
    return joined_hash(files_of(source))


def count(source: Source) -> int:
    """The number of rows; of JSONL that of lines, blank ones too."""
    lines = 0
    for file in files_of(source):
        if _is_jsonl(file):
            with _errors_named(file), _opened(file) as content:
                lines += sum(1 for _ in content)
        else:
            lines += sum(1 for _ in _table(file))
    return lines


def size(source: Source) -> int:
    """The bytes of a source's files."""
    return sum(file.stat().st_size for file in files_of(source))


def items(source: Source) -> Iterator[tuple[str, int, Callable[[], Row]]]:
    """Place and number of each row, with a function that gives the row or raises ValueError.

    Raises:
        FileNotFoundError, ValueError: see `read_records`.
    """
    before = 0
    for file in files_of(source):
        number = 0
        if _is_jsonl(file):
            with _errors_named(file), _opened(file) as lines:
                for number, line in jsonl.numbered_lines(lines):
                    yield f"{file}:{number}", before + number, lambda line=line: jsonl.parse(line)
        else:
            for number, row in enumerate(_table(file), 1):
                filled = {key: value for key, value in row.items() if value is not None}
                yield f"{file}, row {number}", before + number, lambda row=filled: row
        before += number


def _is_jsonl(file: pathlib.Path) -> bool:
    """Whether a file holds an object a line: a .json file may, or else holds a list of objects."""
    if file.suffix == ".json":
        with file.open("rb") as content:
            return not content.read(1000).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    return not file.name.endswith((".csv", ".tsv", ".parquet", ".arrow"))


def _opened(file: pathlib.Path) -> Any:
    return gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")


@contextlib.contextmanager
def _errors_named(file: pathlib.Path) -> Iterator[None]:
    """Within, a library's error about a file's content names the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read, or was cut short ({error}); download it again") from error


def _table(file: pathlib.Path) -> Iterator[Row]:
    with _errors_named(file):
        if file.suffix in (".csv", ".tsv"):
            csv.field_size_limit(_MOST_CHARACTERS)
            with file.open(encoding="utf-8-sig", newline="") as lines:
                yield from map(dict, csv.DictReader(lines, delimiter="," if file.suffix == ".csv" else "\t"))
        elif file.suffix == ".json":
            content = parse_json(file.read_bytes(), file)
            if not all(isinstance(row, dict) for row in content):
                raise ValueError(f"{file} should be a list of objects")
            yield from content
        else:
            yield from _arrow_rows(file)


def _arrow_rows(file: pathlib.Path) -> Iterator[Row]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(f"{file} needs the package pyarrow: pip install -e '.[parquet]' in r1jax's folder") from error
    try:
        if file.suffix == ".parquet":
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches(_BATCH):
                yield from batch.to_pylist()
        else:
            with pyarrow.memory_map(str(file)) as content, pyarrow.ipc.open_stream(content) as batches:
                for batch in batches:
                    yield from batch.to_pylist()
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise ValueError(f"{file} cannot be read, or was cut short ({one_line(error)}); download it again") from error
