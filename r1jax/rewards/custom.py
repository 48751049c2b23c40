"""Rewards of the user's own: a plain function in a file, named by the config."""

import functools
import hashlib
import importlib.util
import math
import numbers
import pathlib
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType

import numpy as np

from r1jax.config import ConfigError, missing_file, nearest
from r1jax.data.types import Rollout


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
            number = float(value)
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
