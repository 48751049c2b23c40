"""Steps that teach nothing are told once, with the verdicts and what to do, and so is their end."""

import pytest

from r1jax.io import jsonl
from r1jax.stages.learning_signal import STEPS, SignalWatch, explain

SILENT = {"groups/no_signal": 1.0, "reward/accuracy": 0.0, "verdict/wrong": 0.75, "verdict/no_answer": 0.25}
FORM_ALONE = SILENT | {"groups/no_signal": 0.5, "reward/format": 0.1}
TEACHING = {"groups/no_signal": 0.9, "reward/accuracy": 0.01, "verdict/right": 0.01, "verdict/wrong": 0.99}


def watch(tmp_path, capsys, rows: list[dict], start: int = 0, accuracy: bool = True, teacher=False) -> list[str]:
    """What a run of these rows says from step `start` on, where it was resumed, and its end."""
    jsonl.write(tmp_path / "metrics.jsonl", ({"step": step, **row} for step, row in enumerate(rows[:start])))
    signal = SignalWatch(tmp_path, start, accuracy, teacher)
    for step, row in enumerate(rows[start:], start):
        signal.add(step, row)
    signal.at_end()
    return capsys.readouterr().out.splitlines()


def test_no_signal_is_told_once_when_it_lasts_and_when_it_ends(tmp_path, capsys):
    few = [TEACHING, *[SILENT] * (STEPS - 1), TEACHING]
    assert watch(tmp_path, capsys, few) == []
    begins, ends, begins_again = watch(tmp_path, capsys, [TEACHING, *[SILENT] * 9, TEACHING, *[SILENT] * 6])
    assert begins.startswith(f"step {1 + STEPS}: no group has had a signal for {STEPS} steps")
    assert "wrong 75%, no_answer 25%, well formed 0%" in begins and "too hard" in begins
    assert ends == "step 11: groups have a signal again, after 9 steps without"
    assert begins_again.startswith(f"step {11 + STEPS}: no group")


def test_only_the_form_is_learnt_where_no_sample_is_right(tmp_path, capsys):
    begins, ends = watch(tmp_path, capsys, [*[FORM_ALONE] * 7, TEACHING])
    assert begins.startswith(f"step {STEPS}: no sample has been right for {STEPS} steps")
    assert "well formed 10%" in begins
    assert ends == "step 8: the first right answers after 7 steps without"
    assert watch(tmp_path, capsys, [*[FORM_ALONE] * 7, TEACHING], accuracy=False) == []
    silent, again, none_right, right = watch(tmp_path, capsys, [*[SILENT] * 7, FORM_ALONE, TEACHING])
    assert silent.startswith("step 5: no group") and again.startswith("step 8: groups have a signal again")
    assert none_right.startswith("step 8: no sample has been right for 8 steps")
    assert right.startswith("step 9: the first right answers")


def test_trap33_a_resumed_run_goes_on_counting_and_does_not_repeat_itself(tmp_path, capsys):
    rows = [TEACHING, *[SILENT] * 8, FORM_ALONE, TEACHING]
    whole = watch(tmp_path, capsys, rows)
    assert [int(line.split(":")[0].removeprefix("step ")) for line in whole] == [6, 10, 10, 11]
    for start, said in [(0, 0), (4, 0), (5, 0), (6, 1), (9, 1), (10, 3), (11, 4)]:
        assert watch(tmp_path, capsys, rows, start) == whole[said:]


def test_a_run_without_any_signal_says_at_its_end_that_nothing_was_learnt(tmp_path, capsys):
    assert "nothing was learnt" in watch(tmp_path, capsys, [SILENT] * 2)[-1]
    assert "nothing was learnt" in watch(tmp_path, capsys, [SILENT] * 9, start=9)[-1]  # a finished run, started again
    assert watch(tmp_path, capsys, [TEACHING, SILENT]) == [] == watch(tmp_path, capsys, [])


def test_with_a_teacher_there_is_something_to_learn_without_rewards(tmp_path, capsys):
    for start in (0, 7, 9):
        assert watch(tmp_path, capsys, [*[SILENT] * 7, FORM_ALONE, SILENT], start, teacher=True) == []


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        ({"verdict/right": 1.0}, "too easy"),
        ({"verdict/wrong": 1.0}, "too hard"),
        ({"verdict/no_answer": 0.6, "verdict/wrong": 0.4}, "no answer is found"),
        ({"verdict/no_answer": 0.9, "length/truncated": 0.8}, "sampling.max_new_tokens"),
        ({"verdict/ungradable": 0.9, "verdict/wrong": 0.1}, "r1jax audit"),
    ],
)
def test_the_reason_follows_from_the_verdicts(row, advice):
    assert advice in explain([row])
