"""launch_local.sh and the hardware: what JAX runs on, and on how many devices."""

import pathlib
import shutil

import pytest
from launch_machine import NEEDS_TOOLS, Machine, machine_with_python  # noqa: F401 - a fixture

pytestmark = NEEDS_TOOLS


@pytest.mark.parametrize(
    ("env", "platform", "extras"),
    [
        ({}, "cpu", "serve"),
        ({"R1JAX_PLATFORM": "cuda"}, "cuda", "serve,cuda"),
        ({"JAX_PLATFORMS": "tpu,cpu"}, "tpu,cpu", "serve,tpu"),
        ({"R1JAX_PLATFORM": "cpu", "JAX_PLATFORMS": "tpu"}, "cpu", "serve"),
    ],
)
def test_jax_runs_on_the_cpu_unless_told_otherwise(machine: Machine, env: dict, platform: str, extras: str):
    machine.nvidia_smi(0)
    assert machine.shown("show", **env)["env"]["JAX_PLATFORMS"] == platform
    assert machine.installed()[0].endswith(f".[{extras}]")


NO_GPU = not any([pathlib.Path("/dev/kfd").exists(), *pathlib.Path("/dev").glob("nvidia[0-9]*")])


@pytest.mark.skipif(not NO_GPU, reason="this machine has a GPU")
@pytest.mark.parametrize("variable", ["JAX_PLATFORMS", "R1JAX_PLATFORM"])
@pytest.mark.parametrize("platform", ["cuda", "gpu", "cuda,cpu"])
@pytest.mark.parametrize("smi", [None, 9])
def test_trap52_a_gpu_that_is_not_there_is_one_line_and_installs_nothing(
    machine: Machine, variable: str, platform: str, smi: int | None
):
    if smi is not None:
        machine.nvidia_smi(smi)
    done = machine.launch("show", **{variable: platform})
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and not machine.made()
    assert f"asked to run on {platform}" in done.stderr and "no GPU" in done.stderr


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, True),
        ({"R1JAX_PLATFORM": "cpu"}, False),
        ({"JAX_PLATFORMS": "cpu"}, False),
        ({"R1JAX_PLATFORM": "cuda"}, False),
    ],
)
def test_trap52_with_a_gpu_it_says_that_the_cpu_is_used_and_how_not_to(machine: Machine, env: dict, said: bool):
    machine.nvidia_smi(0)
    machine.launch("show", **env)
    done = machine.launch("show", **env)
    assert done.returncode == 0 and (done.stderr != "") == said
    assert not said or "runs on the CPU: R1JAX_PLATFORM=cuda" in done.stderr


FLAG = "--xla_force_host_platform_device_count="


@pytest.mark.parametrize(("cores", "devices"), [(1, 1), (2, 2), (3, 2), (6, 4), (8, 8), (64, 8)])
def test_the_cpu_is_a_power_of_two_of_devices_at_most_one_a_core_and_8(machine: Machine, cores: int, devices: int):
    (machine.bin / "nproc").unlink(missing_ok=True)
    (machine.bin / "nproc").write_text(f"#!{shutil.which('bash')}\necho {cores}\n")
    (machine.bin / "nproc").chmod(0o755)
    assert machine.shown("show")["env"]["XLA_FLAGS"] == f"{FLAG}{devices}"
    assert machine.shown("show", XLA_FLAGS="--a=b")["env"]["XLA_FLAGS"] == f"--a=b {FLAG}{devices}"


@pytest.mark.parametrize("env", [{"XLA_FLAGS": f"{FLAG}5"}, {"R1JAX_PLATFORM": "cuda", "XLA_FLAGS": "--a=b"}])
def test_the_number_of_devices_is_left_as_the_user_set_it_and_off_the_cpu(machine: Machine, env: dict):
    machine.nvidia_smi(0)
    assert machine.shown("show", **env)["env"]["XLA_FLAGS"] == env["XLA_FLAGS"]


def test_pytest_chooses_its_own_number_of_devices(machine: Machine):
    machine.launch("show")
    shutil.copy(machine.repo / ".venv/bin/show", machine.repo / ".venv/bin/pytest")
    (machine.repo / ".venv/bin/pytest.kind").write_text("3.11")
    for command in (["pytest"], ["pytest", "-k", "grpo"], ["python", "-m", "pytest", "-q"]):
        assert "XLA_FLAGS" not in machine.shown(*command)["env"]
        assert machine.shown(*command, XLA_FLAGS="--a=b")["env"]["XLA_FLAGS"] == "--a=b"
