"""Answers to reasoning-gym's tasks that run code, hang or fool a scorer: none raises, and none scores."""

import ast

import numpy as np
import pytest
import reasoning_gym
from hypothesis import given, settings
from hypothesis import strategies as st
from logic_test import OWN_SCORER, SLOW, accepted_answer, entries_of, first_entry, graded

from r1jax.data.types import Grade
from r1jax.graders import reasoning_gym as logic

# Full scores that the library gives to answers that break their task's rules; * stands for the right answer.
FOOLED = [
    ("advanced_geometry", "*, (0, 0)"),
    ("coin_flip", "0"),
    ("coin_flip", "0.3"),
    ("complex_arithmetic", "nan"),
    ("fraction_simplification", r"* or \frac{1}{2}"),
    ("game_of_life_halting", "perhaps"),
    ("game_of_life_halting", "True or False"),
    ("gsm_symbolic", "* or 7"),
    ("gsm_symbolic", "-*"),
    ("kakurasu", "I guess that it is * but who knows"),
    ("knights_knaves", "not *"),
    ("letter_jumble", "* and more"),
    ("number_sorting", "[NaN, NaN, NaN, NaN, NaN, NaN, NaN, NaN, NaN]"),
    ("quantum_lock", "not *"),
    ("simple_integration", "* or x"),
    ("sokoban", "*, then a bit of luck"),
    ("spell_backward", "* and more"),
    ("survo", "not *"),
    ("time_intervals", "*, 00:34:28"),
    ("tower_of_hanoi", "not*"),
    ("word_sorting", "*, more"),
]


@pytest.mark.parametrize("task, form", FOOLED)
def test_answers_that_fool_a_scorer_do_not_reach_it(task: str, form: str) -> None:
    score = reasoning_gym.get_score_answer_fn(task)
    fooled = 0
    for entry in entries_of(task):
        answer = form.replace("*", accepted_answer(task, entry))
        with np.errstate(all="ignore"):
            fooled += score(answer, entry) >= 1 - 1e-6
        assert graded(task, entry, answer).score == 0.0, answer
    assert fooled, "the library has become strict"


@pytest.mark.parametrize(
    "text",
    ["x**x", "2**x", "9**9**9", "x**999999999", "x**(9*9*9)", "2**-(1000)", "1e9999999", "0.E-9999999", "sin(x, x)"],
)
def test_a_formula_that_could_explode_is_refused(text: str) -> None:
    assert not logic._is_formula(text, {"metadata": {"variable": "x"}})


@pytest.mark.parametrize(
    "text",
    ["x**2", "x**-2", "x**(1/2)", "x**(-3/2)", "x**-(1/2)", "E**(2*x)", "x**0.5", "((x + 1)**3)**2", "exp(-x**2)"],
)
def test_a_formula_of_ordinary_powers_is_read(text: str) -> None:
    assert logic._is_formula(text, {"metadata": {"variable": "x"}})


INJECTIONS = [
    "__import__('os').system('touch {0}')",
    "[__import__('os').system('touch {0}')]",
    "(lambda: open('{0}', 'w'))()",
    "open('{0}', 'w').close()",
    "[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'Popen'][0](['touch', '{0}'])",
    "exec(\"open('{0}', 'w')\")",
    "x + __import__('os').system('touch {0}')",
    "sin(x, open('{0}', 'w'))",
    "{{1: open('{0}', 'w')}}",
    'f\'{{open("{0}", "w")}}\'',
    "(y := open('{0}', 'w'))",
    "parse_expr(\"open('{0}', 'w')\")",
]


HOSTILE = [
    *("entry", "oracle_answer", "self", "entry['answer']", "exit()", "lambda: 0", "[[1]*10**9]*10**9", "9**9**9**9"),
    *("nan", "inf", "-inf", "NaN", "[NaN]", "1e999", "1e999999999", "9" * 5000, "0x" + "f" * 5000, "\x00", "\ud800"),
    *("(" * 5000, "[" * 5000, "-" * 5000, "[" * 2000 + "]" * 2000, '{"a":' * 2000 + "1" + "}" * 2000, "¬" * 400),
    *(
        "U999999999",
        "A+999999999",
        "(a∧(b∧(c∧(d∧(e∧(f∧(g∧(h∧(i∧(j∧(k∧l)))))))))))",
        "P" * 400,
        "1" * 10**6,
        "(" * 10**6,
    ),
]


@pytest.mark.parametrize("task", ["ab", "gcd", *sorted(set(OWN_SCORER) - SLOW - {"ab"})])
def test_trap18_hostile_answers_neither_run_nor_raise_nor_score(task: str, tmp_path) -> None:
    witness = tmp_path / "witness"
    entry = first_entry(task)
    answers = [
        *(text.format(witness) for text in INJECTIONS),
        *HOSTILE,
        entry["question"],
        f"{entry['answer']}\n{entry['question']}",
    ]
    for answer in answers:
        score, verdict, *_ = graded(task, entry, answer, partial_credit=True)
        assert 0 <= score < 1, (answer[:100], verdict)
    assert not witness.exists()


def test_a_megabyte_is_refused_unread_and_a_long_reference_is_not() -> None:
    entry = {"question": "?", "answer": "1 " * 10**5, "metadata": {}}
    assert graded("chain_sum", entry, "9" * 10**6) == Grade(0.0, "too_complex")
    assert graded("chain_sum", entry, "1 " * 10**5) == Grade(1.0, "right")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["n_queens", "string_insertion", "simple_integration", "gsm_symbolic"]), st.text(max_size=40))
def test_no_text_raises_or_scores(task: str, text: str) -> None:
    entry = first_entry(task)
    score = graded(task, entry, text, partial_credit=True).score
    assert 0 <= score < 1 or text.strip() == entry["answer"]


@settings(max_examples=100, deadline=None)
@given(st.text("x1 2+*()[].,'\"abeopns_=:\\\n#", max_size=30))
def test_answers_that_pass_the_guard_call_nothing(text: str) -> None:
    if not logic._is_literal_only(text, {}):
        return
    try:
        tree = ast.parse(text.lstrip(" \t"), mode="eval")
    except SyntaxError:
        return
    assert not any(isinstance(node, ast.Call | ast.Name | ast.Attribute | ast.Lambda) for node in ast.walk(tree))
