"""launch_tpu.sh on a slice that exists: what is sent, quoted and run there, and what is refused."""

import pathlib
import shutil
import subprocess
import tarfile

import pytest
from launch_pods import NEEDS_TOOLS, Pods

pytestmark = NEEDS_TOOLS


@pytest.fixture
def pods(tmp_path: pathlib.Path) -> Pods:
    return Pods(tmp_path)


NASTY = ["a  b", "", "it's", '"$HOME" `id` $(id) \\', "two\nlines\n", "*", "~", "#no; && exit 3", "--x=é", "!"]


def test_dry_run_prints_one_command_a_line_and_runs_nothing(pods: Pods):
    (pods.bin / "gcloud").unlink()  # nor does it need gcloud
    before = sorted(pods.path.rglob("*"))
    done = pods.launch("--dry-run", "pod", "echo", *NASTY, ZONE="z")
    assert done.returncode == 0 and done.stderr == ""
    assert [line.split()[:5] for line in done.stdout.splitlines()] == [
        [f"{pods.repo}/launch_tpu.sh", "--max-mb", "16", "--pack", "/tmp/r1jax.tgz"],
        ["gcloud", "compute", "tpus", "tpu-vm", "describe"],
        ["gcloud", "compute", "tpus", "tpu-vm", "scp"],
        ["gcloud", "compute", "tpus", "tpu-vm", "ssh"],
        ["gcloud", "compute", "tpus", "tpu-vm", "ssh"],
    ]
    assert sorted(pods.path.rglob("*")) == before


def test_what_dry_run_prints_does_the_same_when_pasted(pods: Pods):
    pods.launch("pod", "echo", *NASTY)
    calls, runs = pods.calls(), pods.runs()
    printed = pods.launch("--dry-run", "pod", "echo", *NASTY, TMPDIR=str(pods.path)).stdout
    assert f"scp {pods.path}/r1jax.tgz pod:r1jax.tgz" in printed
    (pods.path / "calls.jsonl").unlink()
    (pods.path / "runs.jsonl").unlink()
    env = {"PATH": str(pods.bin), "FAKE_PODS": str(pods.path)}
    subprocess.run(["bash", "-euc", printed], cwd=pods.repo, env=env, check=True, capture_output=True)
    assert pods.calls()[1:] == calls[1:]  # the first copies a temporary file
    assert [run["argv"] for run in pods.runs()] == [run["argv"] for run in runs]


def test_the_tree_is_copied_then_installed_then_the_command_starts_the_same_on_all_workers(pods: Pods):
    done = pods.launch("pod", "r1jax", "train", "--workdir=gs://bucket/run")
    assert done.returncode == 0, done.stderr
    assert pods.actions() == ["scp", "install", "start"]
    install, start = pods.runs()[:3], pods.runs()[3:]
    assert [run["worker"] for run in install] == [run["worker"] for run in start] == ["0", "1", "2"]
    assert all(run["argv"] == ["true"] and run["R1JAX_PLATFORM"] == "tpu,cpu" for run in install)
    assert all(run["argv"] == ["r1jax", "train", "--workdir=gs://bucket/run"] for run in start)
    assert all(run["sources"] == [".gitignore", "launch_local.sh", "launch_tpu.sh", "r1jax"] for run in start)
    assert all(run["R1JAX_DISTRIBUTED"] == "1" and run["R1JAX_PLATFORM"] == "tpu,cpu" for run in start)


@pytest.mark.parametrize("how", ["flags", "flags with =", "environment"])
def test_zone_and_project_reach_every_gcloud_call(pods: Pods, how: str):
    flags = {"flags": ["--zone", "z", "--project", "p"], "flags with =": ["--zone=z", "--project=p"], "environment": []}
    env = {"ZONE": "z", "PROJECT": "p"} if how == "environment" else {"ZONE": "overruled"}
    assert pods.launch(*flags[how], "pod", "true", **env).returncode == 0
    assert len(pods.calls()) == 3 and all(
        {"--zone=z", "--project=p"} <= set(call) for call in pods.lines("calls.jsonl")
    )


def test_without_zone_and_project_gcloud_uses_its_own(pods: Pods):
    assert pods.launch("pod", "true").returncode == 0
    assert not [word for call in pods.lines("calls.jsonl") for word in call if word.startswith(("--zone", "--project"))]


def test_nasty_arguments_arrive_intact(pods: Pods):
    assert pods.launch("pod", "echo", *NASTY).returncode == 0
    assert [run["argv"] for run in pods.runs()[3:]] == [["echo", *NASTY]] * 3


def test_edits_travel_and_ignored_deleted_and_formerly_sent_modules_do_not(pods: Pods):
    (pods.repo / "r1jax/old.py").touch()
    subprocess.run(["git", "add", "."], cwd=pods.repo, check=True)
    pods.launch("pod", "true")
    (pods.repo / "r1jax/old.py").unlink()  # still in git's index
    (pods.repo / "new file.py").touch()  # not yet in it
    (pods.repo / "runs").mkdir()
    (pods.repo / "runs/big").touch()
    (pods.path / "worker1/r1jax/runs").mkdir()
    (pods.path / "worker1/r1jax/runs/result").touch()
    assert pods.launch("pod", "true").returncode == 0
    home = pods.path / "worker1/r1jax"
    assert sorted(p.name for p in (home / "r1jax").iterdir()) == ["kept.py", "launch"]
    assert (home / "new file.py").exists()
    assert [p.name for p in (home / "runs").iterdir()] == ["result"], "a worker's own results are left alone"


def test_worker_0_streams_here_and_the_others_to_their_own_disks(pods: Pods):
    done = pods.launch("pod", "train")
    assert done.stdout.splitlines() == ["out of worker 0", "err of worker 0"]
    for worker in "12":
        log = (pods.path / f"worker{worker}/r1jax.log").read_text()
        assert f"out of worker {worker}" in log and f"err of worker {worker}" in log


@pytest.mark.parametrize("worker", ["0", "2"])
def test_a_failing_worker_is_named_and_fails_the_launch(pods: Pods, worker: str):
    done = pods.launch("pod", "fails", "7", worker)
    assert done.returncode == 7
    failures = [line for line in done.stderr.splitlines() if "failed" in line]
    assert failures == [f"worker {worker} failed with exit status 7"]
    assert f"err of worker {worker}" in done.stderr + done.stdout, "the end of its log is shown"


def test_exit_status_255_is_a_failure_and_not_a_lost_connection_to_try_again(pods: Pods):
    done = pods.launch("pod", "fails", "255", "1")
    assert done.returncode == 255 and "worker 1 failed with exit status 255" in done.stderr
    assert len(pods.runs()) == 6 and pods.actions() == ["scp", "install", "start", "report"]


def test_a_failed_install_names_the_worker_is_tried_three_times_and_nothing_starts(pods: Pods):
    pods.script(pods.repo / "launch_local.sh", "import os, sys\nsys.exit(os.environ['FAKE_WORKER'] == '1')")
    done = pods.launch("pod", "train")
    assert done.returncode == 1 and "worker 1 failed with exit status 1" in done.stderr
    assert "pod could not be set up, in three tries" in done.stderr
    assert pods.actions() == ["scp", "install"] * 3 and pods.sleeps() == [30, 60]


def test_setup_runs_on_all_workers_before_the_install(pods: Pods):
    assert pods.launch("--setup", "echo 'a  b' >~/was_set_up && test ! -e runs", "pod", "train").returncode == 0
    assert [(pods.path / f"worker{i}/was_set_up").read_text() for i in range(3)] == ["a  b\n"] * 3
    done = pods.launch("--setup", "test $FAKE_WORKER != 2", "pod", "train")
    assert done.returncode == 1 and "worker 2 failed with exit status 1" in done.stderr


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ([], "NAME and COMMAND are both needed"),
        (["pod"], "NAME and COMMAND are both needed"),
        (["--dry-run", "pod"], "NAME and COMMAND are both needed"),
        (["pod", "--dry-run"], "NAME and COMMAND are both needed"),
        (["--zone"], "--zone needs a value"),
        (["--zone=", "pod", "true"], "--zone needs a value"),
        (["--zone", "--dry-run", "pod", "true"], "--zone needs a value"),
        (["--zoom=z", "pod", "true"], "no option --zoom=z"),
        (["pod", "--dryrun", "true"], "no option --dryrun"),
        (["python", "-m", "r1jax"], "no option -m"),
        (["ZONE=z", "pod", "true"], "NAME is a TPU VM's name, not 'ZONE=z'"),
        (["--max-mb", "1.5", "pod", "true"], "--max-mb is a whole number of MiB, not '1.5'"),
        (["--pack", "archive.tgz", "pod", "true"], "--pack stands alone"),
        (["--restarts", "many", "pod", "true"], "--restarts is a whole number, not 'many'"),
        (["--spot", "pod", "true"], "--accelerator says of which type"),
        (["--create-flag=--network=n", "pod", "true"], "--accelerator says of which type"),
        (["--accelerator=v9-1", "pod", "true"], "--accelerator v9-1 needs --version"),
        (["--accelerator=v4-8", "--valid-for=24h", "pod", "true"], "add --queued"),
    ],
)
def test_wrong_arguments_give_usage_and_run_nothing(pods: Pods, args: list[str], complaint: str):
    before = sorted(pods.path.rglob("*"))
    done = pods.launch(*args)
    assert done.returncode != 0 and complaint in done.stderr
    assert "./launch_tpu.sh [OPTIONS] NAME COMMAND..." in done.stderr
    assert not pods.calls() and sorted(pods.path.rglob("*")) == before


def test_trap51_options_are_taken_anywhere_before_the_command(pods: Pods):
    before = sorted(pods.path.rglob("*"))
    for args in ("--zone=z --dry-run pod", "pod --dry-run --zone z", "--zone z pod --dry-run"):
        done = pods.launch(*args.split(), "echo", "--zone=of-the-command", "--dry-run")
        assert done.returncode == 0 and done.stdout.count("--zone=z") == 4, done.stderr
        assert "tpu_worker.sh start echo --zone=of-the-command --dry-run" in done.stdout
    assert not pods.calls() and sorted(pods.path.rglob("*")) == before, "a dry run ran for real"


@pytest.mark.parametrize("args", [["--", "pod", "--odd"], ["pod", "--", "--odd"]])
def test_two_dashes_end_the_options(pods: Pods, args: list[str]):
    assert pods.launch(*args).returncode == 0
    assert pods.runs()[-1]["argv"] == ["--odd"]


def test_help_is_printed_and_nothing_runs(pods: Pods):
    done = pods.launch("--help")
    assert done.returncode == 0 and "--max-mb N" in done.stdout and not pods.calls()


def test_outside_a_git_checkout_it_says_so_and_runs_nothing(pods: Pods):
    shutil.rmtree(pods.repo / ".git")
    done = pods.launch("pod", "true", GIT_CEILING_DIRECTORIES=str(pods.path))
    assert done.returncode != 0 and "is no git checkout" in done.stderr and not pods.calls()


def packed(pods: Pods, *args: str) -> tuple[list[str], str]:
    """The files that are packed, and what the console says."""
    done = pods.launch(*args, "--pack", "packed.tgz")
    assert done.returncode == 0, done.stderr
    with tarfile.open(pods.path / "packed.tgz") as archive:
        return sorted(entry.name.removeprefix("./") for entry in archive if not entry.isdir()), done.stderr


SCRIPTS = ["r1jax/launch/command_line.sh", "r1jax/launch/tpu_slice.sh", "r1jax/launch/tpu_worker.sh"]
KEPT = [".gitignore", "launch_local.sh", "launch_tpu.sh", "r1jax/kept.py", *SCRIPTS]


def test_trap51_results_downloads_and_large_files_are_left_out_and_named(pods: Pods):
    for name in ("results", "runs", "nested", "r1jax/deep"):
        (pods.repo / name).mkdir()
    subprocess.run(["git", "init", "-q", pods.repo / "nested"], check=True)
    for name in ("results/a.json", "runs/b", "nested/c", "model.gguf", "sets.parquet", "tracked.zip", "mine.jsonl"):
        (pods.repo / name).touch()
    with open(pods.repo / "r1jax/deep/large.bin", "wb") as large:
        large.truncate((16 << 20) + 1)
    with open(pods.repo / "at_the_limit", "wb") as file:
        file.truncate(16 << 20)
    (pods.repo / "link").symlink_to("r1jax/deep/large.bin")
    (pods.repo / "- odd\nname").touch()
    subprocess.run(["git", "add", "tracked.zip", "r1jax/deep/large.bin"], cwd=pods.repo, check=True)
    sent = [*KEPT, "at_the_limit", "link", "tracked.zip", "mine.jsonl", "- odd\nname"]
    names, said = packed(pods)
    assert names == sorted(sent)
    assert {line.strip() for line in said.splitlines()[1:]} == {
        "results/a.json (results stay here)",
        "nested/ (a git repository of its own)",
        "model.gguf (looks downloaded; `git add` sends it)",
        "sets.parquet (looks downloaded; `git add` sends it)",
        "r1jax/deep/large.bin (17 MiB; --max-mb 17 sends it)",
    }
    names, said = packed(pods, "--max-mb", "17")
    assert names == sorted([*sent, "r1jax/deep/large.bin"])


def test_a_long_list_of_what_is_left_out_is_cut_and_counted(pods: Pods):
    (pods.repo / "results").mkdir()
    for number in range(25):
        (pods.repo / f"results/{number}").touch()
    names, said = packed(pods)
    assert names == KEPT and len(said.splitlines()) == 22 and "and 5 more" in said


def test_trap51_files_that_change_or_go_while_they_are_packed_do_not_break_it(pods: Pods):
    for name in ("gone before it is copied", "gone before it is archived", "growing"):
        (pods.repo / name).touch()
    # Each stand-in changes the tree, then does the work.
    edits = {"cp": "rm -f 'gone before it is copied'", "tar": "rm -f 'gone before it is archived'; echo >>growing"}
    for tool, edit in edits.items():
        path = pods.bin / tool
        path.unlink()
        path.write_text(f'#!{shutil.which("sh")}\ncd {pods.repo} && {{ {edit}; }}\nexec {shutil.which(tool)} "$@"\n')
        path.chmod(0o755)
    names, _ = packed(pods)
    assert names == sorted([*KEPT, "gone before it is archived", "growing"])
    assert not (pods.repo / "gone before it is archived").exists(), "the stand-in did nothing"


def test_pack_into_a_folder_that_is_not_there_is_refused(pods: Pods):
    done = pods.launch("--pack", "nowhere/x.tgz")
    assert done.returncode != 0 and "there is no such folder" in done.stderr


def test_a_missing_gcloud_is_said_with_where_to_get_it(pods: Pods):
    (pods.bin / "gcloud").unlink()
    done = pods.launch("pod", "true")
    assert done.returncode != 0 and "gcloud is not on the PATH: install" in done.stderr


def test_no_scratch_file_is_left_behind(pods: Pods):
    (pods.path / "scratch").mkdir()
    assert pods.launch("pod", "fails", "1", "1", TMPDIR=str(pods.path / "scratch")).returncode == 1
    assert not list((pods.path / "scratch").iterdir())
