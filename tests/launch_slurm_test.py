"""launch_slurm.sh against an sbatch that keeps what it is given, and its job against an srun that runs tasks here."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest
from launch_pods import ROOT

TOOLS = ("bash", "env", "dirname", "sed", "cat")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)} on the PATH")

SBATCH = """
import json, os, pathlib, sys
here = pathlib.Path(os.environ["FAKE_CLUSTER"])
(here / "submitted.json").write_text(json.dumps(sys.argv[1:]))
(here / "job.sh").write_text(sys.stdin.read())
if (here / "refuses").exists():
    sys.exit("sbatch: error: invalid partition specified")
print("4711;cluster")
"""
# Runs the tasks at once and ends with the highest status, as srun does. With the file `notice` there, the command's
# tasks get the signal that a job gets before its end, all their processes, as SLURM does it.
SRUN = """
import os, pathlib, signal, subprocess, sys, time
here = pathlib.Path(os.environ["FAKE_CLUSTER"])
words = sys.argv[1:]
options = {}
while words[0].startswith("--"):
    name, _, value = words.pop(0)[2:].partition("=")
    options[name] = value
with open(here / "steps", "a") as steps:
    print(sorted(options.items()), file=steps)
tasks = [
    subprocess.Popen(words, env=os.environ | {"SLURM_PROCID": str(i)}, start_new_session=True)
    for i in range(int(options["ntasks"]))
]
if (here / "notice").exists() and "kill-on-bad-exit" in options:
    while len(list(here.glob("ready*"))) < len(tasks):
        time.sleep(0.02)
    for task in tasks:
        os.killpg(task.pid, signal.SIGURG)
sys.exit(max(task.wait() for task in tasks))
"""
LAUNCH_LOCAL = """
import json, os, pathlib, signal, sys, time
here = pathlib.Path(os.environ["FAKE_CLUSTER"])
names = ("SLURM_PROCID", "R1JAX_DISTRIBUTED", "R1JAX_GRACE_S", "R1JAX_PLATFORM", "JAX_LOCAL_DEVICE_IDS", "MODULE")
run = {"argv": sys.argv[1:], "cwd": os.getcwd()} | {name: os.environ.get(name) for name in names}
(here / f"run-{sys.argv[1]}-{os.environ['SLURM_PROCID']}.json").write_text(json.dumps(run))
if sys.argv[1] == "ends":
    sys.exit(int(sys.argv[2 + int(os.environ["SLURM_PROCID"])]))
if sys.argv[1] == "waits":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    (here / f"ready{os.environ['SLURM_PROCID']}").touch()
    time.sleep(60)
"""


class Cluster:
    """A checkout and a PATH with the fake commands of SLURM and no other."""

    def __init__(self, path: pathlib.Path):
        self.path, self.repo, self.bin = path, path / "a repo", path / "bin"
        for folder in (self.repo / "r1jax/launch", self.bin):
            folder.mkdir(parents=True)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        for name, source in {
            "sbatch": SBATCH,
            "srun": SRUN,
            "scontrol": "import sys\nprint('scontrol', *sys.argv[1:])",
        }.items():
            self.script(self.bin / name, source)
        self.script(self.repo / "launch_local.sh", LAUNCH_LOCAL)
        shutil.copy(ROOT / "launch_slurm.sh", self.repo)
        shutil.copy(ROOT / "r1jax/launch/command_line.sh", self.repo / "r1jax/launch")

    @staticmethod
    def script(path: pathlib.Path, source: str) -> None:
        path.write_text(f"#!{sys.executable} -SEs\n{source}")
        path.chmod(0o755)

    def run(self, *command: str | pathlib.Path, **env: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.bin), "FAKE_CLUSTER": str(self.path), **env}
        return subprocess.run(
            command, cwd=self.path, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
        )

    def submit(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.repo / "launch_slurm.sh", *args)

    def job(self, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs what was submitted, as SLURM would."""
        return self.run("bash", self.path / "job.sh", SLURM_JOB_ID="4711", SLURM_CPUS_ON_NODE="96", **env)

    def ran(self, name: str) -> dict:
        return json.loads((self.path / f"run-{name}.json").read_text())


@pytest.fixture
def cluster(tmp_path: pathlib.Path) -> Cluster:
    return Cluster(tmp_path)


NASTY = ["a  b", "", "it's", '"$HOME" `id` $(id) \\', "two\nlines\n", "*", "END_OF_JOB", "#no; && exit 3", "--x=é", "!"]


def test_the_options_reach_sbatch_and_the_ways_to_watch_and_stop_are_said(cluster: Cluster) -> None:
    done = cluster.submit("--nodes=2", "--gpus", "4", "--partition=gpu", "--sbatch-flag=--constraint=h100", "train")
    assert done.returncode == 0 and done.stdout == "4711\n"
    assert "tail -F r1jax-4711.log" in done.stderr and "scancel 4711" in done.stderr
    assert json.loads((cluster.path / "submitted.json").read_text()) == [
        *("--parsable", "--job-name=r1jax", "--output=r1jax-%j.log", "--open-mode=append", "--nodes=2"),
        *("--ntasks-per-node=1", "--gpus-per-node=4", "--time=12:00:00", "--signal=URG@300", "--requeue"),
        *("--partition=gpu", "--exclusive", "--mem=0", "--constraint=h100"),
    ]
    cluster.submit("--cpus=12", "train")
    words = json.loads((cluster.path / "submitted.json").read_text())
    assert "--cpus-per-task=12" in words and "--exclusive" not in words


def test_the_job_installs_on_one_node_and_runs_the_command_on_all(cluster: Cluster) -> None:
    cluster.submit("--nodes=2", "--gpus=4", "--setup=export MODULE='it'\\''s loaded'", "train", *NASTY)
    done = cluster.job()
    assert done.returncode == 0, done.stderr
    assert not (cluster.path / "run-true-1.json").exists()
    assert cluster.ran("true-0")["R1JAX_DISTRIBUTED"] is None
    for i in "01":
        run = cluster.ran(f"train-{i}")
        assert run.pop("argv") == ["train", *NASTY] and run.pop("cwd") == str(cluster.repo)
        assert run == {
            "SLURM_PROCID": i,
            "R1JAX_DISTRIBUTED": "1",
            "R1JAX_GRACE_S": "290",
            "R1JAX_PLATFORM": "cuda",
            "JAX_LOCAL_DEVICE_IDS": "0,1,2,3",
            "MODULE": "it's loaded",
        }
    assert (cluster.path / "steps").read_text().count("('cpus-per-task', '96')") == 2


def test_what_dry_run_prints_submits_the_same_when_pasted(cluster: Cluster) -> None:
    cluster.submit("--nodes=2", "train", *NASTY[:6])
    files = [cluster.path / name for name in ("submitted.json", "job.sh")]
    before = [path.read_text() for path in files]
    for path in files:
        path.unlink()
    done = cluster.submit("--nodes=2", "--dry-run", "train", *NASTY[:6])
    assert done.returncode == 0 and done.stderr == "" and not files[0].exists()
    assert cluster.run("bash", "-euc", done.stdout).returncode == 0
    assert [path.read_text() for path in files] == before


def test_a_stop_on_notice_queues_the_job_again_and_not_without_end(cluster: Cluster) -> None:
    cluster.submit("--nodes=2", "--restarts=2", "ends", "75", "1")
    for restarts in ("0", "1"):
        done = cluster.job(SLURM_RESTART_COUNT=restarts)
        assert done.returncode == 75 and done.stdout == "scontrol requeue 4711\n"
    done = cluster.job(SLURM_RESTART_COUNT="2")
    assert done.returncode == 75 and done.stdout == ""
    (cluster.path / "steps").unlink()
    done = cluster.job(SLURM_RESTART_COUNT="3")  # SLURM queues again after a failed node, whatever the job thinks
    assert done.returncode == 75 and "queued again 2 times" in done.stderr and not (cluster.path / "steps").exists()


@pytest.mark.parametrize("status", ["1", "143"])
def test_a_failure_ends_the_job_with_its_status(cluster: Cluster, status: str) -> None:
    cluster.submit("--nodes=2", "ends", "0", status)
    done = cluster.job()
    assert done.returncode == int(status) and done.stdout == ""


@pytest.mark.parametrize(
    ("options", "command", "grace"),
    [
        (["--notice=900"], ["train"], "890"),
        (["--notice=20"], ["train"], None),  # the config's
        ([], ["train", "--config.checkpoint.grace_s=100"], None),
    ],
)
def test_the_command_may_use_the_notice_but_for_ten_seconds(cluster: Cluster, options, command, grace) -> None:
    cluster.submit(*options, *command)
    assert cluster.job().returncode == 0
    assert cluster.ran("train-0")["R1JAX_GRACE_S"] == grace


def test_the_notice_before_the_limit_is_sigterm_to_the_command_which_stops_on_it(cluster: Cluster) -> None:
    (cluster.path / "notice").touch()
    cluster.submit("--nodes=2", "waits")
    done = cluster.job()
    assert done.returncode == 75 and done.stdout == "scontrol requeue 4711\n", done.stderr


def test_a_failed_install_starts_nothing(cluster: Cluster) -> None:
    cluster.submit("--setup=false", "train")
    assert cluster.job().returncode == 1 and not (cluster.path / "run-train-0.json").exists()


def test_a_refused_job_is_a_failure(cluster: Cluster) -> None:
    (cluster.path / "refuses").touch()
    done = cluster.submit("train")
    assert done.returncode == 1 and "invalid partition" in done.stderr and "was not submitted" in done.stderr
    (cluster.bin / "sbatch").unlink()
    done = cluster.submit("train")
    assert done.returncode == 1 and "sbatch is not on the PATH" in done.stderr


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ([], "COMMAND is needed"),
        (["--nodes"], "--nodes needs a value"),
        (["--nodes=0", "true"], "--nodes is a whole number above 0, not '0'"),
        (["--cpus=all", "true"], "--cpus is a whole number above 0"),
        (["--name=a b", "true"], "--name is a word"),
        (["--node=2", "true"], "no option --node=2"),
    ],
)
def test_wrong_options_are_refused_with_the_usage(cluster: Cluster, args: list[str], complaint: str) -> None:
    done = cluster.submit(*args)
    assert done.returncode == 1 and complaint in done.stderr and "--sbatch-flag FLAG" in done.stderr
    assert not (cluster.path / "submitted.json").exists()
