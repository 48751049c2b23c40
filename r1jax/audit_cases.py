r"""What the audit grades: each reference in its own form, and answers near it that are wrong.

An answer that still has the reference's value would be no perturbation. For plain numbers (integers, decimals,
fractions, mixed numbers) exact values are compared, and what is equal is left out. For formulas the change itself sees
to it: the first term's sign changes, unless it is zero or `\pm`; a digit changes that is part of a value, not of a
unit's power, a variable's index or the name before an equals sign; an element is dropped that stands there once. For
Countdown exact values and the numbers used decide. Of programs nothing is known: a subtle mutant may compute the same.

Numbers, lists and expressions are read by this module's own code and not by the graders': an auditor that shared their
eyes would share their blind spots.
"""

import ast
import itertools
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from r1jax.mutation import GROSS, mutants
from r1jax.rewards import graders

Check = Literal["own", "perturbed", "recorded"]
SUBTLE = "subtle mutant"  # a kind: such a program may even compute the same
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


def prepare(row: Mapping[str, Any], mutants_each: int | None = None) -> tuple[str, list[Case]]:
    """A dataset's row's grader and cases. Hostile rows may keep it busy: call it in a process that can be killed.

    Args:
        mutants_each: see `mutated`.

    Raises:
        ValueError: the row could not be graded against, see `graders.examine`.
    """
    name = graders.examine(row)
    return name, [*cases(name, row, mutants_each), *_recorded(row)]


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


# Mathematics.

_LETTER = re.compile(r"(?P<before>\(?|\\text\{\s*\(?)(?P<letter>[A-J])(?P<after>\)?\.?|\)?\s*\})")
# x =, f(x) =, x \in, \approx
_NAME = re.compile(r"\s*(?:[A-Za-z](?:_\w|_\{\w*\})?\s*(?:\(\w+\))?\s*(?:=(?![^=]*=)|\\in\b)|\\approx\b)\s*")
_NOT_VALUE = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}\s*\^\s*\{?\d\}?|(?<![A-Za-z\\])[A-Za-z]_(?:\w|\{\w*\})")
_COMMANDS = re.compile(r"\\(?:begin|end|left|right|text\w*|mathrm|mbox)\b(?:\s*\{[^{}]*\})?|\\[dt]?frac|\\[,;:! ]")
_SAYS_SOMETHING = re.compile(r"[1-9A-Za-z\\]")  # a digit that is not 0, a variable, a constant, a root
_PROSE = re.compile(r"\s*(?:[A-Za-z]{2,}|\\text|\\mbox|\\mathrm|[^\x00-\x7f])")
_MATRIX = re.compile(r"(?P<head>\s*\\begin\{\w*matrix\})(?P<inside>.*)(?P<tail>\\end\{\w*matrix\}\s*)", re.DOTALL)
_OPENING = re.compile(r"\s*(?:\\left\s*)?\\?[(\[{]")
_BRACKET = re.compile(r"(?:\\left\s*|\\right\s*)?\\?[()\[\]{}]")
_WORDS_BETWEEN = r",?\s*(?:\\text\s*\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)"
_SEPARATORS = re.compile(rf"{_WORDS_BETWEEN}|[,;，、；]|\\cup")
_ROWS = re.compile(r"\\\\")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_NUMBER = re.compile(
    r"(?P<sign>-?)\s*(?:(?P<decimal>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)"
    r"|(?:(?P<whole>\d+)\s+)?(?P<top>\d+)/(?P<bottom>\d+))"
)
_LONGEST_NUMBER = 1000  # Python refuses integers of more than 4300 digits


class _List(NamedTuple):
    """head + items with separators between them + tail is the text."""

    head: str
    items: list[str]
    separators: list[str]
    tail: str

    def text(self) -> str:
        pairs = itertools.zip_longest(self.items, self.separators, fillvalue="")
        return self.head + "".join(itertools.chain.from_iterable(pairs)) + self.tail


def number(text: str) -> Fraction | None:
    """The exact value of a number as datasets write it; None for all else. Dollars, percent and degrees are ignored."""
    if len(text) > _LONGEST_NUMBER:
        return None
    plain = re.sub(r"\\[,;:!]\s*|\\?\$|\\?%|\^\s*\{?\\circ\}?", "", text).replace("{,}", ",")
    found = _NUMBER.fullmatch(_FRACTION.sub(r" \1\2/\3\4", plain).strip())
    if not found:
        return None
    if found["decimal"]:
        value = Fraction(found["decimal"].replace(",", ""))
    elif int(found["bottom"]):
        value = int(found["whole"] or 0) + Fraction(int(found["top"]), int(found["bottom"]))
    else:
        return None
    return -value if found["sign"] else value


def maths_perturbations(reference: str) -> list[tuple[str, str]]:
    r"""Wrong answers near a reference, as (kind, answer).

    Kinds: "letter" (the next of a choice's), or "sign", "digit" (the first and the last one) and "option": an element
    of a list, set, tuple, union or column left out, or one side of `\pm`.
    """
    if letter := _LETTER.fullmatch(reference.strip()):
        other = "BCDABFGHIJ"["ABCDEFGHIJ".index(letter["letter"])] if letter["letter"] <= "D" else "A"
        return [("letter", letter["before"] + other + letter["after"])]
    value = number(reference)
    changed = number_perturbations(reference)
    if value is None:
        changed += [("option", text) for text in _options_dropped(reference)]
    return changed


def number_perturbations(reference: str) -> list[tuple[str, str]]:
    """The kinds "sign" and "digit" alone."""
    flipped = _sign_flipped(reference)
    changed = [("sign", flipped)] if flipped is not None else []
    changed += [("digit", text) for text in _digits_changed(reference)]
    value = number(reference)
    return [(kind, text) for kind, text in changed if value is None or number(text) != value]


def _sign_flipped(text: str) -> str | None:
    """The sign changed of the first term, of the first element that is not zero; None where there is none."""
    if number(text) is None:
        parts = _split(text)
        if len(parts.items) > 1:
            for place, item in enumerate(parts.items):
                if flipped := _sign_flipped(item):
                    return parts._replace(items=[*parts.items[:place], flipped, *parts.items[place + 1 :]]).text()
            return None
    name = _NAME.match(text)
    start = name.end() if name else 0
    term = text[start:].lstrip()
    bare = _COMMANDS.sub("", re.split(r"(?<=.)[-+&]|&", term, maxsplit=1)[0])
    if not _SAYS_SOMETHING.search(bare) or _PROSE.match(term) or term.startswith((r"\pm", r"\mp")):
        return None
    lead = text[: len(text) - len(term)]
    return lead + (term[1:].lstrip() if term.startswith("-") else "-" + term.removeprefix("+"))


def _digits_changed(text: str) -> Iterator[str]:
    name = _NAME.match(text)
    # Hidden, not cut: the places stay the same.
    shown = _NOT_VALUE.sub(lambda part: " " * len(part[0]), text)
    places = [place.start() for place in re.finditer(r"[0-9]", shown) if not name or place.start() >= name.end()]
    for place in sorted({*places[:1], *places[-1:]}):
        digit = "8" if text[place] == "9" else str(int(text[place]) + 1)
        yield text[:place] + digit + text[place + 1 :]


def _options_dropped(text: str) -> Iterator[str]:
    parts = _split(text.rstrip(" .,;"))
    alike = Counter("".join(item.split()) for item in parts.items)
    if len(parts.items) > 1:
        for place in (0, len(parts.items) - 1):
            if alike["".join(parts.items[place].split())] == 1:
                between = max(place - 1, 0)
                items, separators = list(parts.items), list(parts.separators)
                del items[place], separators[between]
                yield parts._replace(items=items, separators=separators).text()
    if re.search(r"\\(?:pm|mp)\b", text):
        yield re.sub(r"\\(?:pm|mp)\b", "+", text, count=1).strip().removeprefix("+")


def _split(text: str) -> _List:
    """A list, set, tuple, interval, union or column of a matrix, taken apart; one item where it is none of these."""
    if matrix := _MATRIX.fullmatch(text):
        return _List(matrix["head"], *_items(matrix["inside"], _ROWS), matrix["tail"])
    name = _NAME.match(text)
    start, end = name.end() if name else 0, len(text)
    if opening := _OPENING.match(text, start):
        depth = 1
        for bracket in _BRACKET.finditer(text, opening.end()):
            depth += 1 if bracket[0][-1] in "([{" else -1
            if depth == 0:
                if not text[bracket.end() :].strip():
                    start, end = opening.end(), bracket.start()
                break
    return _List(text[:start], *_items(text[start:end], _SEPARATORS), text[end:])


def _items(text: str, separator: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """What stands between separators outside of brackets, and those."""
    brackets = [(bracket.start(), 1 if bracket[0][-1] in "([{" else -1) for bracket in _BRACKET.finditer(text)]
    items, separators, begin, depth, passed = [], [], 0, 0, 0
    for found in separator.finditer(text):
        while passed < len(brackets) and brackets[passed][0] < found.start():
            depth += brackets[passed][1]
            passed += 1
        if depth == 0:
            items.append(text[begin : found.start()])
            separators.append(found[0])
            begin = found.end()
    return [*items, text[begin:]], separators


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
        left, kept, right = tree.left, tree.op, tree.right
        yield from (
            ("operator", ast.BinOp(left, operator(), right))
            for operator in _OPERATORS
            if not isinstance(kept, operator)
        )
        for leaf, rest in ((left, right), (right, left)):
            if isinstance(leaf, ast.Constant):
                yield "dropped", rest
        yield from ((kind, ast.BinOp(other, kept, right)) for kind, other in _changed(left))
        yield from ((kind, ast.BinOp(left, kept, other)) for kind, other in _changed(right))


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
