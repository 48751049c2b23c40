"""Sandbox command line: the file system, namespaces and limits of a program, by bwrap, prlimit and setpriv."""

import functools
import math
import os
import pathlib
import platform
import resource
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence

from r1jax.sandbox.config import CodeConfig

# The interpreter itself, not a virtual environment's link to it, at the same path inside as outside.
_PREFIX = pathlib.Path(sys.base_prefix)
PYTHON = str(_PREFIX / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
PATH = "/usr/local/bin:/usr/bin:/bin"  # of programs: none of the user's own directories
ENVIRONMENT = {"PATH": PATH, "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
READY = b"\n"  # printed once the sandbox is set up, before the program starts

_OPEN_FILES = 64
_RESERVED_BYTES = 2**46  # half of a process's address space
_SHM_BYTES = 2**20  # Python's semaphores live in /dev/shm
_PENDING_SIGNALS = 1024  # and timers: the usual limit of a user allows tens of megabytes of them
# Device inside -> outside. Mapped as shared, the real /dev/zero gives memory that is counted nowhere; /dev/full reads
# as zeros too and cannot be mapped. No terminals: each has buffers of its own.
_DEVICES = {"null": "null", "zero": "full", "full": "full", "random": "random", "urandom": "urandom"}
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
_UID_INSIDE = "1000"
_FIRST_UID = 2**30  # far from any account's
_WHOLE_RANGE = ["0", "0", "4294967295"]
_MOUNT_POINT = "/mnt"
_BIND_MOUNT_SCRIPT = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
# The sandbox's first process. It waits for a line from its supervisor: had that been killed before bwrap asked the
# kernel to kill the sandbox with it, nothing would start.
_INIT = 'echo; read -r _ || exit 1; "$@" </stdin; exit $?'


class SandboxError(OSError):
    """Programs cannot be run; the message names what to install, or which setting to change."""


def command_line(
    command: Sequence[str],
    cfg: CodeConfig,
    *,
    files: Mapping[str, int],
    stdin: int,
    status: int,
    seccomp: int | None,
    uid: int,
) -> list[str]:
    """The command line that runs a command in a sandbox of its own.

    Args:
        command: program and arguments, with paths as they are inside the sandbox.
        cfg: its limits.
        files: name in the working directory -> descriptor of its content.
        stdin: descriptor of its standard input.
        status: descriptor to which bwrap writes the sandbox's process id.
        seccomp: descriptor of the system call filter; None: no filter.
        uid: number from which an unused user id is made, where this process is root.

    Raises:
        SandboxError: this is not Linux, or a tool is missing.
    """
    bwrap = _tool("bwrap")
    # bwrap's own first process outlives bwrap for a moment; the shell that takes its place is waited for.
    line = [bwrap, "--unshare-all", "--unshare-user", "--as-pid-1", "--die-with-parent", "--new-session", "--clearenv"]
    if "--disable-userns" in _help(bwrap):  # from 0.8; before, only the seccomp filter refuses user namespaces
        line += ["--disable-userns"]
    line += ["--cap-drop", "ALL", "--uid", _UID_INSIDE, "--gid", _UID_INSIDE, "--hostname", "sandbox"]
    line += ["--json-status-fd", str(status)] + (["--seccomp", str(seccomp)] if seccomp is not None else [])
    for name, value in ENVIRONMENT.items():
        line += ["--setenv", name, value]
    line += [*_system_mounts(), "--proc", "/proc", *_devices()]
    line += _tmpfs(bwrap, "/tmp", cfg.disk_mb * 2**20) + _tmpfs(bwrap, "/dev/shm", _SHM_BYTES)
    line += ["--perms", "0444", "--file", str(stdin), "/stdin"]
    for name, descriptor in files.items():
        line += ["--perms", "0555", "--ro-bind-data", str(descriptor), f"/tmp/{name}"]
    # /proc is read-only: by its oom_score_adj a program could have the trainer killed in its place.
    for path in ("/proc", "/dev", "/"):
        line += ["--remount-ro", path]
    line += ["--chdir", "/tmp"]
    line += ["--", "/bin/sh", "-c", _INIT, "sh"]
    line += [*_limits(cfg), f"--nproc={cfg.processes}", f"--sigpending={_PENDING_SIGNALS}", "--", *command]
    return _as_unused_user(uid) + line if _is_real_root() else line


def without_sandbox(cfg: CodeConfig) -> list[str]:
    """The prefix of a command that runs without a sandbox: limits per process, and an end with its parent.

    Raises:
        SandboxError: this is not Linux, or a tool is missing.
    """
    return [_tool("setpriv"), "--pdeathsig", "KILL", "--", *_limits(cfg), "--"]


def _limits(cfg: CodeConfig) -> list[str]:
    """The prlimit command of the limits that the kernel enforces per process."""
    # Addresses that are reserved and not used cost nothing: a thread's stack, an arena, a global array. Used memory is
    # measured by the supervisor (`r1jax.sandbox.supervisor`).
    space = resource.getrlimit(resource.RLIMIT_AS)[1]  # the soft limit of grader processes is lower, and inherited
    address_space = "unlimited" if space == resource.RLIM_INFINITY else str(space)
    data_segment = resource.getrlimit(resource.RLIMIT_DATA)[1]
    data_segment = _RESERVED_BYTES if data_segment == resource.RLIM_INFINITY else min(data_segment, _RESERVED_BYTES)
    cpu_s = math.ceil(cfg.time_s)
    line = ["prlimit", f"--as={address_space}:", f"--data={data_segment}", f"--cpu={cpu_s}:{cpu_s + 1}"]
    return [*line, f"--fsize={cfg.disk_mb * 2**20}", f"--nofile={_OPEN_FILES}", "--core=0"]


def advice(stderr: str) -> str:
    """The error message for a sandbox that does not start, with the settings that may be at fault.

    Args:
        stderr: bwrap's error output.
    """
    reason = stderr.strip() or "bwrap printed no error"
    return (
        f"the sandbox does not start: {reason}. It needs Linux 5.14 or later and user namespaces (docs/sandbox.md). "
        "On Ubuntu 24.04: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0. On older Debian: sudo sysctl "
        "kernel.unprivileged_userns_clone=1. In Docker: docker run --privileged, or as an ordinary user --security-opt "
        "seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
    )


def _system_mounts() -> list[str]:
    """Options that mount, read-only, /usr, links into it, and the interpreter without its installed packages."""
    line = ["--ro-bind", "/usr", "/usr"]
    for path in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if os.path.islink(path):
            line += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            line += ["--ro-bind", path, path]
    line += ["--perms", "0755", "--dir", "/etc"]
    for path in ("/etc/ld.so.cache", "/etc/alternatives"):
        line += ["--ro-bind-try", path, path]
    if not _PREFIX.is_relative_to("/usr"):
        source = pathlib.Path(_MOUNT_POINT) if _is_interpreter_private() else _PREFIX
        for name in ("bin", "lib", "lib64"):
            line += ["--ro-bind-try", str(source / name), str(_PREFIX / name)]
    for scheme in ("purelib", "platlib"):
        packages = sysconfig.get_path(scheme, vars={"base": sys.base_prefix, "platbase": sys.base_prefix})
        if os.path.isdir(packages) and packages not in line:
            line += ["--tmpfs", packages, "--remount-ro", packages]
    return line


def _devices() -> list[str]:
    """Options that make a /dev of harmless devices."""
    line = ["--tmpfs", "/dev"]
    for inside, outside in _DEVICES.items():
        line += ["--dev-bind", f"/dev/{outside}", f"/dev/{inside}"]
    for name, target in _LINKS.items():
        line += ["--symlink", target, f"/dev/{name}"]
    return line


def _tmpfs(bwrap: str, path: str, size: int) -> list[str]:
    """Options for a writable directory in memory; before bubblewrap 0.7 only the supervisor limits its size.

    Args:
        size: in bytes.
    """
    return [*(["--size", str(size)] if "--size" in _help(bwrap) else []), "--tmpfs", path]


def _as_unused_user(uid: int) -> list[str]:
    """The prefix under which root becomes a user without any files, another one for each run.

    The kernel does not count root's processes, not even those of root in a user namespace: a fork bomb would not stop.
    """
    user = str(_FIRST_UID + uid)
    line = [_tool("setpriv"), "--reuid", user, "--regid", user, "--clear-groups", "--"]
    if _is_interpreter_private():
        line = [
            _tool("unshare"),
            "--mount",
            "/bin/sh",
            "-c",
            _BIND_MOUNT_SCRIPT,
            "sh",
            str(_PREFIX),
            _MOUNT_POINT,
            *line,
        ]
    return line


@functools.cache
def _is_interpreter_private() -> bool:
    """Whether only root can reach the interpreter, as in /root/.pyenv; it is then mounted at `_MOUNT_POINT`."""
    return _is_real_root() and not all(path.stat().st_mode & stat.S_IXOTH for path in (_PREFIX, *_PREFIX.parents))


@functools.cache
def _is_real_root() -> bool:
    """Whether this process is root of the machine, not of a container whose user ids are mapped to others."""
    return os.geteuid() == 0 and pathlib.Path("/proc/self/uid_map").read_text().split() == _WHOLE_RANGE


@functools.cache
def _help(bwrap: str) -> str:
    """The options that this version of bwrap lists."""
    return subprocess.run([bwrap, "--help"], capture_output=True, text=True, check=False).stdout


def _tool(name: str) -> str:
    if platform.system() != "Linux":
        raise SandboxError(f"programs are run on Linux only, this is {platform.system()}")
    path = shutil.which(name)
    if path is None:
        raise SandboxError(f"{name} is not installed: sudo apt-get install bubblewrap util-linux")
    return path
