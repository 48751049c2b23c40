"""Benchmark data, in r1jax's layout or the public original's, from files or the Hugging Face hub."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from r1jax.benchmarks import benchmark as benchmarks
from r1jax.benchmarks.benchmark import Benchmark, Row, find, names
from r1jax.config import ConfigError, nearest
from r1jax.graders import grader_table, judge_protocols
from r1jax.io import buckets, hub, jsonl, row_files
from r1jax.io.row_files import Source

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


def read(benchmark: Benchmark, source: Source, grader: str, references: Mapping[str, str]) -> Data:
    """Reads, adapts and checks every row.

    Args:
        source: a file, a folder of files or a split of the Hugging Face hub, see `row_files`.
        grader: the name of the grader or judge protocol.
        references: answers to be compared with, by question's id, which become a row's `reference_output`.

    Raises:
        FileNotFoundError: there is no such file, or it cannot be fetched.
        ValueError: a row that cannot be used, by file and row; two rows of one id; nothing to ask.
    """
    rows: list[Row] = []
    places: dict[str, str] = {}
    left_out = 0
    for place, row in row_files.rows(source):
        try:
            made = _adapted(benchmark, row)
            if made is None:
                left_out += 1
                continue
            made["id"] = str(made.get("id") or f"{row_files.stem_of(source)}-{len(rows) + left_out}")
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
        raise ValueError(f"{source} has nothing to ask: {len(rows)} questions, {left_out} rows left out")
    return Data(rows[benchmark.shots :], rows[: benchmark.shots], left_out)


def questions(name: str, data: str) -> Iterator[tuple[str, str]]:
    """(id, question) of a set, for what is to keep clear of it; an id begins with the set's name.

    Args:
        name: a benchmark; or a file, a folder of files or a split of the Hugging Face hub, whose rows have a prompt, a
            question or a problem.
        data: the folder of benchmarks' files; "": they are fetched from the hub.

    Raises:
        ConfigError: neither a file nor a benchmark; a benchmark that is not fetched, and no folder to look in.
        FileNotFoundError: the benchmark's file is not there.
        ValueError: a row without a question, by file and row.
    """
    benchmark = find(name) if name in names() else None
    is_on_hub = not benchmark and (bool(hub.data_id(name)) or buckets.is_address(name))
    if not benchmark and not is_on_hub and not pathlib.Path(name).exists():
        raise ConfigError(f"no file {name}, and no benchmark of that name; nearest benchmark: {nearest(name, names())}")
    source = benchmarks.source(name, data) if benchmark else name
    called = name if benchmark or is_on_hub else row_files.split_name(name)
    for number, (place, row) in enumerate(row_files.rows(source)):
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


def data_hash(source: Source) -> str:
    """SHA-256, 16 digits of it, of the bytes of a file, or of all files that `read` reads."""
    return row_files.content_hash(source)[:16]


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
