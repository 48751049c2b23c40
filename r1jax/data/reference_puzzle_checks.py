"""Checks of generated reference answers to puzzles: all cases, a search, or a solution's moves."""

import functools
import itertools
import json
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Entry = Mapping[str, Any]


class UnknownQuestionError(ValueError):
    """A question in words that the task's check does not know."""


def find(pattern: str, entry: Entry) -> Sequence[str]:
    """The groups of a pattern in the question, of its last match.

    Raises:
        UnknownQuestionError: there is none.
    """
    matches = list(re.finditer(pattern, entry["question"], re.MULTILINE | re.DOTALL))
    if not matches:
        raise UnknownQuestionError(f"no {pattern!r} in the question {entry['question']!r}")
    return matches[-1].groups()


# Logic, by all cases. A statement is an integer whose bit i says whether it holds in case i.


def _columns(names: Sequence[str]) -> dict[str, int]:
    """Each name, as a statement over all assignments of true and false."""
    cases = range(2 ** len(names))
    return {name: sum(1 << case for case in cases if case >> place & 1) for place, name in enumerate(names)}


_CONNECTIVES = {"↔": lambda a, b: ~(a ^ b), "→": lambda a, b: ~a | b, "∨": operator.or_, "∧": operator.and_}


def _truth(formula: str, columns: Mapping[str, int]) -> int:
    """In which cases a formula holds; ¬ binds closest, then ∧, ∨, → and ↔."""
    tokens = re.findall(r"\w+|[^\w\s]", formula)[::-1]

    def binary(connectives: str) -> int:
        if not connectives:
            return unary()
        value = binary(connectives[1:])
        while tokens and tokens[-1] == connectives[0]:
            value = _CONNECTIVES[tokens.pop()](value, binary(connectives[1:]))
        return value

    def unary() -> int:
        token = tokens.pop()
        if token == "¬":
            return ~unary()
        if token != "(":
            return columns[token]
        value = binary("↔→∨∧")
        if tokens.pop() != ")":
            raise ValueError(f"brackets of {formula!r}")
        return value

    value = binary("↔→∨∧")
    if tokens:
        raise ValueError(f"{tokens[-1]!r} left over in {formula!r}")
    return value


def propositional_logic(entry: Entry) -> bool:
    premises = find(r"Given:\n(.+)\.What can we conclude", entry)[0]
    premises = re.findall(r"^\.?\d+\. (.+)$", premises, re.MULTILINE)
    reference = entry["answer"] or entry["metadata"]["example_answer"]  # one of many conclusions
    columns = _columns(sorted(set(re.findall("[A-Z]", " ".join([*premises, reference])))))
    cases = 2 ** (2 ** len(columns)) - 1
    hold = functools.reduce(operator.and_, (_truth(premise, columns) for premise in premises))
    return hold & ~_truth(reference, columns) & cases == 0


def syllogism(entry: Entry) -> bool:
    """Terms have members: the generator takes "All A are B" to imply "Some B are A", as Aristotle does.

    A model says of each of the 8 combinations of terms whether anything has it; there are 256.
    """
    form = r"(All|No|Some) (\w+) are (not )?(\w+)"
    parts = find(rf"1\. {form}\n2\. {form}\n\n.+that:\n{form}\?", entry)
    statements = [parts[i : i + 4] for i in (0, 4, 8)]
    terms = sorted({term for _, subject, _, predicate in statements for term in (subject, predicate)})
    columns = _columns(terms)  # here a case is a combination of terms

    def holds(statement: Sequence[str], inhabited: int) -> bool:
        quantifier, subject, negated, predicate = statement
        both = columns[subject] & (~columns[predicate] if negated or quantifier == "All" else columns[predicate])
        return bool(both & inhabited) == (quantifier == "Some")

    models = [model for model in range(2 ** (2 ** len(terms))) if all(column & model for column in columns.values())]
    follows = all(holds(statements[2], model) for model in models if all(holds(s, model) for s in statements[:2]))
    return entry["answer"] == ("Yes" if follows else "No")


_WORDS = {"if and only if": "↔", "it is not the case that": "¬", "if": "", "then": "→", "and": "∧", "or": "∨"}


def knights_knaves(entry: Entry) -> bool:
    knight, knave, names, story = find(r"only by (\w+)s and (\w+)s\. .*inhabitants: ([^.]+)\.(.*) So who is", entry)
    people = re.findall(r"[A-Z]\w+", names)
    claim = rf"\b({'|'.join(people)}) is an? ({knight}|{knave})\b"
    words = re.compile(rf"(?:{claim}|\b(?:{'|'.join(_WORDS)})\b|[()\s])+")
    statements = [match[0] for match in words.finditer(story) if re.search(claim, match[0])]
    if len(statements) != len(people):
        raise UnknownQuestionError(f"{len(statements)} statements of {len(people)} people")
    columns = _columns(people)
    possible = 2 ** (2 ** len(people)) - 1
    for name, statement in zip(people, statements, strict=True):  # they speak in the order in which they are named
        formula = re.sub(claim, lambda match: match[1] if match[2] == knight else f"¬{match[1]}", statement)
        formula = re.sub("|".join(rf"\b{word}\b" for word in _WORDS), lambda match: _WORDS[match[0]], formula)
        possible &= ~(columns[name] ^ _truth(formula, columns))
    answer = dict(re.findall(r"(\w+) is an? (\w+)", entry["answer"]))
    return possible == 1 << sum((answer[name] == knight) << place for place, name in enumerate(people))


def can_finish(courses: str, pairs: str) -> bool:
    needs = {course: set() for course in range(int(courses))}
    for course, before in re.findall(r"\((\d+), (\d+)\)", pairs):
        needs[int(course)].add(int(before))
    while ready := {course for course, before in needs.items() if not before}:
        needs = {course: before - ready for course, before in needs.items() if course not in ready}
    return not needs


# Grids: rows of cells that are parted by blanks.

Grid = list[list[str]]


def _grid(entry: Entry, text: str | None = None) -> Grid:
    """The last rows of single characters in the question, or those of a text."""
    text = text if text is not None else find(r"((?:^[\w*#] [\w*# ]+$\n?)+)", entry)[0]
    return [line.split() for line in text.strip().splitlines()]


def sudoku(entry: Entry) -> bool:
    question, answer = _grid(entry), _grid(entry, entry["answer"])
    size, box = len(question), math.isqrt(len(question))
    digits = {str(digit) for digit in range(1, size + 1)}
    boxes = [
        [answer[row + i][column + j] for i in range(box) for j in range(box)]
        for row in range(0, size, box)
        for column in range(0, size, box)
    ]
    whole = all(set(group) == digits for group in [*answer, *zip(*answer, strict=True), *boxes])
    clues = zip(itertools.chain(*question), itertools.chain(*answer), strict=True)
    return whole and all(clue in ("_", cell) for clue, cell in clues)


def _distances(grid: Grid, starts: Iterable[tuple[int, int]], through: str) -> dict[tuple[int, int], int]:
    """How many steps to the side, up or down lead to each cell that can be reached by cells of some kinds."""
    distances = dict.fromkeys(starts, 0)
    edge = list(distances)
    for row, column in edge:  # it grows meanwhile
        for place in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            inside = 0 <= place[0] < len(grid) and 0 <= place[1] < len(grid[0])
            if inside and place not in distances and grid[place[0]][place[1]] in through:
                distances[place] = distances[row, column] + 1
                edge.append(place)
    return distances


def _cells(grid: Grid, kind: str) -> list[tuple[int, int]]:
    return [(i, j) for i, row in enumerate(grid) for j, cell in enumerate(row) if cell == kind]


def largest_island(entry: Entry) -> bool:
    grid = _grid(entry)
    return int(entry["answer"]) == max((len(_distances(grid, [cell], "1")) for cell in _cells(grid, "1")), default=0)


def rotten_oranges(entry: Entry) -> bool:
    grid = _grid(entry)
    minutes = _distances(grid, _cells(grid, "2"), "1")
    spared = any(cell not in minutes for cell in _cells(grid, "1"))
    return int(entry["answer"]) == (-1 if spared else max(minutes.values(), default=0))


def binary_matrix(entry: Entry) -> bool:
    grid = _grid(entry)
    distances = _distances(grid, _cells(grid, "0"), "1")
    expected = [[str(distances[i, j]) for j in range(len(row))] for i, row in enumerate(grid)]
    return _grid(entry, entry["answer"]) == expected


def shortest_path(entry: Entry) -> bool:
    grid = _grid(entry)
    [(row, column)], [goal] = _cells(grid, "*"), _cells(grid, "#")
    distances = _distances(grid, [(row, column)], "O#")
    if entry["answer"] == "infeasible" or goal not in distances:
        return entry["answer"] == "infeasible" and goal not in distances
    steps = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
    path = entry["answer"].split()
    for step in path:
        row, column = row + steps[step][0], column + steps[step][1]
        if (row, column) not in distances:
            return False
    return (row, column) == goal and len(path) == distances[goal]


# Solutions, followed move by move.


def tower_of_hanoi(entry: Entry) -> bool:
    disks, count, start, goal = map(int, find(r"with (\d+) disks and (\d+) pegs.*from Peg (\d+) to Peg (\d+) f", entry))
    pegs: dict[int, list[int]] = {peg: [] for peg in range(1, count + 1)}
    pegs[start] = list(range(disks, 0, -1))
    for move in entry["answer"].splitlines():
        [numbers] = re.findall(r"^Move disk (\d+) from Peg (\d+) to Peg (\d+)$", move)
        disk, source, target = map(int, numbers)
        if pegs[source].pop() != disk or (pegs[target] and pegs[target][-1] < disk):
            return False
        pegs[target].append(disk)
    return len(pegs[goal]) == disks


def jugs(entry: Entry) -> bool:
    jugs, target = find(r"litres of water: ([^\n]+)\nAnd your target is: (\d+) litres", entry)
    capacity = {name: int(litres) for name, litres in re.findall(r"(\w+):(\d+)", jugs)}
    held = dict.fromkeys(capacity, 0)
    for move in json.loads(entry["answer"]):
        action, names = move.split(" ")
        source, _, sink = names.partition("->")
        if action == "pour":
            amount = min(held[source], capacity[sink] - held[sink])
            held[source], held[sink] = held[source] - amount, held[sink] + amount
        else:
            held[source] = {"fill": capacity[source], "empty": 0}[action]
    return int(target) in held.values()
