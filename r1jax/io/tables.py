"""Cells and rows of tables in Markdown and on the console, with text of any origin escaped."""

from collections.abc import Iterable, Sequence

import rich.markup

from r1jax.config import printable


def markdown_cell(text: str) -> str:
    """Text in a cell of a Markdown table: on one line, and without a bar, which no backslash hides after another."""
    return printable(text).replace("|", "&#124;")


def markdown_code(text: str) -> str:
    """The same as code, in which entities are not read: a bar is put between two pieces of code."""
    return f"`` {printable(text).replace('|', ' ``&#124;`` ')} ``"


def markdown_row(cells: Iterable[str]) -> str:
    """A line of cells that are Markdown already."""
    return f"| {' | '.join(cells)} |"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table of plain text."""
    head, *lines = (markdown_row(map(markdown_cell, row)) for row in (header, *rows))
    return [head, "|---" * len(header) + "|", *lines]


def console_cell(text: str) -> str:
    """Text for rich: on one line, with no markup and nothing that steers a terminal."""
    return rich.markup.escape(printable(text))
