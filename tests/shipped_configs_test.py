"""The shipped config files: every size parses, a copy elsewhere is the same, and merging changes no section."""

import copy
import pathlib
import shutil

import pytest

from r1jax import config, config_files
from r1jax.configs import shared
from r1jax.stages.table import STAGES

SPECS = [
    f"{name}:{size}"
    for name in config_files.shipped_names()
    for size in config_files.sizes(config_files.FOLDER / f"{name}.py")
]


@pytest.mark.parametrize("spec", SPECS)
def test_every_size_is_a_config_of_its_stage(spec: str):
    tree = config_files.load(spec)
    assert config.parse(STAGES[tree.stage].config, tree)


@pytest.mark.parametrize("name", config_files.shipped_names())
def test_a_copy_in_another_folder_gives_the_same_configs(name: str, tmp_path: pathlib.Path):
    copied = shutil.copy(config_files.FOLDER / f"{name}.py", tmp_path)
    for size in config_files.sizes(pathlib.Path(copied)):
        assert config_files.load(f"{copied}:{size}") == config_files.load(f"{name}:{size}")


def test_an_unknown_size_is_refused_with_those_there_are():
    there = "mini, world, puzzles, smollm2, hf, paper"
    with pytest.raises(config.ConfigError, match=f"no size named 'huge'; there are: {there}"):
        config_files.load("zero:huge")


def test_merging_keeps_what_a_section_leaves_out_and_changes_no_argument():
    first, second = {"a": {"b": 1, "c": {"d": 2}}, "e": (1, 2)}, {"a": {"c": {"f": 3}}, "e": ()}
    before = copy.deepcopy((first, second))
    assert shared.merge(first, second) == {"a": {"b": 1, "c": {"d": 2, "f": 3}}, "e": ()}
    assert (first, second) == before


def test_configs_share_no_section_that_one_of_them_could_change():
    before = copy.deepcopy(shared.RL)
    changed = config_files.load("zero:mini")
    changed.grpo.beta = 7.0
    changed.sampling.truncation.temperature = 7.0
    assert before == shared.RL and config_files.load("zero:mini").grpo.beta == before["grpo"]["beta"]
