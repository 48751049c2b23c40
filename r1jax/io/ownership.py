"""Ownership of a workdir: a second run in it is refused while the first one lives.

The owner holds a lock on a file, which the kernel drops with the process. Some file systems that hosts share keep locks
to each host, or have none; so the owner also renews the file's time, and what another host left is taken over only
once its time has stood still for a minute.
"""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from r1jax.config import ConfigError
from r1jax.io.console import say

FILE = "owner.json"
_RENEW_S, _GONE_S = 10.0, 60.0


@contextlib.contextmanager
def owned(folder: pathlib.Path) -> Iterator[None]:
    """Within, the folder is this process's alone; it is made where it is not there.

    Raises:
        ConfigError: another process has it; names that process, its host and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    while (file := _take(path)) is None:
        pass
    over = threading.Event()

    def renew() -> None:
        while not over.wait(_RENEW_S):
            with contextlib.suppress(OSError):  # an error of the file system will show where the run writes
                os.utime(file)

    since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "machine": machine(), "since": since}
    os.ftruncate(file, 0)
    os.pwrite(file, (json.dumps(owner) + "\n").encode(), 0)
    thread = threading.Thread(target=renew, daemon=True, name="owner")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)
        os.close(file)


def _take(path: pathlib.Path) -> int | None:
    """The open file, locked; None where its owner deleted it in this moment. Raises ConfigError where it has one."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _check_free(path, file)
        if os.path.samestat(os.fstat(file), path.stat()):
            return file
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


def _check_free(path: pathlib.Path, file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = True
    except BlockingIOError:
        raise _refusal(path, _read(file)) from None
    except OSError:  # a file system without locks
        locked = False
    owner = _read(file)
    if owner and not (locked and owner.get("machine") == machine()):
        _wait_for_renewal(path, owner)


def _wait_for_renewal(path: pathlib.Path, owner: dict[str, Any]) -> None:
    """Returns once an owner that may have died has not renewed the time; raises ConfigError where it does.

    The time is compared with itself only: the clocks of two hosts may differ.
    """
    say(f"{path.parent}: waiting {_GONE_S:g} s to see whether {_name(owner)} still lives")
    before, end = path.stat().st_mtime_ns, time.monotonic() + _GONE_S
    while time.monotonic() < end:
        time.sleep(_RENEW_S / 10)
        if path.stat().st_mtime_ns != before:
            raise _refusal(path, owner)


def _refusal(path: pathlib.Path, owner: dict[str, Any]) -> ConfigError:
    return ConfigError(
        f"{path.parent} is in use by {_name(owner)} (see {path}); wait for its end, stop it, or choose "
        "another --workdir"
    )


def _name(owner: dict[str, Any]) -> str:
    if not owner:  # it is just being written
        return "another process"
    return f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"


def _read(file: int) -> dict[str, Any]:
    try:
        owner = json.loads(os.pread(file, 4096, 0))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def machine() -> str:
    """Tells machines, and a machine before and after it was started anew, apart: host names may be the same."""
    try:
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        return socket.gethostname()
