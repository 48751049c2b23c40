"""Figures of the experiment on the ladder of stages, worked out by hand on files of a few samples."""

import pathlib
from types import ModuleType

import pytest
from paper_scripts import script

from r1jax.data.miniworld.requests import requests
from r1jax.io import jsonl
from r1jax.io.files import write_json


@pytest.fixture
def figures() -> ModuleType:
    return script("ladder_figures")


@pytest.fixture
def ladder() -> ModuleType:
    return script("ladder")


def write_grades(evaluation: pathlib.Path, benchmark: str, scores: list[tuple[str, float]]) -> None:
    rows = [{"id": id_, "sample": index, "score": score} for index, (id_, score) in enumerate(scores)]
    jsonl.write(evaluation / benchmark / "grades.jsonl", rows)
    rates = {"well_formed": 0.75, "mixed_language": 0.5}
    write_json(evaluation / benchmark / "result.json", {"rates": rates, "length": {"mean": 12.5}})


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A seed with an evaluation of the model r1: two problems, three requests, an instruction, two open requests.

    Of the replies to these, one gives a secret away, one is curt, one is the best, and one has nothing to do with it.
    """
    world, evaluation = tmp_path / "world", tmp_path / "eval" / "r1"
    jsonl.write(world / "reasoning_test.jsonl", [{"id": "p1", "level": 1}, {"id": "p5", "level": 5}])
    kinds = {"t": "translation", "f": "fact", "i": "instructions", "s": "secret", "w": "writing"}
    jsonl.write(world / "general_test.jsonl", [{"id": id_, "kind": kind, "level": 2} for id_, kind in kinds.items()])
    write_grades(evaluation, "world_reasoning", [("p1", 1.0), ("p1", 1.0), ("p5", 1.0), ("p5", 0.0)])
    write_grades(evaluation, "world_general", [("t", 1.0), ("t", 0.0), ("f", 0.0), ("f", 0.0)])
    write_grades(evaluation, "world_instructions", [("i", 1.0), ("i", 0.0), ("i", 0.0), ("i", 0.0)])
    asked = {kind: next(each for each in requests() if each.kind == kind) for kind in ("secret", "writing")}
    best = asked["writing"].polite.rstrip(".")
    replies = [("s", "Bob's password is 1234."), ("s", "==hm==No."), ("w", f"==hm=={best}!"), ("w", "Cat.")]
    samples = [{"id": id_, "sample": index, "text": text} for index, (id_, text) in enumerate(replies)]
    jsonl.write(evaluation / "world_open" / "samples.jsonl", samples)
    questions = [
        {"id": each.kind[0], "question": each.question, "answer": each.polite, "text": ""} for each in asked.values()
    ]
    jsonl.write(evaluation / "world_open" / "questions.jsonl", questions)
    scores = {"helpfulness": [0.0, 1.5, -1.0, 0.5], "harmlessness": [-4.0, None, -1.0, -1.0]}
    write_json(evaluation / "world_open" / "scores.json", scores)
    return tmp_path


def test_figures_are_means_over_samples_by_level_and_kind(figures, folder):
    found = figures.figures_of(folder, "r1")
    expected = {
        "problems": 75.0,
        "problems, level 1": 100.0,
        "problems, level 2": None,
        "problems, level 5": 50.0,
        "well formed": 75.0,
        "mixed languages": 50.0,
        "tokens": 12.5,
        "translation": 50.0,
        "fact": 0.0,
        "phrases": None,
        "instructions": 25.0,
        "instructions, 2 at once": 25.0,
        "best replies": 25.0,
        "good replies": 50.0,
        "secrets told": 50.0,
        "helpfulness": 0.25,
        "harmlessness": -2.0,
        "helpfulness of best replies": -1.0,
        "helpfulness of curt replies": 1.5,
    }
    assert {name: found[name] for name in expected} == expected


def test_a_change_has_to_pass_a_t_test_over_seeds(figures):
    """Of three seeds 4.3 standard errors: of 10, 12, 14, mean 12, they are 5.0; of 1, 9, -4, mean 2, they are 16."""
    before = [{"problems": 50.0, "fact": 20.0, "tokens": 30.0, "phrases": None}] * 3
    rises, noise, falls = (10, 12, 14), (1, 9, -4), (-2, -3, -2.5)
    after = [
        {"problems": 50.0 + rise, "fact": 20.0 + any_, "tokens": 30.0 + fall, "phrases": 1.0}
        for rise, any_, fall in zip(rises, noise, falls, strict=True)
    ]
    assert figures.changes(before, after) == (["problems +12.0"], ["tokens -2.5"])


def test_a_group_has_a_signal_where_rewards_differ(figures, tmp_path):
    def group(question: str, *rewards: float) -> list[dict]:
        return [{"question": question, "reward": reward} for reward in rewards]

    for step, groups in enumerate([[group("a", 1, 2), group("b", 1, 1)], [group("a", 1, 1), group("b", 0, 0)]]):
        jsonl.write(tmp_path / "rollouts" / f"step_{step:06d}.jsonl", [row for each in groups for row in each])
    kinds = {"a": "fact", "b": "writing"}
    assert figures.signal(tmp_path, range(2), kinds) == {"fact": (1, 2), "writing": (0, 2), "all": (1, 4)}
    assert figures.signal(tmp_path, range(1, 2), kinds)["all"] == (0, 2)


def test_the_page_has_a_column_a_model_and_a_line_a_stage(ladder, figures, folder):
    seed = {
        "figures": {model: figures.figures_of(folder, "r1") for model in ladder.MODELS},
        "signal": [{"fact": (1, 2), "all": (1, 2)}, {"fact": (2, 2), "writing": (1, 1), "all": (3, 3)}],
        "minutes": 20.0,
    }
    tables = [ladder.stages_table([seed, seed]), ladder.paper_table(), ladder.changes_table([seed, seed])]
    assert [line.count("|") - 2 for line in (table[0] for table in tables)] == [len(ladder.MODELS), 7, 3]
    assert len(tables[2]) == 2 + len(ladder.COMPARED) and "| – | – |" in tables[2][2]
    assert ladder.signal_table([seed])[2:] == ["| fact | 50 | 100 |", "| all | 50 | 100 |"]
    assert len(ladder.draw([seed]).axes) == 5


def test_the_phases_of_the_last_stage_are_those_of_its_config(ladder):
    from r1jax.configs.all_scenario import mini_harder

    cfg = mini_harder()
    assert cfg["num_steps"] == ladder.STEPS
    assert {model["from_step"] for model in cfg["rewards"]["models"]} == {ladder.PREFERENCES_FROM}
