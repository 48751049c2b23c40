r"""Cases that an audit grades: each reference in its expected format, and wrong answers near it.

An answer that still has the reference's value would be no perturbation; `r1jax.audit.maths_cases` says how it is
excluded for mathematics. For Countdown exact values and the numbers used decide. Of programs nothing is known: a
subtle mutant may compute the same.

Numbers, lists and expressions are read by the audit's own code and not by the graders', so that an audit does not
repeat their errors.
"""

import ast
import zlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from r1jax.audit.maths_cases import maths_perturbations, number, number_perturbations
from r1jax.audit.program_mutants import GROSS, mutants
from r1jax.audit.reading import Reader, Reading, compare
from r1jax.graders import grader_table

Check = Literal["own", "perturbed", "recorded"]
SUBTLE = "subtle mutant"  # a kind: such a program may even compute the same
_PROSE = "answer_is_prose"  # a key of rows whose reference is a sentence of which only the last formula counts
COUNTDOWN_TASKS = ("countdown", "puzzle24")


class Case(NamedTuple):
    """One response to be graded.

    Attributes:
        check: "own": the reference itself; "perturbed": a wrong answer near it; "recorded": a response that the dataset
            brings along with its own verdict.
        kind: the form of the reference, the kind of perturbation, or the field of the record.
        text: the response.
        right: what it should be found to be.
    """

    check: Check
    kind: str
    text: str
    right: bool


class Prepared(NamedTuple):
    """A dataset's row, to be audited.

    Attributes:
        reading: what its grader keeps of its reference; None where the grader does not say.
    """

    grader: str
    cases: list[Case]
    reading: Reading | None


def prepare(row: Mapping[str, Any], mutants_each: int | None = None, reader: Reader | None = None) -> Prepared:
    """A dataset's row's grader and cases. Hostile rows may keep it busy: call it in a process that can be killed.

    Args:
        mutants_each: see `mutated`.
        reader: what the grader keeps of a reference; by default its module's own `reading`, where it has one.

    Raises:
        ValueError: the row could not be graded against, see `graders.examine`.
    """
    name = grader_table.check_row(row)
    reader = reader or getattr(grader_table.grader(name), "reading", None)
    answer = row["answer"]
    is_compared = reader and answer.strip() and not row.get(_PROSE)
    reading = compare(answer, reader(answer)) if is_compared else None
    return Prepared(name, [*cases(name, row, mutants_each), *_recorded(row)], reading)


def cases(name: str, row: Mapping[str, Any], mutants_each: int | None = None) -> Iterator[Case]:
    """The reference and its perturbations, in the forms that a grader reads; none where the row has no reference."""
    answer = row["answer"]
    if not answer.strip():
        return
    if name == "code":
        yield Case("own", "program", _fence(answer), True)
        yield from (Case("perturbed", kind, _fence(text), False) for kind, text in mutated(row, mutants_each))
    elif name == "reasoning_gym":
        yield Case("own", "tags", _tags(answer), True)
        is_expression = row["task"] in COUNTDOWN_TASKS
        is_number = number(answer) is not None
        near = countdown_perturbations if is_expression else number_perturbations if is_number else lambda _: []
        changed = near(answer)
        yield from (Case("perturbed", kind, _tags(text), False) for kind, text in changed)
    elif name == "countdown":
        yield Case("own", "box", _box(answer), True)
        yield Case("own", "tags", _tags(answer), True)
        changed = countdown_perturbations(answer, row.get("use_all", True))
        yield from (Case("perturbed", kind, _box(text), False) for kind, text in changed)
    else:
        yield Case("own", "box", _box(answer), True)
        yield from (Case("perturbed", kind, _box(text), False) for kind, text in maths_perturbations(answer))


def _recorded(row: Mapping[str, Any]) -> Iterator[Case]:
    """Responses with verdicts: a field that lists objects of `text` and `correct`."""
    for field, records in row.items():
        for record in records if isinstance(records, list) else ():
            if isinstance(record, dict) and isinstance(record.get("text"), str) and type(record.get("correct")) is bool:
                yield Case("recorded", field, record["text"], record["correct"])


def _box(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


def _tags(answer: str) -> str:
    return f"<think>...</think>\n<answer>{answer}</answer>"


def _fence(program: str) -> str:
    return f"```python\n{program}\n```"


# Countdown.

_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)


def countdown_perturbations(reference: str, use_all: bool = True) -> list[tuple[str, str]]:
    """Wrong expressions near one that uses every number once, as (kind, expression).

    Kinds: "operator", "number" (one more), "dropped", "repeated" (and taken away again: the value is right). The last
    three break the rule that every number is used once, whatever their value; where it does not hold, and for an
    operator, only another value makes them wrong.
    """
    try:
        tree = ast.parse(reference.partition("=")[0].strip(), mode="eval").body
        value = _value(tree)
        first = next(node for node in ast.walk(tree) if isinstance(node, ast.Constant))
        again = ast.BinOp(ast.BinOp(tree, ast.Add(), first), ast.Sub(), first)
        changed = [*_changed(tree), ("repeated", again)]
        breaks_rule = {"number", "dropped", "repeated"} if use_all else set()
        wrong = [(kind, tree) for kind, tree in changed if kind in breaks_rule or _value(tree) != value]
        return [(kind, ast.unparse(tree)) for kind, tree in wrong]
    except (SyntaxError, ValueError, RecursionError):  # of another spelling, or hostile
        return []


def _changed(tree: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """An expression with one operator or number changed, or one number left out."""
    if isinstance(tree, ast.Constant):
        yield "number", ast.Constant(tree.value + 1)
    elif isinstance(tree, ast.UnaryOp):
        yield from ((kind, ast.UnaryOp(tree.op, operand)) for kind, operand in _changed(tree.operand))
    elif isinstance(tree, ast.BinOp):
        left, present, right = tree.left, tree.op, tree.right
        yield from (
            ("operator", ast.BinOp(left, operator(), right))
            for operator in _OPERATORS
            if not isinstance(present, operator)
        )
        for leaf, rest in ((left, right), (right, left)):
            if isinstance(leaf, ast.Constant):
                yield "dropped", rest
        yield from ((kind, ast.BinOp(other, present, right)) for kind, other in _changed(left))
        yield from ((kind, ast.BinOp(left, present, other)) for kind, other in _changed(right))


def _value(tree: ast.expr) -> Fraction | None:
    """Of an expression of + - * / and integers; None where it divides by zero. Raises ValueError for any other."""
    if isinstance(tree, ast.Constant) and type(tree.value) is int:
        return Fraction(tree.value)
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        value = _value(tree.operand)
        return None if value is None else -value
    if not isinstance(tree, ast.BinOp) or not isinstance(tree.op, _OPERATORS):
        raise ValueError("not of + - * / and integers")
    left, right = _value(tree.left), _value(tree.right)
    if left is None or right is None or (isinstance(tree.op, ast.Div) and not right):
        return None
    if isinstance(tree.op, ast.Add):
        return left + right
    if isinstance(tree.op, ast.Sub):
        return left - right
    return left * right if isinstance(tree.op, ast.Mult) else left / right


# Programs.


def mutated(row: Mapping[str, Any], each: int | None = None) -> list[tuple[str, str]]:
    """A row's reference program made wrong, as (kind, program); see `mutation.mutants`.

    Args:
        each: how many gross ones and how many subtle ones, other ones for other programs; None: all.
    """
    head, function = _program(row)
    try:
        made = mutants(function)
    except (SyntaxError, ValueError, RecursionError):  # another language, or hostile
        return []
    chosen = []
    for kind in ("gross mutant", SUBTLE):
        alike = [head + text for name, text in made if (name in GROSS) == (kind != SUBTLE)]
        first = zlib.crc32(function.encode()) % max(len(alike), 1)
        chosen += [(kind, text) for text in [*alike[first:], *alike[:first]][:each]]
    return chosen


def _program(row: Mapping[str, Any]) -> tuple[str, str]:
    """What stands before the code under test, and that code: a body that continues the prompt needs its own head."""
    answer, entry_point = row["answer"], row.get("entry_point") or ""
    if not entry_point or f"def {entry_point}" in answer:
        return "", answer
    head, definition, signature = row["prompt"].rpartition(f"def {entry_point}")
    return head, definition + signature + answer
