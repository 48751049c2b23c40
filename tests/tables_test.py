"""Tables of labels, file names and answers from anywhere: a cell stays one cell, and no terminal is steered."""

import io
import pathlib
import re

import pytest
import rich.console
import rich.markup

from r1jax.audit import summary
from r1jax.data.types import Prompt, Rollout
from r1jax.io import jsonl
from r1jax.io.tables import console_cell, markdown_cell, markdown_code, markdown_row, markdown_table
from r1jax.report.recipe_tables import markdown
from r1jax.report.results import Cell, Table
from r1jax.report.results_page import console
from r1jax.stages.rejection import rejection_table
from r1jax.stages.rejection.rejection_table import FilterResult
from r1jax.tools import audit, decontaminate, grade

EVIL = "a|b \\| c\nd \x1b[2J \u202e [red] [/nothing] \x9b"


def steers(text: str) -> bool:
    return not all(line.isprintable() for line in text.splitlines())


def bars(line: str) -> int:
    """Bars that part cells: GitHub's scanner takes a backslash and what follows it as one."""
    return re.sub(r"\\.", "", line).count("|")


def test_trap74_a_markdown_cell_stays_one_cell_on_one_line() -> None:
    lines = markdown_table(("one", EVIL), [(EVIL, EVIL), ("", "plain")])
    assert [bars(line) for line in lines] == [3] * 4 and not any(map(steers, lines))
    assert lines[1] == "|---|---|" and lines[3] == "|  | plain |" and "&#124;b" in lines[0]
    assert bars(markdown_row([markdown_code(EVIL), markdown_cell("x")])) == 3


def test_trap74_a_console_cell_is_text_alone() -> None:
    shown = rich.markup.render(console_cell(EVIL)).plain
    assert shown.isprintable() and "[red] [/nothing]" in shown


def test_trap74_tables_of_evaluations_show_labels_as_they_are() -> None:
    table = Table(EVIL, "caption", ("model", EVIL), [(Cell(EVIL), Cell(EVIL, published=True))], (EVIL, EVIL))
    out = io.StringIO()
    rich.console.Console(file=out, width=200).print(console(table))
    assert not steers(out.getvalue())
    rows = [line for line in markdown([table]).splitlines() if line.startswith("|")]
    assert [bars(line) for line in rows] == [3] * 3 and not any(map(steers, rows))


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    jsonl.write(
        tmp_path / "a|b\x1b[2J[red].jsonl",
        [
            {"id": "1", "prompt": "1 + 1?", "answer": "2", "response": "\\boxed{2}"},
            {"id": "2", "prompt": "2 + 2?", "answer": EVIL, "response": "4", "grader": "maths"},
        ],
    )
    return tmp_path


def test_trap74_tables_of_tools_show_names_as_they_are(folder, capsys) -> None:
    [file] = folder.iterdir()
    options = ["--data", str(file), "--workdir", str(folder / "audit"), "--workers", "1", "--mutants", "0"]
    assert audit.main(options) == 0
    lines = (folder / "audit" / "table.md").read_text("utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 3 and [bars(line) for line in rows] == [len(summary.COLUMNS) + 1] * 3
    assert "a&#124;b\\x1b[2J[red]" in rows[2]
    assert grade.main([str(file), "--workers", "1"]) == 0
    name = str(file)
    assert decontaminate.main([name, "--against", name, "--out", str(folder / "clear.jsonl")]) == 0
    for shown in capsys.readouterr():
        assert not steers(shown)


def test_trap74_the_table_of_dropped_samples_shows_sources_as_they_are(capsys) -> None:
    found = [Prompt(str(i), "?", "1", f"maths:{EVIL}{i}") for i in range(2)]
    kept = [Rollout.of_text(prompt, "1") for prompt in found]
    rejection_table.show(rejection_table.count(FilterResult(found, [], kept, [], 0), 1))
    assert not steers(capsys.readouterr().out)
