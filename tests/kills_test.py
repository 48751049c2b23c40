"""Every stage killed by SIGKILL at random moments, some during a save, some twice: it ends as one that was not."""

import pathlib
import sys

import pytest

EXPERIMENTS = pathlib.Path(__file__).parent.parent / "experiments"
sys.path.insert(0, str(EXPERIMENTS))
try:
    import kills
    import recipe_kills
    import small_stages
finally:
    sys.path.remove(str(EXPERIMENTS))

RUNS = 9  # of each of six stages: 54 kills at least


@pytest.mark.slow
@pytest.mark.parametrize("stage", small_stages.STAGES)
def test_trap33_a_stage_killed_at_random_moments_ends_bit_for_bit_as_one_left_alone(stage, tmp_path):
    """Ten minutes a stage on 2 cores."""
    small_stages.write_world(tmp_path)
    result = kills.kill_runs(stage, tmp_path, RUNS)
    assert result.kills >= RUNS and result.resumed == result.equal == RUNS


@pytest.mark.slow
def test_trap33_the_recipes_script_killed_thirty_times_ends_bit_for_bit_as_one_left_alone(tmp_path):
    """Half an hour on 2 cores."""
    assert all(recipe_kills.kill_recipe(tmp_path, 30).values())


def test_a_killed_run_differs_where_a_line_is_there_twice(tmp_path):
    rows = '{"step": 0, "loss": 1.0}\n'
    for name, text in (("alone", rows), ("killed", rows), ("twice", rows * 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text(text)
    assert kills.equals(tmp_path / "alone", tmp_path / "killed")
    assert not kills.equals(tmp_path / "alone", tmp_path / "twice")


def test_the_small_recipe_gives_each_stage_its_small_sizes(tmp_path):
    recipe_kills.write_command(tmp_path / "r1jax")
    text = (tmp_path / "r1jax").read_text()
    cases = [line for line in text.splitlines() if line.startswith("*--config=")]
    assert len(cases) == len(recipe_kills.SMALL)
    assert all("--config.num_steps=" in line for line in cases if "*--config=zero:*" in line)
    assert not any(f"--config.{field}=" in line for line in cases for field in ("zero.record", "data.path"))
