"""launch_local.sh with stand-ins for Python: they make environments of one script and note what pip is asked for."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = ("bash", "env", "dirname", "basename", "mkdir", "rm", "ls", "cat", "cksum", "mv", "sed", "grep")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)} on the PATH")

# Each stand-in reads what it is like from a file beside it ("3.12", "3.9", "broken", "3.12 without venv"). In an
# environment, `python` is a copy of the one that made it, and `show` prints its arguments and variables as JSON.
PYTHON = """
import os, sys
me, home = sys.argv[0], os.environ["FAKE_HOME"]
kind = open(me + ".kind").read()
if kind == "broken":
    sys.exit("shim: command not found")

def note(name, *words):
    with open(os.path.join(home, name), "a") as file:
        print(*words, file=file)

match sys.argv[1:]:
    case ["-V"]:
        print("Python", kind)
    case ["-c", code] if "ensurepip" in code:
        sys.exit("without venv" in kind)
    case ["-c", code]:
        sys.version_info = tuple(map(int, kind.split()[0].split(".")))
        exec(code)
    case ["-m", "venv", "--clear", path]:
        import shutil
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(f"{path}/bin")
        open(f"{path}/pyvenv.cfg", "w").close()
        for name in ("python", "show", "r1jax"):
            shutil.copy(me, f"{path}/bin/{name}")
            shutil.copy(me + ".kind", f"{path}/bin/{name}.kind")
        note("made", os.path.basename(me))
    case ["-m", "pip", "--version"]:
        sys.exit(not os.path.exists(os.path.join(os.path.dirname(me), "pip")))
    case ["-m", "ensurepip"]:
        open(os.path.join(os.path.dirname(me), "pip"), "w").close()
    case ["-m", "pip", "config", "list"]:
        print(open(f"{home}/pip-settings").read() if os.path.exists(f"{home}/pip-settings") else "")
    case ["-m", "pip", "install", *words] if "uv" in words[-1]:
        sys.exit(not os.path.exists(f"{home}/uv"))
    case ["-m", "uv", "pip", "install", *words]:
        note("installed", "uv", words[-1])
        sys.exit(os.path.exists(f"{home}/uv-fails"))
    case ["-m", "pip", "install", *words]:
        import time
        time.sleep(float(os.environ.get("FAKE_PIP_SECONDS", "0")))
        note("installed", *words)
        sys.exit(os.path.exists(f"{home}/no-network"))
    case words:
        import json
        print(json.dumps({"argv": [os.path.basename(me), *words], "cwd": os.getcwd(), "env": dict(os.environ)}))
"""


class Machine:
    """A checkout and a PATH with the named Pythons and no other."""

    def __init__(self, path: pathlib.Path):
        self.path, self.repo, self.bin = path, path / "repo", path / "bin"
        self.repo.mkdir()
        self.bin.mkdir()
        for tool in (*TOOLS, "flock", "nproc"):
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)
        shutil.copy(ROOT / "launch_local.sh", self.repo)
        (self.repo / "setup.py").write_text("setup()\n")
        (self.repo / "pyproject.toml").touch()

    def python(self, name: str, kind: str) -> None:
        path = self.bin / name
        path.write_text(f"#!{sys.executable} -SEs\n{PYTHON}")
        path.chmod(0o755)
        path.with_name(f"{name}.kind").write_text(kind)

    def nvidia_smi(self, status: int) -> None:
        """An nvidia-smi that ends with `status`: 0 where it lists a GPU."""
        path = self.bin / "nvidia-smi"
        path.write_text(f"#!{shutil.which('bash')}\nexit {status}\n")
        path.chmod(0o755)

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        env = {"PATH": str(self.bin), "FAKE_HOME": str(self.path), **env}
        command, pipe = [self.repo / "launch_local.sh", *args], subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.path, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )

    def launch(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*args, **env)
        out, err = process.communicate()
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def shown(self, *args: str, **env: str) -> dict:
        done = self.launch(*args, **env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def made(self) -> list[str]:
        return self._lines("made")

    def installed(self) -> list[str]:
        return self._lines("installed")

    def _lines(self, name: str) -> list[str]:
        path = self.path / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    machine = Machine(tmp_path)
    machine.python("python3", "3.11")
    return machine


def test_the_first_python_that_works_and_is_new_enough_makes_the_environment(machine: Machine):
    machine.python("python3.13", "broken")
    machine.python("python3.12", "3.12 without venv")
    machine.python("python3.11", "3.11")
    done = machine.launch("show")
    assert machine.made() == ["python3.11"] and machine.installed() == ["--quiet --disable-pip-version-check -e .[dev]"]
    assert "making" in done.stderr and "Python 3.11" in done.stderr and "installing" in done.stderr
    assert json.loads(done.stdout), "stdout belongs to the command"


@pytest.mark.parametrize("kind", ["broken", "3.10", "2.7"])
def test_without_a_python_new_enough_it_says_what_is_needed(machine: Machine, kind: str):
    machine.python("python3", kind)
    done = machine.launch("show")
    assert done.returncode == 1 and "no Python 3.11 or newer" in done.stderr and not machine.made()


def test_a_python_without_venv_names_the_package_to_install(machine: Machine):
    machine.python("python3", "3.12 without venv")
    done = machine.launch("show")
    assert done.returncode == 1 and "apt install python3.12-venv" in done.stderr
    assert not (machine.repo / ".venv").exists()


PIP = "--quiet --disable-pip-version-check -e .[dev]"


@pytest.mark.parametrize(
    ("files", "installed"),
    [
        ({"uv": ""}, ["uv .[dev]"]),
        ({}, [PIP]),  # it cannot be had
        ({"uv": "", "uv-fails": ""}, ["uv .[dev]", PIP]),
        ({"uv": "", "pip-settings": "global.index-url='https://mirror'"}, [PIP]),  # which uv would not read
        ({"uv": "", "pip-settings": ":env:.constraint='c.txt'"}, [PIP]),
        ({"uv": "", "pip-settings": "global.timeout='60'"}, ["uv .[dev]"]),
    ],
)
def test_uv_installs_where_it_can_be_had_and_pip_where_not_or_where_its_settings_count(
    machine: Machine, files: dict[str, str], installed: list[str]
):
    for name, content in files.items():
        (machine.path / name).write_text(content)
    assert machine.launch("show").returncode == 0 and machine.installed() == installed
    assert machine.launch("show").stderr == ""


def test_without_arguments_it_trains_the_mini_config(machine: Machine):
    words = ["r1jax", "train", "--config=zero:mini", "--workdir=runs/zero-mini"]
    assert machine.shown()["argv"] == words


TRAIN, CONFIG, WORKDIR = ["r1jax", "train"], "--config=zero:mini", "--workdir=runs/zero-mini"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--config=c.py", "--workdir=runs/x"], ["--config=c.py", "--workdir=runs/x"]),
        (["--workdir", "runs/x", "--config", "c.py"], ["--workdir", "runs/x", "--config", "c.py"]),
        (["--config.seed=1"], [CONFIG, WORKDIR, "--config.seed=1"]),
        (["--workdir=runs/x"], [CONFIG, "--workdir=runs/x"]),
        (["--config=sft:mini"], ["--config=sft:mini"]),  # r1jax train asks for its workdir
    ],
)
def test_trap52_options_go_to_the_training_command(machine: Machine, args: list[str], words: list[str]):
    assert machine.shown(*args)["argv"] == [*TRAIN, *words]


def test_two_dashes_come_before_a_command(machine: Machine):
    assert machine.shown("--", "show", "--help")["argv"] == ["show", "--help"]


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_trap52_help_is_the_scripts_own_and_makes_no_environment(machine: Machine, option: str):
    done = machine.launch(option)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("Runs r1jax on this machine") and "R1JAX_PLATFORM" in done.stdout
    assert "set -" not in done.stdout
    assert not machine.made() and not machine.installed() and not (machine.repo / ".venv").exists()


@pytest.mark.parametrize("script", sorted((ROOT / "experiments").glob("*.sh")), ids=lambda path: path.name)
def test_trap52_help_of_an_experiment_is_its_header_and_runs_nothing(machine: Machine, script: pathlib.Path):
    done = subprocess.run([script, "--help"], env={"PATH": str(machine.bin)}, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and f"{script.name} " in done.stdout


def test_an_unknown_short_option_is_refused_before_an_environment_is_made(machine: Machine):
    done = machine.launch("-k", "grpo")
    assert done.returncode == 1 and "no option -k" in done.stderr and not machine.made()


def test_arguments_arrive_intact_in_the_root_of_the_repository_and_the_environment(machine: Machine):
    shown = machine.shown("show", "a  b", "", "it's $HOME", "*")
    assert shown["argv"] == ["show", "a  b", "", "it's $HOME", "*"]
    assert shown["cwd"] == str(machine.repo)
    assert shown["env"]["VIRTUAL_ENV"] == str(machine.repo / ".venv")
    assert shown["env"]["PATH"].startswith(f"{machine.repo}/.venv/bin:")


def test_the_exit_status_is_the_commands(machine: Machine):
    assert machine.launch("bash", "-c", "exit 42").returncode == 42


def test_a_second_run_installs_nothing_and_says_nothing(machine: Machine):
    machine.launch("show")
    done = machine.launch("show")
    assert done.stderr == "" and len(machine.installed()) == len(machine.made()) == 1


@pytest.mark.parametrize("name", ["setup.py", "pyproject.toml"])
def test_changed_packaging_is_installed_into_the_same_environment(machine: Machine, name: str):
    machine.launch("show")
    (machine.repo / name).write_text("changed = True\n")
    machine.launch("show")
    machine.launch("show")
    assert len(machine.installed()) == 2 and len(machine.made()) == 1


def test_a_failed_install_is_an_error_and_is_done_again(machine: Machine):
    (machine.path / "no-network").touch()
    done = machine.launch("show")
    assert done.returncode == 1 and "install failed" in done.stderr and done.stdout == ""
    (machine.path / "no-network").unlink()
    assert machine.launch("show").returncode == 0
    assert len(machine.installed()) == 2


def test_an_install_that_failed_after_a_change_is_not_forgotten_when_the_change_is_undone(machine: Machine):
    machine.launch("show")
    before = (machine.repo / "setup.py").read_text()
    (machine.repo / "setup.py").write_text("changed = True\n")
    (machine.path / "no-network").touch()
    machine.launch("show")
    (machine.path / "no-network").unlink()
    (machine.repo / "setup.py").write_text(before)
    machine.launch("show")
    assert len(machine.installed()) == 3


def test_an_environment_whose_making_was_interrupted_is_finished(machine: Machine):
    machine.launch("show")
    for path in (machine.repo / ".venv").glob(".r1jax-installed*"):
        path.unlink()
    (machine.repo / ".venv/bin/pip").unlink()
    assert machine.launch("show").returncode == 0
    assert (machine.repo / ".venv/bin/pip").exists() and len(machine.installed()) == 2


def test_an_environment_whose_python_is_gone_is_made_again(machine: Machine):
    machine.launch("show")
    (machine.repo / ".venv/bin/python").unlink()
    assert machine.launch("show").returncode == 0
    assert len(machine.made()) == len(machine.installed()) == 2


def test_a_moved_environment_is_made_again_since_its_scripts_run_the_old_places_python(machine: Machine):
    machine.launch("show")
    moved = machine.path / "moved"
    shutil.copytree(machine.repo, moved)
    machine.repo = moved
    assert machine.shown("show")["env"]["VIRTUAL_ENV"] == str(moved / ".venv")
    assert len(machine.made()) == 2


def test_a_folder_that_is_no_environment_is_left_alone(machine: Machine):
    (machine.path / "mine").mkdir()
    (machine.path / "mine/thesis").touch()
    done = machine.launch("show", R1JAX_VENV="mine")
    assert done.returncode == 1 and "not a Python environment" in done.stderr
    assert (machine.path / "mine/thesis").exists() and not machine.made()


def test_r1jax_venv_is_the_environments_path_as_seen_by_the_caller(machine: Machine):
    assert machine.shown("show", R1JAX_VENV="far away/env")["env"]["VIRTUAL_ENV"] == str(machine.path / "far away/env")
    assert not (machine.repo / ".venv").exists()


def test_trap52_an_environment_shared_by_two_clones_runs_the_one_that_asks(machine: Machine):
    machine.launch("show", R1JAX_VENV="shared")
    first, second = machine.repo, machine.path / "second"
    shutil.copytree(first, second)
    machine.repo = second
    shown = machine.shown("show", R1JAX_VENV="shared", PYTHONPATH="/mine")
    assert shown["env"]["PYTHONPATH"] == f"{second}:/mine" and shown["cwd"] == str(second)
    machine.repo = first
    assert machine.shown("show", R1JAX_VENV="shared")["env"]["PYTHONPATH"] == str(first)
    assert len(machine.made()) == 1


@pytest.mark.skipif(not shutil.which("flock"), reason="needs flock")
def test_runs_at_the_same_time_install_once(machine: Machine):
    runs = [machine.start("show", FAKE_PIP_SECONDS="0.3") for _ in range(3)]
    assert [run.communicate() and run.returncode for run in runs] == [0, 0, 0]
    assert len(machine.made()) == len(machine.installed()) == 1


@pytest.mark.skipif(not shutil.which("flock"), reason="needs flock")
def test_a_running_command_does_not_hold_the_lock(machine: Machine):
    assert machine.launch("flock", "--nonblock", ".venv.lock", "bash", "-c", ":").returncode == 0


@pytest.mark.parametrize(
    ("env", "platform", "extras"),
    [
        ({}, "cpu", "dev"),
        ({"R1JAX_PLATFORM": "cuda"}, "cuda", "dev,cuda"),
        ({"JAX_PLATFORMS": "tpu,cpu"}, "tpu,cpu", "dev,tpu"),
        ({"R1JAX_PLATFORM": "cpu", "JAX_PLATFORMS": "tpu"}, "cpu", "dev"),
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


def test_the_tests_alone_bring_the_reference_and_others_are_content_with_it(machine: Machine):
    machine.launch("show")
    for name in ("pytest", "show"):
        shutil.copy(machine.bin / "python3", machine.repo / ".venv/bin" / name)
        (machine.repo / ".venv/bin" / f"{name}.kind").write_text("3.11")
    for command in (["pytest", "-q"], ["show"], ["python", "-m", "pytest"]):
        assert machine.launch(*command).returncode == 0
    assert [words.split()[-1] for words in machine.installed()] == [".[dev]", ".[dev,parity]"]


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
