"""Zip archive of the scripts that run inside the sandbox, from which Python there imports them."""

import functools
import io
import pathlib
import zipfile
from collections.abc import Mapping

from r1jax.sandbox.runner import PYTHON

_ROOT = pathlib.Path(__file__).parents[3]
_START_SOURCE = "import sys; sys.path.insert(0, 'inside.zip'); from r1jax.graders.code.guest.{} import main; main()"


def command(script: str, *args: object) -> list[str]:
    """The command that runs the `main` of a script, in a directory with `files()`."""
    return [PYTHON, "-c", _START_SOURCE.format(script), *map(str, args)]


@functools.cache
def files() -> Mapping[str, bytes]:
    """File name -> content of the archive: the scripts, and sortedcontainers, which LeetCode offers to programs."""
    import sortedcontainers

    library = pathlib.Path(sortedcontainers.__file__).parent
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for package in (
            "r1jax",
            "r1jax/graders",
            "r1jax/graders/code",
        ):  # without their modules, which programs do not need
            file.writestr(f"{package}/__init__.py", "")
        for path in sorted((_ROOT / "r1jax/graders/code/guest").glob("*.py")):
            file.write(path, path.relative_to(_ROOT))
        for path in sorted(library.glob("*.py")):
            file.write(path, f"sortedcontainers/{path.name}")
    return {"inside.zip": archive.getvalue()}
