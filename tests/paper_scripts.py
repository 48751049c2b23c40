"""The scripts of experiments/paper as modules, for their tests."""

import importlib
import pathlib
import sys
from types import ModuleType

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "experiments" / "paper"


def script(name: str) -> ModuleType:
    """The module of a script, which finds those beside it."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return importlib.import_module(name)
