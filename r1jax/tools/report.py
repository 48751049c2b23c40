"""Reports of a training run, of evaluations, or of the whole recipe.

    r1jax report WORKDIR                 a run: WORKDIR/report.html
    r1jax report RESULTS [RESULTS ...]   evaluations of one or more models: results.html, and PNG files beside it
    r1jax report SEED [SEED ...]         the recipe as experiments/r1.sh leaves it, a folder for each seed: recipe.html
    r1jax report PAGES [SEED ...]        pages of experiments, experiments/paper, behind the recipe's tables; or alone:
                                         findings.html

What the folders hold decides which. A run under way has a report, too.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import rich.console

from r1jax.config import exit_status, path_given
from r1jax.io.files import write_text
from r1jax.report import findings, recipe_manifest


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax report`."""
    parser = argparse.ArgumentParser(
        prog="r1jax report",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", type=path_given, nargs="+", metavar="FOLDER", help="see above")
    parser.add_argument("--out", type=path_given, help="of evaluations or the recipe: where to write (FOLDER)")
    parser.add_argument("--base-title", help="of a run: what to call the model before RL")
    parser.add_argument("--markdown", type=path_given, help="of the recipe: write the tables to this page as well")
    return parser


def report(
    folders: Sequence[Path], base_title: str | None = None, out: Path | None = None, markdown: Path | None = None
) -> tuple[list, Path]:
    """Writes the report; returns the tables for the console, and the page.

    Args:
        folders: the workdir of one run, those of evaluations, or those of the recipe's seeds, and of experiments'
            pages.
        base_title: of a run, what the model before RL is called; None: see `report.run.BASE_TITLE`.
        out: the folder to write into; None: the first one. That of a run is always its own.
        markdown: a page in which the recipe's tables replace what follows "## The stages"; None: none.

    Raises:
        FileNotFoundError, ValueError: see `run.load_run`, `results.load` and `recipe.write`; folders of several kinds.
    """
    pages = [folder for folder in folders if findings.is_folder_of_pages(folder)]
    sections = findings.sections(pages)
    folders = [folder for folder in folders if folder not in pages]
    if pages and not folders:
        from r1jax.report.results_page import render

        path = (out or pages[0]) / "findings.html"
        write_text(path, render("The paper's findings", ", ".join(map(str, pages)), [], [], [], sections))
        return [], path
    if any((folder / recipe_manifest.FILE).is_file() for folder in folders):
        from r1jax.report import recipe, recipe_tables
        from r1jax.report.results_page import console

        tables, path = recipe.write(folders, out or folders[0], sections)
        if markdown:
            head = markdown.read_text("utf-8").partition("## The stages")[0] if markdown.exists() else ""
            write_text(markdown, head + recipe_tables.markdown(tables))
        return [console(table) for table in tables], path
    if pages:
        raise ValueError(
            f"pages of experiments ({pages[0]}) go with the recipe's seeds, or alone; {folders[0]} is neither"
        )
    evaluations = [folder for folder in folders if any(folder.glob("*/questions.jsonl"))]
    if len(evaluations) == len(folders):
        from r1jax.report.results_page import write_results

        return write_results(folders, out or folders[0])
    if len(folders) > 1:
        others = ", ".join(str(folder) for folder in folders if folder not in evaluations)
        raise ValueError(f"several folders share a report where all hold evaluations, and these do not: {others}")
    from r1jax.report import run

    title = run.BASE_TITLE if base_title is None else base_title
    return [run.headline(folders[0], title)], run.write_report(folders[0], title)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args = parser().parse_args(argv)

    def run() -> None:
        console_tables, path = report(args.folders, args.base_title, args.out, args.markdown)
        console = rich.console.Console()
        for table in console_tables:
            console.print(table)
        console.print(f"report: {path}", soft_wrap=True, markup=False, highlight=False)

    return exit_status(run, f"writing the report of {', '.join(map(str, args.folders))}")
