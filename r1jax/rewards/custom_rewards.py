"""Custom rewards: a plain function in a file of the user's own, named by the config.

Each call runs in a process of its own, forked from a worker that has loaded the file. The process ends with the call:
changes by the function are lost, and processes that it started are killed.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import math
import mmap
import numbers
import os
import pathlib
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import NamedTuple, NoReturn

import numpy as np

from r1jax.config import ConfigError, missing_file, module_spec, nearest, printable
from r1jax.core import process_tree
from r1jax.data.types import Rollout
from r1jax.io.provenance import short_hash

_REPLY_BYTES = 2**16
_ERROR_CHARS = 500
_builtin_float = float  # a reward function may replace the builtin


class Outcome(NamedTuple):
    """The result of a call.

    Attributes:
        value: the reward; None for ungradable.
        error_text: why the function returned no value; "" where it returned one, or None.
    """

    value: float | None
    error_text: str


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """A worker that has loaded its file.

    Attributes:
        function: see `load`.
        descriptors: open descriptors of the worker, which the function must not write to or close.
        helpers: processes that the file itself has started, for all calls.
    """

    function: Callable[[Rollout], float | None]
    descriptors: tuple[int, ...]
    helpers: frozenset[int]


@functools.cache
def prepare(spec: str) -> _Prepared:
    """Makes this process the worker of one reward: loads its file, and adopts orphaned descendants.

    Raises:
        ConfigError: see `load`.
    """
    descriptors = tuple(_open_descriptors())
    process_tree.become_subreaper()
    return _Prepared(load(spec), descriptors, frozenset(process_tree.descendants(os.getpid())))


def call(spec: str, rollout: Rollout) -> Outcome:
    """The reward of a rollout, computed in a forked process.

    It may never return: call it in a worker that can be killed (`r1jax.rewards.grader_pool`).
    """
    prepared = prepare(spec)
    _flush()
    with mmap.mmap(-1, _REPLY_BYTES) as shared_memory:  # shared with the child, without a descriptor
        pid = os.fork()
        if not pid:
            _compute_in_child(prepared, rollout, shared_memory)
        _, status = os.waitpid(pid, 0)
        reply_bytes = shared_memory[:].rstrip(b"\0")
    with contextlib.suppress(ChildProcessError):  # no child is left, as usual
        _reap()
        process_tree.kill_descendants(os.getpid(), prepared.helpers)
        _reap()
    if not reply_bytes:
        return Outcome(None, f"its process ended with exit code {os.waitstatus_to_exitcode(status)} and no value")
    return Outcome(*json.loads(reply_bytes))


def _compute_in_child(prepared: _Prepared, rollout: Rollout, shared_memory: mmap.mmap) -> NoReturn:
    """Computes the reward in the forked process, and ends it."""
    try:
        process_tree.die_with_parent()
        child_pid, null = os.getpid(), os.open(os.devnull, os.O_RDWR)
        for descriptor in prepared.descriptors:
            os.dup2(null, descriptor)
        try:
            value, error_text = prepared.function(rollout), ""
        except BaseException as error:
            value, error_text = None, printable(f"{type(error).__name__}: {error}"[:_ERROR_CHARS])
        if os.getpid() == child_pid:  # not a process forked by the function that returned here too
            shared_memory.write(json.dumps([value, error_text]).encode())
            _flush()
    finally:
        os._exit(0)


def _reap() -> None:
    """Reaps the children that have ended.

    Raises:
        ChildProcessError: there is none left.
    """
    while os.waitpid(-1, os.WNOHANG)[0]:
        pass


def _open_descriptors() -> list[int]:
    """Those beyond standard input, output and error."""
    descriptors = [int(name) for name in os.listdir("/dev/fd")]
    open_descriptors = []
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # the listing's own
            os.fstat(descriptor)
            open_descriptors += [descriptor] if descriptor > 2 else []
    return open_descriptors


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def load(spec: str) -> Callable[[Rollout], float | None]:
    """The function of `path/file.py:name`, wrapped so that its result is checked at every call.

    A process runs each file once. Pass the spec between processes, not the function.

    Returns:
        a function of a Rollout; it returns a finite float, or None for ungradable, and raises TypeError or ValueError
        where the user's function returns anything else.

    Raises:
        ConfigError: there is no such file or function, or the file raises an error.
    """
    path, _, name = spec.rpartition(":")
    return _load(pathlib.Path(path).resolve(), name)


@functools.cache
def _load(path: pathlib.Path, name: str) -> Callable[[Rollout], float | None]:
    module = _run(path)
    if not hasattr(module, name):
        functions = [key for key, value in vars(module).items() if isinstance(value, FunctionType)]
        raise ConfigError(f"{path} has no function {name!r}; nearest: {nearest(name, functions)}")
    function = getattr(module, name)
    if not callable(function):
        raise ConfigError(f"{name} in {path} is {function!r}, not a function of a rollout")

    def checked(rollout: Rollout) -> float | None:
        value = function(rollout)
        if value is None:
            return None
        if not isinstance(value, numbers.Real | np.bool_):
            kind = type(value).__name__
            raise TypeError(
                f"{name} in {path} returned {value!r:.200} ({kind}), should be a number, or None for ungradable"
            )
        try:
            number = _builtin_float(value)
        except OverflowError:  # an int beyond the range of floats
            number = math.inf
        if not math.isfinite(number):
            raise ValueError(f"{name} in {path} returned {number}, should be finite, or None for ungradable")
        return number

    return checked


@functools.cache
def _run(path: pathlib.Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(missing_file(path))
    # A unique name: two files may be called rewards.py.
    module_name = f"r1jax_custom_{path.stem}_{short_hash(str(path), 8)}"
    source = module_spec(module_name, path)
    if source is None or source.loader is None:
        raise ConfigError(f"{path} is not a Python file (.py)")
    module = importlib.util.module_from_spec(source)
    sys.modules[module_name] = module  # where a dataclass in the file looks up its module
    try:
        source.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise ConfigError(f"{path} does not load: {type(error).__name__}: {error}") from error
    return module
