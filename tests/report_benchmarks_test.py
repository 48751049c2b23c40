"""Benchmarks on a schedule in a run's report: a table of first and last, and plots of the figures over steps."""

import json

import pytest
from report_runs import Elements, evaluation, metric, write_lines, write_run

from r1jax.evaluation.scheduled_benchmarks import row_of
from r1jax.report import run as report
from r1jax.report.benchmarks import sections


def row(step: int, benchmark: str, figures: dict[str, tuple[float, str]], **changes) -> dict:
    """A row of benchmarks.jsonl, as a run writes it."""
    result = {
        "benchmark": benchmark,
        "title": benchmark.upper(),
        "n": 30,
        "k": 4,
        "figures": {
            name: {"value": value, "stderr": 50.0 if unit == "" else 0.04, "unit": unit}
            for name, (value, unit) in figures.items()
        },
        "rates": {"truncated": 0.1, "no_answer": 0.2, "ungradable": 0.0, "well_formed": 0.9, "mixed_language": 0.0},
        "length": {"mean": 80.0},
    }
    return {"step": step, **row_of(result | changes)}


ROWS = [
    *(row(step, "aime2024", {"pass@1": (0.1 + step / 200, "%"), "cons@4": (0.2, "%")}) for step in (0, 50, 100)),
    *(row(step, "codeforces", {"rating": (800.0 + step, ""), "percentile": (0.3, "%")}) for step in (0, 100)),
]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = write_run(tmp_path_factory.mktemp("run") / "zero", [evaluation(0, 0.1), evaluation(100, 0.6)])
    rows = sorted(ROWS, key=lambda each: each["step"])
    write_lines(workdir / "benchmarks.jsonl", [rows[0] | {"pass@1": 0.9}, *rows])  # a step written twice
    return workdir


def test_a_benchmark_has_its_table_and_a_plot_for_each_unit(workdir):
    aime, codeforces = sections(report.load_run(workdir).benchmarks)
    assert (aime.name, aime.titles) == ("AIME2024", ("step 0", "step 100"))
    table = {label: cells for label, *cells in aime.rows}
    assert table["pass@1"] == ["10.0% ± 4.0", "60.0% ± 4.0", "+50.0 points"]
    assert table["truncated responses"] == ["10.0%", "10.0%", "+0.0 points"]
    assert table["questions (n)"] == ["30", "30", ""] and "rating" not in table
    assert [plot.title for plot in aime.plots] == ["AIME2024: pass@1, cons@4"]
    assert [plot.title for plot in codeforces.plots] == ["CODEFORCES: percentile", "CODEFORCES: rating"]
    assert codeforces.rows[0] == ("rating", "800.0 ± 50.0", "900.0 ± 50.0", "+100.0")


def test_the_page_shows_them_and_a_title_is_text(workdir, monkeypatch):
    monkeypatch.setattr(report, "draw_plots", lambda stage, metrics, evals: [])
    with (workdir / "benchmarks.jsonl").open("a") as file:
        file.write(json.dumps(row(0, "mine", {"score": (0.5, "%")}, title="<b>mine</b>")) + "\n")
    page = report.page(workdir)
    assert "<h2>Benchmarks</h2>" in page and "&lt;b&gt;mine&lt;/b&gt;" in page and "<b>" not in page
    assert Elements(page).tags.count("img") == 4


def test_benchmarks_before_the_first_step_make_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_plots", lambda stage, metrics, evals: [])
    write_lines(tmp_path / "benchmarks.jsonl", ROWS[:1])
    [section] = sections(report.load_run(tmp_path).benchmarks)
    assert section.rows[0] == ("pass@1", "10.0% ± 4.0", "–", "")
    assert "metrics.jsonl is missing" in report.page(tmp_path)
    write_lines(tmp_path / "metrics.jsonl", [metric(0)])
    assert "<h2>Benchmarks</h2>" in report.page(tmp_path)
