"""Generated references: a check takes a right one and refuses a wrong one, and no question comes with a wrong one."""

import decimal
import json
import pathlib
import re

import pytest
import reasoning_gym

from r1jax.data import reference_answer_checks, reference_puzzle_checks
from r1jax.data.reference_answer_checks import CHECKS, is_right
from r1jax.data.tasks import DataConfig, Questions, TaskConfig
from r1jax.tools import audit

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs" / "rewards.md"
KNIGHTS = (
    "A very special island is inhabited only by sages and fools. Sages always tell the truth, and fools always lie. "
    "You meet 2 inhabitants: Jack, and Jackson. {} So who is a sage and who is a fool? (Format your answer like: "
    '"Jack is a sage/fool, and Jackson is a sage/fool")'
)
ONE_LIES = KNIGHTS.format('Jack said that if Jack is a sage then Jackson is a fool. "Jack is a fool," Jackson claimed.')
EQUAL = KNIGHTS.format(
    'Jack said, "it is not the case that (Jack is a sage and Jackson is a fool)." In Jackson\'s words: '
    '"(Jack is a fool or Jackson is a sage) if and only if Jack is a sage".'
)
SYLLOGISM = "Consider these statements:\n1. {}\n2. {}\n\nDoes it logically follow that:\n{}?\n(Answer Yes or No)"
LOGIC = "Here is the question:\nGiven:\n1. (P → ¬Q)\n.2. ¬¬P\n.What can we conclude from the above statements?"
GRID = "in the following grid:\n* O X\nX O #\n"
SUDOKU = "puzzle:\n1 _ _ 4\n3 4 1 2\n2 1 4 3\n4 3 2 1\nRespond with"
HANOI = "Solve the problem with 2 disks and 3 pegs.\nMove all disks from Peg 1 to Peg 3 following the rules:\n"
JUGS = "The empty jugs hold this many litres of water: A:3, B:5\nAnd your target is: 4 litres.\n"

# task, question, a right reference, a wrong one
EXAMPLES = [
    ("base_conversion", "Now, convert the base-8 number 17 to base-14", "11", "15"),
    ("base_conversion", "Now, convert the binary number 11111 to hexadecimal", "1f", "f1"),
    ("basic_arithmetic", "Calculate 8 / 2 + -( -3 * 5 ).", "19", "-11"),
    ("basic_arithmetic", "What is 7 / 2?", "7/2", "3"),
    ("binary_matrix", "the matrix below:\n1 1 0\n1 1 1\n", "2 1 0\n3 2 1", "2 1 0\n2 2 1"),
    ("bitwise_arithmetic", "final hexidecimal value.\n((0x10 >> 0x2) - (0x1 << 0x3))", "-0x4", "0x4"),
    ("chain_sum", "State the final answer to the following arithmetic problem: 4 - 1 - 7 =", "-4", "10"),
    ("count_bits", "How many 1 bits are there in the binary representation of the number 10?", "2", "3"),
    ("count_primes", "how many prime numbers there are between 0 and 11 (inclusive) ?", "5", "4"),
    ("countdown", "Calculate 10 using all of these numbers: 2, 2, 6.\nEach", "2 + 2 + 6", "4 + 6"),
    ("countdown", "Using all the numbers 2, 3, create an expression that equals 5.\n", "2 + 3", "5"),
    ("course_schedule", "a total of 3 courses, 0 to 2.\nrequisites:\n[(0, 1), (1, 2)]\n", "True", "False"),
    ("course_schedule", "a total of 3 courses, 0 to 2.\nrequisites:\n[(0, 1), (1, 0)]\n", "False", "True"),
    ("decimal_arithmetic", "maximum of 4 significant digits.\n1.000/8.000*1.001 = ?", "0.1251", "0.1252"),
    ("decimal_arithmetic", "maximum of 4 significant digits.\n1.0005*1 = ?", "1.001", "1.000"),
    ("decimal_chain_sum", "the following arithmetic problem: 4.4439 + 1.25 - 7.8 =", "-2.1061", "-2.106"),
    ("dice", "I have these dice: 2d2, 1d3. What are the odds of rolling 6 or higher?", "1/3", "1/4"),
    ("fraction_simplification", r"the fraction $\dfrac{8}{12}$ to its lowest", r"$\dfrac{2}{3}$", r"$\dfrac{4}{6}$"),
    ("gcd", "Divisor (GCD) of these numbers: 12, 18, 30. Give", "6", "3"),
    ("jugs", JUGS, '["fill B", "pour B->A", "empty A", "pour B->A", "fill B", "pour B->A"]', '["fill B", "empty A"]'),
    ("knights_knaves", ONE_LIES, "Jack is a sage, and Jackson is a fool.", "Jack is a fool, and Jackson is a sage."),
    ("knights_knaves", EQUAL, "Jack is a sage, and Jackson is a sage.", "Jack is a fool, and Jackson is a fool."),
    ("largest_island", "grid:\n1 0 1\n1 0 1\n1 0 0\n", "3", "5"),
    ("lcm", "Multiple (LCM) of these numbers: 4, 6", "12", "24"),
    ("leg_counting", "in total if you have 2 woodlouses, 1 praying mantiss, 3 sheeps?", "46", "44"),
    ("mini_sudoku", SUDOKU, "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1", "1 3 2 4\n3 4 1 2\n2 1 4 3\n4 3 2 1"),
    (
        "number_filtering",
        "Remove all numbers larger than 2.5 in this list: ['2.50', '-3', '4']\n",
        "['2.50', '-3']",
        "['2.50']",
    ),
    ("number_format", "pick the smallest number of the following candidates: 1,200.5 1.2004e+03", "1200.4", "1200.5"),
    (
        "number_sorting",
        "Sort these numbers in descending order: 2.0, -1.5, 10\nPlease",
        "['10', '2.0', '-1.5']",
        "['2.0', '10', '-1.5']",
    ),
    ("prime_factorization", "Find the prime factorization of 12. Write", "2 × 2 × 3", "4 × 3"),
    ("products", "Solve the following multiplication: 12 * 13. Give only", "156", "155"),
    ("puzzle24", "Make 24 using 1, 3, 5, 9. You can", "1*3*5 + 9", "3*5 + 9"),
    ("rotten_oranges", "below has a fresh orange:\n2 1 1\n0 0 1\n", "3", "2"),
    ("rotten_oranges", "below has a fresh orange:\n2 0 1\n", "-1", "0"),
    ("shortest_path", GRID, "right down right", "right right down"),
    ("shortest_path", "following grid:\n* X #\n", "infeasible", "right right"),
    ("simple_equations", "Solve for m: 56 - 98*m = -1218", "13", "12"),
    ("simple_geometry", "with 4 sides, its first 3 interior angles are: 155.0°, 26.0°, 75.0°. What", "104", "284"),
    ("sudoku", SUDOKU, "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1", "2 1 3 4\n3 4 1 2\n1 2 4 3\n4 3 2 1"),
    ("syllogism", SYLLOGISM.format("All dogs are cats", "All cats are bees", "Some bees are dogs"), "Yes", "No"),
    (
        "syllogism",
        SYLLOGISM.format("All dogs are cats", "Some cats are not bees", "Some dogs are not bees"),
        "No",
        "Yes",
    ),
    ("syllogism", SYLLOGISM.format("No dogs are cats", "All cats are bees", "Some bees are not dogs"), "Yes", "No"),
    (
        "tower_of_hanoi",
        HANOI,
        "Move disk 1 from Peg 1 to Peg 2\nMove disk 2 from Peg 1 to Peg 3\nMove disk 1 from Peg 2 to Peg 3",
        "Move disk 1 from Peg 1 to Peg 3\nMove disk 2 from Peg 1 to Peg 3",
    ),
]
# Of the first 500 entries, seed 0; all other checked tasks: none.
FAULTY = {
    "basic_arithmetic": 6,
    "decimal_arithmetic": 40,
    "propositional_logic": 4,
    "simple_equations": 1,
    "simple_geometry": 187,
    "syllogism": 59,
}
# Their generators search: fewer entries.
SEARCHING = {"countdown": 10, "puzzle24": 3, "sudoku": 4}


@pytest.mark.parametrize("task, question, right, wrong", EXAMPLES, ids=[example[0] for example in EXAMPLES])
def test_a_right_reference_passes_and_a_wrong_one_does_not(task: str, question: str, right: str, wrong: str) -> None:
    assert CHECKS[task]({"question": question, "answer": right}), "and by itself, not because it cannot be applied"
    assert not is_right(task, {"question": question, "answer": wrong})
    assert not is_right(task, {"question": question, "answer": "no idea"})


@pytest.mark.parametrize("conclusion, follows", [("¬Q", True), ("(P ∧ ¬Q)", True), ("Q", False), ("(Q ↔ P)", False)])
def test_a_conclusion_must_follow_from_the_premises(conclusion: str, follows: bool) -> None:
    entry = {"question": LOGIC, "answer": None, "metadata": {"example_answer": conclusion}}
    assert is_right("propositional_logic", entry) == follows


def test_every_check_has_an_example_of_both() -> None:
    assert {example[0] for example in EXAMPLES} | {"propositional_logic"} == set(CHECKS)


@pytest.mark.parametrize(
    "formula, cases",
    [("P", 0b1010), ("¬P", 0b0101), ("P ∨ Q ∧ P", 0b1010), ("P → Q", 0b1101), ("¬(P ↔ Q)", 0b0110), ("¬P ∧ Q", 0b0100)],
)
def test_formulas_are_read_by_precedence(formula: str, cases: int) -> None:
    columns = reference_puzzle_checks._columns(["P", "Q"])
    assert reference_puzzle_checks._truth(formula, columns) & 0b1111 == cases


def test_a_question_or_task_that_no_check_knows_is_left_as_it_is() -> None:
    assert is_right("chain_sum", {"question": "Add 1 and 1.", "answer": "3"})
    assert is_right("aiw", {"question": "?", "answer": "3"})


@pytest.mark.parametrize("question", ["Solve for m: 0 = 0", "Solve for m: 3*m = 3*m"])
def test_an_equation_that_any_number_solves_has_no_reference(question: str) -> None:
    assert not is_right("simple_equations", {"question": question, "answer": "83"})


def test_a_polygon_with_an_angle_above_180_degrees_is_not_convex() -> None:
    question = "a convex 4-gon whose first 3 interior angles are: 20.0°, 30.0°, 40.0°. Determine"
    assert not is_right("simple_geometry", {"question": question, "answer": "270"})


def failing(task: str, count: int, **options: object) -> int:
    """How many of the first references fail; a question that the check does not know raises."""
    entries = reasoning_gym.create_dataset(task, seed=0, size=count, **options)
    unknown = [entry["question"] for entry in entries if not _is_known(task, entry)]
    assert not unknown, f"{len(unknown)} questions that the check of {task} cannot read, the first: {unknown[0]}"
    return sum(not is_right(task, entry) for entry in entries)


def _is_known(task: str, entry: reference_answer_checks.Entry) -> bool:
    try:
        CHECKS[task](entry)
    except reference_answer_checks.UnknownQuestionError:
        return False
    except Exception:
        return True
    return True


@pytest.mark.parametrize("task", CHECKS)
def test_the_checks_know_every_question_and_most_tasks_have_no_wrong_reference(task: str) -> None:
    found = failing(task, SEARCHING.get(task, 30))
    assert found == 0 or task in FAULTY


def test_59_of_500_syllogisms_have_a_wrong_answer() -> None:
    assert failing("syllogism", 500) == FAULTY["syllogism"]


@pytest.mark.slow
@pytest.mark.parametrize("task", CHECKS)
def test_how_many_of_500_references_are_wrong(task: str) -> None:
    assert failing(task, 500) == FAULTY.get(task, 0)


def test_the_docs_list_the_checked_tasks_and_what_was_found() -> None:
    _, table = DOCS.read_text("utf-8").split("<!-- reference checks -->")
    table, _ = table.split("<!-- /reference checks -->")
    rows = re.findall(r"^\| (`.*`) \| .* \| (\d+) of 500(?: each)? \|$", table, re.MULTILINE)
    listed = {name: int(count) for names, count in rows for name in re.findall(r"\w+", names)}
    assert listed == {task: FAULTY.get(task, 0) for task in CHECKS}


def test_the_audit_counts_a_wrong_reference_as_one_that_cannot_be_graded_against(tmp_path: pathlib.Path) -> None:
    arguments = ["--task", "syllogism", "--limit", "12", "--workers", "1", "--workdir", str(tmp_path), "--strict"]
    assert audit.main(arguments) == 1
    [summary] = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert (
        summary["rows"] == 12 and summary["unreadable"]["count"] == 1 and summary["own"] == {"passed": 11, "tried": 11}
    )
    [failure] = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text("utf-8").splitlines()]
    assert failure["id"] == "syllogism-11" and failure["error"].startswith("wrong: recomputed from the question")


class Letters:
    def encode(self, text: str) -> list[int]:
        return [*map(ord, text)]


def questions(*tasks: TaskConfig, seed: int = 0) -> Questions:
    return Questions(DataConfig(tasks=tasks, held_out_share=0.3), seed, Letters(), examine=lambda row: "maths")


@pytest.mark.parametrize("task", ["syllogism", "simple_geometry"])
@pytest.mark.parametrize("held_out", [False, True])
def test_a_question_with_a_wrong_reference_is_never_asked_and_is_counted(task: str, held_out: bool) -> None:
    source = questions(TaskConfig(task))
    assert source.faulty == 0 and source.left_out() == ""
    prompts = source.take(0, 60, held_out)
    assert all(is_right(task, {"question": prompt.question, "answer": prompt.answer}) for prompt in prompts)
    assert source.faulty > 0
    assert source.left_out() == f"{source.faulty} generated questions with a wrong reference answer left out"
    again = source.faulty
    assert source.take(0, 60, held_out) == prompts and source.faulty == again, "met again they count once"


@pytest.mark.parametrize("held_out", [False, True])
def test_the_stream_stays_a_function_of_seed_and_position(held_out: bool) -> None:
    tasks = TaskConfig("syllogism"), TaskConfig("chain_sum")
    whole = questions(*tasks).take(0, 20, held_out)
    resumed = questions(*tasks)
    assert resumed.take(12, 8, held_out) == whole[12:] and resumed.take(0, 12, held_out) == whole[:12]


def test_questions_whose_references_are_right_are_those_that_an_unchecked_stream_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = TaskConfig("chain_sum"), TaskConfig("syllogism"), TaskConfig("gcd")
    checked = questions(*tasks).take(0, 60)
    monkeypatch.setattr(reference_answer_checks, "CHECKS", {})
    unchecked = questions(*tasks).take(0, 60)
    differing = [prompt for prompt, other in zip(checked, unchecked, strict=True) if prompt != other]
    assert {prompt.source for prompt in differing} == {"reasoning_gym:syllogism"}
    assert 0 < len(differing) < 10


def test_one_tasks_precision_does_not_round_the_references_of_another() -> None:
    sums = TaskConfig(
        "decimal_chain_sum",
        options={"min_digits": 9, "max_digits": 9, "min_decimal_places": 6, "max_decimal_places": 6},
    )
    alone = questions(sums)
    prompts = alone.take(0, 10)
    with decimal.localcontext() as context:
        questions(TaskConfig("decimal_arithmetic")).take(0, 1)
        assert decimal.getcontext().prec == context.prec
        context.prec = 12  # what the library's generator leaves behind
        assert questions(sums).take(0, 10) == prompts
    assert alone.faulty == 0
