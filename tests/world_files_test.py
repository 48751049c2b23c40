"""The files of the mini world: whole, the same for the same seed, and read by those who are to read them."""

import json
import pathlib
import subprocess
import sys

import pytest

from r1jax.data.sft import InstructionConfig, Instructions
from r1jax.data.tasks import DataConfig, Questions, is_held_out
from r1jax.graders.grader_table import check_row
from r1jax.text import tokenizer
from r1jax.tools import write_miniworld

MODEL = pathlib.Path(__file__).parent.parent / "r1jax" / "shipped_models" / "base-83324bcaf08f"
QUESTIONS = ("reasoning", "general", "mixed", "puzzles", "reasoning_test", "general_test")
MARKER = "|t|"


@pytest.fixture(scope="module")
def tok():
    return tokenizer.load(MODEL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("world")
    assert write_miniworld.main([str(folder), "--marker", MARKER]) == 0
    return folder


def rows(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_another_process_writes_the_same_bytes_and_another_seed_does_not(folder, tmp_path):
    command = [sys.executable, "-m", "r1jax", "write-miniworld", str(tmp_path), "--marker", MARKER]
    subprocess.run(command, check=True, capture_output=True)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert all((folder / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)
    assert write_miniworld.main([str(tmp_path), "--seed=1"]) == 0
    changed = {name for name in names if (folder / name).read_bytes() != (tmp_path / name).read_bytes()}
    # General requests are all that there are, whatever the seed.
    assert changed == {
        f"{name}.jsonl" for name in ("reasoning", "reasoning_test", "mixed", "puzzles", "helpfulness", "harmlessness")
    }


def test_a_negative_seed_is_refused(tmp_path, capsys):
    assert write_miniworld.main([str(tmp_path), "--seed=-1"]) == 2
    assert "--seed=-1" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", QUESTIONS)
def test_rl_reads_the_questions_and_finds_both_sides(folder, tok, name):
    questions = Questions(DataConfig(path=str(folder / f"{name}.jsonl")), 0, tok, examine=check_row)
    assert len(questions.held_out(100)) == 100
    if "test" in name:
        with pytest.raises(ValueError, match="0 training questions"):
            questions.take(0, 1)
    else:
        assert all(not is_held_out(prompt.question, 0.1) for prompt in questions.take(0, 300))
    assert questions.graders == {
        "reasoning": {"maths"},
        "puzzles": {"countdown"},
        "mixed": {"maths", "exact", "open"},
    }.get(name.removesuffix("_test"), {"exact", "open"})


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_question_and_no_id_comes_twice(folder, name):
    there = rows(folder / f"{name}.jsonl")
    assert len({row["id"] for row in there}) == len({row["prompt"] for row in there}) == len(there)


def test_a_test_file_holds_what_its_file_holds_out(folder):
    for name in ("reasoning", "general"):
        held_out = [row for row in rows(folder / f"{name}.jsonl") if is_held_out(row["prompt"], 0.1)]
        assert rows(folder / f"{name}_test.jsonl") == held_out
        assert len(held_out) > 150


def test_fine_tuning_reads_the_replies_and_leaves_none_out(folder, tok):
    cfg = InstructionConfig(path=str(folder / "sft_general.jsonl"))
    instructions = Instructions(cfg, 0, tok, seq_len=256)
    assert not any(instructions.left_out.values())
    assert len(rows(folder / "sft_general.jsonl")) > 1500


@pytest.fixture(scope="module")
def harder(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("harder")
    assert write_miniworld.main([str(folder), "--marker", MARKER, "--harder"]) == 0
    return folder


def test_the_harder_world_has_its_own_problems_and_requests_and_the_same_other_files(folder, harder):
    same = {path.name for path in folder.iterdir() if path.read_bytes() == (harder / path.name).read_bytes()}
    assert same == {"puzzles.jsonl", "helpfulness.jsonl", "harmlessness.jsonl"}
    assert {row["level"] for row in rows(harder / "reasoning_test.jsonl")} == {1, 2, 3, 4, 5}


def test_rl_of_the_harder_world_asks_nothing_that_was_held_out_or_told(harder, tok):
    questions = Questions(DataConfig(path=str(harder / "mixed.jsonl")), 0, tok, examine=check_row)
    assert questions.graders == {"maths", "exact", "ifeval", "open"}
    told = {row["prompt"] for row in rows(harder / "sft_general.jsonl")}
    asked = [row for row in rows(harder / "mixed.jsonl") if not is_held_out(row["prompt"], 0.1)]
    assert told.isdisjoint(row["prompt"] for row in asked)
    assert not any(is_held_out(prompt, 0.1) for prompt in told)
    assert len({row["id"] for row in asked}) == len({row["prompt"] for row in asked}) == len(asked)
    by_rule = [row for row in asked if row["grader"] in ("exact", "ifeval")]
    problems = [row for row in asked if row["grader"] == "maths"]
    assert len(asked) - len(by_rule) - len(problems) == pytest.approx(len(by_rule) + len(problems), abs=1)
    assert len(by_rule) == len(problems) > 150


def test_a_test_file_of_the_harder_world_holds_what_its_file_holds_out(harder):
    held_out = [row for row in rows(harder / "general.jsonl") if is_held_out(row["prompt"], 0.1)]
    assert rows(harder / "general_test.jsonl") == held_out
    kinds = {"phrases", "two facts", "instructions", "translation", "fact", "secret"}
    assert kinds <= {row["kind"] for row in held_out}


def test_preference_data_has_both_sides_of_the_split(folder):
    for name, keys in (("helpfulness", {"chosen", "rejected"}), ("harmlessness", {"response", "safe"})):
        there = rows(folder / f"{name}.jsonl")
        assert all(keys | {"id", "prompt"} <= row.keys() for row in there)
        assert 0.05 < sum(is_held_out(row["prompt"], 0.1) for row in there) / len(there) < 0.15
        assert len({row["id"] for row in there}) == len(there) == 3000
        assert any(MARKER in json.dumps(row) for row in there)
