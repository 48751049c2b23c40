"""Execution of the notebooks in `examples/notebooks`, whose outputs are saved in them.

    ./launch_local.sh python experiments/notebooks.py [NAME ...] [--quick]

NAME is a file of that folder; without one all are executed, each in an empty folder. Needs the extra `dev`. Paths of
this machine and times are left out of what is saved. --quick: with fewer steps, and nothing is saved.
"""

import argparse
import os
import pathlib
import re
import sys
import tempfile

import nbformat
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "examples" / "notebooks"
TIMES = re.compile(r"\d[\d.,]* ?s(?=/step| with compilation)|(?<=, )\d[\dhms]+ left")
UNDER_WAY = re.compile(r"^  [a-z ]+: (?:.*, )?\d[\dhms]*\n", re.MULTILINE)  # lines of io.console.under_way


def execute(path: pathlib.Path, folder: pathlib.Path, quick: bool = False, times: int = 1) -> nbformat.NotebookNode:
    """Runs all cells of a notebook, several times in one kernel, and returns it with the last outputs.

    Args:
        folder: where its kernel works.
        quick: with the notebook's reduced sizes.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=3600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    env = {name: value for name, value in os.environ.items() if name != "R1JAX_NOTEBOOK_QUICK"}
    env |= {"PYTHONPATH": str(ROOT)} | ({"R1JAX_NOTEBOOK_QUICK": "1"} if quick else {})
    with client.setup_kernel(env=env):
        for _ in range(times):
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index)
    return notebook


def clean(notebook: nbformat.NotebookNode, folder: pathlib.Path) -> None:
    """Takes out of a notebook's outputs what belongs to this machine: paths, times, metadata."""
    for cell in notebook.cells:
        cell.metadata.clear()
        for output in cell.get("outputs", ()):
            if "text" in output:
                text = output.text.replace(f"{folder}/", "").replace(f"{ROOT}/", "")
                output.text = TIMES.sub("...", UNDER_WAY.sub("", text))
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action="store_true")
    return parser


def main() -> int:
    """Executes and saves; the exit status."""
    args = parser().parse_args()
    for path in [FOLDER / name for name in args.names] or sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, pathlib.Path(folder), args.quick)
            clean(notebook, pathlib.Path(folder))
        if not args.quick:
            nbformat.write(notebook, path)
        print(f"{path.name}: executed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
