"""What came out: `python -m r1jax.report WORKDIR` of a training run, `python -m r1jax.report RESULTS...` of
evaluations.

A run's page is WORKDIR/report.html. Evaluations of several models are told together, in tables and pictures, in
results.html and PNG files beside it.
"""

import argparse
import sys
from pathlib import Path

import rich.console

from r1jax.config import exit_status, path_given
from r1jax.report.results_page import write_results
from r1jax.report.run import BASE_TITLE, headline, write_report


def main() -> int:
    """The exit status, see `config.exit_status`."""
    parser = argparse.ArgumentParser(prog="r1jax.report", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("folders", type=path_given, nargs="+", help="the workdir of one run, or those of evaluations")
    parser.add_argument("--base-title", default=BASE_TITLE, help="of a run: the model before RL (%(default)s)")
    parser.add_argument("--out", type=path_given, help="of evaluations: where to write; default: the first folder")
    args = parser.parse_args()

    def run() -> None:
        shown, path = report(args.folders, args.base_title, args.out)
        console = rich.console.Console()
        for table in shown:
            console.print(table)
        console.print(f"report: {path}", soft_wrap=True, markup=False, highlight=False)

    return exit_status(run, f"writing the report of {', '.join(map(str, args.folders))}")


def report(folders: list[Path], base_title: str, out: Path | None) -> tuple[list, Path]:
    """The tables for the console, and the page written.

    Raises:
        FileNotFoundError, ValueError: see `run.load_run` and `results.load`; runs and evaluations mixed.
    """
    evaluations = [folder for folder in folders if any(folder.glob("*/questions.jsonl"))]
    if len(evaluations) == len(folders):
        return write_results(folders, out or folders[0])
    if len(folders) > 1:
        others = ", ".join(str(folder) for folder in folders if folder not in evaluations)
        raise ValueError(f"several folders are told together where all hold evaluations, and these do not: {others}")
    return [headline(folders[0], base_title)], write_report(folders[0], base_title)


if __name__ == "__main__":
    sys.exit(main())
