"""A cloud for launch_tpu.sh: a gcloud that keeps a slice in a folder, and each worker's home in a folder of it."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = ("bash", "sh", "env", "dirname", "sed", "mktemp", "rm", "mkdir", "cat", "cp", "mv", "wc", "git", "tar", "gzip")
TOOLS += ("tail", "setsid", "pgrep")
NEEDS_TOOLS = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)} on the PATH")

# Like the real one: `--worker=all` runs on all at once whatever fails, ends with a failed worker's status, and takes
# 255 for a lost connection and tries again. The slice's state is in the file `node`, that of its request in `request`,
# whose lines are answered one after the other. `faults.json` is a list of what goes wrong, each once: a part of the
# call's words, then what is printed, the exit status, and what is done first ("drop": the connection is lost half-way).
GCLOUD = """
import json, os, pathlib, shutil, signal, subprocess, sys, time
here = pathlib.Path(os.environ["FAKE_PODS"])
node, request, plan, faults = (here / name for name in ("node", "request", "request_plan", "faults.json"))
with open(here / "calls.jsonl", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
assert sys.argv[1:3] == ["compute", "tpus"], sys.argv
kind, action, words = sys.argv[3], sys.argv[4], sys.argv[5:]
workers = int((here / "workers").read_text())

def option(name):
    return next((word.partition("=")[2] for word in words if word.startswith(f"--{name}=")), None)

fault = None
for each in json.loads(faults.read_text()) if faults.exists() else []:
    if each["call"] in " ".join(sys.argv[3:]):
        fault = each
        faults.write_text(json.dumps([other for other in json.loads(faults.read_text()) if other != each]))
        if fault.get("node") is not None:
            node.write_text(fault["node"])
        if fault.get("hang"):
            (here / "hanging").touch()
            time.sleep(60)
        if not fault.get("drop"):
            print(fault.get("stderr", ""), file=sys.stderr)
            sys.exit(fault["status"])
        break

def make_hosts():
    for i in range(workers):
        (here / f"worker{i}").mkdir()

def remove_hosts():
    for home in here.glob("worker[0-9]"):
        if (home / "r1jax.pid").exists():
            try:
                os.killpg(int((home / "r1jax.pid").read_text()), signal.SIGKILL)
            except ProcessLookupError:
                pass
        shutil.rmtree(home)

def not_found():
    print(f"ERROR: (gcloud.compute.tpus.{kind}.{action}) NOT_FOUND: Resource was not found", file=sys.stderr)
    sys.exit(1)

if action == "describe":
    if kind == "queued-resources":
        assert option("format") == "value(state.state)"
        if not request.exists():
            not_found()
        first, _, rest = request.read_text().partition("\\n")
        request.write_text(rest or first)
        print(first)
    else:
        if not node.exists():
            not_found()
        state, type_ = node.read_text().split()
        print({"value(state)": state, "value(acceleratorType)": type_}[option("format")])
elif action == "create":
    assert not node.exists(), "the node is there"
    assert option("accelerator-type") and option("version" if kind == "tpu-vm" else "runtime-version")
    if kind == "queued-resources":
        assert not request.exists(), "the request is there"
        request.write_text(plan.read_text() if plan.exists() else "ACTIVE")
    node.write_text("READY " + option("accelerator-type"))
    make_hosts()
elif action == "delete":
    if kind == "queued-resources":
        assert "--force" in words
        if not request.exists():
            not_found()
        request.unlink()
    elif not node.exists():
        not_found()
    node.unlink(missing_ok=True)
    remove_hosts()
elif not node.exists() or node.read_text().split()[0] != "READY":
    print("ssh: connect to host: Connection timed out", file=sys.stderr)
    sys.exit(255)
elif action == "scp" and "--recurse" in words:
    assert "--worker=0" in words
    source = here / "worker0" / words[1].partition(":")[2]
    if not source.exists():
        sys.exit(1)
    shutil.copytree(source, pathlib.Path(words[2]) / source.name, dirs_exist_ok=True)
elif action == "scp":
    assert "--worker=all" in words
    for home in sorted(here.glob("worker[0-9]")):
        shutil.copy(words[0], home / words[1].partition(":")[2])
else:
    assert action == "ssh" and "--worker=all" in words, sys.argv
    def begin(home):
        env = os.environ | {"HOME": str(home), "FAKE_WORKER": home.name.removeprefix("worker")}
        return subprocess.Popen(["sh", "-c", option("command")], cwd=home, env=env)
    homes = sorted(here.glob("worker[0-9]"))
    running = [begin(home) for home in homes]
    if fault:
        while not all((home / "r1jax.pid").exists() for home in homes):
            time.sleep(0.02)
        for process in running:
            process.terminate()
        sys.exit(255)
    statuses = [process.wait() for process in running]
    statuses = [begin(home).wait() if status == 255 else status for home, status in zip(homes, statuses)]
    sys.exit(next(filter(None, statuses), 0))
"""

# Stands in for the environment: notes what it was asked to run, and does what COMMAND's first word says.
LAUNCH_LOCAL = """
import json, os, pathlib, sys, time
worker, here = os.environ["FAKE_WORKER"], pathlib.Path(os.environ["FAKE_PODS"])
call = {"worker": worker, "argv": sys.argv[1:], "sources": sorted(os.listdir("."))}
call |= {name: os.environ.get(name) for name in ("R1JAX_DISTRIBUTED", "R1JAX_PLATFORM")}
with open(here / "runs.jsonl", "a") as runs:
    runs.write(json.dumps(call) + "\\n")
action, words = sys.argv[1], sys.argv[2:]
if action == "true":
    sys.exit()
print("out of worker", worker, flush=True)
print("err of worker", worker, file=sys.stderr, flush=True)
starts = here / f"starts{worker}"
number = len(starts.read_text()) if starts.exists() else 0
starts.write_text("x" * (number + 1))
pathlib.Path("runs").mkdir(exist_ok=True)
pathlib.Path("runs/result").write_text(f"start {number}")
if action == "fails" and worker in words[1:]:
    sys.exit(int(words[0]))
elif action == "fails_at_first" and number < int(words[1]):  # STATUS TIMES
    sys.exit(int(words[0]))
elif action == "blocks":
    while not (here / "go").exists():
        time.sleep(0.02)
elif action == "is_preempted" and number < int(words[0]):  # TIMES, and a host that hangs or one that ends
    time.sleep(0.1)
    (here / "node").write_text("PREEMPTED v5litepod-16")
    if words[1] == "hangs":
        time.sleep(60)
    sys.exit(1)
"""

# Notes how long it should wait and does not, but for the interval at which the slice is looked at, which is shortened.
SLEEP = f"""
if [[ $1 == 45 ]]; then exec {shutil.which("sleep")} 1; fi
echo $1 >>$FAKE_PODS/sleeps
"""


class Pods:
    """A checkout, a slice of three workers where `exists`, and a PATH that holds the fake gcloud and no other."""

    def __init__(self, path: pathlib.Path, workers: int = 3, exists: bool = True):
        self.path, self.repo, self.bin = path, path / "repo", path / "bin"
        for folder in (self.repo / "r1jax/launch", self.bin):
            folder.mkdir(parents=True)
        (path / "workers").write_text(str(workers))
        if exists:
            (path / "node").write_text("READY v5litepod-16")
            for i in range(workers):
                (path / f"worker{i}").mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.script(self.bin / "gcloud", GCLOUD)
        for name, source in {"curl": "echo $FAKE_WORKER", "sleep": SLEEP}.items():
            (self.bin / name).write_text(f"#!{shutil.which('bash')}\n{source}")
            (self.bin / name).chmod(0o755)
        self.script(self.repo / "launch_local.sh", LAUNCH_LOCAL)
        shutil.copy(ROOT / "launch_tpu.sh", self.repo)
        for script in (ROOT / "r1jax/launch").glob("*.sh"):
            shutil.copy(script, self.repo / "r1jax/launch")
        (self.repo / "r1jax/kept.py").touch()
        (self.repo / ".gitignore").write_text("runs/\n")
        subprocess.run(["git", "init", "-q", self.repo], check=True)

    @staticmethod
    def script(path: pathlib.Path, source: str) -> None:
        path.write_text(f"#!{sys.executable} -SEs\n{source}")
        path.chmod(0o755)

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        env = {"PATH": str(self.bin), "FAKE_PODS": str(self.path), "HOME": str(self.path), **env}
        command, pipe = [self.repo / "launch_tpu.sh", *args], subprocess.PIPE
        # A shell that is started with Ctrl-C ignored, as tests in the background are, could not trap it.
        return subprocess.Popen(
            command,
            cwd=self.path,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def launch(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*args, **env)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def fault(self, call: str, status: int = 1, **more: object) -> None:
        """Makes the next call of gcloud that has `call` among its words fail."""
        path = self.path / "faults.json"
        faults = json.loads(path.read_text()) if path.exists() else []
        faults.append({"call": call, "status": status, "number": len(faults), **more})
        path.write_text(json.dumps(faults))

    def calls(self) -> list[list[str]]:
        """The calls of gcloud but for questions about states, which are also asked while a command runs."""
        return [call for call in self.lines("calls.jsonl") if call[3] != "describe"]

    def actions(self) -> list[str]:
        """What each of them does: create, scp, install, start, attach, report, fetch, delete."""
        names = []
        for call in self.calls():
            line = next((word for word in call if word.startswith("--command=")), "")
            verb = line.partition("tpu_worker.sh ")[2].split(" ")[0]
            names.append("fetch" if "--recurse" in call else verb if call[3] == "ssh" else call[3])
        return names

    def runs(self) -> list[dict]:
        """What ran on the workers, in their order."""
        return sorted(self.lines("runs.jsonl"), key=lambda run: (run["argv"] != ["true"], run["worker"]))

    def sleeps(self) -> list[int]:
        path = self.path / "sleeps"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def lines(self, name: str) -> list:
        path = self.path / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
