"""Mutants are Python, differ from their original and each other, and are the same every time."""

import ast

from r1jax.audit.program_mutants import GROSS, mutants

SOURCE = """
def count(values, low):
    total = 0
    for value in values:
        if value > low:
            total += 1
    return total * 2
"""


def test_mutants_are_made_of_every_kind() -> None:
    made = dict(mutants(SOURCE))
    assert list(made) == [*GROSS, "comparison", "constant", "arithmetic"]
    assert len({ast.unparse(ast.parse(source)) for source in [SOURCE, *made.values()]}) == 6
    assert "value <= low" in made["comparison"]


def test_mutants_are_the_same_every_time() -> None:
    assert mutants(SOURCE) == mutants(SOURCE)


def test_gross_mutants_return_nothing_of_use() -> None:
    for name in GROSS:
        namespace: dict = {}
        exec(dict(mutants(SOURCE))[name], namespace)
        assert namespace["count"]([1, 2], 0) in (None, "mutant")


def test_a_program_that_returns_nothing_has_no_gross_mutant() -> None:
    assert mutants("def greet(name):\n    print(name)\n    return") == []
