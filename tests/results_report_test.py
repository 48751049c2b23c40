"""The report of evaluations: every number where it belongs, published ones marked, unlike things called so."""

import json
import pathlib
import subprocess
import sys

import pytest

from r1jax.report.results import load, published, tables
from r1jax.report.results_page import write_results
from r1jax.tools import report as entry


def figure(value, stderr=0.02, unit="%"):
    return {"value": value, "stderr": stderr, "low": None, "high": None, "unit": unit}


def write_model(folder: pathlib.Path, label: str, scores: dict[str, list[list[float]]], **changes) -> pathlib.Path:
    """A results folder: benchmark -> for each question its samples' scores."""
    for name, questions in scores.items():
        here = folder / name
        here.mkdir(parents=True)
        k = len(questions[0])
        flat = [s for question in questions for s in question]
        result = {
            "benchmark": name,
            "title": {"math500": "MATH-500", "aime2024": "AIME 2024"}.get(name, name.upper()),
            "group": "knowledge" if name == "mmlu" else "maths",
            "model": label,
            "metric": "pass@1",
            "n": len(questions),
            "k": k,
            "questions_in_file": 500,
            "samples": len(flat),
            "figures": {"pass@1": figure(sum(flat) / len(flat)), f"cons@{k}": figure(0.5)},
            "by_k": [{"k": 1, "pass": 0.25, "cons": 0.25}, {"k": k, "pass": 0.5, "cons": None}],
            "rates": {
                "truncated": 0.125,
                "no_answer": 0.0,
                "ungradable": 0.0,
                "well_formed": 1.0,
                "mixed_language": 0.25,
            },
            "length": {"mean": 321.0, "median": 300.0, "p95": 400.0},
            "by_subject": {},
            "stamp": {
                "model": {"path": "<b>m</b>", "hash": "0f"},
                "data": {"path": "x", "hash": "aa"},
                "seed": 0,
                "temperature": 0.6,
                "top_p": 0.95,
                "grader": "maths 1",
                **changes,
            },
        }
        (here / "result.json").write_text(json.dumps(result))
        rows = [(f"q{i}", s, score) for i, question in enumerate(questions) for s, score in enumerate(question)]
        samples = [{"id": i, "sample": s, "text": "t", "finish": "stop", "tokens": 10 + s} for i, s, _ in rows]
        grades = [{"id": i, "sample": s, "score": score, "verdict": "", "grader": "g"} for i, s, score in rows]
        questions_rows = [{"id": f"q{i}"} for i in range(len(questions))]
        for file, lines in (("samples", samples), ("grades", grades), ("questions", questions_rows)):
            (here / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def two(tmp_path) -> list[pathlib.Path]:
    scores = [[1.0, 0.0]] * 30 + [[0.0, 0.0]] * 30
    better = [[1.0, 1.0]] * 30 + [[1.0, 0.0]] * 30
    return [
        write_model(tmp_path / "a", "base <i>", {"math500": scores, "mmlu": scores}),
        write_model(tmp_path / "b", "trained", {"math500": better, "aime2024": better}),
    ]


def by_title(folders) -> dict:
    return {table.title: table for table in tables([load(folder) for folder in folders])}


def texts(table, start: str, column: int = 0) -> list[str]:
    [row] = [row for row in table.rows if row[column].text.startswith(start)]
    return [cell.text for cell in row]


def test_benchmarks_by_models_with_errors_sizes_and_published_columns(two):
    main = by_title(two)["Benchmarks"]
    assert main.header[:5] == ("group", "benchmark (metric)", "size", "base <i>", "trained")
    row = texts(main, "MATH-500", 1)
    assert row[:5] == ["maths", "MATH-500 (pass@1)", "n = 60, k = 2", "25.0 ± 2.0", "75.0 ± 2.0"]
    r1 = main.header.index("DeepSeek-R1 (published)")
    assert row[r1] == "97.3" and texts(main, "MMLU", 1)[r1] == "90.8"
    assert texts(main, "MMLU", 1)[4] == "–"
    assert all(
        cell.published == heading.endswith("(published)")
        for line in main.rows
        for cell, heading in zip(line, main.header, strict=True)
    )


def test_the_papers_tables_have_our_models_first(two):
    tables_by_title = by_title(two)
    for title, model, aime in (
        ("Distilled models", "DeepSeek-R1-Distill-Qwen-7B", "55.5"),
        ("R1-Zero and others", "DeepSeek-R1-Zero", "71"),
    ):
        table = tables_by_title[title]
        assert [row[0].text for row in table.rows[:2]] == ["base <i>", "trained"]
        assert texts(table, f"{model} (published)")[1] == aime
        assert texts(table, "trained")[1:4] == ["75.0 ± 2.0", "–", "75.0 ± 2.0"]


def test_models_are_compared_question_by_question(two):
    [row] = by_title(two)["Paired by question"].rows
    row = [cell.text for cell in row]
    assert row[:4] == ["MATH-500", "trained - base <i>", "60", "+50.0 ± 0.0"] and row[5] == "beyond noise"


def test_what_stands_beside_the_scores(two):
    row = texts(by_title(two)["Behind the scores"], "AIME 2024")
    assert row[1:] == ["trained", "60 of 500", "2", "12.5", "0.0", "0.0", "100.0", "25.0", "321"]


def test_results_that_were_not_made_alike_are_called_so(tmp_path, two):
    other = write_model(tmp_path / "c", "other", {"math500": [[1.0]] * 5}, temperature=1.0, grader="maths 2")
    [note] = by_title([two[0], other])["Benchmarks"].notes
    assert note == "MATH-500: not all made alike: temperature, grader, n, k differ."
    assert not by_title(two)["Benchmarks"].notes


def test_samples_beyond_k_or_of_questions_not_asked_do_not_count(two):
    grades = two[0] / "math500" / "grades.jsonl"
    with grades.open("a") as file:
        for row in (
            {"id": "q0", "sample": 5, "score": 1.0},
            {"id": "other", "sample": 0, "score": 1.0},
            {"id": "q59", "sample": 0, "score": 1.0},
        ):
            file.write(json.dumps(row) + "\n")
    means = load(two[0]).question_means["math500"]
    assert len(means) == 60 and means["q0"] == 0.5 and means["q59"] == 0.5  # of two grades the last


def test_pictures_and_page(two, tmp_path):
    console_tables, page = write_results(two, tmp_path / "out")
    html = page.read_text("utf-8")
    assert "base &lt;i&gt;" in html and "<b>m</b>" not in html and "arXiv 2501.12948" in html
    assert 'class="published">97.3' in html and "http" not in html.replace("https://", "")
    # On a phone a row is a card: each value behind its column's heading, but for those that are not there.
    assert 'data-heading="DeepSeek-R1 (published)" class="published">97.3' in html and 'class=" none">–' in html
    assert "prefers-color-scheme: dark" in html
    pictures = {path.name: path.stat().st_size for path in (tmp_path / "out").glob("*.png")}
    assert {"bars.png", "math500_k.png", "math500_length.png", "aime2024_k.png"} <= set(pictures)
    assert min(pictures.values()) > 5_000
    assert [table.title for table in console_tables] == [
        "Benchmarks",
        "Distilled models",
        "R1-Zero and others",
        "Behind the scores",
        "Paired by question",
    ]


def test_what_cannot_be_reported_is_an_error_or_named(two, tmp_path):
    begun = two[0] / "gsm8k"
    begun.mkdir()
    (begun / "samples.jsonl").write_text("")
    assert by_title(two[:1])["Benchmarks"].notes == ("base <i>: unfinished: gsm8k",)
    with pytest.raises(ValueError, match="two results are of trained"):
        write_results([two[1], two[1]], tmp_path / "out")
    (two[1] / "math500" / "result.json").write_text('{"title": "x"}')
    with pytest.raises(ValueError, match=r"result.json lacks group, model"):
        load(two[1])
    with pytest.raises(FileNotFoundError, match="holds no result"):
        load(tmp_path)
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match=r"these do not: .*run"):
        entry.report([two[0], tmp_path / "run"], "base", None)


def test_the_command(two):
    done = subprocess.run([sys.executable, "-m", "r1jax", "report", *map(str, two)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "DeepSeek-R1 (published)" in " ".join(done.stdout.split()) or "published" in done.stdout
    assert (two[0] / "results.html").exists()
    wrong = subprocess.run(
        [sys.executable, "-m", "r1jax", "report", str(two[0].parent)], capture_output=True, text=True
    )
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: ")


def test_published_numbers_are_numbers_with_a_source():
    content = published()
    assert "2501.12948" in content["source"]
    assert {row["table"] for row in content["models"]} == {"main", "distilled", "r1_zero"}
    for row in content["models"]:
        for figures in row["figures"].values():
            assert all(0 < value <= (3000 if name == "rating" else 100) for name, value in figures.items())
