"""The report of the recipe: its manifest, tables over seeds, and the runs that are missing."""

import json
import pathlib
import subprocess

import pytest

from r1jax.report import recipe, recipe_manifest, recipe_tables

SCRIPT = pathlib.Path(__file__).parent.parent / "experiments" / "r1.sh"


def write(path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def lines(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def model(folder, name, one, votes, mixed=0.1):
    figures = {"pass@1": {"value": one, "stderr": 0.01, "unit": "%"}, "cons@8": {"value": votes, "stderr": 0.01}}
    write(
        folder / "eval" / name / "world_reasoning" / "result.json",
        {
            "n": 100,
            "k": 8,
            "figures": figures,
            "by_subject": {"en": {"value": one}, "zh": {"value": one / 2}},
            "rates": {"well_formed": 1.0, "mixed_language": mixed},
            "length": {"mean": 30.0},
        },
    )


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    """The manifest that experiments/r1.sh writes."""
    folder = tmp_path_factory.mktemp("recipe")
    subprocess.run([SCRIPT, "--manifest", folder], check=True)
    return (folder / "manifest.json").read_text()


@pytest.fixture
def seeds(tmp_path, manifest):
    folders = [tmp_path / "seed0", tmp_path / "seed1"]
    for i, folder in enumerate(folders):
        write(folder / "manifest.json", manifest)
        model(folder, "base", 0.5 + 0.1 * i, 0.7)
        model(folder, "zero", 0.9, 0.95, mixed=0.6)
        for name, score in (("student_qwen2", 0.2), ("rl_qwen2", 0.4), ("distill_qwen2", 0.6 + 0.2 * i)):
            model(folder, name, score, score)
        rows = [
            {"step": s, "reward/total": s, "reward/accuracy": s / 10, "language/mixed": 0.1 * s, "length/mean": 9.0}
            for s in range(6)
        ]
        write(folder / "zero" / "metrics.jsonl", lines(rows))
        write(folder / "sft" / "metrics.jsonl", lines([{"step": s, "loss": 2.0 - s} for s in range(2)]))
        judged = [{"step": 0, "accuracy": 0.5}, {"step": 9, "accuracy": 0.9}]
        write(folder / "helpfulness" / "evals.jsonl", lines(judged))
        write(
            folder / "r1" / "evals.jsonl",
            lines(
                [
                    {"step": 0, "parts": {"model/helpfulness": -0.5}},
                    {"step": 9, "parts": {"model/helpfulness": 0.5}},
                ]
            ),
        )
        write(
            folder / "rejection" / "table.json",
            {
                "samples": {"kept": 1200, "acceptance": 0.75},
                "reasons": [
                    {"reason": "wrong", "count": 400, "share": 0.25},
                    {"reason": "cut", "count": 0, "share": 0.0},
                ],
            },
        )
        write(
            folder / "coldstart" / "table.json",
            {
                "found": {"direct": {"found": 9, "kept": 7, "dropped": {"wrong": 2}}},
                "kept": 7,
            },
        )
        write(folder / "done" / "zero", f"{60 * (i + 1)}")
    return folders


def tables(folders):
    return recipe_tables.tables(folders, recipe_manifest.read(folders))


def by_title(folders):
    return {table.title: [[cell.text for cell in row] for row in table.rows] for table in tables(folders)}


def test_seeds_are_summarised_as_mean_and_deviation_and_one_alone_as_it_is(seeds):
    cells = by_title(seeds)
    assert cells["The models"][0][:5] == ["base", "55.0 ± 7.1", "70.0 ± 0.0", "55.0 ± 7.1", "27.5 ± 3.5"]
    assert by_title(seeds[:1])["The models"][0][:3] == ["base", "50.0", "70.0"]
    assert cells["The stages"][0] == ["R1-Zero: RL from the base", "zero", "1.5 ± 0.7"]


def test_students_are_compared_with_themselves_by_seed(seeds):
    assert by_title(seeds)["Distillation against RL"] == [
        ["Qwen2's architecture", "20.0 ± 0.0", "40.0 ± 0.0", "70.0 ± 14.1", "30.0 ± 14.1"]
    ]


def test_first_and_last_steps_and_evaluations(seeds):
    cells = by_title(seeds[:1])
    assert cells["Languages"][0][:5] == ["R1-Zero: RL from the base", "10.0", "40.0", "10.0", "40.0"]
    assert cells["Reward models"][0][:2] == ["helpfulness", "90.0"]
    assert cells["RL for all scenarios, held-out prompts"] == [["model/helpfulness", "-0.50", "0.50"]]
    assert cells["What rejection sampling dropped"] == [["wrong", "400", "25.0"], ["kept", "1200", "75.0"]]
    assert cells["What the cold start collected"] == [["direct", "9", "7", "2 wrong"]]


def test_the_page_says_what_is_not_there_and_needs_no_other_file(seeds, tmp_path):
    _, path = recipe.write(seeds, tmp_path / "out")
    page = path.read_text()
    assert "Not there (yet): Control: R1-Zero with the language reward, Cold start: fine-tuning" in page
    assert "data:image/png;base64," in page
    assert (tmp_path / "out" / "zero.png").exists() and (tmp_path / "out" / "sft.png").exists()
    assert (tmp_path / "out" / "models.png").exists()
    write(tmp_path / "out" / "manifest.json", (seeds[0] / "manifest.json").read_text())
    with pytest.raises(FileNotFoundError, match="holds no stage of the recipe"):
        recipe.write([tmp_path / "out"], tmp_path / "out")


def test_a_recipe_without_a_manifest_gets_the_command_that_writes_it(seeds, tmp_path):
    (seeds[1] / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=rf"seed1 has no manifest.json.*r1.sh --manifest {seeds[1]}"):
        recipe.write(seeds, tmp_path / "out")
    subprocess.run([SCRIPT, "--manifest", seeds[1]], check=True)
    recipe.write(seeds, tmp_path / "out")


def test_the_manifest_names_its_faults_and_lists_what_each_run_starts_from(seeds):
    runs = recipe_manifest.read(seeds)
    assert runs.evaluation_of("zero").label == "R1-Zero" and runs.evaluation_of("nothing") is None
    assert {run.starts_from for run in runs.of_kind("distillation")} == {"student_qwen2", "student_llama"}
    content = json.loads((seeds[0] / "manifest.json").read_text())
    for changes, message in (
        ({"kind": "other"}, "manifest.runs.3.kind is 'other'.*its kinds are base, student"),
        ({"starts_from": "nothing"}, "zero starts from 'nothing', which is none of the runs"),
        ({"name": "base"}, "two runs are named base"),
        ({"label": "Another"}, "differ: these seeds are not of one recipe"),
    ):
        changed = [row | changes if row["name"] == "zero" else row for row in content["runs"]]
        write(seeds[0] / "manifest.json", {"runs": changed})
        with pytest.raises(ValueError, match=message):
            recipe_manifest.read(seeds)


def test_tables_go_into_a_page_of_the_project(seeds):
    text = recipe_tables.markdown(tables(seeds))
    assert text.startswith("## The stages") and "| base | 55.0 ± 7.1 |" in text
