"""Accuracy on reasoning-gym tasks, by that library's own scorers, kept from what would run, hang or fool them.

Those scorers were written for honest answers. Some hand the answer to `eval`, or to a parser that does; some read no
more of it than the first number; one gives its full score to [NaN, NaN, NaN]. So an answer meets its scorer only
behind two tables: `_RULES`, where a rule of ours takes the scorer's place, and `_FORMS` with `_GUARDS`, which say what
an answer must look like before the scorer sees it. tests/logic_test.py reads the library's source, and fails when a
scorer that evaluates what it is given stands in neither.

What stays lax, since no rule of the question is broken: case and white space (many tasks); a premise said again counts
as a conclusion (propositional_logic); moves that cannot be made are passed over (rush_hour, sokoban), so that a lucky
walk counts; three significant digits or 1% are enough (power_function, pool_matrix).
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
from r1jax.graders.exact import join_thousands

SOURCE_PREFIX = "reasoning_gym:"
# Above a thousandth of a second in a day, which time_intervals scores 1 - 1.2e-8.
_FULL_SCORE = 1.0 - 1e-9
_MAX_CHARS = 50_000  # or twice the reference; the longest one in 20 entries of each task has 4,063
_MAX_FORMULA_CHARS, _MAX_EXPONENT = 2000, 64

Entry = Mapping[str, Any]


def _no_code(answer: str, entry: Entry) -> bool:
    """Whether `eval(answer)` could do no more than build a literal; what is no Python at all, eval refuses as well."""
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
    """Whether the answer is numbers, the question's variables, C, pi, E, known functions and + - * / ** ( ), no more.

    parse_expr evaluates whatever Python it is given. Besides, it knows all of sympy: `Integral(f, x)` is the question
    said again, and its derivative is right. A power's exponent is a small number or a ratio of two, or E is its base;
    a number has no exponent, for sympy works out 1e999999999.
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
        case ast.BinOp(left=above, op=ast.Div(), right=below):
            return may_divide and _is_small(above, False) and _is_small(below, False)
        case ast.Constant(value=int() | float() as value):
            return value <= _MAX_EXPONENT
    return False


# Into operators that Python knows between operands only, and not doubled.
_AS_PYTHON = str.maketrans("∨∧→↔¬", "|&^%~")
_PROPOSITION_NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Name, ast.operator, ast.Invert, ast.Load)


def _is_proposition(answer: str, entry: Entry) -> bool:
    """Whether the answer is a well-formed formula of single capitals.

    To the scorer any other text is a variable's name, and its truth table doubles with each.
    """
    if len(answer) > _MAX_FORMULA_CHARS or not re.fullmatch(r"[A-Z∨∧→↔¬()\s]+", answer):
        return False
    tree = ast.parse(" ".join(answer.split()).translate(_AS_PYTHON), mode="eval")
    return all(isinstance(node, _PROPOSITION_NODES) and len(getattr(node, "id", "P")) == 1 for node in ast.walk(tree))


def _same_count(split: Callable[[str], Any]) -> Callable[[str, Entry], bool]:
    """A guard against scorers that do not look beyond the end of the reference."""
    return lambda answer, entry: len(split(answer)) == len(split(entry["answer"]))


def _same_grid(answer: str, entry: Entry) -> bool:
    given, wanted = json.loads(answer), json.loads(entry["answer"])
    return [len(row) for row in given] == [len(row) for row in wanted]


def _same_digits(answer: str, entry: Entry) -> bool:
    return re.sub(r"\d+", "0", answer) == re.sub(r"\d+", "0", entry["answer"])


def _one_role_each(answer: str, entry: Entry) -> bool:
    """Knights and knaves: names, roles and the words between; the scorer passes over "not", and over a second role."""
    said = re.findall(r"\w+", answer.lower())
    metadata = entry["metadata"]
    names = {word for name in metadata["names"] for word in re.findall(r"\w+", str(name).lower())}
    roles = {str(metadata["knight_knave_terms"][kind]).lower() for kind in ("knight", "knave")}
    return set(said) <= names | roles | {"is", "a", "an", "and"} and sum(word in roles for word in said) == len(names)


def _moves_only_boxes(answer: str, entry: Entry) -> bool:
    return all(move.startswith("move(box_") for step in json.loads(answer) for move in step.values())


# Predicates of (answer, entry). One that raises refuses.
_GUARDS: dict[str, Callable[[str, Entry], bool]] = {
    # Their scorers call eval.
    "binary_matrix": _no_code,
    "n_queens": _no_code,
    "spiral_matrix": _no_code,
    "string_insertion": _no_code,
    # Their scorers call sympy's parse_expr.
    "intermediate_integration": _is_formula,
    "polynomial_multiplication": _is_formula,
    "simple_integration": _is_formula,
    # Their scorers give the full score to the right answer with more behind it.
    "figlet_font": _same_count(list),
    "game_of_life": _same_grid,
    "letter_jumble": _same_count(str.split),
    "spell_backward": _same_count(list),
    "word_sorting": _same_count(lambda words: words.split(",")),
    "time_intervals": _same_digits,
    # Theirs read past what they do not understand, and would move the targets to the boxes.
    "boxnet": _moves_only_boxes,
    "knights_knaves": _one_role_each,
    "propositional_logic": _is_proposition,
}

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?"
# What the whole answer must match, in time linear in its length.
_FORMS = {
    task: re.compile(form, re.ASCII)
    for task, form in {
        # Their scorers pick what they know out of any text.
        "fraction_simplification": r"\$?\s*(?:\\d?frac\s*\{\s*\d+\s*\}\s*\{\s*\d+\s*\}|-?\d+\s*/\s*-?\d+)\s*\$?",
        "kakurasu": r"[01\s,\[\]]+",
        "quantum_lock": r"[A-Ca-c\s→>,-]+",
        "sokoban": r"[UDLR\s]+",
        "survo": r"[\d\s-]+",
        "tower_of_hanoi": r"(?:\s*Move disk \d+ from Peg \d+ to Peg \d+)+",
        # A second point would be passed over.
        "advanced_geometry": r"[^,]*(?:,[^,]*)?",
        # NaN scores 1.
        "complex_arithmetic": r"[\d.+\-eEiIjJ\s()]+",
        # What is no number is passed over, so that anything would do where there is no solution, which is "".
        "polynomial_equations": rf'""|{_NUMBER}(?:\s*,\s*{_NUMBER})*',
        # U999999999 would be that many moves.
        "rubiks_cube": r"[A-Za-z']{1,3}\d?(?:\s+[A-Za-z']{1,3}\d?){0,999}",
        "rush_hour": r"[A-Z][+-]\d(?:[\s,]+[A-Z][+-]\d){0,999}",
    }.items()
}


def _number(text: str) -> Fraction | None:
    """A decimal number or a ratio of two integers, commas between thousands or none; else None."""
    text = join_thousands(text.strip())
    if len(text) > 100 or not re.fullmatch(rf"{_NUMBER}|[+-]?\d+/0*[1-9]\d*", text, re.ASCII):
        return None  # Fraction("1e999999999") would hang
    return Fraction(text)


def _is_near(answer: str, reference: str, tolerance: Fraction = Fraction(0)) -> float | None:
    """1.0 within the tolerance, and within 1% lest 0 be near to everything small; else 0.0; None for no number."""
    given, wanted = _number(answer), _number(reference)
    return None if given is None else float(abs(given - wanted) <= min(tolerance, abs(wanted) / 100))


def _decimal_arithmetic(answer: str, entry: Entry) -> float | None:
    # As the library's own, but by the entry's number of decimals and not by the default configuration's.
    decimals = entry["metadata"]["difficulty"]["decimal_places"][1]
    return _is_near(answer, entry["answer"], Fraction(1, 10**decimals))


def _number_sorting(answer: str, entry: Entry) -> float:
    # The library's lets each number be off by 1, and NaN by anything.
    given, wanted = (json.loads(text.replace("'", '"')) for text in (answer, entry["answer"]))
    return float(isinstance(given, list) and [_number(str(x)) for x in given] == [_number(str(x)) for x in wanted])


def _countdown(answer: str, entry: Entry) -> float | None:
    # Both questions want an expression and no equation, of all the numbers. puzzle24's scorer takes any four numbers.
    score, verdict, *_ = countdown.assess(answer, entry["metadata"]["numbers"], entry["metadata"].get("target", 24))
    return None if "=" in answer or verdict == "malformed" else score


# Scores of (answer, entry), 1.0 or 0.0; None: malformed.
_RULES: dict[str, Callable[[str, Entry], float | None]] = {
    # Their scorers call sympy's parse_expr.
    "countdown": _countdown,
    "puzzle24": _countdown,
    # The library gives 0 the full score for a chance of 0.3: the beginning is alike.
    "coin_flip": lambda answer, entry: _is_near(answer, entry["answer"], Fraction(1, 10**4)),
    "decimal_arithmetic": _decimal_arithmetic,
    # The library takes every answer for True.
    "game_of_life_halting": lambda answer, entry: float(answer.lower() == entry["answer"].lower()),
    # The library takes the first number in the text, without its sign.
    "gsm_symbolic": lambda answer, entry: _is_near(answer, entry["answer"]),
    "number_sorting": _number_sorting,
}


@functools.cache
def _scorer(task: str) -> Callable[..., float]:
    import reasoning_gym  # over a second to import, and only the graders need it

    return reasoning_gym.get_score_answer_fn(task)


def check(row: Mapping[str, Any]) -> None:
    """Refuses a row: reasoning-gym's entries come from the library itself.

    Raises:
        ValueError: always.
    """
    raise ValueError("a file's rows cannot be graded by reasoning_gym")


def grade(rollout: Rollout, cfg: GraderConfig) -> Grade:
    """1.0 for the entry's own answer and for what the task's scorer gives its full score, else 0.0 or a partial score.

    Partial scores count only with `cfg.partial_credit`, and are the scorer's own. Many give part of the score to an
    answer that merely contains the right one, some a little to any answer in the right form: a policy farms that by
    listing candidates. Answer tags that differ are no answer. One on which a scorer breaks down, or that its guard
    refuses, is malformed.

    Args:
        rollout: its prompt's source is `reasoning_gym:<task>`, its metadata {"entry_metadata": entry["metadata"]}.

    Raises:
        ValueError: the library has no such task.
        KeyError: the metadata lacks the entry's own.
    """
    prompt, response = rollout.prompt, rollout.response
    task = prompt.source.removeprefix(SOURCE_PREFIX)
    score_answer = _scorer(task)
    entry = {"question": prompt.question, "answer": prompt.answer, "metadata": prompt.metadata["entry_metadata"]}
    answer, *others = set(response.answers) or {response.final}
    nothing_is_right = response.answers and not prompt.answer  # task ab's letters may all cancel
    if others or not (answer or nothing_is_right):
        return Grade(0.0, "no_answer")
    # Separators of thousands aside, and not the comma of a pair: 1,2 is not 12.
    vote = join_thousands(" ".join(answer.lower().split())).rstrip(".")[:200]
    if answer and answer == prompt.answer.strip():
        return Grade(1.0, "right", vote)
    if len(answer) > max(_MAX_CHARS, 2 * len(prompt.answer)):
        return Grade(0.0, "too_complex")
    try:
        # Some scorers print.
        with contextlib.redirect_stdout(io.StringIO()):
            score = _score(task, score_answer, answer, entry)
    except Exception:  # scorers parse the answer, each in its own way, and not all expect nonsense
        return Grade(0.0, "malformed")
    if score is None:
        return Grade(0.0, "malformed")
    if score >= _FULL_SCORE:
        return Grade(1.0, "right", vote)
    if cfg.partial_credit and score > 0:
        return Grade(score, "partly_right", vote)
    return Grade(0.0, "wrong", vote)


def _score(task: str, score_answer: Callable[..., float], answer: str, entry: Entry) -> float | None:
    """The score, 0.0 to 1.0; None when the answer is refused."""
    if task in _RULES:
        return _RULES[task](answer, entry)
    if task in _FORMS and not _FORMS[task].fullmatch(answer):
        return None
    if task in _GUARDS and not _GUARDS[task](answer, entry):
        return None
    score = float(score_answer(answer=answer, entry=entry))
    return score if 0 <= score <= 1 else 0.0  # NaN, and what a division by a negative reference makes
