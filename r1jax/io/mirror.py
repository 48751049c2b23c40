"""Mirror of a workdir in a bucket: the local folder in which a run works, and whose files go to the bucket.

Object stores neither append nor rename nor lock. So a run works in a local folder: it begins with the bucket's files,
and what has changed goes there before each state is saved, at the end, and in between. Whole files go, so a file in the
bucket is one that was there at some moment. Folders of arrays, states and a model's weights, are not in the mirror:
Orbax writes them to the bucket itself (`buckets.place_of`).

Several processes have a mirror each. Each sends the files that it has changed itself; what one needs of another's is
handed over by `core.shared_files`.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

from r1jax.config import ConfigError
from r1jax.io import buckets, ownership
from r1jax.io.console import clock, say
from r1jax.io.files import one_line, write_bytes

STATES = ("checkpoints", "damaged_checkpoints")  # folders of a workdir that Orbax writes
_WEIGHTS = "model/params/"
_LAST = "model/model.json"  # marks a model folder as whole
_PERIOD_S = 60.0  # between two pushes, and more where they take long: at most a tenth of the time
_RENEW_S, _GONE_S = 15.0, 60.0
_THREADS = 16

_Stamp = tuple[int, int]  # size in bytes, time of the last change in nanoseconds
_open: dict[pathlib.Path, "Mirror"] = {}


@contextlib.contextmanager
def opened(folder: pathlib.Path, owns: bool, on_loss: Callable[[str], None]) -> Iterator[None]:
    """Within, a folder mirrors its address in a bucket: it is made equal to it, and what changes is sent there.

    Args:
        owns: whether this process takes the address for the run; of several processes one does.
        on_loss: called in another thread with a message where another run has taken it over.

    Raises:
        ConfigError: another run works there.
        FileNotFoundError, PermissionError, ConnectionError, ValueError: see `buckets.errors_named`.
    """
    mirror = Mirror(folder)
    with _owned(mirror.address, on_loss) if owns else contextlib.nullcontext():
        mirror.pull_all()
        ended = threading.Event()
        thread = threading.Thread(target=mirror.push_now_and_then, args=(ended,), daemon=True, name="bucket")
        thread.start()
        _open[mirror.folder] = mirror
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to be read
                mirror.push()
            raise
        finally:
            ended.set()
            thread.join()
            del _open[mirror.folder]
        mirror.push()


def of(path: pathlib.Path) -> "Mirror | None":
    """The open mirror that a path lies in; None: it lies in none."""
    path = pathlib.Path(path).absolute()
    return next((mirror for folder, mirror in _open.items() if path.is_relative_to(folder)), None)


def push(path: pathlib.Path) -> None:
    """Sends what has changed in the mirror that a path lies in; elsewhere nothing. Raises as `Mirror.push` does."""
    if mirror := of(path):
        mirror.push()


class Mirror:
    """A folder and its address; any thread may push.

    Attributes:
        folder, address: the two sides.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder.absolute()
        self.address = buckets.address_of(self.folder)
        self._known: dict[str, _Stamp] = {}  # files as they are in the bucket, by their paths
        self._lock = threading.Lock()

    def pull_all(self) -> None:
        """Makes the folder equal to the address, but for what Orbax writes; what was in it before is deleted."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != ownership.FILE:
                path.unlink()
        objects = {
            name: each
            for name, each in buckets.stored(self.address, skip=STATES).items()
            if not name.startswith(_WEIGHTS) and name != ownership.FILE
        }
        if objects:
            buckets.download(self.address, objects, self.folder)
            say(f"{self.address}: {len(objects)} files fetched; this run works in {self.folder}")
        self._known = self._stamps()

    def push_now_and_then(self, ended: threading.Event) -> None:
        """Pushes until an event; an error is printed, and the next push tries again."""
        pause_s = _PERIOD_S
        while not ended.wait(pause_s):
            began = time.monotonic()
            try:
                self.push()
            except Exception as error:
                say(f"{one_line(error)}; it is tried again", is_progress=False)
            pause_s = max(_PERIOD_S, 10 * (time.monotonic() - began))

    def push(self, paths: Iterable[pathlib.Path] | None = None) -> None:
        """Sends files that have changed since they were last in the bucket, and deletes there those that are gone.

        Args:
            paths: of the folder; None: all.

        Raises:
            FileNotFoundError, PermissionError, ConnectionError, ValueError: see `buckets.errors_named`.
        """
        names = None if paths is None else {self._name(path) for path in paths}
        with self._lock, buckets.errors_named(self.address, "writing"):
            fs, root = buckets.filesystem(self.address)
            now = self._stamps()
            changed = [name for name in now if self._known.get(name) != now[name] and (names is None or name in names)]
            gone = [name for name in self._known if name not in now and (names is None or name in names)]

            def send(name: str) -> None:
                with contextlib.suppress(FileNotFoundError):  # deleted in this moment
                    self._send(fs, f"{root}/{name}", self.folder / name, now[name][0])
                    self._known[name] = now[name]

            for name in sorted(gone, key=lambda name: name != _LAST):
                with contextlib.suppress(FileNotFoundError):
                    fs.rm_file(f"{root}/{name}")
                del self._known[name]
            with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
                list(threads.map(send, (name for name in changed if name != _LAST)))
            if _LAST in changed:
                send(_LAST)

    def pull(self, paths: Iterable[pathlib.Path]) -> None:
        """Makes single files what they are in the bucket; those that are not there are deleted.

        Raises:
            FileNotFoundError, PermissionError, ConnectionError, ValueError: see `buckets.errors_named`.
        """
        with self._lock, buckets.errors_named(self.address, "reading"):
            fs, root = buckets.filesystem(self.address)
            for path in paths:
                name = self._name(path)
                try:
                    content = fs.cat_file(f"{root}/{name}")
                except FileNotFoundError:
                    path.unlink(missing_ok=True)
                    self._known.pop(name, None)
                    continue
                write_bytes(path, content)
                self._known[name] = _stamp(path)

    @staticmethod
    def _send(fs: object, target: str, path: pathlib.Path, size: int) -> None:
        """Writes the first bytes of a file, which may be growing, as an object."""
        with path.open("rb") as file:
            content = file.read(size)
        if "file" in fs.protocol:
            write_bytes(target, content)  # whole, as an object appears
        else:
            fs.pipe_file(target, content)

    def _name(self, path: pathlib.Path) -> str:
        return pathlib.Path(path).absolute().relative_to(self.folder).as_posix()

    def _stamps(self) -> dict[str, _Stamp]:
        """The files of the folder with their sizes and times."""
        stamps = {}
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = pathlib.Path(folder, name)
                if not name.endswith(".part") and path != self.folder / ownership.FILE:
                    with contextlib.suppress(FileNotFoundError):
                        stamps[self._name(path)] = _stamp(path)
        return stamps


def _stamp(path: pathlib.Path) -> _Stamp:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _owned(address: str, on_loss: Callable[[str], None]) -> Iterator[None]:
    """Within, the address is this run's: an object says so, which is renewed.

    The object of a run that was killed is taken over once it has not been renewed for a minute; at once where the
    process was one of this machine and has ended.
    """
    place = f"{address}/{ownership.FILE}"
    with buckets.errors_named(place, "writing"):
        fs, path = buckets.filesystem(place)
    me = {"host": socket.gethostname(), "pid": os.getpid(), "machine": ownership.machine(), "token": uuid.uuid4().hex}

    def read() -> dict:
        try:
            owner = json.loads(fs.cat_file(path))
        except (FileNotFoundError, ValueError):
            return {}
        return owner if isinstance(owner, dict) else {}

    def write(renewal: int) -> None:
        fs.pipe_file(path, json.dumps({**me, "renewal": renewal}).encode())

    def renew() -> None:
        renewal = 0
        while not over.wait(_RENEW_S):
            with contextlib.suppress(Exception):  # an error of the network will show where the run writes
                if (owner := read()) and owner.get("token") != me["token"]:
                    return on_loss(
                        f"{address} was taken over by a run {_named(owner)}: this one did not renew its claim"
                    )
                write(renewal := renewal + 1)

    with buckets.errors_named(place, "reading"):
        owner = read()
    if owner and not _has_ended(owner):
        _wait_for_renewal(address, owner, read)
    with buckets.errors_named(place, "writing"):
        write(0)
    over = threading.Event()
    thread = threading.Thread(target=renew, daemon=True, name="owner")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(Exception):
            if read().get("token") == me["token"]:
                fs.rm_file(path)


def _has_ended(owner: dict) -> bool:
    """Whether an owner was a process of this machine, container and all, that is no more."""
    if (owner.get("machine"), owner.get("host")) != (ownership.machine(), socket.gethostname()):
        return False
    return not pathlib.Path(f"/proc/{owner.get('pid')}").exists()


def _wait_for_renewal(address: str, owner: dict, read: Callable[[], dict]) -> None:
    """Returns once an owner has not renewed its claim for a minute; raises ConfigError where it does."""
    say(f"{address}: waiting {clock(_GONE_S)} to see whether a run {_named(owner)} still works there")
    end = time.monotonic() + _GONE_S
    while time.monotonic() < end:
        time.sleep(_RENEW_S / 10)
        now = read()
        if now and now != owner:
            raise ConfigError(
                f"{address} is in use by a run {_named(now)}; wait for its end, stop it, or choose another --workdir"
            )


def _named(owner: dict) -> str:
    return f"of process {owner.get('pid')} on {owner.get('host')}"
