"""The report of evaluations: console tables, PNG files, and one HTML page."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
import rich.table

from r1jax.io.files import write_text
from r1jax.io.tables import console_cell
from r1jax.report.findings import Section
from r1jax.report.plots import Plot
from r1jax.report.results import PUBLISHED, Model, Table, load, published, tables
from r1jax.report.results_plots import draw
from r1jax.report.run import settings

Stamp = tuple[str, list[tuple[str, list[tuple[str, str]]]]]  # title, sections of (key, value)


def write_results(folders: Sequence[Path], out: Path) -> tuple[list[rich.table.Table], Path]:
    """Writes OUT/results.html, one file that needs no other, and the plots beside it as PNG files.

    Returns:
        the tables for the console, and the page.

    Raises:
        FileNotFoundError, ValueError: see `results.load`; two models of one label.
    """
    models = [load(folder) for folder in folders]
    labels = [model.label for model in models]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"two results are of {', '.join(twice)}; evaluate with config.label=... to distinguish them")
    out.mkdir(parents=True, exist_ok=True)
    shown_tables = tables(models)
    lead = f"Numbers in italics are published ones, from {published()['source']}; all others were measured here."
    page = render(", ".join(labels), lead, shown_tables, draw(models, out), _stamps(models))
    path = out / "results.html"
    write_text(path, page)
    return [console(table) for table in shown_tables], path


def render(
    title: str,
    lead: str,
    shown_tables: Sequence[Table],
    plots: Sequence[Plot],
    stamps: Sequence[Stamp],
    sections: Sequence[Section] = (),
) -> str:
    """A page of tables and plots that needs no other file. `stamps` have the settings of each result."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("results.html.j2").render(
        title=title, lead=lead, tables=shown_tables, plots=plots, stamps=stamps, sections=sections
    )


def _stamps(models: Sequence[Model]) -> list[Stamp]:
    return [
        (f"{model.label}: {result['title']}", settings(result["stamp"]))
        for model in models
        for result in model.results.values()
    ]


def console(table: Table) -> rich.table.Table:
    """A table for the console, with published numbers in italics, which headings and labels mark too."""
    output = rich.table.Table(title=console_cell(table.title), title_justify="left")
    # Of the published columns the page has all, a console has room for one.
    columns = [
        i
        for i, heading in enumerate(table.header)
        if not heading.endswith(PUBLISHED) or heading == f"DeepSeek-R1{PUBLISHED}"
    ]
    for i in columns:
        # Folded, not cut: the names of the distilled models begin alike.
        output.add_column(console_cell(table.header[i]), justify="left" if i < 2 else "right", overflow="fold")
    for row in table.rows:
        texts = [(console_cell(row[i].text), row[i].published) for i in columns]
        output.add_row(*(f"[italic]{text}[/]" if is_published else text for text, is_published in texts))
    if table.notes:
        output.caption = "\n".join(map(console_cell, table.notes))
    return output
