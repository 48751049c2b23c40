"""Benchmark data files, in r1jax's layout or the public original's: JSONL, JSON, CSV or parquet."""

import csv
import dataclasses
import gzip
import pathlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from r1jax.benchmarks.benchmark import Benchmark, Row, find, names
from r1jax.config import ConfigError, missing_file, nearest
from r1jax.graders import grader_table, judge_protocols
from r1jax.io import jsonl
from r1jax.io.files import one_line, parse_json
from r1jax.io.provenance import joined_hash

_KINDS = (".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet")
_QUESTION = ("prompt", "question", "problem")  # where files that have no adapter keep it


@dataclasses.dataclass(frozen=True)
class Data:
    """What a file or a folder of files holds.

    Attributes:
        rows: the questions, each with `id`, `prompt` and `answer`, in the files' order.
        shots: the rows that serve as solved examples, and are not asked.
        left_out: rows that the adapter leaves out.
    """

    rows: Sequence[Row]
    shots: Sequence[Row]
    left_out: int


def read(benchmark: Benchmark, path: pathlib.Path, grader: str, references: Mapping[str, str]) -> Data:
    """Reads, adapts and checks every row.

    Args:
        path: a file, or a folder: then all its files of a kind that is known here, by name.
        grader: the name of the grader or judge protocol.
        references: answers to be compared with, by question's id, which become a row's `reference_output`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row that cannot be used, by file and row; two rows of one id; nothing to ask.
    """
    rows: list[Row] = []
    places: dict[str, str] = {}
    left_out = 0
    for place, row in _rows(path):
        try:
            made = _adapted(benchmark, row)
            if made is None:
                left_out += 1
                continue
            made["id"] = str(made.get("id") or f"{path.stem}-{len(rows) + left_out}")
            if references:
                made["reference_output"] = _reference(references, made["id"])
            if made["id"] in places:
                raise ValueError(f"id {made['id']!r} is already that of {places[made['id']]}")
            jsonl.check_text("prompt", made["prompt"])
            if not isinstance(made["answer"], str):
                raise ValueError(f"'answer' is {made['answer']!r}, should be a string")
            (judge_protocols.PROTOCOLS.get(grader) or grader_table.grader(grader)).check(made)
        except KeyError as error:
            present = ", ".join(map(str, row))
            raise ValueError(f"{place}: no {error}; the row has: {present}; is this {benchmark.title}?") from error
        except (ValueError, TypeError) as error:
            raise ValueError(f"{place}: {error}") from error
        places[made["id"]] = place
        rows.append(made)
    if len(rows) <= benchmark.shots:
        raise ValueError(f"{path} has nothing to ask: {len(rows)} questions, {left_out} rows left out")
    return Data(rows[benchmark.shots :], rows[: benchmark.shots], left_out)


def questions(name: str, data: str) -> Iterator[tuple[str, str]]:
    """(id, question) of a set, for what is to keep clear of it; an id begins with the set's name.

    Args:
        name: a benchmark, whose file lies in `data`; or a file, or a folder of files, whose rows have a prompt, a
            question or a problem.
        data: the folder of benchmarks' files.

    Raises:
        ConfigError: neither a file nor a benchmark; a benchmark, and no folder to look in.
        FileNotFoundError: the benchmark's file is not there.
        ValueError: a row without a question, by file and row.
    """
    benchmark = find(name) if name in names() else None
    path = pathlib.Path(data, benchmark.file) if benchmark else pathlib.Path(name)
    if benchmark and not data:
        raise ConfigError(
            f"nothing says where the questions of {name} are: name the folder that holds "
            f"{benchmark.file or 'its file'}, or give the file's path in place of the name"
        )
    if not benchmark and not path.exists():
        raise ConfigError(f"no file {name}, and no benchmark of that name; nearest benchmark: {nearest(name, names())}")
    called = name if benchmark else f"{path.resolve().parent.name}/{path.stem}"
    for number, (place, row) in enumerate(_rows(path)):
        try:
            made = _adapted(benchmark, row) if benchmark else row
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{place}: {error!r}; is this {benchmark.title}?") from error
        if made is None:
            continue
        question = next((made[key] for key in _QUESTION if isinstance(made.get(key), str)), None)
        if question is None:
            raise ValueError(f"{place}: no {', '.join(_QUESTION)}; the row has: {', '.join(map(str, row))}")
        yield f"{called}/{made.get('id') or number}", question


def data_hash(path: pathlib.Path) -> str:
    """SHA-256, 16 digits of it, of a file's bytes, or of all files that `read` reads of a folder."""
    return joined_hash(_files(path))[:16]


def _adapted(benchmark: Benchmark, row: Row) -> Row | None:
    is_ready = isinstance(row.get("prompt"), str) and isinstance(row.get("answer"), str)
    if not is_ready and benchmark.adapt:
        id_ = row.get("id")
        row = benchmark.adapt(row)
        if row is not None and id_ not in (None, ""):
            row.setdefault("id", id_)
    if row is not None and benchmark.prepare:
        row = benchmark.prepare(row)
    return None if row is None else dict(row)


def _reference(references: Mapping[str, str], id_: str) -> str:
    if id_ not in references:
        raise ValueError(f"the baseline has no answer to question {id_!r}")
    return references[id_]


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.name.endswith(_KINDS))
        if not files:
            raise FileNotFoundError(f"{path} holds no file of a kind that is read here: {', '.join(_KINDS)}")
        return files
    if not path.is_file():
        raise FileNotFoundError(missing_file(path))
    return [path]


def _rows(path: pathlib.Path) -> Iterator[tuple[str, Row]]:
    """Each row with its place, for errors."""
    for file in _files(path):
        try:
            yield from _rows_of(file)
        except (EOFError, zlib.error, gzip.BadGzipFile, csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{file} cannot be read, or was cut short ({error}); download it again") from error


def _rows_of(file: pathlib.Path) -> Iterator[tuple[str, Row]]:
    if file.suffix == ".parquet":
        yield from ((f"{file}, row {i}", row) for i, row in enumerate(_parquet(file), 1))
    elif file.suffix == ".csv":
        with file.open(encoding="utf-8-sig", newline="") as lines:
            yield from ((f"{file}, row {i}", dict(row)) for i, row in enumerate(csv.DictReader(lines), 1))
    elif file.suffix == ".json":
        content = parse_json(file.read_bytes(), file)
        if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
            raise ValueError(f"{file} should be a list of objects")
        yield from ((f"{file}, object {i}", row) for i, row in enumerate(content, 1))
    elif file.name.endswith((".jsonl", ".jsonl.gz")):
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as lines:
            yield from ((f"{file}:{i}", row) for i, row in jsonl.objects(lines, file))
    else:
        raise ValueError(f"{file}: not of a kind that is read here: {', '.join(_KINDS)}")


def _parquet(file: pathlib.Path) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet  # only where such a file is read: the extra `eval`
    except ImportError as error:
        raise ValueError(f"{file} needs the package pyarrow: pip install -e '.[eval]' in r1jax's folder") from error
    try:
        return pyarrow.parquet.read_table(file).to_pylist()
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise ValueError(f"{file} cannot be read, or was cut short ({one_line(error)}); download it again") from error
