"""Hostile programs do no harm, leave nothing behind and cost the next program nothing: judged from outside."""

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
from r1jax.sandbox import programs as sandbox
from r1jax.sandbox.config import CodeConfig
from r1jax.sandbox.supervision import Sandbox

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
def spied():
    """The sandboxes that were made: the process id and the namespaces of the first process of each."""
    seen = []

    class Spied(Sandbox):
        def __init__(self, init: int) -> None:
            super().__init__(init)
            # Held open: the number of a namespace that has gone may be given to a new one.
            namespaces = [os.open(f"/proc/{init}/ns/{kind}", os.O_RDONLY) for kind in NAMESPACES]
            seen.append(types.SimpleNamespace(init=init, namespaces=namespaces))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "Sandbox", Spied)
        yield seen


@pytest.fixture(scope="module")
def house(spied):
    """What programs should leave alone: secrets in many places, servers, processes, a directory open to all."""
    with contextlib.ExitStack() as stack:
        house = types.SimpleNamespace(secret=f"r1jax-secret-{secrets.token_hex(16)}")
        root = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root.chmod(0o755)  # nothing but the sandbox should stand before the secret
        secret_path = root / "secret"
        secret_path.write_text(house.secret)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("R1JAX_SECRET", house.secret)
        descriptor = os.open(secret_path, os.O_RDWR)
        stack.callback(os.close, descriptor)
        os.set_inheritable(descriptor, True)
        house.witness = root / "witness"
        house.witness.mkdir()
        (house.witness / "there").write_text("untouched")
        house.witness.chmod(0o777)
        (house.witness / "there").chmod(0o666)

        dual = socket.has_dualstack_ipv6()
        tcp = socket.create_server(("", 0), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("", 0))
        unix, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        unix.bind(str(root / "socket"))
        (root / "socket").chmod(0o777)
        abstract.bind("\0" + house.secret[-8:])
        for listener in (unix, abstract):
            listener.listen()
        house.sockets = [tcp, udp, unix, abstract]
        for listener in house.sockets:
            stack.enter_context(listener)
            listener.setblocking(False)

        house.victim = stack.enter_context(subprocess.Popen(["sleep", "1000"]))
        stack.callback(house.victim.kill)
        neighbour_cfg = CodeConfig(time_s=1000, total_s=1000)
        house.neighbour = sandbox.start(
            [*PYTHON, "-c", "import time; time.sleep(1000)"],
            neighbour_cfg,
            files={"neighbour.txt": house.secret.encode()},
            stdin=house.secret.encode(),
        )
        stack.callback(house.neighbour.kill)
        while not spied:
            time.sleep(0.01)
        house.facts = {
            "secret_path": str(secret_path),
            "home": str(pathlib.Path.home()),
            "repository": str(REPOSITORY),
            "witness": str(house.witness),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "address": own_address(),
            "unix": str(root / "socket"),
            "abstract": house.secret[-8:],
            "victim": house.victim.pid,
            "parent": os.getpid(),
            "neighbour": spied[0].init,
        }
        house.usual = sandbox.run([*PYTHON, "-c", BENIGN], PATIENT)
        assert house.usual.status == "ok"
        assert left_of(spied) == []
        house.outside = things_outside()
        yield house


def own_address() -> str:
    """The address of this machine in its network, or of itself where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return probe.getsockname()[0]


def things_outside() -> dict[str, object]:
    """What programs here tried to change, as it is."""
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


def left_of(spied: list[types.SimpleNamespace]) -> list[str]:
    """Processes of this machine in the namespaces of sandboxes that have ended: of all but the neighbour's."""
    ended, spied[1:] = [descriptor for seen in spied[1:] for descriptor in seen.namespaces], []
    numbers = {os.fstat(descriptor).st_ino for descriptor in ended}
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if {os.stat(f"/proc/{name}/ns/{kind}").st_ino for kind in NAMESPACES} & numbers:
                found.append(pathlib.Path(f"/proc/{name}/stat").read_text())
    for descriptor in ended:
        os.close(descriptor)
    return found


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
    given = "".join(f"{key}={value}\n" for key, value in facts.items()).encode()
    files = {"program": source, "facts.sh": given}
    return sandbox.run(commands[program.language], cfg, files=files, stdin=json.dumps(facts).encode())


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_does_no_harm_leaves_nothing_and_costs_the_next_one_nothing(program, house, spied):
    outcome = run_hostile(program, house.facts, CFG if "timeout" in program.ends else PATIENT)
    printed = outcome.stdout + outcome.stderr
    # It ended how it should, and at all: one that a time limit must end would go on for a million seconds.
    assert outcome.status in (program.ends or ("ok", "crash")), (outcome.status, printed[-500:])
    # No harm: what it claims first, then what can be seen.
    assert b"MANAGED" not in printed, printed.decode(errors="replace")
    assert house.secret.encode() not in printed
    for listener in house.sockets:
        with pytest.raises(BlockingIOError):
            listener.accept() if listener.type == socket.SOCK_STREAM else listener.recv(100)
    assert house.victim.poll() is None
    assert pathlib.Path(f"/proc/{house.facts['neighbour']}").exists()
    assert [path.name for path in house.witness.iterdir()] == ["there"]
    assert (house.witness / "there").read_text() == "untouched"
    assert pathlib.Path(house.facts["secret_path"]).read_text() == house.secret
    assert things_outside() == house.outside
    # Nothing is left that could take the next program's time, and it finds all as it was.
    assert left_of(spied) == []
    benign = sandbox.run([*PYTHON, "-c", BENIGN], PATIENT)
    assert left_of(spied) == []
    assert (benign.status, benign.stdout) == ("ok", house.usual.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("program", [param for param in PROGRAMS if param.id.split("-")[0] in FLOODS])
def test_a_flood_ends_within_the_usual_limits_too(program, house, spied):
    cfg = CodeConfig()
    outcome = run_hostile(program, house.facts, cfg)
    assert outcome.status in program.ends
    assert left_of(spied) == []


def test_there_are_enough_of_them():
    assert sum(map(len, HOSTILE.values())) >= 60
