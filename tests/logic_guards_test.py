"""Guards of reasoning-gym's scorers: by the library's source, every scorer that evaluates its input has one."""

import ast
import inspect
import textwrap
from types import FunctionType

import pytest
from logic_test import TASKS
from reasoning_gym.factory import DATASETS

from r1jax.graders import reasoning_gym

EVALUATE = {"eval", "exec", "compile", "__import__", "parse_expr", "sympify", "simplify", "lambdify", "parse_latex"}
REACH_OUT = {"os", "subprocess", "pickle", "marshal", "importlib", "yaml", "shutil", "socket"}


def _evaluators(function: FunctionType, owner: type, seen: set[object]) -> set[str]:
    """What evaluates text, or reaches beyond it, among all that a scorer calls in the library and at its edge."""
    names = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                called = function.__globals__.get(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name)):
                called = getattr(owner, name, None)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=name)):
                called = getattr(function.__globals__.get(module), name, None)
                if module in REACH_OUT or (name in EVALUATE and module != "re"):
                    names.add(name)
            case _:
                continue
        methods = vars(called).values() if inspect.isclass(called) else [called]
        methods = [getattr(method, "__func__", method) for method in methods]
        own = [m for m in methods if inspect.isfunction(m) and m.__module__.startswith("reasoning_gym")]
        if isinstance(node.func, ast.Name) and name in EVALUATE and not own:
            names.add(name)
        for method in own:
            if method not in seen:
                seen.add(method)
                names |= _evaluators(method, called if inspect.isclass(called) else owner, seen)
    return names


def test_every_scorer_that_evaluates_text_is_guarded() -> None:
    evaluators = {}
    for task in TASKS:
        owner = DATASETS[task][0]
        if names := _evaluators(owner.score_answer, owner, set()):
            evaluators[task] = names
    # This one evaluates the question, and reads the answer by int().
    assert evaluators.pop("bitwise_arithmetic") == {"eval"}
    assert {"binary_matrix", "n_queens", "countdown", "simple_integration"} <= set(evaluators), "the reading is broken"
    strict = reasoning_gym._is_literal_only, reasoning_gym._is_formula
    guarded = {task for task, guard in reasoning_gym._GUARDS.items() if guard in strict}
    assert set(evaluators) <= guarded | set(reasoning_gym._SCORERS)


@pytest.mark.parametrize("table", [reasoning_gym._GUARDS, reasoning_gym._ANSWER_PATTERNS, reasoning_gym._SCORERS])
def test_every_guard_is_for_an_existing_task(table: dict[str, object]) -> None:
    assert set(table) <= set(TASKS)
