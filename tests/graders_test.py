"""Which graders may reward, and that the rows of the others are refused where something would learn from them."""

import json
import pathlib

import jax
import pytest
from tiny_run import ZERO, merged

from r1jax import config
from r1jax.data.tasks import DataConfig, Questions
from r1jax.graders.grader_table import EVALUATION_ONLY, GRADERS, check_row, check_row_for_reward
from r1jax.models.io import save_model
from r1jax.stages import rl
from r1jax.stages.rejection import rejection_sampling
from r1jax.stages.rejection.rejection_sampling import RejectionConfig, grader_chooser

SUM = {"prompt": "1 + 1?", "answer": "2"}
TESTS = "import unittest\n\nclass T(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual(1, 1)\n"
WEAK = {
    "unittests": {
        "prompt": "Write it.",
        "answer": "",
        "grader": "unittests",
        "starter_files": {"a.py": ""},
        "test_files": {"a_test.py": TESTS},
    },
    "drop": {"prompt": "How many?", "answer": "15", "grader": "drop"},
    "patch": {"prompt": "Mend it.", "answer": "", "grader": "patch", "instance_id": "x-1"},
}


def write(path: pathlib.Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_table_of_graders_that_must_not_reward_names_graders_and_these_ones() -> None:
    assert EVALUATION_ONLY.keys() == WEAK.keys() and EVALUATION_ONLY.keys() < GRADERS.keys()


@pytest.mark.parametrize("name", WEAK)
def test_trap25_a_row_whose_grader_must_not_reward_is_refused_where_it_would_be_learned_from(
    name: str, tmp_path: pathlib.Path
) -> None:
    """By file and line, with the reason and what to do instead; an evaluation takes it."""
    assert check_row(WEAK[name]) == name
    path = write(tmp_path / "rows.jsonl", SUM, WEAK[name])
    assert Questions(DataConfig(path=path), 0, None, examine=check_row).graders == {"maths", name}
    said = rf"rows\.jsonl:2: the grader {name} is for evaluations, and must not reward: .*: .*skip_bad_lines"
    with pytest.raises(ValueError, match=said):
        Questions(DataConfig(path=path), 0, None, examine=check_row_for_reward)
    kept = Questions(DataConfig(path=path, skip_bad_lines=True), 0, None, examine=check_row_for_reward)
    assert (kept.graders, kept.skipped) == ({"maths"}, 1)


def test_trap25_naming_a_grader_that_must_not_reward_for_a_whole_file_is_refused_too(tmp_path: pathlib.Path) -> None:
    data = DataConfig(path=write(tmp_path / "rows.jsonl", SUM), grader="drop")
    with pytest.raises(ValueError, match=r"rows\.jsonl:1: the grader drop is for evaluations"):
        Questions(data, 0, None, examine=check_row_for_reward)


@pytest.mark.parametrize("name", WEAK)
def test_trap25_rejection_sampling_refuses_such_rows_unless_a_judge_grades_them(
    name: str, tmp_path: pathlib.Path
) -> None:
    path = write(tmp_path / "rows.jsonl", SUM, WEAK[name] | {"answer": "15"})
    data = DataConfig(path=path)
    with pytest.raises(ValueError, match=rf"rows\.jsonl:2: the grader {name} is for evaluations.*config\.judge"):
        Questions(data, 0, None, examine=grader_chooser(RejectionConfig("rejection", data)))
    judged = RejectionConfig("rejection", data, judged=(name,))
    assert Questions(data, 0, None, examine=grader_chooser(judged)).graders == {"maths", "facts"}


@pytest.fixture(scope="module")
def base(tmp_path_factory, tiny_params, tiny, tokenizer) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("base")
    save_model(folder, tiny_params, tiny, tokenizer)
    return folder


def test_trap25_both_stages_refuse_such_rows_before_anything_is_asked(
    base: pathlib.Path, tmp_path: pathlib.Path, mesh1
) -> None:
    path = write(tmp_path / "rows.jsonl", SUM, WEAK["unittests"])
    tree = merged(ZERO, base=str(base), data={"path": path, "template": "plain"}, mesh={"data": 1})
    with jax.set_mesh(mesh1), pytest.raises(ValueError, match=r"rows\.jsonl:2: the grader unittests is for evaluat"):
        rl.run(config.parse(rl.RLConfig, tree), tmp_path / "rl", mesh1, base)
    cfg = RejectionConfig("rejection", DataConfig(path=path, template="plain"), model=str(base))
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: the grader unittests is for evaluations"):
        rejection_sampling.run(cfg, tmp_path / "rejection", mesh1)
    assert not (tmp_path / "rl").exists() and not (tmp_path / "rejection").exists()
