"""Buckets: files and folders with addresses such as `gs://bucket/run`, and their copies on this machine.

fsspec lists, reads and writes them; for `gs://` it needs gcsfs, the extra `buckets`. What a run only reads is fetched
whole into a cache, once for each content. A workdir in a bucket has a local copy (`r1jax.io.mirror`), whose path says
which it is: `workdirs/PROCESS/gs/bucket/run` in the cache is that of `gs://bucket/run`.

The cache is `~/.cache/r1jax/buckets`, or the folder that R1JAX_BUCKET_CACHE names. It may be deleted while no run uses
it.
"""

import concurrent.futures
import contextlib
import fcntl
import fnmatch
import functools
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from r1jax.config import ConfigError, listed
from r1jax.io.console import reporter
from r1jax.io.files import one_line
from r1jax.io.provenance import fingerprint

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)")
_NOT_BUCKETS = ("hf", "http", "https")  # of the Hugging Face hub, and of servers
_WORKDIRS = ("gs", "file")  # schemes of workdirs: to others Orbax does not write, or nobody has tried
_VERSIONS = ("md5Hash", "crc32c", "etag", "ETag", "checksum")  # of an object's content; the first that a store gives
_TIMES = ("mtime", "updated", "LastModified", "last_modified", "created")
_THREADS = 16
_DENIED = re.compile(r"\b(401|403)\b|credential|anonymous|forbidden|permission|denied|unauthorized", re.IGNORECASE)


class Stored(NamedTuple):
    """An object: its path as its file system has it, its size in bytes, and what changes with its content."""

    path: str
    size: int
    version: str


def is_address(text: str | os.PathLike[str]) -> bool:
    """Whether a text names something in a bucket."""
    match = _ADDRESS.match(str(text))
    return bool(match) and match[1] not in _NOT_BUCKETS


def cache() -> pathlib.Path:
    """The folder of all copies."""
    folder = os.environ.get("R1JAX_BUCKET_CACHE") or pathlib.Path.home() / ".cache" / "r1jax" / "buckets"
    return pathlib.Path(folder).absolute()


def filesystem(address: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path there."""
    import fsspec

    # Each listing asks the store: other machines write there, too.
    fs, path = fsspec.url_to_fs(address, use_listings_cache=False, **_options(address))
    return fs, path.rstrip("/")


def _options(address: str) -> dict[str, Any]:
    return {"auto_mkdir": True} if address.startswith("file:") else {}


@contextlib.contextmanager
def errors_named(address: str, action: str) -> Iterator[None]:
    """Within, an error of fsspec or of a store's client becomes one that names the address and a remedy.

    Args:
        action: what is done with it, "reading" or "writing".

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, ValueError: see there. Errors of local files pass.
    """
    parent = address.rstrip("/").rpartition("/")[0]
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{action} {address}: there is no such object or folder{_look(parent)}") from error
    except ImportError as error:
        remedy = (
            "pip install -e '.[buckets]' in r1jax's folder" if address.startswith(("gs:", "gcs:")) else one_line(error)
        )
        raise ValueError(f"{action} {address} needs a package that is not installed: {remedy}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno and error.filename:
            raise
        text = one_line(error)
        if isinstance(error, PermissionError) or _DENIED.search(text):
            raise PermissionError(
                f"{action} {address} is not allowed ({text}): log in by `gcloud auth application-default login`, or "
                "give the machine's service account the role Storage Object User on the bucket"
            ) from error
        if isinstance(error, ValueError) and "rotocol" in text:
            raise ValueError(f"{action} {address}: no kind of bucket that fsspec knows: {text}") from error
        raise ConnectionError(f"{action} {address} failed ({text}); the same command goes on from there") from error


def _look(parent: str) -> str:
    return f"; `gcloud storage ls {parent}` lists what there is" if parent.startswith("gs://") else ""


def stored(address: str, skip: Sequence[str] = ()) -> dict[str, Stored]:
    """The objects below an address by their paths from there; one object by its name; {} where there is nothing.

    Args:
        skip: of folders directly below it that are not looked into.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, ValueError: see `errors_named`.
    """
    with errors_named(address, "reading"):
        fs, root = filesystem(address)
        infos: dict[str, Any] = {}
        if skip:
            with contextlib.suppress(FileNotFoundError):
                for info in fs.ls(root, detail=True):
                    path = info["name"].rstrip("/")
                    if info["type"] != "directory":
                        infos[path] = info
                    elif path.rpartition("/")[2] not in skip:
                        infos |= fs.find(path, detail=True)
        else:
            infos = fs.find(root, detail=True)
    objects = {}
    for path, info in infos.items():
        name = path.removeprefix(root).lstrip("/") or path.rpartition("/")[2]
        if ".." in name.split("/"):
            raise ValueError(f"{address} holds {name!r}, which leads out of its folder: take that object away")
        if info["type"] == "file" and not path.endswith("/"):
            objects[name] = Stored(path, int(info["size"] or 0), _version(info))
    return objects


def _version(info: dict[str, Any]) -> str:
    values = [info[key] for key in (*_VERSIONS, *_TIMES) if info.get(key)]
    return str(values[0]) if values else ""


@functools.lru_cache
def fetched(address: str, patterns: tuple[str, ...] = ()) -> pathlib.Path:
    """The local copy of an object or of all below an address, fetched where it is not there; asked once a process.

    Objects that changed are another content, and fetched anew. Processes of one machine fetch together once.

    Args:
        patterns: of the paths of those objects of a folder that are fetched; (): all.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, ValueError: see `errors_named`; an object that changed
            while it was fetched.
    """
    address = address.rstrip("/")
    objects = stored(address)
    if not objects:
        with errors_named(address, "reading"):
            raise FileNotFoundError
    *_, parent, name = ["", *_ADDRESS.match(address)[2].split("/")]
    is_one = list(objects) == [name] and filesystem(address)[1] == objects[name].path
    if patterns and not is_one:
        chosen = {each: it for each, it in objects.items() if any(fnmatch.fnmatchcase(each, p) for p in patterns)}
        if not chosen:
            raise FileNotFoundError(f"{address} holds no file of a model; it has: {listed(sorted(objects)[:9])}")
        objects = chosen
    key = fingerprint([address, {each: [it.size, it.version] for each, it in objects.items()}])
    folder = cache() / "fetched" / key
    target = folder / (parent or "root") / name
    with _alone(folder.with_name(f"{key}.lock")):
        if not target.exists():
            part = folder.with_name(f"{key}.part")  # what a kill left of it is fetched again
            shutil.rmtree(part, ignore_errors=True)
            place = part / target.relative_to(folder)
            download(address, objects, place.parent if is_one else place)
            part.replace(folder)
    return target


@contextlib.contextmanager
def _alone(path: pathlib.Path) -> Iterator[None]:
    """Within, no other process of this machine is in such a block of that file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def download(address: str, objects: dict[str, Stored], folder: pathlib.Path) -> None:
    """Fetches objects of an address into a folder, by their names, several at a time.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, ValueError: see `errors_named`; an object that has another
            size than it had when it was listed.
    """
    total, done = sum(each.size for each in objects.values()), 0
    progress = reporter(f"fetching {address}")
    fs, _ = filesystem(address)

    def get(name: str) -> int:
        path, size, _ = objects[name]
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        fs.get_file(path, str(place))
        if place.stat().st_size != size:
            raise ValueError(f"{name} had {size:,} bytes and now has {place.stat().st_size:,}")
        return size

    with errors_named(address, "reading"), concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        waiting = [threads.submit(get, name) for name in objects]
        try:
            for each in concurrent.futures.as_completed(waiting):
                done += each.result()
                progress(done, total)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def local_path(text: str | os.PathLike[str]) -> pathlib.Path:
    """A path as it is; of an address the local copy, see `fetched`."""
    return fetched(str(text)) if is_address(text) else pathlib.Path(text)


def workdir_of(text: str, process: int) -> pathlib.Path:
    """The local folder of a run whose --workdir is this text: a path itself, or the copy of a folder in a bucket.

    Args:
        process: index of this process: each has a copy of its own.

    Raises:
        ConfigError: an address that no run can work in.
    """
    if not is_address(text):
        return pathlib.Path(text)
    scheme, path = _ADDRESS.match(text).groups()
    if scheme not in _WORKDIRS:
        raise ConfigError(
            f"--workdir={text}: of buckets a run works in gs:// alone; mount this one (rclone), and give that folder"
        )
    parts = [part for part in path.split("/") if part]
    if len(parts) < 2 or ".." in parts:
        raise ConfigError(f"--workdir={text} should name a folder in a bucket, like {scheme}://bucket/run")
    return cache().joinpath("workdirs", str(process), scheme, *parts)


def address_of(path: pathlib.Path) -> str:
    """The address whose local copy a path is, of a workdir or something in or beside one; "": it is no such copy."""
    copies = cache() / "workdirs"
    path = pathlib.Path(path).absolute()
    if not path.is_relative_to(copies) or len(parts := path.relative_to(copies).parts) < 3:
        return ""
    _, scheme, *rest = parts
    return f"{scheme}://{'/' if scheme == 'file' else ''}{'/'.join(rest)}"


def place_of(path: pathlib.Path) -> Any:
    """Where Orbax writes and reads a folder of arrays: in the bucket itself where the path is of a copy of a workdir.

    Returns:
        a path of pathlib, absolute, or one of epath with the same methods.
    """
    address = address_of(path)
    if not address or address.startswith("file://"):
        return pathlib.Path(address.removeprefix("file://") or path).absolute()
    from etils import epath

    return epath.Path(address)


def delete(place: Any) -> None:
    """Deletes a folder of `place_of` and all in it, where it is there."""
    from etils import epath

    if place.exists():
        epath.Path(place).rmtree()
