"""docs/results.md and the README's table: each equals what experiments/results.py makes of the pages it names."""

import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def results():
    sys.path.insert(0, str(ROOT / "experiments"))
    import results

    sys.path.remove(str(ROOT / "experiments"))
    return results


REMEDY = "run experiments/results.py"


def test_the_page_of_results_is_what_the_script_writes(results):
    assert results.RESULTS.read_text("utf-8") == results.results_page(), REMEDY


def test_the_readmes_table_is_what_the_script_writes(results):
    readme = results.README.read_text("utf-8")
    assert results.with_table(readme) == readme, REMEDY
    assert results.readme_table() in readme


def test_the_readme_has_no_figure_with_an_error_but_in_that_table(results):
    assert "±" not in results.README.read_text("utf-8").replace(results.readme_table(), "")


def test_every_row_of_the_readmes_table_stands_on_its_page(results):
    """Cell by cell, by another reading of the pages than the script's."""
    recipe, _, findings = results.readme_table().rpartition("\n\n| ")
    in_short = (ROOT / results.README_FINDINGS.page).read_text("utf-8").partition("## In short\n")[2]
    for row in f"| {findings}".splitlines()[2:]:
        cells = re.split(r" *\| *", row)[1:-1]
        assert f"| {' | '.join(cells)} |" in in_short
    page = (ROOT / results.README_TABLE.page).read_text("utf-8")
    section = page.partition("## The models\n")[2].partition("\n## ")[0]
    source = [re.split(r" *\| *", line)[1:-1] for line in section.splitlines() if line.startswith("|")]
    copied = [re.split(r" *\| *", line)[1:-1] for line in recipe.splitlines() if line.startswith("|")]
    places = [source[0].index(name) for name in copied[0]]
    rows = {row[0]: [row[place] for place in places] for row in source}
    assert len(copied) > 7 and all(rows[row[0]] == row for row in copied[2:])


def test_every_page_of_experiments_is_named_by_the_results(results):
    names = set(re.findall(r"\.\./(experiments/(?:paper/|plans/)?\w+\.md)", results.results_page()))
    plans = {path for path in (ROOT / "experiments" / "plans").glob("*.md") if path.name != "README.md"}
    assert names == {str(path.relative_to(ROOT)) for path in {*(ROOT / "experiments").rglob("*.md")} - plans}


def test_what_a_page_says_in_short_it_has_measured(results):
    for page in results.FINDINGS:
        before, heading, measured = (ROOT / page).read_text("utf-8").partition("## Measured")
        in_short = before.partition("## In short")[2].partition("\n## ")[0]
        assert heading and figures(in_short) <= figures(measured), page


def test_repeated_columns_get_names_of_their_own_and_equal_ones_are_refused(results):
    table = results.Table(
        "", "", ["run", "tokens before", "after", "mixed, first", "last"], [["a", "1", "2", "3", "4"]]
    )
    assert table.columns() == ["run", "tokens before", "tokens after", "mixed, first", "mixed, last"]
    assert table.named_rows()[0]["mixed, last"] == "4"
    with pytest.raises(ValueError, match="one name"):
        results.Table("x", "", ["run", "run"], []).columns()


def test_a_table_column_or_row_that_is_not_there_is_an_error(results):
    page = "experiments/r1_mini.md"
    for excerpt in (
        results.Excerpt("", page, "Nothing"),
        results.Excerpt("", page, "The models", nth=1),
        results.Excerpt("", page, "The models", columns=("model", "nothing")),
        results.Excerpt("", page, "The models", rows=("nothing",)),
    ):
        with pytest.raises(ValueError, match=re.escape(page)):
            excerpt.markdown("docs")


def test_links_are_those_of_the_folder_that_the_text_goes_to(results):
    text = "[a](r1_mini.md) [b](../docs/models.md#x) [c](https://a.b/c) [d](#here)"
    moved = results.relinked(text, "experiments/page.md", "docs")
    assert moved == "[a](../experiments/r1_mini.md) [b](models.md#x) [c](https://a.b/c) [d](#here)"


def test_wrong_answers_are_added_up_over_their_kinds(results):
    row = {"wrong answers passed": "digit 1 of 1,838, gross mutant 2 of 6, subtle mutant 10 of 154"}
    assert results.passed(row, subtle=False) == "3 of 1,844" and results.passed(row, subtle=True) == "10 of 154"
    assert results.passed({"wrong answers passed": "–"}, subtle=False) == "–"


def figures(text: str) -> set[str]:
    """What a text outside of code says with an error, as `8.0 ± 1.0`."""
    return set(re.findall(r"\d[\d.,]* ± \d[\d.]*\d", " ".join(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split())))


def test_a_figure_of_an_experiment_stands_on_its_page_and_every_other_text_links_to_it(results):
    measured = set().union(*(figures(path.read_text("utf-8")) for path in (ROOT / "experiments").rglob("*.md")))
    assert len(measured) > 100
    texts = [*(ROOT / "docs").glob("*.md"), *(ROOT / "configs").glob("*.py"), ROOT / "CONTRIBUTING.md"]
    repeated = {
        path.name: again
        for path in texts
        if path != results.RESULTS and (again := figures(path.read_text("utf-8")) & measured)
    }
    assert repeated == {}
