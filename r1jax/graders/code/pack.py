"""The scripts of `r1jax.graders.code.guest`, packed so that Python in a sandbox can import them."""

import functools
import io
import pathlib
import zipfile
from collections.abc import Mapping

from r1jax.sandbox.programs import PYTHON

_ROOT = pathlib.Path(__file__).parents[3]
_START = "import sys; sys.path.insert(0, 'inside.zip'); from r1jax.graders.code.guest.{} import main; main()"


def command(script: str, *args: object) -> list[str]:
    """The command that runs a script's `main`, where `files()` are."""
    return [PYTHON, "-c", _START.format(script), *map(str, args)]


@functools.cache
def files() -> Mapping[str, bytes]:
    """An archive that Python imports from: the scripts, and the one library that LeetCode has beside Python's own."""
    import sortedcontainers

    library = pathlib.Path(sortedcontainers.__file__).parent
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for package in ("r1jax", "r1jax/graders", "r1jax/graders/code"):  # what these hold outside is not for programs
            file.writestr(f"{package}/__init__.py", "")
        for path in sorted((_ROOT / "r1jax/graders/code/guest").glob("*.py")):
            file.write(path, path.relative_to(_ROOT))
        for path in sorted(library.glob("*.py")):
            file.write(path, f"sortedcontainers/{path.name}")
    return {"inside.zip": archive.getvalue()}
