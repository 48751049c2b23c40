"""Rewards of the user's own: a plain function in a file, named by the config.

Each call is computed in a process of its own, forked from a worker that has loaded the file and does nothing else. The
process ends with the call: what the function changed is gone, and processes that it started are killed.
"""

import contextlib
import dataclasses
import functools
import hashlib
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

from r1jax.config import ConfigError, missing_file, nearest, printable
from r1jax.data.types import Rollout
from r1jax.sandbox import descendants

_REPLY_BYTES = 2**16
_FAULT_CHARS = 500
_float = float  # for a reward may put another in its place


class Outcome(NamedTuple):
    """The result of a call.

    Attributes:
        value: the reward; None for ungradable.
        fault: why it is ungradable, where that is not what the function said; "" otherwise.
    """

    value: float | None
    fault: str


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """A worker that has loaded its file.

    Attributes:
        function: see `load`.
        descriptors: those that were open before, which are not for the function to write to or to close.
        helpers: processes that the file has started, for all calls.
    """

    function: Callable[[Rollout], float | None]
    descriptors: tuple[int, ...]
    helpers: frozenset[int]


@functools.cache
def prepare(spec: str) -> _Prepared:
    """Makes this process the worker of one reward: loads its file, and sees to it that no descendant gets lost.

    Raises:
        ConfigError: see `load`.
    """
    descriptors = tuple(_open_descriptors())
    descendants.adopt()
    return _Prepared(load(spec), descriptors, frozenset(descendants.descendants(os.getpid())))


def call(spec: str, rollout: Rollout) -> Outcome:
    """The reward of a rollout. It may never return: for a worker that can be killed (`r1jax.rewards.pool`)."""
    prepared = prepare(spec)
    _flush()
    with mmap.mmap(-1, _REPLY_BYTES) as reply:  # shared, and no descriptor that the function could find
        pid = os.fork()
        if not pid:
            _answer(prepared, rollout, reply)
        _, status = os.waitpid(pid, 0)
        answer = reply[:].rstrip(b"\0")
    with contextlib.suppress(ChildProcessError):  # no child is left, which is the rule
        _reap()
        descendants.kill(os.getpid(), prepared.helpers)
        _reap()
    if not answer:
        return Outcome(None, f"its process ended with exit code {os.waitstatus_to_exitcode(status)} and no value")
    return Outcome(*json.loads(answer))


def _answer(prepared: _Prepared, rollout: Rollout, reply: mmap.mmap) -> NoReturn:
    """Computes the reward in the forked process, and ends it."""
    try:
        descendants.die_with_parent()
        process, null = os.getpid(), os.open(os.devnull, os.O_RDWR)
        for descriptor in prepared.descriptors:
            os.dup2(null, descriptor)
        try:
            value, fault = prepared.function(rollout), ""
        except BaseException as error:
            value, fault = None, printable(f"{type(error).__name__}: {error}"[:_FAULT_CHARS])
        if os.getpid() == process:  # not a process that the function forked, and that has returned too
            reply.write(json.dumps([value, fault]).encode())
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
    listed = [int(name) for name in os.listdir("/dev/fd")]
    is_open = []
    for descriptor in listed:
        with contextlib.suppress(OSError):  # the listing's own
            os.fstat(descriptor)
            is_open += [descriptor] if descriptor > 2 else []
    return is_open


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def load(spec: str) -> Callable[[Rollout], float | None]:
    """The function that `path/file.py:name` names, its result checked at every call.

    A process runs each file once. Pass the spec from process to process, not the function.

    Returns:
        a function of a Rollout; it returns a finite float, or None for ungradable, and raises TypeError or ValueError
        where the user's function returns anything else.

    Raises:
        ConfigError: no such file, one that does not run, no such function in it.
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
            number = _float(value)
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
    # A name of its own: two files may be called rewards.py.
    module_name = f"r1jax_custom_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    source = importlib.util.spec_from_file_location(module_name, path)
    if source is None or source.loader is None:
        raise ConfigError(f"{path} is not a Python file (.py)")
    module = importlib.util.module_from_spec(source)
    sys.modules[module_name] = module  # a dataclass in the file looks itself up there
    try:
        source.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise ConfigError(f"{path} does not load: {type(error).__name__}: {error}") from error
    return module
