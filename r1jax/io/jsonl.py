"""JSONL in and out, and the order in which a file's examples are seen."""

import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from r1jax import config

Row = dict[str, Any]
T = TypeVar("T")


def read(
    path: str | os.PathLike[str], skip_bad: bool = False, check: Callable[[Row], None] | None = None
) -> tuple[list[Row], int]:
    """Reads questions with reference answers.

    Args:
        path: a UTF-8 file; each object has a string `prompt` and an `answer`, a string or a number. The answer may be
            empty where something else, say tests, takes its place: that is for `check` to judge.
        skip_bad: leave bad lines out, and count them, rather than raise.
        check: raises ValueError for a row that is to be taken for bad, say for an answer that cannot be graded.

    Returns:
        rows: with whatever other keys they have. A number given as an answer becomes a string, and a row without an
            `id` gets `<file name>-<line>`.
        skipped: the number of bad lines left out.

    Raises:
        FileNotFoundError, ValueError: see `read_objects`; also two rows of one id.
    """
    stem, lines_of = pathlib.Path(path).stem, {}

    def question(row: Row, line: int) -> Row:
        row = check_question(row, default_id=f"{stem}-{line}")
        if row["id"] in lines_of:
            raise ValueError(f"id {row['id']!r} is already that of line {lines_of[row['id']]}")
        if check:
            check(row)
        lines_of[row["id"]] = line
        return row

    return read_objects(path, question, skip_bad)


def read_objects(
    path: str | os.PathLike[str], make: Callable[[Row, int], T], skip_bad: bool = False,
    mend: str = "data.skip_bad_lines=true leaves such lines out",
) -> tuple[list[T], int]:  # fmt: skip
    """What `make` makes of each line's JSON object; blank lines do not count.

    Args:
        make: (object, line number) -> record; raises ValueError for an object that is to be taken for bad.
        skip_bad: leave bad lines out, and count them, rather than raise.
        mend: what else can be done about a bad line, for the error.

    Returns:
        the records, and the number of bad lines left out.

    Raises:
        FileNotFoundError: no such file; names the nearest.
        ValueError: a bad line, by file and line; no usable line at all.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(config.missing_file(path))
    records: list[T] = []
    skipped = 0
    # Bytes, so that broken UTF-8 is one line's fault, and only "\n" ends a line (str.splitlines breaks at U+2028 too).
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not line.strip():
                continue
            try:
                records.append(make(parse(line), number))
            except ValueError as error:
                if not skip_bad:
                    raise ValueError(f"{path}:{number}: {error} ({mend})") from error
                skipped += 1
    if not records:
        raise ValueError(f"{path} holds no usable line ({skipped} bad ones were skipped)")
    return records, skipped


def write(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a file in one go: a reader, or a run killed meanwhile, sees the old file or the whole new one."""
    _write_whole(pathlib.Path(path), (_line(row) for row in rows))


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes one indented JSON value in one go, as `write` does; configs as `config.to_dict` gives them."""
    _write_whole(path, [json.dumps(config.to_dict(content), indent=1, ensure_ascii=False) + "\n"])


def _write_whole(path: pathlib.Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")  # one name, so that what a kill left is written over
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def append(path: str | os.PathLike[str], row: Mapping[str, Any]) -> None:
    """Adds one line, making the file where there is none. A kill in the middle spoils this one line and no other."""
    with pathlib.Path(path).open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(_line(row).encode())


def order(seed: int, size: int, start: int, count: int) -> list[int]:
    """Which of `size` examples stand at positions start .. start + count - 1 of an endless stream.

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


def parse(line: bytes) -> Row:
    """A line's JSON object.

    Raises:
        ValueError: not UTF-8, not JSON, not an object.
    """
    try:
        row = json.loads(line.decode(), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason} at byte {error.start} of the line") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("not usable JSON: nested too deeply") from error
    if not isinstance(row, dict):
        raise ValueError(f'a {type(row).__name__}, should be an object like {{"prompt": "1 + 1?", ...}}')
    return row


def check_question(row: Row, default_id: str) -> Row:
    """The row of a question as `read` gives it: numbers given as answer or id become strings, a missing id the default.

    Raises:
        ValueError: no prompt or answer, or one that is no text.
    """
    for key in ("prompt", "answer"):
        if key not in row:
            raise ValueError(f"no {key!r}; it has: {config.nearest(key, row)}")
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
            raise ValueError(f"{key!r} is not given to the model, which reads 'prompt' alone: put it into the prompt, "
                             "or take it out")  # fmt: skip


def check_text(key: str, value: Any) -> None:
    """Checks a field that must hold text.

    Raises:
        ValueError: not a string, nothing but white space, or half a surrogate pair ("\\ud83d"): JSON and no text.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key!r} is {value!r}, should be a string that is not empty")
    value.encode()  # UnicodeEncodeError is a ValueError


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
