"""A machine for launch_local.sh: stand-ins for Python make environments of one script and note what pip is given."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = ("bash", "env", "dirname", "basename", "mkdir", "rm", "ls", "cat", "cksum", "mv", "sed", "grep")
NEEDS_TOOLS = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)} on the PATH")

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


@pytest.fixture(name="machine")
def machine_with_python(tmp_path: pathlib.Path) -> Machine:
    machine = Machine(tmp_path)
    machine.python("python3", "3.11")
    return machine
