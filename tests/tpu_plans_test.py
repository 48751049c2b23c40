"""Plans of experiments/plans compile for their TPU slices, by libtpu, and take the memory that their pages say."""

import json
import pathlib
import re
import shlex

import jax
import pytest

from r1jax.config import ConfigError
from r1jax.core.sharding import MeshConfig, make_mesh
from r1jax.planning import command, topology

pytest.importorskip("libtpu", reason="needs the package libtpu: pip install libtpu")
PLANS = pathlib.Path(__file__).parent.parent / "experiments" / "plans"
# Compiled by default, for half a minute of one core as little effort goes into the program's speed; all plans are
# compiled as they are in slow tests, from a minute and a half on.
SMALL = ("qwen1_5b_distill_v5e",)
COMPILED = [path.stem for path in sorted(PLANS.glob("*.json")) if json.loads(path.read_text("utf-8"))["compiled"]]


def assert_compiles_as_its_page_says(name: str, folder: pathlib.Path) -> None:
    """Other versions of libtpu, and other effort, lay programs out differently: the bytes may differ by a tenth."""
    options = re.search(r"^r1jax plan (.*)$", (PLANS / f"{name}.md").read_text("utf-8"), re.MULTILINE)[1]
    assert command.main([*shlex.split(options), f"--json={folder}/plan.json"]) == 0
    before, now = (json.loads(path.read_text("utf-8")) for path in (PLANS / f"{name}.json", folder / "plan.json"))
    assert [each["program"] for each in now["programs"]] == [each["program"] for each in before["programs"]]
    assert now["fits"] == before["fits"] and now["bytes"] == pytest.approx(before["bytes"], rel=0.1)


@pytest.mark.parametrize("name", SMALL)
def test_a_small_plan_compiles_and_takes_what_its_page_says(name, tmp_path):
    before = jax.config.jax_exec_time_optimization_effort
    jax.config.update("jax_exec_time_optimization_effort", -1.0)
    try:
        assert_compiles_as_its_page_says(name, tmp_path)
    finally:
        jax.config.update("jax_exec_time_optimization_effort", before)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_a_plan_compiles_and_takes_what_its_page_says(name, tmp_path):
    assert_compiles_as_its_page_says(name, tmp_path)


def test_the_small_plans_are_among_those_compiled():
    assert set(SMALL) <= set(COMPILED)


@pytest.mark.parametrize(
    "name, devices, chips, hosts", [("v5e:4x8", 32, 32, 8), ("v5p:8x16x16", 2048, 2048, 512), ("v7x:2x2x1", 8, 4, 1)]
)
def test_slices_are_opened_and_meshes_that_cut_their_axes_are_made(name, devices, chips, hosts):
    there = topology.open_topology(name)
    assert (len(there.devices), there.chips, there.hosts) == (devices, chips, hosts)
    mesh = make_mesh(MeshConfig(data=1, fsdp=-1, tensor=2), there.devices)
    assert mesh.shape["tensor"] == 2 and mesh.size == devices


@pytest.mark.parametrize("name", ["v5p:3x3x3", "v5e:1x1"])
def test_a_shape_that_no_slice_has_is_refused(name):
    with pytest.raises(ConfigError, match=f"--topology={name} is no slice of"):
        topology.open_topology(name)
