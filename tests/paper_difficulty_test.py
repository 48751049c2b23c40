"""The experiment on difficulty, and the runs on puzzles that several experiments read: by hand, on written samples."""

import json
import pathlib

import pytest
from paper_scripts import script

difficulty, puzzle_runs, study = map(script, ("difficulty", "puzzle_runs", "study"))

THREE, OTHER, FOUR = "8 from 9, 5, 4", "18 from 9, 5, 4", "10 from 9, 5, 4, 2"


def sample(puzzle: str, answer: str, correct: float | None = None) -> dict:
    question = f"Make {puzzle} with + and -, in this order"
    return {"question": question, "text": f"so {answer}", "correct": correct, "num_tokens": 9}


def write(path: pathlib.Path, samples: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in samples))


@pytest.mark.parametrize(
    ("puzzle", "chance"),
    [
        (THREE, 1 / 3),  # 18, 10 and 8; 9-5-4 is 0
        (FOUR, 1 / 6),  # 20, 16, 12, 8, 10 and 6
        ("4 from 4, 3, 2, 1", 2 / 6),  # 10, 8, 6, 4, 4 and 2; 4-3-2 is below 0
    ],
)
def test_the_chance_of_signs_drawn_at_random_by_hand(puzzle, chance):
    assert puzzle_runs.chance(sample(puzzle, "")["question"]) == pytest.approx(chance)


def test_means_are_over_questions_and_of_one_level_alone():
    samples = [
        *(sample(THREE, "9-5+4", right) for right in (1.0, 1.0, 1.0, 0.0)),
        *(sample(OTHER, "9-5+4", right) for right in (0.0, None)),
        sample(FOUR, "9-5+4+2", 1.0),
    ]
    right, found = difficulty.MEASURES.values()
    assert difficulty.question_means(samples, 3, right) == [75.0, 0.0]
    assert difficulty.question_means(samples, 3, found) == [100.0, 0.0]
    assert difficulty.question_means(samples, 4, found) == [100.0]
    assert difficulty.standard_error([75.0, 0.0]) == pytest.approx(37.5)
    assert difficulty.curve({0: samples, 10: samples[:2], 20: samples[-1:]}, 3, right) == ([0, 10], [37.5, 100.0])


def test_a_run_is_read_and_its_training_samples_are_put_into_windows(tmp_path):
    for step, right in ((0, 0.0), (10, 0.0), (20, 1.0)):
        write(tmp_path / "evals" / f"step_{step:06d}.jsonl", [sample(p, "9-5+4", right) for p in (THREE, OTHER, FOUR)])
    for step in range(20):
        write(tmp_path / "rollouts" / f"step_{step:06d}.jsonl", [sample(THREE, "9-5+4" if step > 14 else "9+5+4")])
    run = difficulty.read(tmp_path)
    assert sorted(run.held_out) == [0, 10, 20] and {k: len(v) for k, v in run.training.items()} == {4.5: 10, 14.5: 10}
    _, found = difficulty.MEASURES.values()
    assert difficulty.curve(run.training, 3, found) == ([4.5, 14.5], [0.0, 50.0])


def test_the_tables_of_two_seeds_by_hand(monkeypatch):
    monkeypatch.setattr(difficulty, "LEVELS", (3,))
    training = {4.5: [sample(THREE, "9+5+4")], 14.5: [sample(THREE, "9-5+4")]}

    def held_out(right: float) -> list[dict]:
        return [sample(puzzle, "9-5+4", right) for puzzle in (THREE, OTHER)]

    runs = [difficulty.Run({0: held_out(0.0), 10: held_out(last)}, training) for last in (1.0, 0.5)]
    row = difficulty.by_level(runs).splitlines()[-1]
    # Half of a rise is made after 5 of 10 steps, by a straight line; the last expression is that of THREE throughout.
    assert row.startswith("| 3 numbers | 33.3 | 0.0 ± 0.0 | 75.0 ± 35.4 | 5 ± 0 | 50.0 ± 0.0 | 50.0 ± 0.0 |")
    trained = difficulty.in_training(runs).splitlines()[-1]
    assert trained.startswith("| 3 numbers | 1 | 0.0 ± 0.0 |") and trained.endswith("| 100.0 ± 0.0 | 10 ± 0 |")
    assert difficulty.resolution(runs).splitlines()[-1] == "| 3 numbers | 2, 2 | 0.0 | 2, 2 | 0.0 | 1, 1 | nan |"


def test_runs_lie_beside_the_experiment_and_only_finished_ones_are_read(tmp_path):
    shared = puzzle_runs.runs_beside(tmp_path / "difficulty")
    assert shared == tmp_path / "aha"
    assert puzzle_runs.folder(shared, "RL, base without checks", 2) == shared / "seed2" / "RL_base_without_checks"
    options = study.Options(tmp_path / "difficulty", (1, 2), page_only=True)
    assert puzzle_runs.finished(options, shared) == {}
    write(shared / "seed2" / "RL" / "model" / "model.json", [])
    assert puzzle_runs.finished(options, shared) == {2: shared / "seed2" / "RL"}


def test_what_is_missing_is_made_once_with_the_fields_of_its_label(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(puzzle_runs.write_miniworld, "write", lambda *args: calls.append(args))

    def train(config, workdir, **fields):
        calls.append((config, workdir.name, fields["seed"], fields.get("rewards.random")))
        write(workdir / "model" / "model.json", [])

    monkeypatch.setattr(puzzle_runs, "train", train)
    options = study.Options(tmp_path / "thinking", (1, 2))
    assert list(puzzle_runs.finished(options, tmp_path / "aha", "random reward")) == [1, 2]
    assert calls[0] == (tmp_path / "aha" / "world", 0, "")
    assert calls[1:] == [("zero:puzzles", "random_reward", seed, 1) for seed in (1, 2)]
