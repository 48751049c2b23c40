"""The life of launch_tpu.sh's slice: created, preempted, created again, fetched from, deleted, never left silently."""

import pathlib
import signal
import time
from collections.abc import Iterator

import pytest
from launch_pods import NEEDS_TOOLS, Pods

pytestmark = NEEDS_TOOLS

NEW = ("--zone=z", "--accelerator=v5litepod-16", "--spot")
STAYS = "STAYS, and costs money for as long as it is there"
DELETE = "gcloud compute tpus tpu-vm delete pod --quiet"


@pytest.fixture
def cloud(tmp_path: pathlib.Path) -> Iterator[Pods]:
    """Without a slice; a new one has two workers."""
    yield Pods(tmp_path, workers=2, exists=False)
    (tmp_path / "go").touch()  # ends commands that a failed test has left


def argvs(pods: Pods) -> list[list[str]]:
    return [run["argv"] for run in pods.runs() if run["argv"] != ["true"]]


def no_slice(pods: Pods) -> bool:
    return not (pods.path / "node").exists() and not (pods.path / "request").exists()


def interrupted(pods: Pods, signum: int, is_time, *args: str) -> tuple[int, str]:
    """Exit status and messages of a launch that gets a signal once `is_time`."""
    before = signal.signal(signum, signal.SIG_DFL)  # under nohup it is ignored, and a shell would inherit that
    process = pods.start(*args)
    signal.signal(signum, before)
    deadline = time.monotonic() + 100
    while not is_time():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(signum)
    _, err = process.communicate(timeout=100)
    return process.returncode, err


def test_a_slice_that_is_not_there_is_created_used_fetched_from_and_deleted(cloud: Pods) -> None:
    done = cloud.launch(*NEW, "--create-flag=--network=n m", "--fetch=runs", "--delete", "pod", "train")
    assert done.returncode == 0, done.stderr
    assert cloud.actions() == ["create", "scp", "install", "start", "fetch", "delete"]
    create = ["create", "pod", "--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite", "--spot"]
    assert cloud.calls()[0] == ["compute", "tpus", "tpu-vm", *create, "--network=n m", "--quiet", "--zone=z"]
    assert (cloud.path / "runs/result").read_text() == "start 0"
    assert no_slice(cloud) and "deleted pod" in done.stderr and STAYS not in done.stderr


def test_a_slice_that_stays_is_named_with_the_command_that_deletes_it(cloud: Pods) -> None:
    done = cloud.launch(*NEW, "pod", "train")
    assert done.returncode == 0 and f"the slice pod (v5litepod-16, spot) {STAYS}" in done.stderr
    assert f"to delete it:  {DELETE} --zone=z" in done.stderr and "COMMAND goes on there" not in done.stderr
    done = cloud.launch(*NEW, "pod", "fails", "3", "1")
    assert done.returncode == 3 and STAYS in done.stderr
    assert cloud.actions().count("create") == 1, "the second launch found it"
    done = cloud.launch("--zone=z", "--delete", "pod")
    assert done.returncode == 0 and no_slice(cloud)
    done = cloud.launch("--zone=z", "--delete", "pod")
    assert done.returncode == 0 and "there is no slice pod: nothing is left" in done.stderr


def test_without_a_type_nothing_is_created_and_a_slice_of_another_type_is_refused(cloud: Pods) -> None:
    done = cloud.launch("--zone=z", "pod", "train")
    assert done.returncode == 1 and "no slice pod in z: --accelerator TYPE creates one" in done.stderr
    assert cloud.actions() == []
    (cloud.path / "node").write_text("READY v4-8")
    done = cloud.launch(*NEW, "pod", "train")
    assert done.returncode == 1 and "pod is there, and is a v4-8: --accelerator says v5litepod-16" in done.stderr


def test_missing_capacity_is_waited_for_longer_each_time_and_not_for_ever(cloud: Pods) -> None:
    for _ in range(4):
        cloud.fault("create", stderr='{"code": 8, "message": "There is no more capacity in the zone"}')
    done = cloud.launch(*NEW, "--restarts=3", "pod", "train")
    assert done.returncode == 75 and cloud.sleeps() == [30, 60, 120] and cloud.actions() == ["create"] * 4
    assert "no more capacity" in done.stderr and "given up after 3 tries" in done.stderr
    assert "nothing is left that costs money" in done.stderr


def test_a_refused_request_is_not_repeated(cloud: Pods) -> None:
    cloud.fault("create", stderr="PERMISSION_DENIED: tpu.nodes.create")
    done = cloud.launch(*NEW, "pod", "train")
    assert done.returncode == 1 and "PERMISSION_DENIED" in done.stderr and cloud.actions() == ["create"]


@pytest.mark.parametrize("host", ["ends", "hangs"])
def test_a_preempted_slice_is_deleted_created_again_and_the_command_started_again(cloud: Pods, host: str) -> None:
    done = cloud.launch(*NEW, "--delete", "pod", "is_preempted", "2", host)
    assert done.returncode == 0, done.stderr
    round_ = ["create", "scp", "install", "start", "delete"]
    assert cloud.actions() == round_ * 3 and cloud.sleeps() == [30, 60]
    assert "pod was preempted or deleted (PREEMPTED); trying again in 30 s (1 of 20)" in done.stderr
    assert no_slice(cloud)


def test_preemptions_without_end_are_given_up_and_nothing_is_left(cloud: Pods) -> None:
    done = cloud.launch(*NEW, "--restarts=1", "--delete", "pod", "is_preempted", "9", "ends")
    assert done.returncode == 75 and cloud.actions().count("create") == 2 and no_slice(cloud)


def test_a_preempted_slice_of_unknown_type_is_not_created_again(cloud: Pods) -> None:
    (cloud.path / "node").write_text("PREEMPTED v4-8")
    done = cloud.launch("pod", "train")
    assert done.returncode == 1 and "pod was preempted (PREEMPTED); with --accelerator TYPE" in done.stderr
    assert DELETE in done.stderr


def test_a_preemption_during_the_install_begins_again(cloud: Pods) -> None:
    cloud.fault("install", status=255, node="TERMINATED v5litepod-16")
    done = cloud.launch(*NEW, "pod", "train")
    assert done.returncode == 0, done.stderr
    assert cloud.actions() == ["create", "scp", "install", "delete", "create", "scp", "install", "start"]


def test_exit_status_75_starts_the_command_again_and_another_does_not(cloud: Pods) -> None:
    done = cloud.launch(*NEW, "pod", "fails_at_first", "75", "1")
    assert done.returncode == 0, done.stderr
    assert cloud.actions() == ["create", *["scp", "install", "start", "report"], "scp", "install", "start"]
    assert "stopped on notice (exit status 75)" in done.stderr and len(argvs(cloud)) == 4
    done = cloud.launch(*NEW, "--restarts=0", "pod", "fails_at_first", "75", "9")
    assert done.returncode == 75 and STAYS in done.stderr


def test_a_lost_connection_is_made_again_and_the_command_is_not_started_twice(cloud: Pods) -> None:
    cloud.fault("tpu_worker.sh start", drop=True)
    process = cloud.start(*NEW, "pod", "blocks")
    while cloud.actions().count("start") < 2:
        assert process.poll() is None
        time.sleep(0.05)
    (cloud.path / "go").touch()
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0 and "lost the connection to pod; the command goes on there" in err
    assert cloud.actions() == ["create", "scp", "install", "start", "report", "start"]
    assert argvs(cloud) == [["blocks"]] * 2, "once on each worker"
    assert "out of worker 0" in out


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_launch_says_what_goes_on_and_the_same_with_attach_watches_it(cloud, signum, status) -> None:
    args = (*NEW, "pod", "blocks")
    code, err = interrupted(cloud, signum, lambda: len(argvs(cloud)) == 2, *args)
    assert code == status and STAYS in err and f"to delete it:  {DELETE} --zone=z" in err
    again = f"{cloud.repo}/launch_tpu.sh --attach {' '.join(args)}"
    assert f"COMMAND goes on there; to watch it:  {again}" in err
    assert "--command=pkill -INT -P" in err
    done = cloud.launch(*args)
    assert done.returncode == 69 and "runs a command already" in done.stderr
    (cloud.path / "go").touch()
    done = cloud.launch(*again.split()[1:])
    assert done.returncode == 0 and "out of worker 0" in done.stdout and len(argvs(cloud)) == 2
    assert cloud.actions()[-1] == "attach"


def test_ctrl_c_with_delete_fetches_and_deletes(cloud: Pods) -> None:
    args = (*NEW, "--delete", "--fetch=runs", "pod", "blocks")
    code, err = interrupted(cloud, signal.SIGINT, lambda: len(argvs(cloud)) == 2, *args)
    assert code == 130 and cloud.actions()[-2:] == ["fetch", "delete"] and no_slice(cloud) and "deleted pod" in err
    assert (cloud.path / "runs/result").exists()


def test_ctrl_c_while_the_slice_is_created_deletes_or_names_it(cloud: Pods) -> None:
    creating = (cloud.path / "hanging").exists
    cloud.fault("create", hang=True, node="CREATING v5litepod-16")
    code, err = interrupted(cloud, signal.SIGINT, creating, *NEW, "--delete", "pod", "train")
    assert code == 130 and no_slice(cloud) and "deleted pod" in err
    (cloud.path / "hanging").unlink()
    cloud.fault("create", hang=True)  # nothing to see yet
    code, err = interrupted(cloud, signal.SIGINT, creating, *NEW, "pod", "train")
    assert code == 130 and STAYS in err and DELETE in err
    (cloud.path / "hanging").unlink()
    cloud.fault("create", hang=True)
    code, err = interrupted(cloud, signal.SIGINT, creating, *NEW, "--delete", "pod", "train")
    assert code == 130 and "COULD NOT DELETE pod, which may go on costing money" in err and DELETE in err


def test_a_slice_that_cannot_be_deleted_is_a_failure_that_names_it(cloud: Pods) -> None:
    cloud.fault("delete", stderr="UNAVAILABLE: try later")
    assert cloud.launch(*NEW, "--delete", "pod", "train").returncode == 0 and no_slice(cloud)
    for _ in range(3):
        cloud.fault("delete", stderr="UNAVAILABLE: try later")
    done = cloud.launch(*NEW, "--delete", "pod", "train")
    assert done.returncode == 1 and "COULD NOT DELETE pod" in done.stderr and "UNAVAILABLE" in done.stderr
    assert f"{DELETE} --zone=z" in done.stderr


def test_results_that_cannot_be_fetched_keep_the_slice_of_a_success_and_not_of_a_failure(cloud: Pods) -> None:
    done = cloud.launch(*NEW, "--delete", "--fetch=missing", "pod", "train")
    assert done.returncode == 1 and "COULD NOT FETCH missing from pod" in done.stderr and STAYS in done.stderr
    assert "fetch" in cloud.actions() and "delete" not in cloud.actions()
    done = cloud.launch(*NEW, "--delete", "--fetch=missing", "pod", "fails", "3", "0")
    assert done.returncode == 3 and no_slice(cloud)


QUEUED = (*NEW, "--queued", "--valid-for=6h")


def test_a_queued_slice_is_asked_for_waited_for_and_deleted_with_its_request(cloud: Pods) -> None:
    (cloud.path / "request_plan").write_text(
        "ACCEPTED\nWAITING_FOR_RESOURCES\nWAITING_FOR_RESOURCES\nPROVISIONING\nACTIVE"
    )
    done = cloud.launch(*QUEUED, "--delete", "pod", "train")
    assert done.returncode == 0, done.stderr
    create, *_, delete = cloud.calls()
    request = ["create", "pod", "--node-id=pod", "--accelerator-type=v5litepod-16"]
    request += ["--runtime-version=v2-alpha-tpuv5-lite", "--valid-until-duration=6h", "--spot", "--quiet", "--zone=z"]
    assert create == ["compute", "tpus", "queued-resources", *request]
    assert delete == ["compute", "tpus", "queued-resources", "delete", "pod", "--force", "--quiet", "--zone=z"]
    assert no_slice(cloud) and done.stderr.count("WAITING_FOR_RESOURCES ...") == 1


def test_a_suspended_request_is_deleted_and_made_again(cloud: Pods) -> None:
    (cloud.path / "request").write_text("SUSPENDED")
    done = cloud.launch(*QUEUED, "pod", "is_preempted", "1", "ends")
    assert done.returncode == 0, done.stderr
    start = ["create", "scp", "install", "start"]
    assert cloud.actions() == ["delete", *start, "delete", *start]
    assert "queued-resources delete pod --force --quiet --zone=z" in done.stderr


def test_a_request_that_fails_ends_the_launch(cloud: Pods) -> None:
    (cloud.path / "request_plan").write_text("WAITING_FOR_RESOURCES\nFAILED")
    done = cloud.launch(*QUEUED, "pod", "train")
    assert done.returncode == 1 and "the request for pod failed: gcloud compute tpus queued-resources" in done.stderr
