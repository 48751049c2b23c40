"""Grader of reasoning-gym tasks: the library's scorers, and the forms in which their answers count."""

import functools
import json
from collections import deque
from typing import Any

import numpy as np
import pytest
import reasoning_gym
from reasoning_gym.dataset import ProceduralDataset
from reasoning_gym.factory import DATASETS
from reasoning_gym.games.rush_hour import Board

from r1jax.data.types import Grade, Prompt, Rollout
from r1jax.graders import reasoning_gym as logic
from r1jax.graders.config import GraderConfig

TASKS = sorted(set(DATASETS) - {"composite"})  # which only holds others
OWN_SCORER = [task for task in TASKS if DATASETS[task][0].score_answer is not ProceduralDataset.score_answer]
SLOW = {"knight_swap"}  # seconds to make an entry of
Entry = dict[str, Any]


@functools.cache  # for some of them are a second's search
def entries_of(task: str, count: int = 2) -> list[Entry]:
    options = {"min_moves": 1, "max_moves": 4} if task == "rush_hour" else {}  # ours to solve
    dataset = reasoning_gym.create_dataset(task, size=count, seed=0, **options)
    return [dataset[i] for i in range(count)]


def first_entry(task: str) -> Entry:
    return entries_of(task)[0]


def _rollout(task: str, entry: Entry, text: str) -> Rollout:
    answer = "" if entry["answer"] is None else str(entry["answer"])
    metadata = {"entry_metadata": entry["metadata"]}
    prompt = Prompt("p", entry["question"], answer, f"reasoning_gym:{task}", metadata=metadata)
    return Rollout.of_text(prompt, text)


def graded(task: str, entry: Entry, answer: str, partial_credit: bool = False) -> Grade:
    rollout = _rollout(task, entry, f"<think>a</think><answer>{answer}</answer>")
    grade = logic.grade(rollout, GraderConfig(partial_credit=partial_credit))
    return grade._replace(answer="")  # canonical_test has what votes go by


def _score(text: str, task: str = "chain_sum") -> float | None:
    return logic.grade(_rollout(task, first_entry(task), text), GraderConfig()).score


def accepted_answer(task: str, entry: Entry) -> str:
    """The entry's answer, or one made from its metadata for the five tasks that have none."""
    metadata = entry["metadata"]
    if task == "boxnet":
        return json.dumps(_boxes_home(metadata["initial_state"]))
    if task == "graph_color":
        return json.dumps(metadata["possible_answer"])
    if task == "propositional_logic":
        return metadata["example_answer"]
    if task == "rubiks_cube":
        return metadata["example_correct_answer"]
    if task == "rush_hour":
        return _way_out(metadata["board_config"])
    return str(entry["answer"])


def _boxes_home(state: dict[str, list[str]]) -> list[dict[str, str]]:
    steps, at = [], {item: place for place, items in state.items() for item in items}
    for box in (item for item in at if item.startswith("box_")):
        row, column = map(float, at[box].split("_"))
        goal_row, goal_column = map(float, at[box.replace("box_", "target_")].split("_"))
        while (row, column) != (goal_row, goal_column):
            here = f"Agent[{row}, {column}]"
            row, column = (
                (row + np.sign(goal_row - row), column)
                if row != goal_row
                else (row, column + np.sign(goal_column - column))
            )
            steps.append({here: f"move({box}, square[{row}, {column}])"})
        steps.append({f"Agent[{row}, {column}]": f"move({box}, {box.replace('box_', 'target_')})"})
    return steps


def _way_out(board_config: str) -> str:
    cars = sorted(set(str(Board(board_config))) - set(".x\n"))  # the question's letters, not the configuration's
    queue, seen = deque([""]), set()
    while queue:
        moves = queue.popleft()
        board = Board(board_config)
        board.perform_moves(moves)
        if board.solved:
            return moves.strip()
        if str(board) not in seen:
            seen.add(str(board))
            queue.extend(f"{moves} {car}{step}" for car in cars for step in ("+1", "-1"))
    raise AssertionError("no way out")


@pytest.mark.parametrize("task", sorted(set(TASKS) - SLOW))
def test_trap23_the_entrys_own_answer_scores_1(task: str) -> None:
    for entry in entries_of(task):
        answer = accepted_answer(task, entry)
        assert graded(task, entry, f"\n{answer}\n") == Grade(1.0, "right"), (entry["question"], answer)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_trap23_many_entries_own_answers_score_1(task: str) -> None:
    for entry in entries_of(task, {"futoshiki": 5, "knight_swap": 3, "rush_hour": 3}.get(task, 50)):
        answer = accepted_answer(task, entry)
        assert graded(task, entry, answer) == Grade(1.0, "right"), (entry["question"], answer)


@pytest.mark.parametrize("form", ["*", "<think>a</think> *", "<answer>*</answer>", "<answer>*.0</answer>"])
def test_the_answer_counts_without_the_response_format(form: str) -> None:
    answer = first_entry("chain_sum")["answer"]
    assert _score(form.replace("*", answer)) == 1.0


@pytest.mark.parametrize("form", ["It is *", "* *", "1 2 3 * 5 6", "* or 7"])
def test_an_answer_that_merely_contains_the_right_one_scores_only_where_partial_credit_is_on(form: str) -> None:
    entry = first_entry("chain_sum")
    text = form.replace("*", entry["answer"])
    part = reasoning_gym.get_score_answer_fn("chain_sum")(text, entry)
    assert 0 < part < 1, "the library has become strict"
    assert graded("chain_sum", entry, text) == Grade(0.0, "wrong")
    assert graded("chain_sum", entry, text, partial_credit=True) == Grade(part, "partly_right")


def test_answers_that_differ_are_no_answer_and_one_repeated_is() -> None:
    answer = first_entry("chain_sum")["answer"]
    assert _score(f"<answer>{answer}</answer><answer>7</answer>") == 0.0
    assert _score(f"<answer>{answer}</answer><answer> {answer} </answer>") == 1.0


def test_trap20_the_answer_inside_the_thought_is_not_graded() -> None:
    answer = first_entry("chain_sum")["answer"]
    for text in ("", f"<think>{answer}</think>", f"<think>{answer}", f"<think>{answer}</think>999999"):
        assert _score(text) == 0.0


@pytest.mark.parametrize(
    "task", ["polynomial_equations", "boxnet", "graph_color", "rubiks_cube", "rush_hour", "chain_sum"]
)
def test_an_empty_answer_is_not_right(task: str) -> None:
    entry = first_entry(task)
    for partial_credit in (False, True):
        assert graded(task, entry, "", partial_credit).score == 0.0
    assert _score("", task) == 0.0


def test_an_empty_answer_is_right_where_all_letters_cancel() -> None:
    entry = {"question": "?", "answer": "", "metadata": {}}
    assert graded("ab", entry, "") == Grade(1.0, "right")
    assert graded("ab", entry, "A#").score == 0.0
    assert logic.grade(_rollout("ab", entry, "<think>a"), GraderConfig()) == Grade(0.0, "no_answer")


def test_a_conclusion_is_read_whole() -> None:
    entry = {"question": "?", "answer": None, "metadata": {"premises": ["(P ∧ Q)", "¬R"], "variables": ["P", "Q", "R"]}}
    for text in ("(P ∨ R)", "¬R", "(Q ∧ ¬R)", "(P → (Q ↔ P))", "P ∨\n¬Q"):
        assert graded("propositional_logic", entry, text).score == 1.0, text
    for text in (
        "¬R or so",
        "¬R\n(P ∨ Q)",
        "¬R ¬R",
        "(P ∨ QQ)",
        "(p ∨ ¬R)",
        "¬(" * 250,
        "(P ∨ R",
        "P ∧∧ Q",
        "P()",
        "()",
        "P(Q)",
    ):
        assert graded("propositional_logic", entry, text).score == 0.0, text
    assert reasoning_gym.get_score_answer_fn("propositional_logic")("(p ∨ ¬R)", entry) == 1.0


def test_targets_that_are_moved_to_their_boxes_are_refused() -> None:
    state = {"0.5_0.5": ["box_red"], "0.5_1.5": ["target_red"]}
    entry = {"question": "?", "answer": None, "metadata": {"initial_state": state}}
    home = {"Agent[0.5, 0.5]": "move(box_red, target_red)"}
    for item, score in (("target_red", 0.0), ("\\u0074arget_red", 0.0)):
        steps = [{"Agent[0.5, 1.5]": f"move({item}, square[0.5, 0.5])"}, home]
        answer = json.dumps(steps).replace("\\\\", "\\")
        assert reasoning_gym.get_score_answer_fn("boxnet")(answer, entry) == 1.0
        assert graded("boxnet", entry, answer).score == score
    steps = [{"Agent[0.5, 0.5]": "move(box_red, square[0.5, 1.5])"}, {"Agent[0.5, 1.5]": home["Agent[0.5, 0.5]"]}]
    assert graded("boxnet", entry, json.dumps(steps)).score == 1.0


def test_numbers_that_are_nearly_sorted_or_nearly_the_same_are_not() -> None:
    entry = {"question": "?", "answer": "['1.5', '2.0']", "metadata": {"direction": "ascending"}}
    right = ["['1.5', '2.0']", '["1.50", "2"]', "[1.5, 2]"]
    wrong = ["[1.6, 2]", "[2, 1.5]", "[1.5]", "[1.5, 2, 3]", '{"1.5": 2}', "1.5, 2", "[[1.5, 2]]", "[true, 2]"]
    assert [graded("number_sorting", entry, text).score for text in right] == [1.0] * 3
    assert [graded("number_sorting", entry, text).score for text in wrong] == [0.0] * 8


def test_grids_with_more_rows_or_cells_than_the_question_has_are_refused() -> None:
    entry = {"question": "?", "answer": "[[0,1],[1,0]]", "metadata": {}}
    assert graded("game_of_life", entry, "[[0, 1], [1, 0]]").score == 1.0
    for text in ("[[0,1],[1,0],[0,0]]", "[[0,1,0],[1,0,0]]", '["01","10"]', '{"0": [0,1]}', "[0,1]", "7"):
        assert graded("game_of_life", entry, text, partial_credit=True).score == 0.0, text


def test_a_tolerance_follows_the_entrys_own_decimals() -> None:
    metadata = {"difficulty": {"decimal_places": (6, 6)}}
    entry = {"question": "?", "answer": "0.0004567891", "metadata": metadata}
    assert graded("decimal_arithmetic", entry, "0.000456").score == 1.0
    for text in ("0", "0.0005", "0.001", "nan", "1e-4"):
        assert graded("decimal_arithmetic", entry, text).score == 0.0, text
    assert reasoning_gym.get_score_answer_fn("decimal_arithmetic")("0", entry) == 1.0


def test_a_score_beyond_its_range_is_none() -> None:
    metadata = {"task": "count_days"}
    entry = {"question": "?", "answer": "-1", "metadata": metadata}
    assert reasoning_gym.get_score_answer_fn("calendar_arithmetic")("5", entry) > 1
    assert graded("calendar_arithmetic", entry, "5", partial_credit=True).score == 0.0
    assert graded("calendar_arithmetic", entry, "-1").score == 1.0


@pytest.mark.parametrize(
    "text, score",
    [
        ("1,225", 1.0),
        ("1225.0", 1.0),
        ("12,25", 0.0),
        ("1,2,25", 0.0),
        ("0.1,225", 0.0),
        ("01,225", 0.0),
    ],
)
def test_commas_are_left_out_between_thousands_alone(text: str, score: float) -> None:
    entry = {"question": "?", "answer": "1225", "metadata": {}}
    assert logic.grade(_rollout("gsm_symbolic", entry, text), GraderConfig()).score == score
    for answer in ("12345,678", "0.1,225"):
        wanted = {"question": "?", "answer": answer.replace(",", ""), "metadata": {}}
        assert logic.grade(_rollout("gsm_symbolic", wanted, answer), GraderConfig()).score == 0.0


def test_a_thousandth_of_a_second_is_a_difference() -> None:
    entry = {"question": "?", "answer": "00:00:01.500", "metadata": {"task_type": "time_ms"}}
    assert graded("time_intervals", entry, "00:00:01.501").score == 0.0


@pytest.mark.parametrize("task", ["countdown", "puzzle24"])
def test_trap19_countdown_is_graded_by_its_own_grammar(task: str) -> None:
    entry = {"question": "?", "answer": "4*(5 - 2) + 12", "metadata": {"numbers": [2, 5, 4, 12], "target": 24}}
    for text in ("12 + 4*(5-2)", "4*(5 - 2) + 12", "-(2-5)*4+12"):
        assert graded(task, entry, text).score == 1.0, text
    for text in ("24", "4*(5-2)+12 = 24", "2.5*4+12+2", "2*12", "3*8*1*1", "12+12+0+0", "12*2**(5-4)", "(2,5,4,12)"):
        assert graded(task, entry, text).score == 0.0, text


@pytest.mark.parametrize("task", ["simple_integration", "intermediate_integration"])
def test_the_question_repeated_as_an_integral_is_no_antiderivative(task: str) -> None:
    metadata = {"integrand": "x*cos(x)", "variable": "x"}
    entry = {"question": "?", "answer": "x*sin(x) + cos(x) + C", "metadata": metadata}
    for text in ("cos(x) + x*sin(x)", "x*sin(x) + sin(x + pi/2) + C", "(x**2)**(1/2)*sin(x)*x/sqrt(x**2) + cos(x)"):
        assert graded(task, entry, text).score == 1.0, text
    scores = reasoning_gym.get_score_answer_fn(task)
    for text in ("Integral(x*cos(x), x)", "integrate(x*cos(x), x)", "integrate(x*cos(x))"):
        assert scores(text, entry) == 1.0
        assert graded(task, entry, text) == Grade(0.0, "malformed")


def test_output_of_a_scorer_is_suppressed(capsys: pytest.CaptureFixture[str]) -> None:
    entry = first_entry("tower_of_hanoi")
    assert graded("tower_of_hanoi", entry, "Move disk 1 from Peg 1 to Peg 99").score == 0.0
    assert capsys.readouterr().out == ""


def test_grading_does_not_change_the_entry() -> None:
    for task in sorted(set(TASKS) - SLOW):
        entry = first_entry(task)
        before = repr(entry)
        for answer in ("1", "[]", "{}", str(entry["answer"])[:-1], f"{entry['answer']} "):
            graded(task, entry, answer, partial_credit=True)
        assert repr(entry) == before, task


def test_an_unknown_task_and_missing_metadata_are_errors() -> None:
    entry = first_entry("chain_sum")
    rollout = _rollout("chain_sum", entry, "1")
    object.__setattr__(rollout.prompt, "metadata", {"other": 1})
    with pytest.raises(KeyError, match="entry_metadata"):
        logic.grade(rollout, GraderConfig())
    with pytest.raises(ValueError, match="no_such_task"):
        logic.grade(_rollout("no_such_task", entry, "1"), GraderConfig())


def test_a_files_row_cannot_be_graded() -> None:
    with pytest.raises(ValueError, match="reasoning_gym"):
        logic.check({"prompt": "?", "answer": "1"})
