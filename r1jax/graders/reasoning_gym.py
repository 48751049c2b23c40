"""Grader of reasoning-gym tasks: the library's scorers, guarded against answers that run code, hang or fool it.

The scorers were written for honest answers. Some pass the answer to `eval`, or to a parser that does; some read no more
of it than the first number; one gives its full score to [NaN, NaN, NaN]. So answers pass through tables first:
`_SCORERS` replaces a task's scorer, and `_ANSWER_PATTERNS` and `_GUARDS` check an answer before the scorer reads it.
tests/logic_guards_test.py reads the library, and fails when a scorer that evaluates its input is in none of them.

Still lenient, because no rule of the question is violated: case and white space (many tasks); a premise counts as a
conclusion (propositional_logic); impossible moves are skipped (rush_hour, sokoban), so that a lucky walk counts; three
significant digits or 1% are enough (power_function, pool_matrix).
"""

import ast
import contextlib
import functools
import io
import json
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from r1jax.data.types import Grade, Rollout
from r1jax.graders import countdown
from r1jax.graders.config import GraderConfig
from r1jax.graders.exact_match import remove_thousands_separators

SOURCE_PREFIX = "reasoning_gym:"
# Above a thousandth of a second in a day, which time_intervals scores 1 - 1.2e-8.
_FULL_SCORE = 1.0 - 1e-9
_MAX_CHARS = 50_000  # or twice the reference; the longest one in 20 entries of each task has 4,063
_MAX_FORMULA_CHARS, _MAX_EXPONENT = 2000, 64

Entry = Mapping[str, Any]


def _is_literal_only(answer: str, entry: Entry) -> bool:
    """Whether `eval(answer)` can only build a literal, or fails because the answer is no Python."""
    try:
        ast.literal_eval(answer)
    except SyntaxError:
        return True
    except (ValueError, TypeError, MemoryError, RecursionError):
        return False
    return True


_FORMULA_NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Call, ast.Constant, ast.Name, ast.Load)
_FORMULA_NODES += (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd)
_FUNCTIONS = {"sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "sinh", "cosh", "tanh"}
_FUNCTIONS |= {"asinh", "acosh", "atanh", "exp", "log", "ln", "sqrt", "Abs"}


def _is_formula(answer: str, entry: Entry) -> bool:
    """Whether the answer has only numbers, the question's variables, C, pi, E, known functions and + - * / ** ( ).

    parse_expr evaluates any Python. Besides, it knows all of sympy: `Integral(f, x)` repeats the question, and its
    derivative is right. A power's exponent is a small number or a ratio of two, or its base is E; numbers have no
    exponent, for sympy evaluates 1e999999999.
    """
    plain = re.fullmatch(r"[\w\s.+\-*/()]+", answer, re.ASCII) and not re.search(r"[\d.]e", answer, re.IGNORECASE)
    if not plain or len(answer) > _MAX_FORMULA_CHARS:
        return False
    names = {"C", "pi", "E", entry["metadata"].get("variable"), *entry["metadata"].get("variables", ())}
    try:
        nodes = list(ast.walk(ast.parse(answer, mode="eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return all(isinstance(node, _FORMULA_NODES) and _is_harmless(node, names) for node in nodes)


def _is_harmless(node: ast.AST, names: set[str]) -> bool:
    match node:
        case ast.Constant(value=value):
            return type(value) in (int, float)
        case ast.Name(id=name):
            return name in names or name in _FUNCTIONS
        case ast.Call(func=function, args=arguments, keywords=keywords):
            return isinstance(function, ast.Name) and function.id in _FUNCTIONS and len(arguments) == 1 and not keywords
        case ast.BinOp(left=ast.Name(id="E"), op=ast.Pow()):
            return True
        case ast.BinOp(op=ast.Pow(), right=exponent):
            return _is_small(exponent, may_divide=True)
    return True


def _is_small(node: ast.AST, may_divide: bool) -> bool:
    match node:
        case ast.UnaryOp(operand=operand):
            return _is_small(operand, may_divide)
        case ast.BinOp(left=numerator, op=ast.Div(), right=denominator):
            return may_divide and _is_small(numerator, False) and _is_small(denominator, False)
        case ast.Constant(value=int() | float() as value):
            return value <= _MAX_EXPONENT
    return False


# Into operators that in Python are binary only, and not doubled.
_TO_PYTHON_OPERATORS = str.maketrans("∨∧→↔¬", "|&^%~")
_PROPOSITION_NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Name, ast.operator, ast.Invert, ast.Load)


def _is_proposition(answer: str, entry: Entry) -> bool:
    """Whether the answer is a well-formed formula of single capitals.

    The scorer takes any other text for variable names, and its truth table doubles with each.
    """
    if len(answer) > _MAX_FORMULA_CHARS or not re.fullmatch(r"[A-Z∨∧→↔¬()\s]+", answer):
        return False
    tree = ast.parse(" ".join(answer.split()).translate(_TO_PYTHON_OPERATORS), mode="eval")
    return all(isinstance(node, _PROPOSITION_NODES) and len(getattr(node, "id", "P")) == 1 for node in ast.walk(tree))


def _same_count(split: Callable[[str], Any]) -> Callable[[str, Entry], bool]:
    """A guard for scorers that ignore what is beyond the end of the reference."""
    return lambda answer, entry: len(split(answer)) == len(split(entry["answer"]))


def _same_grid(answer: str, entry: Entry) -> bool:
    grid, reference_grid = json.loads(answer), json.loads(entry["answer"])
    return [len(row) for row in grid] == [len(row) for row in reference_grid]


def _same_digits(answer: str, entry: Entry) -> bool:
    return re.sub(r"\d+", "0", answer) == re.sub(r"\d+", "0", entry["answer"])


def _assigns_one_role_each(answer: str, entry: Entry) -> bool:
    """Knights and knaves: only names, roles and words between; the scorer ignores "not", and a second role."""
    words = re.findall(r"\w+", answer.lower())
    metadata = entry["metadata"]
    names = {word for name in metadata["names"] for word in re.findall(r"\w+", str(name).lower())}
    roles = {str(metadata["knight_knave_terms"][kind]).lower() for kind in ("knight", "knave")}
    return set(words) <= names | roles | {"is", "a", "an", "and"} and sum(word in roles for word in words) == len(names)


def _moves_only_boxes(answer: str, entry: Entry) -> bool:
    return all(move.startswith("move(box_") for step in json.loads(answer) for move in step.values())


# Task -> predicate of (answer, entry); an answer is malformed where it is false or raises.
_GUARDS: dict[str, Callable[[str, Entry], bool]] = {
    # Their scorers call eval.
    "binary_matrix": _is_literal_only,
    "n_queens": _is_literal_only,
    "spiral_matrix": _is_literal_only,
    "string_insertion": _is_literal_only,
    # Their scorers call sympy's parse_expr.
    "intermediate_integration": _is_formula,
    "polynomial_multiplication": _is_formula,
    "simple_integration": _is_formula,
    # Their scorers give the full score to the right answer with more text after it.
    "figlet_font": _same_count(list),
    "game_of_life": _same_grid,
    "letter_jumble": _same_count(str.split),
    "spell_backward": _same_count(list),
    "word_sorting": _same_count(lambda words: words.split(",")),
    "time_intervals": _same_digits,
    # Their scorers skip what they do not understand, and would move the targets to the boxes.
    "boxnet": _moves_only_boxes,
    "knights_knaves": _assigns_one_role_each,
    "propositional_logic": _is_proposition,
}

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?"
# Task -> the pattern that the whole answer must match, in time linear in its length.
_ANSWER_PATTERNS = {
    task: re.compile(form, re.ASCII)
    for task, form in {
        # Their scorers search any text for what they know.
        "fraction_simplification": r"\$?\s*(?:\\d?frac\s*\{\s*\d+\s*\}\s*\{\s*\d+\s*\}|-?\d+\s*/\s*-?\d+)\s*\$?",
        "kakurasu": r"[01\s,\[\]]+",
        "quantum_lock": r"[A-Ca-c\s→>,-]+",
        "sokoban": r"[UDLR\s]+",
        "survo": r"[\d\s-]+",
        "tower_of_hanoi": r"(?:\s*Move disk \d+ from Peg \d+ to Peg \d+)+",
        # A second point would be ignored.
        "advanced_geometry": r"[^,]*(?:,[^,]*)?",
        # NaN scores 1.
        "complex_arithmetic": r"[\d.+\-eEiIjJ\s()]+",
        # What is no number is ignored, so any text would be right where there is no solution, which is "".
        "polynomial_equations": rf'""|{_NUMBER}(?:\s*,\s*{_NUMBER})*',
        # U999999999 would be that many moves.
        "rubiks_cube": r"[A-Za-z']{1,3}\d?(?:\s+[A-Za-z']{1,3}\d?){0,999}",
        "rush_hour": r"[A-Z][+-]\d(?:[\s,]+[A-Z][+-]\d){0,999}",
    }.items()
}


def _number(text: str) -> Fraction | None:
    """The value of a decimal number or a ratio of two integers, perhaps with thousands separators; else None."""
    text = remove_thousands_separators(text.strip())
    if len(text) > 100 or not re.fullmatch(rf"{_NUMBER}|[+-]?\d+/0*[1-9]\d*", text, re.ASCII):
        return None  # Fraction("1e999999999") would hang
    return Fraction(text)


def _is_near(answer: str, reference: str, tolerance: Fraction = Fraction(0)) -> float | None:
    """1.0 within the tolerance and within 1% (else 0 would be near every small number), else 0.0; None: no number."""
    value, reference_value = _number(answer), _number(reference)
    return None if value is None else float(abs(value - reference_value) <= min(tolerance, abs(reference_value) / 100))


def _decimal_arithmetic(answer: str, entry: Entry) -> float | None:
    # As the library's scorer, but with the entry's number of decimals instead of the default configuration's.
    decimals = entry["metadata"]["difficulty"]["decimal_places"][1]
    return _is_near(answer, entry["answer"], Fraction(1, 10**decimals))


def _number_sorting(answer: str, entry: Entry) -> float:
    # The library's scorer lets each number differ by 1, and NaN by anything.
    numbers, reference_numbers = (json.loads(text.replace("'", '"')) for text in (answer, entry["answer"]))
    return float(
        isinstance(numbers, list) and [_number(str(x)) for x in numbers] == [_number(str(x)) for x in reference_numbers]
    )


def _countdown(answer: str, entry: Entry) -> float | None:
    # Both questions ask for an expression of all the numbers, no equation. puzzle24's scorer accepts any four numbers.
    score, verdict, *_ = countdown.grade_expression(
        answer, entry["metadata"]["numbers"], entry["metadata"].get("target", 24)
    )
    return None if "=" in answer or verdict == "malformed" else score


# Task -> function of (answer, entry): 1.0 or 0.0; None: malformed.
_SCORERS: dict[str, Callable[[str, Entry], float | None]] = {
    # Their scorers call sympy's parse_expr.
    "countdown": _countdown,
    "puzzle24": _countdown,
    # The library gives 0 the full score for a chance of 0.3, for the same beginning.
    "coin_flip": lambda answer, entry: _is_near(answer, entry["answer"], Fraction(1, 10**4)),
    "decimal_arithmetic": _decimal_arithmetic,
    # The library treats every answer as True.
    "game_of_life_halting": lambda answer, entry: float(answer.lower() == entry["answer"].lower()),
    # The library reads the first number in the text, without its sign.
    "gsm_symbolic": lambda answer, entry: _is_near(answer, entry["answer"]),
    "number_sorting": _number_sorting,
}


@functools.cache
def _scorer(task: str) -> Callable[..., float]:
    import reasoning_gym  # over a second to import, and needed by graders only

    return reasoning_gym.get_score_answer_fn(task)


def check(row: Mapping[str, Any]) -> None:
    """Refuses every row: reasoning-gym's entries come from the library itself.

    Raises:
        ValueError: always.
    """
    raise ValueError("a file's rows cannot be graded by reasoning_gym")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 for the entry's answer and for answers with the scorer's full score, else 0.0 or a partial score.

    Partial scores count only with `cfg.partial_credit`, and are the scorer's. Many scorers give part of the score to an
    answer that merely contains the right one, some a little to any answer in the right format: a policy exploits that
    by listing candidates. Answer tags that differ are no answer. An answer on which a scorer raises, or that its guard
    rejects, is malformed.

    Args:
        rollout: its prompt's source is `reasoning_gym:<task>`, its metadata {"entry_metadata": entry["metadata"]}.

    Raises:
        ValueError: the library has no such task.
        KeyError: the metadata has no `entry_metadata`.
    """
    prompt, response = rollout.prompt, rollout.response
    task = prompt.source.removeprefix(SOURCE_PREFIX)
    score_answer = _scorer(task)
    entry = {"question": prompt.question, "answer": prompt.answer, "metadata": prompt.metadata["entry_metadata"]}
    answer, *other_answers = set(response.answers) or {response.final}
    is_empty_right = response.answers and not prompt.answer  # task ab's letters may all cancel
    if other_answers or not (answer or is_empty_right):
        return Grade(0.0, "no_answer")
    # Without thousands separators, but with the comma of a pair: 1,2 is not 12.
    vote = remove_thousands_separators(" ".join(answer.lower().split())).rstrip(".")[:200]
    if answer and answer == prompt.answer.strip():
        return Grade(1.0, "right", vote)
    if len(answer) > max(_MAX_CHARS, 2 * len(prompt.answer)):
        return Grade(0.0, "too_complex")
    try:
        # Some scorers print.
        with contextlib.redirect_stdout(io.StringIO()):
            score = _score(task, score_answer, answer, entry)
    except Exception:  # each scorer parses answers in its own way, and some raise on malformed ones
        return Grade(0.0, "malformed")
    if score is None:
        return Grade(0.0, "malformed")
    if score >= _FULL_SCORE:
        return Grade(1.0, "right", vote)
    if cfg.partial_credit and score > 0:
        return Grade(score, "partly_right", vote)
    return Grade(0.0, "wrong", vote)


def _score(task: str, score_answer: Callable[..., float], answer: str, entry: Entry) -> float | None:
    """The score, 0.0 to 1.0; None where the answer is malformed."""
    if task in _SCORERS:
        return _SCORERS[task](answer, entry)
    if task in _ANSWER_PATTERNS and not _ANSWER_PATTERNS[task].fullmatch(answer):
        return None
    if task in _GUARDS and not _GUARDS[task](answer, entry):
        return None
    score = float(score_answer(answer=answer, entry=entry))
    return score if 0 <= score <= 1 else 0.0  # NaN, and what a division by a negative reference makes
