"""Columns of other layouts mapped to r1jax's keys: one by one, or by ready mappings for well-known data sets.

`data.columns` names a mapping, of questions (`prompt`, `answer`), of examples for fine-tuning (`prompt` and `response`,
or `messages`) or of preference pairs (`prompt`, `chosen`, `rejected`). Columns that it does not name are not read. A
layout is never guessed.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from r1jax.config import listed, nearest

Row = dict[str, Any]
Purpose = Literal["questions", "examples", "pairs"]

_KEYS = {
    "questions": "prompt, answer, or what else a grader reads",
    "examples": "prompt, response, messages, system, tools",
    "pairs": "prompt, chosen, rejected, response, safe",
}


@dataclasses.dataclass(frozen=True)
class Columns:
    """A mapping of rows.

    Attributes:
        read: a row of a source -> one with r1jax's keys; raises ValueError for a row that it cannot read.
        description: for errors.
    """

    read: Callable[[Row], Row]
    description: str

    def __call__(self, row: Row) -> Row:
        return self.read(row)

    def __str__(self) -> str:
        return self.description


def reader(columns: Any, purpose: Purpose) -> Columns | None:
    """The mapping that a config asks for; None: rows have r1jax's keys already.

    Args:
        columns: the name of a ready mapping; or the column of each key, as a mapping or in text
            (`prompt=question,answer=final.value`). Below a column, dots lead to the fields of an object and, by numbers
            from 0 or from -1 backwards, to the entries of a list.

    Raises:
        ValueError: no such ready mapping for this purpose, or nothing that is a mapping.
    """
    if columns in ("", None) or columns == {}:
        return None
    if isinstance(columns, str) and "=" not in columns:
        ready = READY[purpose]
        if columns not in ready:
            others = [other for other in READY if columns in READY[other]]
            hint = f", it is one of {' and '.join(others)}" if others else ""
            raise ValueError(f"columns={columns!r} is no ready mapping of {purpose}{hint}; there are {listed(ready)}")
        return Columns(ready[columns], f"columns={columns}")
    if isinstance(columns, str):
        parts = [part.partition("=") for part in columns.split(",")]
        columns = {key.strip(): column.strip() for key, _, column in parts}
    if not isinstance(columns, Mapping) or not all(isinstance(each, str) and each for each in columns.values()):
        raise ValueError(
            f"columns={columns!r} should be the name of a ready mapping ({listed(READY[purpose])}), or name a column "
            f"for each key ({_KEYS[purpose]}), as in prompt=question,answer=answer"
        )
    paths = dict(columns)

    def read(row: Row) -> Row:
        values = {key: _value(row, path) for key, path in paths.items()}
        return {key: value for key, value in values.items() if value is not None}

    return Columns(read, "columns: " + ", ".join(f"{key} is {path!r}" for key, path in paths.items()))


def _value(row: Row, path: str) -> Any:
    """The value at a dotted path; None where the row has none there."""
    if path in row:
        return row[path]
    value: Any = row
    for name in path.split("."):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.removeprefix("-").isdecimal() and -len(value) <= int(name) < len(value):
            value = value[int(name)]
        elif value is None:
            return None
        else:
            there = (
                value
                if isinstance(value, Mapping)
                else [f"{len(value)} entries" if isinstance(value, list) else "text"]
            )
            near = f"; nearest: {nearest(name, map(str, value))}" if isinstance(value, Mapping) else ""
            raise ValueError(f"no column {path!r}: no {name!r} in {listed(there)}{near}")
    return value


def _column(row: Row, name: str, kind: type = str) -> Any:
    value = row.get(name)
    if not isinstance(value, kind):
        fault = f"column {name!r} holds {value!r:.100}" if name in row else f"no column {name!r}; it has: {listed(row)}"
        raise ValueError(fault)
    return value


def last_boxed(text: str) -> str:
    r"""The content of the last \boxed{...} of a solution.

    Raises:
        ValueError: there is none, or it is not closed.
    """
    start = text.rfind("\\boxed{")
    if start < 0:
        raise ValueError(r"column 'solution' has no \boxed{answer}")
    depth, position = 1, start + len("\\boxed{")
    begin = position
    while position < len(text):
        if text[position] == "\\":
            position += 1  # of \{ and \}
        elif text[position] in "{}":
            depth += 1 if text[position] == "{" else -1
            if not depth:
                return text[begin:position].strip()
        position += 1
    raise ValueError(r"column 'solution' does not close its last \boxed{")


def _gsm8k(row: Row) -> Row:
    solution, mark, answer = _column(row, "answer").rpartition("####")
    if not mark:
        raise ValueError("column 'answer' has no '#### answer'")
    return {"prompt": _column(row, "question"), "answer": answer.replace(",", "").strip(), "response": solution.strip()}


def _math(row: Row) -> Row:
    solution = _column(row, "solution")
    return {"prompt": _column(row, "problem"), "answer": last_boxed(solution), "response": solution}


def _openr1_math(row: Row) -> Row:
    return {"prompt": _column(row, "problem"), "answer": _column(row, "answer"), **_id(row, "uuid")}


def _openr1_math_example(row: Row) -> Row:
    """The first whole generation that a verifier found right."""
    generations = _column(row, "generations", list)
    whole = row.get("is_reasoning_complete") or [True] * len(generations)
    right = [row.get(name) or [] for name in ("correctness_math_verify", "correctness_llama")]
    for i, generation in enumerate(generations):
        if whole[i] and any(i < len(verdicts) and verdicts[i] for verdicts in right):
            return {"prompt": _column(row, "problem"), "response": generation, **_id(row, "uuid")}
    raise ValueError("column 'generations' has none that is whole and was found right")


def _countdown(row: Row) -> Row:
    numbers, target = _column(row, "nums", list), _column(row, "target", int)
    prompt = (
        f"Using the numbers {numbers}, each exactly once, and the operations +, -, * and /, write an expression that "
        f"equals {target}."
    )
    return {"prompt": prompt, "answer": "", "nums": numbers, "target": target}


def _ultrafeedback(row: Row) -> Row:
    responses = {}
    for name in ("chosen", "rejected"):
        messages = _column(row, name, list)
        roles = [message.get("role") if isinstance(message, Mapping) else None for message in messages]
        if roles != ["user", "assistant"]:
            raise ValueError(f"column {name!r} holds messages of {listed(map(str, roles))}, should be user, assistant")
        responses[name] = messages[-1].get("content")
    return {"prompt": _column(row, "prompt"), **responses, **_id(row, "prompt_id")}


def _tulu(row: Row) -> Row:
    return {"messages": _column(row, "messages", list), **_id(row, "id")}


def _id(row: Row, name: str) -> Row:
    return {"id": row[name]} if row.get(name) else {}


def _only(read: Callable[[Row], Row], *keys: str) -> Callable[[Row], Row]:
    def read_some(row: Row) -> Row:
        made = read(row)
        return {key: made[key] for key in keys}

    return read_some


# Ready mappings, by the layouts of: openai/gsm8k; hendrycks MATH (problem, solution); open-r1/OpenR1-Math-220k;
# Countdown (nums, target); HuggingFaceH4/ultrafeedback_binarized; allenai/tulu-3-sft-mixture and others with messages.
READY: dict[Purpose, dict[str, Callable[[Row], Row]]] = {
    "questions": {
        "gsm8k": _only(_gsm8k, "prompt", "answer"),
        "math": _only(_math, "prompt", "answer"),
        "openr1_math": _openr1_math,
        "countdown": _countdown,
    },
    "examples": {
        "gsm8k": _only(_gsm8k, "prompt", "response"),
        "math": _only(_math, "prompt", "response"),
        "openr1_math": _openr1_math_example,
        "tulu": _tulu,
    },
    "pairs": {"ultrafeedback": _ultrafeedback},
}
