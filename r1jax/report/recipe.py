"""The report of a whole recipe, from the folders of its seeds.

A folder is one seed's, as `experiments/r1.sh` leaves it: manifest.json, which lists the runs, and a workdir for each.
Several seeds are summarised as mean ± standard deviation. Runs without a workdir are left out of the tables and named.
"""

from collections.abc import Sequence
from pathlib import Path

from r1jax.io.files import write_text
from r1jax.report import recipe_manifest
from r1jax.report.findings import Section
from r1jax.report.plots import Plot
from r1jax.report.recipe_manifest import Manifest
from r1jax.report.recipe_plots import compare, draw
from r1jax.report.recipe_tables import PROBLEMS, REQUESTS, figure, load_json, part, result, tables
from r1jax.report.results import Table
from r1jax.report.results_page import render
from r1jax.report.run import settings


def _side_by_side(folders: Sequence[Path], manifest: Manifest, out: Path) -> Plot | None:
    panels = {
        "problems, pass@1": lambda evaluation: figure(evaluation, PROBLEMS, "pass@1"),
        "mixed languages": lambda evaluation: part(evaluation, PROBLEMS, "rates", "mixed_language"),
        "requests, pass@1": lambda evaluation: figure(evaluation, REQUESTS, "pass@1"),
    }
    models = {
        run.label: [[value(run.folder)(folder) for folder in folders] for value in panels.values()]
        for run in manifest.of_kind("evaluation")
        if any(result(folder, run.folder, PROBLEMS) for folder in folders)
    }
    return compare(models, list(panels), out)


def write(folders: Sequence[Path], out: Path, sections: Sequence[Section] = ()) -> tuple[list[Table], Path]:
    """Writes OUT/recipe.html and PNG files beside it; returns the tables and the page.

    Args:
        sections: pages of experiments, which follow the recipe's tables.

    Raises:
        FileNotFoundError: a folder without a manifest, or with none of its stages.
        ValueError: see `recipe_manifest.read`.
    """
    manifest = recipe_manifest.read(folders)
    stages = manifest.stages
    for folder in folders:
        if not any((folder / run.folder).is_dir() for run in stages):
            raise FileNotFoundError(f"{folder} holds no stage of the recipe; experiments/r1.sh makes such folders")
    written = tables(folders, manifest)
    out.mkdir(parents=True, exist_ok=True)
    missing = [run.label for run in stages if not (folders[0] / run.folder).is_dir()]
    lead = f"Seeds: {', '.join(folder.name for folder in folders)}."
    if missing:
        lead += f" Not there (yet): {', '.join(missing)}."
    stamps = [
        (run.label, settings(config))
        for run in stages
        if (config := load_json(folders[0] / run.folder / "config.json"))
    ]
    curves = draw(folders, [(run.folder, run.label) for run in stages], out)
    plots = [plot for plot in (_side_by_side(folders, manifest, out), *curves) if plot]
    path = out / "recipe.html"
    write_text(path, render("The recipe of R1", lead, written, plots, stamps, sections))
    return written, path
