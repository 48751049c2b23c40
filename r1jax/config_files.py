"""Config files: those that ship with r1jax (`zero:mini`), and any other by its path (`path/file.py:size`).

A config file is a Python file with `get_config(arg=None) -> ConfigDict`, where `arg` chooses a size. What it returns is
checked by `config.parse`, after the command line's overrides (`r1jax.overrides`).
"""

import importlib.util
import pathlib
from types import ModuleType

from ml_collections import ConfigDict

from r1jax.config import ConfigError, missing_file, module_spec, nearest

# In a checkout a link to the top-level folder configs/, in an installed package a folder of its own.
FOLDER = pathlib.Path(__file__).parent / "configs"


def shipped_names() -> list[str]:
    """The names of the config files that ship, without sizes."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if "\ndef get_config(" in path.read_text("utf-8"))


def is_spec(text: str) -> bool:
    """Whether a text names a config file, there or not, and not a model folder or a model on a server."""
    name = text.partition(":")[0]
    return name.endswith(".py") or (":" in text and name in shipped_names())


def find(spec: str) -> tuple[pathlib.Path, str]:
    """The config file that a text names, and the size, "" where it names none.

    A path below `configs` that the working directory does not have is that of the shipped file: the shipped configs
    name one another so.

    Raises:
        ConfigError: there is no such file; names the nearest.
    """
    name, _, size = spec.partition(":")
    path = pathlib.Path(name)
    if path.is_file():
        return path, size
    if path.name == name and path.suffix != ".py" and not path.is_dir():
        if name not in shipped_names():
            shipped = nearest(name, shipped_names())
            raise ConfigError(f"{missing_file(path)}; nearest of the configs that ship with r1jax: {shipped}")
        return FOLDER / f"{name}.py", size
    if path.parent == pathlib.Path(FOLDER.name) and path.stem in shipped_names() and path.suffix == ".py":
        return FOLDER / path.name, size
    raise ConfigError(missing_file(path))


def load(spec: str) -> ConfigDict:
    """The config that a config file makes, unchecked.

    Args:
        spec: `name` or `name:size` of a config that ships, or `path/file.py` or `path/file.py:size` of any other; the
            file's `get_config` is called with the size where one is given.

    Raises:
        ConfigError: no such file, no `get_config`, or a size that it refuses by ValueError.
    """
    path, size = find(spec)
    get_config = getattr(_module(path), "get_config", None)
    if get_config is None:
        raise ConfigError(f"{path} defines no get_config(arg=None)")
    try:
        return ConfigDict(get_config(size) if size else get_config())
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{spec}: {error}") from error


def sizes(path: pathlib.Path) -> list[str]:
    """The sizes that a config file lists in `SIZES`; none where it has no such list.

    Raises:
        ConfigError: it is no Python file, or does not load.
    """
    return list(getattr(_module(path), "SIZES", ()))


def _module(path: pathlib.Path) -> ModuleType:
    source = module_spec(path.stem, path)
    if source is None or source.loader is None:
        raise ConfigError(f"{path} is not a Python file (.py)")
    module = importlib.util.module_from_spec(source)
    try:
        source.loader.exec_module(module)
    except (SyntaxError, ImportError) as error:
        raise ConfigError(f"{path} does not load: {error}") from error
    return module
