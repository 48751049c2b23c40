"""Hostile programs in the sandbox: they do no harm and leave nothing behind, as seen from outside."""

import contextlib
import dataclasses
import json
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import types

import pytest
from hostile import Hostile
from hostile_escapes import ESCAPES
from hostile_greed import DISK, ENDLESS, FORK_BOMBS, MEMORY, OUTPUT
from hostile_reach import LEFT_BEHIND, NETWORK, POISON, SECRETS, SIGNALS

from r1jax.sandbox import bubblewrap
from r1jax.sandbox import runner as sandbox
from r1jax.sandbox.config import CodeConfig
from r1jax.sandbox.supervisor import SandboxProcesses

HOSTILE = {
    "fork_bombs": FORK_BOMBS,
    "memory": MEMORY,
    "disk": DISK,
    "output": OUTPUT,
    "endless": ENDLESS,
    "network": NETWORK,
    "secrets": SECRETS,
    "escapes": ESCAPES,
    "left_behind": LEFT_BEHIND,
    "poison": POISON,
    "signals": SIGNALS,
}
CFG = CodeConfig(time_s=0.5, memory_mb=128, output_mb=1, disk_mb=16, processes=32)
PATIENT = dataclasses.replace(CFG, time_s=20.0)  # for those that end by themselves, on a machine that is busy
PYTHON = [sandbox.PYTHON, "-I", "-S", "-B"]
REPOSITORY = pathlib.Path(__file__).parents[1]
FLOODS = ("fork_bombs", "memory", "disk", "output")
NAMESPACES = ("pid", "mnt")
PROGRAMS = [
    pytest.param(program, id=f"{group}-{name}")
    for group, programs in HOSTILE.items()
    for name, program in programs.items()
]

# What an ordinary program finds: the same whatever ran before it.
BENIGN = """
import os, resource, socket, sys
limits = [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")]
processes = [name for name in os.listdir("/proc") if name.isdigit()]
print(sum(i * i for i in range(10**4)), os.getpid(), len(processes), os.nice(0), sorted(os.environ.items()))
print(os.listdir("/tmp"), os.listdir("/dev/shm"), sys.path, sys.modules.keys(), socket.gethostname(), limits)
"""


@pytest.fixture(scope="module", autouse=True)
def available():
    try:
        sandbox.check_available(CFG)
    except sandbox.SandboxError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def sandboxes():
    """The sandboxes that were made: the process id and the namespaces of the first process of each."""
    recorded = []

    class RecordingProcesses(SandboxProcesses):
        def __init__(self, init: int) -> None:
            super().__init__(init)
            # Held open: the number of a namespace that has gone may be given to a new one.
            namespaces = [os.open(f"/proc/{init}/ns/{kind}", os.O_RDONLY) for kind in NAMESPACES]
            recorded.append(types.SimpleNamespace(init=init, namespaces=namespaces))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "SandboxProcesses", RecordingProcesses)
        yield recorded


@pytest.fixture(scope="module")
def targets(sandboxes):
    """Targets of hostile programs: secrets in many places, servers, processes, a directory open to all."""
    with contextlib.ExitStack() as stack:
        targets = types.SimpleNamespace(secret=f"r1jax-secret-{secrets.token_hex(16)}")
        root = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root.chmod(0o755)  # only the sandbox should protect the secret
        secret_path = root / "secret"
        secret_path.write_text(targets.secret)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("R1JAX_SECRET", targets.secret)
        descriptor = os.open(secret_path, os.O_RDWR)
        stack.callback(os.close, descriptor)
        os.set_inheritable(descriptor, True)
        targets.witness = root / "witness"
        targets.witness.mkdir()
        (targets.witness / "there").write_text("untouched")
        targets.witness.chmod(0o777)
        (targets.witness / "there").chmod(0o666)

        dual = socket.has_dualstack_ipv6()
        tcp = socket.create_server(("", 0), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("", 0))
        unix, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        unix.bind(str(root / "socket"))
        (root / "socket").chmod(0o777)
        abstract.bind("\0" + targets.secret[-8:])
        for listener in (unix, abstract):
            listener.listen()
        targets.sockets = [tcp, udp, unix, abstract]
        for listener in targets.sockets:
            stack.enter_context(listener)
            listener.setblocking(False)

        targets.victim = stack.enter_context(subprocess.Popen(["sleep", "1000"]))
        stack.callback(targets.victim.kill)
        neighbour_cfg = CodeConfig(time_s=1000, total_s=1000)
        targets.neighbour = sandbox.start(
            [*PYTHON, "-c", "import time; time.sleep(1000)"],
            neighbour_cfg,
            files={"neighbour.txt": targets.secret.encode()},
            stdin=targets.secret.encode(),
        )
        stack.callback(targets.neighbour.kill)
        while not sandboxes:
            time.sleep(0.01)
        targets.facts = {
            "secret_path": str(secret_path),
            "home": str(pathlib.Path.home()),
            "repository": str(REPOSITORY),
            "witness": str(targets.witness),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "address": own_address(),
            "unix": str(root / "socket"),
            "abstract": targets.secret[-8:],
            "victim": targets.victim.pid,
            "parent": os.getpid(),
            "neighbour": sandboxes[0].init,
        }
        targets.usual = sandbox.run([*PYTHON, "-c", BENIGN], PATIENT)
        assert targets.usual.status == "ok"
        assert leftovers(sandboxes) == []
        targets.outside = host_state()
        yield targets


def own_address() -> str:
    """The address of this machine in its network, or of itself where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return probe.getsockname()[0]


def host_state() -> dict[str, object]:
    """The state of files, mounts and settings of the host that programs here try to change."""
    home = pathlib.Path.home()
    names = ("left", "random.py", "json.py", "os.py", "x", "neighbour.txt")
    paths = [pathlib.Path(directory, name) for directory in ("/tmp", "/var/tmp", "/dev/shm") for name in names]
    paths += [home / ".bashrc", home / ".pythonrc", home / ".local/lib/python3.11/site-packages/usercustomize.py"]
    paths += [
        pathlib.Path(sandbox.PYTHON),
        pathlib.Path(os.__file__),
        pathlib.Path("/usr"),
        pathlib.Path("/usr/bin/env"),
    ]
    paths += [pathlib.Path("/etc/ld.so.cache"), pathlib.Path("/dev")]
    stats = {path: path.stat() if path.exists() else None for path in paths}
    return {
        **{str(path): stat and (stat.st_mtime_ns, stat.st_ino, stat.st_mode) for path, stat in stats.items()},
        "mounts": pathlib.Path("/proc/self/mountinfo").read_text(),
        "host name": socket.gethostname(),
        "limits": pathlib.Path("/proc/self/limits").read_text(),
        "nice": os.nice(0),
        "cores": os.sched_getaffinity(0),
        "kernel": [
            pathlib.Path("/proc/sys", name).read_text()
            for name in ("kernel/core_pattern", "kernel/hostname", "fs/file-max")
        ],
    }


def leftovers(sandboxes: list[types.SimpleNamespace]) -> list[str]:
    """Processes of this machine in the namespaces of sandboxes that have ended: of all but the neighbour's."""
    ended, sandboxes[1:] = (
        [descriptor for ended_sandbox in sandboxes[1:] for descriptor in ended_sandbox.namespaces],
        [],
    )
    numbers = {os.fstat(descriptor).st_ino for descriptor in ended}
    processes = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if {os.stat(f"/proc/{name}/ns/{kind}").st_ino for kind in NAMESPACES} & numbers:
                processes.append(pathlib.Path(f"/proc/{name}/stat").read_text())
    for descriptor in ended:
        os.close(descriptor)
    return processes


def compiled(source: str) -> bytes:
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    command = ["sh", "-c", "gcc -O1 -w -x c program.c -o /tmp/out -lpthread && cat /tmp/out"]
    outcome = sandbox.run(command, CodeConfig(), files={"program.c": source.encode()})
    assert outcome.status == "ok", outcome.stderr.decode()
    return outcome.stdout


def run_hostile(program: Hostile, facts: dict[str, object], cfg: CodeConfig) -> sandbox.Outcome:
    if program.language == "javascript" and shutil.which("node", path=bubblewrap.PATH) is None:
        pytest.skip("there is no node")
    source = compiled(program.source) if program.language == "c" else program.source.encode()
    commands = {
        "python": [*PYTHON, "program"],
        "shell": ["sh", "program"],
        "c": ["./program"],
        "javascript": ["node", "program"],
    }
    shell_variables = "".join(f"{key}={value}\n" for key, value in facts.items()).encode()
    files = {"program": source, "facts.sh": shell_variables}
    return sandbox.run(commands[program.language], cfg, files=files, stdin=json.dumps(facts).encode())


@pytest.mark.parametrize("program", PROGRAMS)
def test_hostile_programs_do_no_harm_and_leave_nothing_behind(program, targets, sandboxes, short_waits):
    outcome = run_hostile(program, targets.facts, CFG if "timeout" in program.ends else PATIENT)
    printed = outcome.stdout + outcome.stderr
    # It ended as expected, and at all: one that a time limit must end would go on for a million seconds.
    assert outcome.status in (program.ends or ("ok", "crash")), (outcome.status, printed[-500:])
    # No harm: by its own claim first, then as seen from outside.
    assert b"MANAGED" not in printed, printed.decode(errors="replace")
    assert targets.secret.encode() not in printed
    for listener in targets.sockets:
        with pytest.raises(BlockingIOError):
            listener.accept() if listener.type == socket.SOCK_STREAM else listener.recv(100)
    assert targets.victim.poll() is None
    assert pathlib.Path(f"/proc/{targets.facts['neighbour']}").exists()
    assert [path.name for path in targets.witness.iterdir()] == ["there"]
    assert (targets.witness / "there").read_text() == "untouched"
    assert pathlib.Path(targets.facts["secret_path"]).read_text() == targets.secret
    assert host_state() == targets.outside
    # Nothing is left that could slow the next program, which runs as before.
    assert leftovers(sandboxes) == []
    benign = sandbox.run([*PYTHON, "-c", BENIGN], PATIENT)
    assert leftovers(sandboxes) == []
    assert (benign.status, benign.stdout) == ("ok", targets.usual.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("program", [param for param in PROGRAMS if param.id.split("-")[0] in FLOODS])
def test_a_flood_ends_within_the_usual_limits_too(program, targets, sandboxes):
    cfg = CodeConfig()
    outcome = run_hostile(program, targets.facts, cfg)
    assert outcome.status in program.ends
    assert leftovers(sandboxes) == []


def test_there_are_at_least_sixty_hostile_programs():
    assert sum(map(len, HOSTILE.values())) >= 60
